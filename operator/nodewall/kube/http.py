"""One session with the API server: get, list in chunks, watch, apply, patch, create, delete. Both halves use it.

Every request has a time limit, and every failure is an ``ApiError`` of ``kube.errors``. Nothing here retries, save what
has only one right answer: a 401 after the token file changed, and a list whose continue token expired.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from nodewall.kube.credentials import Credentials
from nodewall.kube.errors import (
    Call,
    ExpiredError,
    NotFoundError,
    SilentError,
    UnauthorizedError,
    UnreachableError,
    refusal,
)
from nodewall.kube.resource import Collection, Resource
from nodewall.kube.wire import Decoder, LineSplitter, ObjectMeta, WatchEvent, decode

JSON = "application/json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE = "application/merge-patch+json"
PATCH = "application/json-patch+json"

# The answer to a write is the whole object again, half a megabyte of it at worst. Its metadata will do; a server that
# cannot strip it sends everything, and decodes the same.
ONLY_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

PAGE_SIZE = 500
LIST_RESTARTS = 3
REFUSAL_LIMIT = 64 * 1024
"""Bytes read of a refusal's body."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. ``silence`` must be longer than the minute between two bookmarks."""

    connect: float = 10.0
    request: float = 60.0
    silence: float = 90.0
    watch_grace: float = 30.0
    """How much longer than it was asked a watch may last before we end it ourselves."""
    away: float = 5.0
    """A server that left a request without an answer, and has begun to serve none for so long, is back with the next
    that it serves. One that serves some all the while is not: its clients would wake each other for ever."""


@dataclass(frozen=True, slots=True)
class Target:
    """One object, or one subresource of it."""

    resource: Resource
    name: str
    namespace: str = ""
    subresource: str = ""

    @property
    def path(self) -> str:
        """Its path."""
        return self.resource.path(self.namespace, self.name, self.subresource)

    def __str__(self) -> str:
        kind = f"{self.resource.title}/{self.subresource}" if self.subresource else self.resource.title
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. ``first`` begins the list: whatever came before it is void. ``version`` is the list's."""

    items: list[msgspec.Raw]
    version: str
    first: bool


@dataclass(frozen=True, slots=True)
class Request:
    """What goes over the wire."""

    call: Call
    method: str
    path: str
    query: Mapping[str, str]
    timeout: aiohttp.ClientTimeout
    body: bytes | None = None
    content_type: str = ""
    accept: str = JSON

    @property
    def headers(self) -> dict[str, str]:
        """All but the authorization."""
        # Lists of pods compress well, and inflating them costs both sides more CPU than the bytes cost the network.
        headers = {"Accept": self.accept, "Accept-Encoding": "identity"}
        return headers | {"Content-Type": self.content_type} if self.content_type else headers


class Session:
    """Requests to one API server. Made by ``connect``."""

    def __init__(self, http: aiohttp.ClientSession, credentials: Credentials, timeouts: Timeouts) -> None:
        self._http, self._credentials, self._timeouts = http, credentials, timeouts
        self._back, self._served_at = asyncio.Event(), time.monotonic()
        self._gone = False  # a request has had no answer since the last that was served

    def is_back(self) -> None:
        """Whoever waits because nobody answered need not any more. Told also by who knows it from elsewhere."""
        self._back.set()
        self._back = asyncio.Event()

    async def get(self, target: Target) -> bytes:
        """The object's JSON."""
        return await self._ask(Call("get", str(target)), target.path)

    async def serves(self, resource: Resource) -> bool:
        """Whether discovery knows the resource. Raises on all but a clear yes or no: trouble is no absence."""
        call = Call("discover", resource.title)
        try:
            document = decode(Decoder.discovery, await self._ask(call, resource.root), call)
        except NotFoundError:
            return False
        return any(entry.name == resource.plural for entry in document.resources)

    async def version_of(self, collection: Collection) -> str:
        """The resourceVersion at which the server stands now."""
        page, _ = await self._page(collection, {"limit": "1"})
        return page.version

    async def pages(self, collection: Collection, size: int = PAGE_SIZE) -> AsyncGenerator[Page, None]:
        """The list in chunks. A continue token that expired restarts it (``first`` again), ``LIST_RESTARTS`` times."""
        restarts, following = 0, ""
        while True:
            query = {"limit": str(size)} | ({"continue": following} if following else {})
            try:
                page, following = await self._page(collection, query)
            except ExpiredError:
                if restarts == LIST_RESTARTS:
                    raise
                restarts, following = restarts + 1, ""
                continue
            yield page
            if not following:
                return

    async def _page(self, collection: Collection, query: dict[str, str]) -> tuple[Page, str]:
        call = Call("list", _title(collection))
        body = await self._ask(call, collection.path, collection.selectors | query)
        page = decode(Decoder.page, body, call)
        first = "continue" not in query
        return Page(page.items or [], page.metadata.resourceVersion, first), page.metadata.continue_

    async def watch(self, collection: Collection, version: str, seconds: int) -> AsyncGenerator[WatchEvent, None]:
        """What changes after ``version``, bookmarks among it, for about ``seconds``; ends when the server ends it.

        An ERROR from the server is raised as the error that it is. Half a line at the end is dropped: it comes again.
        """
        call = Call("watch", _title(collection))
        query = collection.selectors | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        request = Request(call, "GET", collection.path, query, self._watch_timeout(seconds))
        splitter = LineSplitter()
        async with self._answer(request) as response:
            async for chunk in response.content.iter_any():
                for line in splitter.feed(chunk):
                    yield _event(line, call)

    async def lines(self, target: Target, query: Mapping[str, str], *, follow: bool) -> AsyncGenerator[bytes, None]:
        """The lines of a text, such as a pod's log; with ``follow`` for as long as the server goes on.

        Half a line at the end is dropped.
        """
        timeout = aiohttp.ClientTimeout(sock_connect=self._timeouts.connect) if follow else self._request_timeout()
        request = Request(Call("get", str(target)), "GET", target.path, query, timeout, accept="*/*")
        splitter = LineSplitter()
        async with self._answer(request) as response:
            async for chunk in response.content.iter_any():
                for line in splitter.feed(chunk):
                    yield line

    async def apply(self, target: Target, body: object, manager: str, *, force: bool = True) -> ObjectMeta:
        """Server-side apply: creates or updates, and owns the fields that ``body`` (JSON bytes, or encodable) names."""
        query = {"fieldManager": manager, "force": str(force).lower()}
        return await self._write(Call("patch", str(target)), "PATCH", target.path, query, (body, APPLY))

    async def overwrite(self, target: Target, body: Mapping[str, Any], manager: str) -> ObjectMeta:
        """The spec, the owners and the annotations of an object as in ``body``, whatever is there; all else stays.

        As a JSON patch, which costs an API server two thirds of what server-side apply does. It refuses, for one, to
        make an object, or the annotations of one that has none.
        """
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        content = (list(_put(body)), PATCH)
        return await self._write(Call("patch", str(target)), "PATCH", target.path, query, content)

    async def merge_patch(self, target: Target, body: object, manager: str) -> ObjectMeta:
        """JSON merge patch: null removes, lists are replaced. ``Target.subresource`` for the status."""
        query = {"fieldManager": manager}
        return await self._write(Call("patch", str(target)), "PATCH", target.path, query, (body, MERGE))

    async def create(self, resource: Resource, body: object, manager: str, namespace: str = "") -> ObjectMeta:
        """A new object; ``ConflictError`` when its name is taken."""
        query = {"fieldManager": manager}
        call = Call("create", resource.title)
        return await self._write(call, "POST", resource.path(namespace), query, (body, JSON))

    async def replace(self, target: Target, body: object, manager: str) -> ObjectMeta:
        """Put this in the object's place; ``ConflictError`` when it is not at the resourceVersion that it states."""
        return await self._write(
            Call("update", str(target)), "PUT", target.path, {"fieldManager": manager}, (body, JSON)
        )

    async def delete(self, target: Target, uid: str = "") -> None:
        """Remove an object; with ``uid`` only this very one (else ``ConflictError``). One that is gone is fine."""
        preconditions = {"preconditions": {"uid": uid}} if uid else {}
        options = {"kind": "DeleteOptions", "apiVersion": "v1"} | preconditions
        request = self._request(Call("delete", str(target)), "DELETE", target.path, {}, (options, JSON))
        try:
            await self._read(request)
        except NotFoundError:
            return

    async def _ask(self, call: Call, path: str, query: Mapping[str, str] | None = None) -> bytes:
        return await self._read(Request(call, "GET", path, query or {}, self._request_timeout()))

    async def _write(
        self, call: Call, method: str, path: str, query: Mapping[str, str], content: tuple[object, str]
    ) -> ObjectMeta:
        answer = await self._read(self._request(call, method, path, query, content))
        return decode(Decoder.envelope, answer, call).metadata

    def _request(
        self, call: Call, method: str, path: str, query: Mapping[str, str], content: tuple[object, str]
    ) -> Request:
        body, content_type = content
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return Request(call, method, path, query, self._request_timeout(), encoded, content_type, ONLY_METADATA)

    async def _read(self, request: Request) -> bytes:
        async with self._answer(request) as response:
            return await response.read()

    @asynccontextmanager
    async def _answer(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, when it is a success; read it inside, so that a connection that breaks off is our error too."""
        back: asyncio.Event | None = self._back  # of now: it may come back while this very request waits in vain
        try:
            try:
                response = await self._send(request)
            except UnauthorizedError:
                if not self._credentials.token.renew():
                    raise
                response = await self._send(request)
            async with response:
                back = None
                yield response
        except aiohttp.SocketTimeoutError as error:
            raise SilentError(request.call, f"no byte from {self._credentials.server} for too long") from error
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            self._gone |= back is not None
            raise UnreachableError(request.call, f"{self._credentials.server}: {_told(error)}", back=back) from error

    async def _send(self, request: Request) -> aiohttp.ClientResponse:
        token = self._credentials.token.read()
        response = await self._http.request(
            request.method,
            self._credentials.server + request.path,
            params=request.query,
            data=request.body,
            headers=request.headers | ({"Authorization": f"Bearer {token}"} if token else {}),
            timeout=request.timeout,
            server_hostname=self._credentials.server_name or None,
            allow_redirects=False,  # the token is for this server alone
        )
        if response.status < 300:
            self._served()
            return response
        async with response:
            body = await response.content.read(REFUSAL_LIMIT)
            raise refusal(request.call, response.status, body, response.headers.get("Retry-After", ""))

    def _served(self) -> None:
        before, self._served_at = self._served_at, time.monotonic()
        gone, self._gone = self._gone, False
        if gone and self._served_at - before >= self._timeouts.away:
            self.is_back()

    def _request_timeout(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=self._timeouts.request, sock_connect=self._timeouts.connect)

    def _watch_timeout(self, seconds: int) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=seconds + self._timeouts.watch_grace,
            sock_connect=self._timeouts.connect,
            sock_read=self._timeouts.silence,
        )


@asynccontextmanager
async def connect(
    credentials: Credentials, *, timeouts: Timeouts | None = None, user_agent: str = "nodewall"
) -> AsyncIterator[Session]:
    """A session, closed at the end. Opens no connection by itself.

    No limit on connections: over HTTP/1.1 each watch holds one, and a limit would make writes wait for watches to end.
    """
    connector = aiohttp.TCPConnector(limit=0, ssl=credentials.tls or True, keepalive_timeout=30)
    headers = {"User-Agent": user_agent}
    async with aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Session(http, credentials, timeouts or Timeouts())


def _put(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Operations of a JSON patch (RFC 6902), in which "add" also replaces."""
    metadata = body["metadata"]
    for name, value in metadata.get("annotations", {}).items():
        yield {"op": "add", "path": f"/metadata/annotations/{_escaped(name)}", "value": value}
    if "ownerReferences" in metadata:
        yield {"op": "add", "path": "/metadata/ownerReferences", "value": metadata["ownerReferences"]}
    yield {"op": "add", "path": "/spec", "value": body["spec"]}


def _escaped(name: str) -> str:
    """As a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _event(line: bytes, call: Call) -> WatchEvent:
    event = decode(Decoder.event, line, call)
    if event.type == "ERROR":
        raise refusal(call, 0, bytes(event.object))
    return event


def _title(collection: Collection) -> str:
    scope = f" in {collection.namespace}" if collection.namespace else ""
    return f"{collection.resource.title}{scope}"


def _told(error: Exception) -> str:
    """Some errors of sockets have no text of their own."""
    return str(error) or type(error).__name__
