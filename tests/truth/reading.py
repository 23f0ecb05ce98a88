"""A case as the cluster state that its documents mean."""

from collections.abc import Iterator
from typing import Any

import yaml

from nodewall.api.kinds import BY_KIND
from nodewall.model.cluster import ClusterState
from nodewall.model.policy import TierPolicy
from tests.truth.case import Case
from tests.truth.world import Object, World

_COLLECTIONS = {
    "Namespace": "namespaces",
    "Node": "nodes",
    "Pod": "pods",
    "Service": "services",
    "EndpointSlice": "slices",
    "NetworkPolicy": "network_policies",
}


def documents(case: Case) -> Iterator[Object]:
    """The objects of the world, then the policies, as an API server would hold them."""
    yield from World(case.world).objects
    yield from (document for document in yaml.safe_load_all(case.policies) if document)


def cluster_of(objects: Iterator[Object]) -> ClusterState:
    """Broken parts are no error here: what they close is what the tables are about."""
    found: dict[str, dict[Any, Any]] = {name: {} for name in (*_COLLECTIONS.values(), "tier_policies")}
    for raw in objects:
        value = BY_KIND[raw["kind"]].read(raw).value
        if isinstance(value, TierPolicy):
            found["tier_policies"][value.ref] = value
        else:
            found[_COLLECTIONS[raw["kind"]]][_key(value)] = value
    return ClusterState(**found)


def _key(value: Any) -> object:
    namespace = getattr(value, "namespace", None)
    return value.name if namespace is None else (namespace, value.name)
