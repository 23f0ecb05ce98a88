"""An API server in this process: lists, watches and writes like the real one, and breaks like it when told to.

Everything that a mirror must survive can be made to happen at a chosen instant::

    async with FakeApi() as api, connect(api.credentials()) as session:
        api.put(PODS, pod("a"))
        api.fail("list", Refuse(429, headers={"Retry-After": "7"}))
        api.drop_watches(half=b'{"type":"ADD')

``requests`` records what was asked. Objects are plain dicts; ``put`` fills in uid, resourceVersion and generation.
"""

import asyncio
import base64
import copy
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from nodewall.kube.credentials import Credentials, FixedToken
from nodewall.kube.resource import (
    CLUSTER_EXTENDED_NETWORK_POLICIES,
    CLUSTER_NETWORK_POLICIES,
    ENDPOINT_SLICES,
    EVENTS,
    EXTENDED_NETWORK_POLICIES,
    LEASES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODE_RULE_SETS,
    NODES,
    PEER_GROUPS,
    PODS,
    SERVICES,
    Resource,
)

Object = dict[str, Any]
Key = tuple[str, str]
Store = dict[Resource, dict[Key, Object]]

KINDS = {
    PODS: "Pod",
    NAMESPACES: "Namespace",
    NODES: "Node",
    SERVICES: "Service",
    EVENTS: "Event",
    LEASES: "Lease",
    ENDPOINT_SLICES: "EndpointSlice",
    NETWORK_POLICIES: "NetworkPolicy",
    CLUSTER_NETWORK_POLICIES: "ClusterNetworkPolicy",
    EXTENDED_NETWORK_POLICIES: "ExtendedNetworkPolicy",
    CLUSTER_EXTENDED_NETWORK_POLICIES: "ClusterExtendedNetworkPolicy",
    NODE_RULE_SETS: "NodeRuleSet",
    PEER_GROUPS: "PeerGroup",
}


@dataclass(frozen=True)
class Refuse:
    """An answer that is no success. ``body`` instead of the Status that ``reason`` and ``message`` make."""

    status: int
    message: str = "refused by the test"
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class Garble:
    """A success whose JSON ends in the middle."""


@dataclass(frozen=True)
class Say:
    """A watch that begins with these bytes, then goes on as usual, or ends when ``close``."""

    data: bytes
    close: bool = False


@dataclass(frozen=True)
class Silence:
    """A watch that is accepted and then brings nothing, not even its end."""


Fault = Refuse | Garble | Say | Silence

GONE_IN_STREAM = json.dumps(
    {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}
).encode()


@dataclass(frozen=True)
class Seen:
    """One request."""

    verb: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Entry:
    """One revision of the history."""

    version: int
    resource: Resource
    old: Object | None
    new: Object | None


@dataclass
class Planned:
    """A fault that waits for its requests."""

    verb: str
    fault: Fault
    times: int
    resource: Resource | None


@dataclass(frozen=True)
class Place:
    """A parsed path."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


END = None
"""In a stream's queue: the server ends the watch."""


class Stream:
    """One open watch."""

    def __init__(self, place: Place, selected: Callable[[Object], bool], version: int) -> None:
        self.place, self.selected, self.version = place, selected, version
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.broken = self.silent = False

    def offer(self, entry: Entry) -> None:
        """Send the entry, when it is news to this watcher."""
        if self.silent or entry.resource != self.place.resource or entry.version <= self.version:
            return
        old = entry.old is not None and self.selected(entry.old)
        new = entry.new is not None and self.selected(entry.new)
        if not old and not new:
            return
        kind = {(False, True): "ADDED", (True, True): "MODIFIED", (True, False): "DELETED"}[old, new]
        shown = entry.new if new else entry.old
        self.queue.put_nowait(event(kind, stamped(shown or {}, entry.version)))


class FakeApi:
    """See the module. Serves on loopback between ``__aenter__`` and ``__aexit__``."""

    def __init__(self, resources: Iterable[Resource] = KINDS, *, tokens: Iterable[str] = ()) -> None:
        self.installed = set(resources)
        self.tokens = set(tokens)
        self.requests: list[Seen] = []
        self.store: Store = {}
        self.version = 100
        self._compacted = 0
        self._log: list[Entry] = []
        self._snapshots: dict[tuple[int, Resource], list[Object]] = {}
        self._planned: list[Planned] = []
        self._streams: set[Stream] = set()
        self._uids = itertools.count(1)
        self._app = web.Application(client_max_size=16 * 1024 * 1024)
        self._app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(self._app, shutdown_timeout=0.1, handler_cancellation=True)
        self.port = 0

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop_watches()
        await self._runner.cleanup()

    async def listen(self) -> None:
        """Accept connections, at the same port as before after ``refuse_connections``."""
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def refuse_connections(self) -> None:
        """The server goes away: its port is closed and every watch is cut."""
        self.drop_watches(half=b"")
        for site in list(self._runner.sites):
            await site.stop()

    def credentials(self, token: str = "") -> Credentials:
        """How to reach this server."""
        return Credentials(server=f"http://127.0.0.1:{self.port}", tls=None, token=FixedToken(token))

    # -- state

    def put(self, resource: Resource, body: Object) -> Object:
        """Create or update. A spec that differs is a new generation; an object that does not is no new version."""
        namespace = body["metadata"].get("namespace", "")
        key = (namespace, body["metadata"]["name"])
        old = self.store.get(resource, {}).get(key)
        new = self._completed(resource, old, body)
        if old is not None and stamped(new, 0) == stamped(old, 0):
            return old
        return self._commit(resource, key, old, new) or {}

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Delete."""
        key = (namespace, name)
        self._commit(resource, key, self.store[resource][key], None)

    def objects(self, resource: Resource) -> dict[Key, Object]:
        """What the server has."""
        return self.store.get(resource, {})

    def install(self, resource: Resource) -> None:
        """As when its CRD is created."""
        self.installed.add(resource)

    def uninstall(self, resource: Resource) -> None:
        """As when its CRD is deleted: first its objects go, then the resource."""
        for namespace, name in list(self.objects(resource)):
            self.remove(resource, name, namespace)
        self.installed.discard(resource)
        self.drop_watches(resource=resource)

    def compact(self) -> None:
        """Forget the past: older versions and continue tokens have expired."""
        self._compacted = self.version
        self._log.clear()
        self._snapshots.clear()

    def backup(self) -> tuple[int, Store]:
        """The present, to ``restore`` later."""
        return self.version, copy.deepcopy(self.store)

    def restore(self, backup: tuple[int, Store], half: bytes | None = None) -> None:
        """As etcd restored from a backup: the version goes back; the server has restarted (see ``drop_watches``)."""
        self.version, self.store = backup[0], copy.deepcopy(backup[1])
        self._log.clear()
        self._snapshots.clear()
        self._compacted = min(self._compacted, self.version)
        self.drop_watches(half)

    # -- faults

    def fail(self, verb: str, fault: Fault, *, times: int = 1, resource: Resource | None = None) -> None:
        """The next ``times`` requests with this verb (list, watch, get, patch, create, discover ...) meet the fault."""
        self._planned.append(Planned(verb, fault, times, resource))

    def heal(self) -> None:
        """Forget the faults that have not happened yet."""
        self._planned.clear()

    def bookmark(self, version: int | None = None) -> None:
        """Send one to every watch."""
        for stream in self._talking():
            shown = {
                "kind": KINDS[stream.place.resource],
                "metadata": {"resourceVersion": str(version or self.version)},
            }
            stream.queue.put_nowait(event("BOOKMARK", shown))

    def say(self, data: bytes) -> None:
        """Send raw bytes to every watch."""
        for stream in self._talking():
            stream.queue.put_nowait(data)

    def drop_watches(self, half: bytes | None = None, resource: Resource | None = None) -> None:
        """End every watch (of ``resource``): cleanly, or after these bytes by breaking the connection."""
        for stream in self._streams:
            if resource in {None, stream.place.resource}:
                stream.broken = half is not None
                if half:
                    stream.queue.put_nowait(half)
                stream.queue.put_nowait(END)

    def _talking(self) -> list[Stream]:
        return [stream for stream in self._streams if not stream.silent]

    def watching(self, resource: Resource) -> int:
        """Number of open watches of it."""
        return sum(stream.place.resource == resource for stream in self._streams)

    def asked(self, verb: str) -> list[Seen]:
        """The requests with this verb."""
        return [seen for seen in self.requests if seen.verb == verb]

    # -- how requests are answered

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        place = self._place(request.path)
        verb = _verb(request, place)
        body = await request.read()
        self.requests.append(Seen(verb, request.path, dict(request.query), dict(request.headers), body))
        if self.tokens and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _refusal(Refuse(401, "Unauthorized", "Unauthorized"))
        fault = self._next_fault(verb, place)
        if isinstance(fault, Refuse):
            return _refusal(fault)
        if verb == "discover":
            return self._discover(request.path)
        if place is None or place.resource not in self.installed:
            return _refusal(Refuse(404, body=b"404 page not found\n"))
        if verb == "watch":
            return await self._watch(request, place, fault)
        answer = (
            self._write(verb, place, request, body) if body or verb == "delete" else self._read(verb, place, request)
        )
        return _cut(answer) if isinstance(fault, Garble) else answer

    def _next_fault(self, verb: str, place: Place | None) -> Fault | None:
        for planned in self._planned:
            if planned.verb != verb or (planned.resource and (not place or planned.resource != place.resource)):
                continue
            planned.times -= 1
            if planned.times == 0:
                self._planned.remove(planned)
            return planned.fault
        return None

    def _place(self, path: str) -> Place | None:
        for resource in KINDS:
            rest = path.removeprefix(resource.root + "/")
            parts = [*rest.split("/"), "", ""] if rest != path else []
            namespace = ""
            if len(parts) > 4 and parts[0] == "namespaces" and parts[2] not in {"status", "finalize"}:
                namespace, parts = parts[1], parts[2:]
            if parts and parts[0] == resource.plural:
                return Place(resource, namespace, parts[1], parts[2])
        return None

    def _discover(self, path: str) -> web.Response:
        here = [resource for resource in self.installed if resource.root == path]
        if not here:
            return _refusal(Refuse(404, body=b"404 page not found\n"))
        entries = [
            {"name": resource.plural + part, "kind": KINDS[resource], "namespaced": resource.namespaced}
            for resource in here
            for part in ("", "/status")
        ]
        return _json({"kind": "APIResourceList", "groupVersion": path.split("/", 2)[2], "resources": entries})

    def _read(self, verb: str, place: Place, request: web.Request) -> web.Response:
        if verb == "list":
            return self._list(place, request)
        found = self.objects(place.resource).get((place.namespace, place.name))
        return _json(found) if found else _not_found(place)

    def _list(self, place: Place, request: web.Request) -> web.Response:
        version, start = self.version, 0
        token = request.query.get("continue", "")
        if token:
            version, start = json.loads(base64.b64decode(token))
            if (version, place.resource) not in self._snapshots:
                return _refusal(Refuse(410, "The provided continue parameter is too old", "Expired"))
            kept = self._snapshots[version, place.resource]
        else:
            kept = [value for _, value in sorted(self.objects(place.resource).items())]
            self._snapshots[version, place.resource] = kept
        items = [value for value in kept if _selected(place, request)(value)]
        end = start + int(request.query.get("limit", 0) or len(items))
        more = base64.b64encode(json.dumps([version, end]).encode()).decode() if end < len(items) else ""
        meta = {"resourceVersion": str(version)} | ({"continue": more} if more else {})
        return _json({"kind": f"{KINDS[place.resource]}List", "metadata": meta, "items": items[start:end] or None})

    async def _watch(self, request: web.Request, place: Place, fault: Fault | None) -> web.StreamResponse:
        version = int(request.query.get("resourceVersion") or self.version)
        if version < self._compacted:
            return _refusal(Refuse(410, f"too old resource version: {version}", "Expired"))
        stream = Stream(place, _selected(place, request), version)
        self._begin(stream, fault)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        self._streams.add(stream)
        try:
            await response.prepare(request)
            async with asyncio.timeout(int(request.query.get("timeoutSeconds", "300"))):
                while (data := await stream.queue.get()) is not END:
                    await response.write(data)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._streams.discard(stream)
        if stream.broken and request.transport:
            request.transport.close()
        return response

    def _begin(self, stream: Stream, fault: Fault | None) -> None:
        if isinstance(fault, Silence):
            stream.silent = True
        if isinstance(fault, Say):
            stream.queue.put_nowait(fault.data)
            if fault.close:
                stream.queue.put_nowait(END)
        for entry in self._log:
            stream.offer(entry)

    # -- writes

    def _write(self, verb: str, place: Place, request: web.Request, raw: bytes) -> web.Response:
        body = json.loads(raw) if raw else {}
        if isinstance(body, list):
            return self._patch(place, body)
        key = (place.namespace, place.name or body.get("metadata", {}).get("name", ""))
        old = self.objects(place.resource).get(key)
        if verb == "delete":
            return self._delete(place, key, old, body)
        if verb == "create" and old:
            return _refusal(Refuse(409, f"{key[1]} already exists", "AlreadyExists"))
        if verb == "update" and old and body["metadata"].get("resourceVersion", "") not in {"", version_of(old)}:
            return _refusal(Refuse(409, "the object has been modified", "Conflict"))
        applied = "apply-patch" in request.headers.get("Content-Type", "")
        if verb in {"patch", "update"} and not old and (place.subresource or not applied):
            return _not_found(place)
        if verb == "patch":
            only = {"status": body.get("status", {})} if place.subresource == "status" else body
            kept = copy.deepcopy(old) if old else {}
            if applied and "spec" in only:
                kept.pop("spec", None)  # specs of ours are atomic
            body = _merged(kept, only)
        body.setdefault("metadata", {}).update({"name": key[1]} | ({"namespace": key[0]} if key[0] else {}))
        return _json(self.put(place.resource, body), 200 if old else 201)

    def _patch(self, place: Place, operations: list[Object]) -> web.Response:
        """A JSON patch that only adds, which is all that is asked for."""
        old = self.objects(place.resource).get((place.namespace, place.name))
        if not old:
            return _not_found(place)
        new = copy.deepcopy(old)
        for each in operations:
            assert each["op"] == "add", each
            *way, last = (part.replace("~1", "/").replace("~0", "~") for part in each["path"].split("/")[1:])
            parent = new
            for part in way:
                if part not in parent:
                    return _refusal(Refuse(422, f"doc is missing path: {each['path']}", "Invalid"))
                parent = parent[part]
            parent[last] = each["value"]
        return _json(self.put(place.resource, new), 200)

    def _delete(self, place: Place, key: Key, old: Object | None, options: Object) -> web.Response:
        if not old:
            return _not_found(place)
        wanted = options.get("preconditions", {}).get("uid")
        if wanted and wanted != old["metadata"]["uid"]:
            return _refusal(Refuse(409, "Precondition failed: UID in precondition differs", "Conflict"))
        self._commit(place.resource, key, old, None)
        return _json({"kind": "Status", "status": "Success"})

    def _completed(self, resource: Resource, old: Object | None, body: Object) -> Object:
        new = copy.deepcopy(body)
        kept: Object = old["metadata"] if old else {"uid": f"uid-{next(self._uids)}", "generation": 1}
        changed = bool(old and old.get("spec") != new.get("spec"))
        new["metadata"] |= {"uid": kept["uid"], "generation": kept["generation"] + changed}
        new["apiVersion"] = f"{resource.group}/{resource.version}" if resource.group else resource.version
        new["kind"] = KINDS[resource]
        return new

    def _commit(self, resource: Resource, key: Key, old: Object | None, new: Object | None) -> Object | None:
        self.version += 1
        kept = self.store.setdefault(resource, {})
        if new is None:
            kept.pop(key)
        else:
            new = kept[key] = stamped(new, self.version)
        entry = Entry(self.version, resource, old, new)
        self._log.append(entry)
        for stream in self._streams:
            stream.offer(entry)
        return new


def stamped(value: Object, version: int) -> Object:
    """A copy with this resourceVersion."""
    return value | {"metadata": value["metadata"] | {"resourceVersion": str(version)}}


def version_of(value: Object) -> str:
    """Its resourceVersion."""
    return str(value["metadata"]["resourceVersion"])


def event(kind: str, value: Object) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": kind, "object": value}).encode() + b"\n"


def pod(name: str, namespace: str = "default", **labels: str) -> Object:
    """A pod that differs by its labels."""
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": {"nodeName": "n1"}}


def names(objects: Iterable[Key]) -> Iterator[str]:
    """The names among keys."""
    return (name for _, name in objects)


def _verb(request: web.Request, place: Place | None) -> str:
    if place is None:
        return "discover"
    if request.method != "GET":
        return {"PATCH": "patch", "POST": "create", "PUT": "update", "DELETE": "delete"}[request.method]
    if place.name:
        return "get"
    return "watch" if request.query.get("watch") in {"1", "true"} else "list"


def _selected(place: Place, request: web.Request) -> Callable[[Object], bool]:
    fields = _pairs(request.query.get("fieldSelector", ""))
    labels = _pairs(request.query.get("labelSelector", ""))

    def holds(value: Object) -> bool:
        meta = value["metadata"]
        return (
            place.namespace in {"", meta.get("namespace", "")}
            and all(_field(value, path) == wanted for path, wanted in fields)
            and all(meta.get("labels", {}).get(name) == wanted for name, wanted in labels)
        )

    return holds


def _pairs(selector: str) -> list[tuple[str, str]]:
    """Equality only: name=value,name=value."""
    return [(name, value) for name, _, value in (part.partition("=") for part in selector.split(",")) if name]


def _field(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part, {}) if isinstance(value, dict) else {}
    return value


def _merged(old: Object, patch: Object) -> Object:
    """JSON merge patch."""
    for name, value in patch.items():
        if value is None:
            old.pop(name, None)
        elif isinstance(value, dict):
            old[name] = _merged(old[name] if isinstance(old.get(name), dict) else {}, value)
        else:
            old[name] = value
    return old


def _json(value: Object, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), status=status, content_type="application/json")


def _cut(answer: web.Response) -> web.Response:
    body = answer.body if isinstance(answer.body, bytes) else b""
    return web.Response(body=body[: len(body) // 2], content_type="application/json")


def _not_found(place: Place) -> web.Response:
    return _refusal(Refuse(404, f'{place.resource.title} "{place.name}" not found', "NotFound"))


def _refusal(fault: Refuse) -> web.Response:
    if fault.body is not None:
        return web.Response(body=fault.body, status=fault.status, headers=fault.headers)
    status = {"kind": "Status", "status": "Failure", "code": fault.status}
    answer = _json(status | {"reason": fault.reason, "message": fault.message}, fault.status)
    answer.headers.update(fault.headers)
    return answer
