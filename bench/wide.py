"""A pod that joins a group which every node uses: what that one address costs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench import populace, usage
from bench.clusters import address
from bench.measure import Result, compared
from bench.sightings import Sightings
from e2e.api import Api, Object
from e2e.waiting import until
from nodewall.model.cluster import Pod
from nodewall.model.labels import Labels

JOINING = 5
CALM = 3.0
"""Seconds without news after which everything is written and reported."""
TEAM = {"team": "0"}
"""Of ten namespaces, with 200 pods."""
POLICY: Object = {
    "apiVersion": "nodewall.io/v1alpha1",
    "kind": "ClusterExtendedNetworkPolicy",
    "metadata": {"name": "wide"},
    "spec": {
        "tier": "Admin",
        "priority": 1,
        "subject": {"namespaces": {}},
        "ingress": [
            {
                "name": "scrape",
                "action": "Accept",
                "from": [{"namespaces": {"matchLabels": TEAM}}],
            }
        ],
    },
}
"""One team may reach every pod of the cluster; before NetworkPolicies, so that it counts everywhere."""
UNITS = {"writes": "writes", "milliseconds": "ms", "apiserver": "s", "controller": "s"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where it happens: the processes' ids, and who sees what is written."""

    api: Api
    seen: Sightings
    controller: int
    server: int
    nodes: int


def joining(name: str, place: Place) -> Iterator[Result]:
    """For one pod: objects written, milliseconds until the last of them, and processor time."""
    found: dict[str, list[float]] = {what: [] for what in UNITS}
    for number in range(JOINING):
        for what, value in _join(place, number).items():
            found[what].append(value)
    return (compared(f"{name}.{what}", unit, found[what]) for what, unit in UNITS.items())


def calm(place: Place, least: int = 0) -> None:
    """Until at least so many nodes got something, and nobody writes any more."""
    until("there is news for the nodes", lambda: len(place.seen.times) >= least, within=60, every=0.1)
    until("nobody writes", lambda: time.monotonic() - place.seen.last > CALM, within=120, every=0.1)


def _join(place: Place, number: int) -> dict[str, float]:
    pod = _waiting(place, number)
    calm(place)
    before, had = time.monotonic(), (usage.cpu_seconds(place.server), usage.cpu_seconds(place.controller))
    populace.readdress(place.api, pod, pod.addresses[0])
    answered = time.monotonic()
    until("a node hears of it", lambda: place.seen.since(before), within=30, every=0.02)
    calm(place)
    written = place.seen.since(before)
    return {
        "writes": len(written),
        "milliseconds": (max(written) - answered) * 1e3,
        "apiserver": usage.cpu_seconds(place.server) - had[0],
        "controller": usage.cpu_seconds(place.controller) - had[1],
    }


def _waiting(place: Place, number: int) -> Pod:
    """A pod without an address yet."""
    node = f"node-{number * place.nodes // JOINING:05}"
    name = f"joining-{time.monotonic_ns()}"
    pod = Pod("ns-00000", name, name, Labels({"app": "joining"}), node, (address(number, net=14),))
    populace.create_pod(place.api, pod)
    return pod


def begin(place: Place) -> None:
    """Every node uses the group from now on."""
    place.api.ensure(POLICY)
    calm(place, len(place.seen.times) + place.nodes)
