"""``coordination.k8s.io/v1 Lease`` over a session: read, create, replace. Who may hold it is for others to decide."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from nodewall.kube.errors import Call, NotFoundError
from nodewall.kube.http import Session, Target
from nodewall.kube.resource import LEASES
from nodewall.kube.wire import ObjectMeta, decode

API_VERSION = "coordination.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Lease:
    """Times are for people; who measures a lease uses a clock of its own.

    ``version`` is its resourceVersion, "" for one that is to be created.
    """

    holder: str
    seconds: int
    acquired: datetime
    renewed: datetime
    transitions: int = 0
    version: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    """Everything may be absent in a lease that somebody else made."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int | None = None


class _Object(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _Spec = _Spec()


_DECODER = msgspec.json.Decoder(_Object)


class ApiLease:
    """One lease at the API server. Failures are ``nodewall.kube.errors.ApiError``."""

    def __init__(self, session: Session, name: str, namespace: str, manager: str) -> None:
        self._session, self._manager = session, manager
        self._target = Target(LEASES, name, namespace)

    def __str__(self) -> str:
        return str(self._target)

    async def read(self) -> Lease | None:
        """None when there is none."""
        try:
            answer = await self._session.get(self._target)
        except NotFoundError:
            return None
        return _lease(answer, Call("get", str(self._target)))

    async def write(self, lease: Lease) -> Lease:
        """Create or replace; ``ConflictError`` when somebody wrote since ``lease.version``. Returns what is stored."""
        body = _body(self._target, lease)
        if lease.version:
            meta = await self._session.replace(self._target, body, self._manager)
        else:
            meta = await self._session.create(LEASES, body, self._manager, self._target.namespace)
        return replace(lease, version=meta.resourceVersion)


def _lease(answer: bytes, call: Call) -> Lease:
    stored = decode(_DECODER, answer, call)
    spec, never = stored.spec, datetime.fromtimestamp(0, UTC)
    return Lease(
        holder=spec.holder_identity or "",
        seconds=spec.lease_duration_seconds or 0,
        acquired=spec.acquire_time or never,
        renewed=spec.renew_time or never,
        transitions=spec.lease_transitions or 0,
        version=stored.metadata.resourceVersion,
    )


def _body(target: Target, lease: Lease) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
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
