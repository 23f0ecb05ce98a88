"""What the cluster is, for the compiler: the mirrors, and the two places where the mirror is not what holds.

- A policy whose subject cannot be read: what was last accepted of that very object stays in force (semantics, "Broken
  parts").
- A policy deleted together with its namespace: it stays in force for the pods that are still there (semantics 41).

Every method takes one object of the API, ``None`` for one that is gone, and returns what changed for the compiler.
Nothing here waits, reads a clock or fails.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from nodewall.compile.changes import Change, Input, Key
from nodewall.controller.status import UNKNOWN, PolicyStatus
from nodewall.model.cluster import ClusterState, EndpointSlice, Namespace, NamespacedName, Node, Pod, Service
from nodewall.model.errors import Problem
from nodewall.model.policy import Kind, NetworkPolicy, PolicyRef, TierPolicy

Policy = NetworkPolicy | TierPolicy

FAREWELL_SECONDS = 10.0
"""How long a deleted policy may come back into force because its namespace turns out to be going as well. The two are
watched separately, so the end of the policy can be seen before the end of the namespace that caused it."""


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy object as the API has it, read. ``value`` is what it means; ``generation`` counts its specs."""

    ref: PolicyRef
    uid: str
    generation: int
    value: Policy
    problems: tuple[Problem, ...] = ()
    subject_broken: bool = False
    status: PolicyStatus = UNKNOWN


@dataclass(frozen=True, slots=True)
class _Farewell:
    """A policy that was in force when it was deleted, and when that was."""

    policy: Policy
    at: float


class Store:
    """The one mutable picture of the cluster. Each policy in ``state`` is in force; ``policies`` are those of the
    API."""

    def __init__(self) -> None:
        self._tables: dict[Input, dict[Any, Any]] = {kind: {} for kind in Input}
        self._policies: dict[PolicyRef, StoredPolicy] = {}
        self._accepted: dict[PolicyRef, tuple[str, Policy]] = {}
        self._pods_of: dict[str, dict[NamespacedName, Pod]] = {}
        self._farewells: defaultdict[str, dict[PolicyRef, _Farewell]] = defaultdict(dict)
        self._tidied = float("-inf")
        self._held: defaultdict[str, set[PolicyRef]] = defaultdict(set)
        self.state = ClusterState(**{kind.value: MappingProxyType(self._tables[kind]) for kind in Input})
        self.policies: Mapping[PolicyRef, StoredPolicy] = MappingProxyType(self._policies)

    def pod(self, key: NamespacedName, pod: Pod | None) -> list[Change]:
        """A pod."""
        changes = self._set(Input.POD, key, pod)
        pods = self._pods_of.setdefault(key[0], {})
        if pod is None:
            pods.pop(key, None)
        else:
            pods[key] = pod
        if pods:
            return changes
        del self._pods_of[key[0]]
        return changes + self._release(key[0])

    def pods_of(self, namespace: str) -> Collection[Pod]:
        """The pods of one namespace."""
        return self._pods_of.get(namespace, {}).values()

    def namespaces_with_pods(self) -> Collection[str]:
        """Their names."""
        return self._pods_of.keys()

    def namespace(self, name: str, namespace: Namespace | None, now: float) -> list[Change]:
        """A namespace. One that is going brings its last policies back into force; one that is alive lets go of them.

        ``now`` is seconds of a monotonic clock.
        """
        changes = self._set(Input.NAMESPACE, name, namespace)
        return changes + (self._release(name) if self._alive(name) else self._recall(name, now))

    def node(self, name: str, node: Node | None) -> list[Change]:
        """A node."""
        return self._set(Input.NODE, name, node)

    def service(self, key: NamespacedName, service: Service | None) -> list[Change]:
        """A Service."""
        return self._set(Input.SERVICE, key, service)

    def slice(self, key: NamespacedName, found: EndpointSlice | None) -> list[Change]:
        """An EndpointSlice."""
        return self._set(Input.SLICE, key, found)

    def policy(self, ref: PolicyRef, stored: StoredPolicy | None, now: float) -> list[Change]:
        """A policy of any kind. ``now`` is seconds of a monotonic clock."""
        if stored is None:
            return self._part_from(ref, now)
        self._policies[ref] = stored
        self._held.get(ref.namespace, set()).discard(ref)
        self._farewells.get(ref.namespace, {}).pop(ref, None)
        return self._enforce(ref, self._meaning(stored))

    def in_force(self, ref: PolicyRef) -> Policy | None:
        """What holds under this name; None for nothing."""
        kind, key = _place(ref)
        policy: Policy | None = self._tables[kind].get(key)
        return policy

    def keeps_last_accepted(self, ref: PolicyRef) -> bool:
        """Whether an older spec is in force because the subject of the present one cannot be read."""
        stored = self._policies.get(ref)
        return stored is not None and stored.subject_broken and self._last_accepted(stored) is not None

    # -- which policy is in force

    def _meaning(self, stored: StoredPolicy) -> Policy:
        if not stored.subject_broken:
            self._accepted[stored.ref] = (stored.uid, stored.value)
            return stored.value
        return self._last_accepted(stored) or stored.value

    def _last_accepted(self, stored: StoredPolicy) -> Policy | None:
        """Of this very object: one that was deleted and made again under the name has no past."""
        uid, policy = self._accepted.get(stored.ref, ("", None))
        return policy if uid == stored.uid else None

    def _part_from(self, ref: PolicyRef, now: float) -> list[Change]:
        self._policies.pop(ref, None)
        self._accepted.pop(ref, None)
        policy = self.in_force(ref)
        if policy is None:
            return []
        if not self._alive(ref.namespace) and self.pods_of(ref.namespace):
            self._held[ref.namespace].add(ref)
            return []
        if now - self._tidied > FAREWELL_SECONDS:  # now and then: each time would cost the square of their number
            self._forget_farewells(now)
        self._farewells[ref.namespace][ref] = _Farewell(policy, now)
        return self._enforce(ref, None)

    def _alive(self, namespace: str) -> bool:
        found = self.state.namespaces.get(namespace)
        return found is not None and not found.terminating

    def _recall(self, namespace: str, now: float) -> list[Change]:
        if not self.pods_of(namespace):
            return self._release(namespace)
        self._forget_farewells(now)
        changes: list[Change] = []
        for ref, farewell in self._farewells.pop(namespace, {}).items():
            self._held[namespace].add(ref)
            changes += self._enforce(ref, farewell.policy)
        return changes

    def _release(self, namespace: str) -> list[Change]:
        return [change for ref in sorted(self._held.pop(namespace, ())) for change in self._enforce(ref, None)]

    def _forget_farewells(self, now: float) -> None:
        self._tidied = now
        for namespace, farewells in list(self._farewells.items()):
            for ref in [ref for ref, farewell in farewells.items() if now - farewell.at > FAREWELL_SECONDS]:
                del farewells[ref]
            if not farewells:
                del self._farewells[namespace]

    # -- the tables

    def _enforce(self, ref: PolicyRef, policy: Policy | None) -> list[Change]:
        kind, key = _place(ref)
        return self._set(kind, key, policy)

    def _set(self, kind: Input, key: Any, new: Any) -> list[Change]:
        objects = self._tables[kind]
        old = objects.get(key)
        if old == new:
            return []
        if new is None:
            del objects[key]
        else:
            objects[key] = new
        return [Change(kind, key, new)]


def _place(ref: PolicyRef) -> tuple[Input, Key]:
    if ref.kind is Kind.NETWORK_POLICY:
        return Input.NETWORK_POLICY, (ref.namespace, ref.name)
    return Input.TIER_POLICY, ref
