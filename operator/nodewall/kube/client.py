"""kubernetes_asyncio, for what it knows better than we do: the ways to log in that a person's kubeconfig may name.

The only door to that library, and not for the node agent: importing it costs more memory than the whole agent. Requests
are made by path, not through its models: they turn each object twice, and their field names change between releases.
Errors are those of ``kube.errors``.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

from nodewall.kube.errors import Call, CredentialsError, NotFoundError, UnreachableError, refusal
from nodewall.kube.http import APPLY, JSON, Target
from nodewall.kube.resource import EVENTS, LEASES, Resource
from nodewall.kube.wire import ApiResource, Decoder, ObjectMeta, decode

REQUEST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A ``coordination.k8s.io/v1 Lease``. Times are for people; who measures a lease uses a monotonic clock.

    ``version`` is its resourceVersion, "" for one that is to be created.
    """

    holder: str
    seconds: int
    acquired: datetime
    renewed: datetime
    transitions: int = 0
    version: str = ""


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """``spec`` on the wire; everything may be absent in a lease that somebody else made."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int | None = None


class StoredLease(msgspec.Struct, frozen=True):
    """The object on the wire."""

    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()


class Client:
    """Writes, with somebody's kubeconfig. Made by ``login``."""

    def __init__(self, api: Any, manager: str) -> None:
        self._api, self._manager = api, manager
        self._kinds: dict[tuple[str, str], ApiResource] = {}

    async def apply(self, body: Mapping[str, Any], *, force: bool = True) -> None:
        """Server-side apply of any object. What it leaves out of ``metadata.namespace`` goes to ``default``."""
        metadata = body["metadata"]
        resource = await self._resource_of(body["apiVersion"], body["kind"])
        namespace = metadata.get("namespace", "default") if resource.namespaced else ""
        await self._apply(Target(resource, metadata["name"], namespace), body, force=force)

    async def write_event(self, event: Mapping[str, Any]) -> None:
        """Create the core/v1 Event, or replace the one of this name: ``EventSink`` of ``telemetry.events``."""
        metadata = event["metadata"]
        await self._apply(Target(EVENTS, metadata["name"], metadata["namespace"]), event, force=True)

    async def lease(self, name: str, namespace: str, *, seconds: float = REQUEST_SECONDS) -> Lease | None:
        """The lease, None when there is none."""
        target = Target(LEASES, name, namespace)
        call = Call("get", str(target))
        try:
            answer = await self._ask(call, "GET", target.path, seconds=seconds)
        except NotFoundError:
            return None
        return _lease(answer, call)

    async def write_lease(self, name: str, namespace: str, lease: Lease, *, seconds: float = REQUEST_SECONDS) -> Lease:
        """Create or replace; ``ConflictError`` when somebody wrote since ``lease.version``. Returns what is stored."""
        target = Target(LEASES, name, namespace)
        method, verb, path = (
            ("PUT", "update", target.path) if lease.version else ("POST", "create", LEASES.path(namespace))
        )
        call = Call(verb, str(target))
        query = {"fieldManager": self._manager}
        return _lease(await self._ask(call, method, path, query, (_lease_body(target, lease), JSON), seconds), call)

    async def _apply(self, target: Target, body: Mapping[str, Any], *, force: bool) -> None:
        query = {"fieldManager": self._manager, "force": str(force).lower()}
        await self._ask(Call("patch", str(target)), "PATCH", target.path, query, (body, APPLY))

    async def _resource_of(self, api_version: str, kind: str) -> Resource:
        group, _, version = api_version.rpartition("/")
        if (api_version, kind) not in self._kinds:
            await self._discover(Resource(group, version, ""), api_version)
        found = self._kinds.get((api_version, kind))
        if found is None:
            raise NotFoundError(Call("discover", api_version), f"the server has no kind {kind}", status=404)
        return Resource(group, version, found.name, found.namespaced)

    async def _discover(self, place: Resource, api_version: str) -> None:
        call = Call("discover", api_version)
        document = decode(Decoder.discovery, await self._ask(call, "GET", place.root), call)
        known = {(api_version, entry.kind): entry for entry in document.resources if "/" not in entry.name}
        self._kinds.update(known)

    async def _ask(
        self,
        call: Call,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        content: tuple[Any, str] = (None, JSON),
        seconds: float = REQUEST_SECONDS,
    ) -> bytes:
        body, content_type = content
        try:
            response = await self._api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": JSON, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=seconds,  # the library waits for ever otherwise
            )
            async with response:
                answer: bytes = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(call, str(error) or type(error).__name__) from error
        if response.status >= 300:
            raise refusal(call, response.status, answer, response.headers.get("Retry-After", ""))
        return answer


@asynccontextmanager
async def login(manager: str, kubeconfig: Path | None = None, context: str = "") -> AsyncIterator[Client]:
    """A client for the kubeconfig ($KUBECONFIG and ~/.kube/config by default), in a pod for its ServiceAccount.

    ``manager`` is the field manager of everything that it writes. Raises ``CredentialsError``.
    """
    configuration = await _configuration(kubeconfig, context)
    configuration.disable_strict_ssl_verification = True  # for the reason given in kube.credentials
    async with ApiClient(configuration) as api:
        yield Client(api, manager)


async def _configuration(kubeconfig: Path | None, context: str) -> Configuration:
    configuration = Configuration()
    file = str(kubeconfig) if kubeconfig else None
    try:
        await load_kube_config(file, context or None, configuration, persist_config=False)
    except ConfigException as error:
        if kubeconfig or context or not _in_cluster(configuration):
            raise CredentialsError(file or "kubeconfig", "", str(error)) from error
    except OSError as error:
        raise CredentialsError(file or "kubeconfig", "", f"cannot be read: {error.strerror or error}") from error
    return configuration


def _in_cluster(configuration: Configuration) -> bool:
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except ConfigException:
        return False
    return True


def _lease(answer: bytes, call: Call) -> Lease:
    stored = decode(LEASE_DECODER, answer, call)
    spec, never = stored.spec, datetime.fromtimestamp(0, UTC)
    return Lease(
        holder=spec.holder_identity or "",
        seconds=spec.lease_duration_seconds or 0,
        acquired=spec.acquire_time or never,
        renewed=spec.renew_time or never,
        transitions=spec.lease_transitions or 0,
        version=stored.metadata.resourceVersion,
    )


LEASE_DECODER = msgspec.json.Decoder(StoredLease)


def _lease_body(target: Target, lease: Lease) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": target.name, "namespace": target.namespace}
        | ({"resourceVersion": lease.version} if lease.version else {}),
        "spec": {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": lease.seconds,
            "acquireTime": _micro_time(lease.acquired),
            "renewTime": _micro_time(lease.renewed),
            "leaseTransitions": lease.transitions,
        },
    }


def _micro_time(when: datetime) -> str:
    """MicroTime on the wire has six digits, no more and no fewer."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
