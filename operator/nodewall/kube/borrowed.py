"""A bare HTTP session with our credentials, for a library that brings its own client."""

import aiohttp

from nodewall.kube.credentials import Credentials


def borrowed(credentials: Credentials) -> aiohttp.ClientSession:
    """A session that proves who we are on each request, with the token as it is then. Whoever takes it closes it."""
    token = credentials.token

    async def authorize(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if text := token.read():
            request.headers["Authorization"] = f"Bearer {text}"
        return await send(request)

    connector = aiohttp.TCPConnector(limit=0, ssl=credentials.tls or True)
    return aiohttp.ClientSession(connector=connector, middlewares=(authorize,), cookie_jar=aiohttp.DummyCookieJar())
