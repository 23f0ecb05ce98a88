"""What goes into the incremental compiler, and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from nodewall.model.cluster import EndpointSlice, Namespace, NamespacedName, Node, Pod, Service
from nodewall.model.policy import NetworkPolicy, PolicyRef, TierPolicy


class Input(StrEnum):
    """The collections of a ``ClusterState``."""

    POD = "pods"
    NAMESPACE = "namespaces"
    NODE = "nodes"
    SERVICE = "services"
    SLICE = "slices"
    NETWORK_POLICY = "network_policies"
    TIER_POLICY = "tier_policies"


Key = str | NamespacedName | PolicyRef
"""As in ``ClusterState``: a name for Namespace and Node, a ``PolicyRef`` for tier policies, else (namespace, name)."""
Value = Pod | Namespace | Node | Service | EndpointSlice | NetworkPolicy | TierPolicy


@dataclass(frozen=True, slots=True)
class Change:
    """``key`` of ``kind`` is now ``new``, or gone (None). What it was before, the compiler knows itself."""

    kind: Input
    key: Key
    new: Value | None


class Reason(IntEnum):
    """Why a node's rule set has to be compiled again; the smaller one is the more urgent."""

    NEW_POD = 0
    """A local pod has no verdicts yet."""
    PEER_REMOVED = 1
    """Somebody has lost an address that rules of this node may still let in."""
    CHANGED = 2
    GONE = 3
    """There is no such Node any more, and no rule set."""


Dirty = Mapping[str, Reason]
"""Nodes whose rule set may have changed. Every other node's has not."""
