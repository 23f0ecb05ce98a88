"""A bare HTTP session with our credentials, for a library that brings its own client."""

from http import HTTPStatus

import aiohttp

from nodewall.kube.credentials import Credentials, Token


async def _signed(
    request: aiohttp.ClientRequest, token: Token, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    if text := token.read():
        request.headers["Authorization"] = f"Bearer {text}"
    return await send(request)


def borrowed(credentials: Credentials) -> aiohttp.ClientSession:
    """A session that proves who we are on each request, with the token as it is then. Whoever takes it closes it.

    It verifies the server's name, and asks again after a 401 when the token's file says something new, as ours does.
    """
    token = credentials.token

    async def authorize(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.server_hostname = credentials.server_name or None
        response = await _signed(request, token, send)
        if response.status != HTTPStatus.UNAUTHORIZED or not token.renew():
            return response
        response.release()
        return await _signed(request, token, send)

    connector = aiohttp.TCPConnector(limit=0, ssl=credentials.tls or True)
    return aiohttp.ClientSession(connector=connector, middlewares=(authorize,), cookie_jar=aiohttp.DummyCookieJar())
