"""A case as the cluster state that its documents mean."""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from nodewall.api.documents import Source, load
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


def state_of(case: Case) -> ClusterState:
    """What an API server that took everything would tell the controller; broken parts close as they should."""
    found: dict[str, dict[Any, Any]] = {name: {} for name in (*_COLLECTIONS.values(), "tier_policies")}
    for raw in _documents(case):
        value = BY_KIND[raw["kind"]].read(raw).value
        if isinstance(value, TierPolicy):
            found["tier_policies"][value.ref] = value
        else:
            found[_COLLECTIONS[raw["kind"]]][_key(value)] = value
    return ClusterState(**found)


def state_of_files(case: Case) -> ClusterState:
    """What the offline verbs read. :raises BadInputError: for parts that an API server would refuse."""
    world = json.dumps({"apiVersion": "v1", "kind": "List", "items": World(case.world).objects})
    return load([Source("world.json", world.encode()), Source("policies.yaml", case.policies.encode())]).state


def _documents(case: Case) -> Iterator[Object]:
    yield from World(case.world).objects
    yield from (document for document in yaml.safe_load_all(case.policies) if document)


def _key(value: Any) -> object:
    namespace = getattr(value, "namespace", None)
    return value.name if namespace is None else (namespace, value.name)
