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
from nodewall.controller.groups import REPORTS
from nodewall.model.cluster import Pod
from nodewall.model.labels import Labels

JOINING = 3
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
MODES = {"inline": "never", "shared": "20"}
"""How many nodes may use a group before it is held apart from their NodeRuleSets, as the controller's setting says."""
UNITS = {"writes": "writes", "milliseconds": "ms", "apiserver": "s", "controller": "s"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where it happens: the processes' ids, and what is seen of what is written."""

    api: Api
    rule_sets: Sightings
    groups: Sightings
    controller: int
    server: int
    nodes: int

    @property
    def last(self) -> float:
        """When anything was written, reports among it."""
        return max(self.rule_sets.last, self.groups.last)

    def since(self, start: float) -> list[float]:
        """When what was written since then was seen, reports aside."""
        return [*self.rule_sets.since(start), *self.groups.since(start)]


def calm(place: Place) -> None:
    """Until nobody writes any more."""
    until("nobody writes", lambda: time.monotonic() - place.last > CALM, within=180, every=0.1)


def joining(name: str, place: Place) -> Iterator[Result]:
    """For one pod: objects written, milliseconds until the last of them, and processor time with all reports."""
    found: dict[str, list[float]] = {what: [] for what in UNITS}
    for number in range(JOINING):
        for what, value in _join(place, number).items():
            found[what].append(value)
    return (compared(f"{name}.{what}", unit, found[what]) for what, unit in UNITS.items())


def _join(place: Place, number: int) -> dict[str, float]:
    pod = _waiting(place, number)
    calm(place)
    before, had = time.monotonic(), (usage.cpu_seconds(place.server), usage.cpu_seconds(place.controller))
    populace.readdress(place.api, pod, pod.addresses[0])
    answered = time.monotonic()
    until("it is written", lambda: place.since(before), within=30, every=0.02)
    time.sleep(_reports(place))
    calm(place)
    written = place.since(before)
    return {
        "writes": len(written),
        "milliseconds": (max(written) - answered) * 1e3,
        "apiserver": usage.cpu_seconds(place.server) - had[0],
        "controller": usage.cpu_seconds(place.controller) - had[1],
    }


def _reports(place: Place) -> float:
    """Seconds in which all nodes report a change of a shared group: they begin after half of them."""
    return place.nodes / REPORTS


def _waiting(place: Place, number: int) -> Pod:
    """A pod without an address yet."""
    node = f"node-{number * place.nodes // JOINING:05}"
    name = f"joining-{time.monotonic_ns()}"
    address_ = address(time.monotonic_ns() % 65_536, net=14)
    pod = Pod("ns-00000", name, name, Labels({"app": "joining"}), node, (address_,))
    populace.create_pod(place.api, pod)
    return pod


def begin(api: Api) -> None:
    """Every node uses the group from now on."""
    api.ensure(POLICY)
