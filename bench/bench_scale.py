"""The controller in a large cluster: a real API server with nodes and pods that exist only there, and agents that are
simulated: each follows its NodeRuleSet and reports it applied.

Start-up from nothing to the last NodeRuleSet, then single changes until the last NodeRuleSet that they concern.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bench import crowd, populace, usage, wide
from bench.bench_latency import POINTS
from bench.clusters import Shape, address, cluster
from bench.measure import Result, Together, compared, point
from bench.sightings import GROUPS, Sightings, sightings
from bench.steady import steady
from bench.wide import Place
from e2e.components import CHECKOUT, Checkout, Component, Installation
from e2e.controlplane import ControlPlane
from e2e.instance import Instance
from e2e.local import LocalCluster
from e2e.waiting import until
from nodewall.model.cluster import ClusterState, Pod
from nodewall.model.policy import NetworkPolicy

SIZES = {100: Shape(1_000, 50, 100, 100), 1_000: Shape(10_000, 500, 1_000, 1_000)}
"""By nodes. Ten pods to a node, twenty to a namespace, two policies to a namespace."""
STARTED = {"seconds": "s", "reported": "s", "cpu": "s", "memory": "MB", "apiserver": "s"}
"""Until the last NodeRuleSet was written, and until the last was reported; processor time of the controller until then;
the most memory that it ever had; processor time of the API server.
"""
EVENTS = 60
RESTING = 10.0
"""Seconds in which nothing happens, to know what the API server does then."""
LISTED = "every input is listed"
"""What the controller says before it writes."""
CALM = 0.5
"""Seconds without a NodeRuleSet after which a change has reached its last one."""


def benchmarks() -> Iterator[Together]:
    for nodes, shape in SIZES.items():
        start = tuple(f"scale.start.{nodes}.{what}" for what in STARTED)
        changes = tuple(f"scale.{kind}.{nodes}.{share}" for kind in ("pod", "policy") for share in POINTS)
        yield Together(start + changes, partial(_measure, nodes, shape))


def _measure(nodes: int, shape: Shape) -> Iterator[Result]:
    state = cluster(shape, teams=False)
    with _control_plane() as (plane, controller):
        populace.settle(plane.api, state)
        crowd.gather(plane, nodes)
        with sightings(plane.api) as seen:
            yield from _start(f"scale.start.{nodes}", plane, controller, seen, len(state.nodes))
            yield from _changes(nodes, plane, state, seen)
            own, server = _process(controller), plane.processes["kube-apiserver"].identity.pid
            yield from steady(f"scale.steady.{nodes}", plane.api, own, server, list(state.pods.values()))
        if nodes == max(SIZES):
            yield from _wide(nodes, plane, controller)


def _wide(nodes: int, plane: ControlPlane, controller: Component) -> Iterator[Result]:
    """The same controller with each of two settings."""
    server = plane.processes["kube-apiserver"].identity.pid
    wide.begin(plane.api)
    with sightings(plane.api) as rule_sets, sightings(plane.api, GROUPS) as groups:
        until("nobody writes", lambda: time.monotonic() - rule_sets.last > wide.CALM, within=180, every=0.1)
        before = usage.cpu_seconds(server)
        time.sleep(RESTING)
        yield compared(f"scale.rest.{nodes}.apiserver", "cores", [(usage.cpu_seconds(server) - before) / RESTING])
        for mode, above in wide.MODES.items():
            controller.stop()
            controller.runtime = Checkout({**CHECKOUT.env, "NODEWALL_SHARE_GROUPS_ABOVE": above})
            _begin(controller)
            place = Place(plane.api, rule_sets, groups, _process(controller), server, nodes)
            yield from wide.joining(f"scale.wide.{nodes}.{mode}", place)


def _begin(controller: Component) -> None:
    """Start it, and wait until it writes."""
    before = controller.log.read_text().count(LISTED)
    controller.start()
    until("it has begun", lambda: controller.log.read_text().count(LISTED) > before, within=120, every=0.2)
    time.sleep(wide.CALM)


def _process(controller: Component) -> int:
    assert controller.process is not None
    return controller.process.identity.pid


@contextmanager
def _control_plane() -> Iterator[tuple[ControlPlane, Component]]:
    """One real node, where the controller is about to run; what would make the others go is not there."""
    instance = Instance.from_environment("bench")
    instance.claim()
    try:
        plane = ControlPlane.start(instance)
        local = LocalCluster.start(plane, "routed", ("real",))
        (controller, *_) = Installation.install(local).of("controller")
        yield plane, controller
    finally:
        instance.remove()


def _start(name: str, plane: ControlPlane, controller: Component, seen: Sightings, nodes: int) -> Iterator[Result]:
    server = plane.processes["kube-apiserver"].identity.pid
    before = usage.cpu_seconds(server)
    started = time.monotonic()
    controller.start()
    until("every NodeRuleSet is written", lambda: seen.nodes > nodes, within=300, every=0.1)
    until("every one is reported", lambda: len(seen.reported) >= nodes, within=60, every=0.1)
    own = _process(controller)
    found = {
        "seconds": seen.times[-1][0] - started,
        "reported": max(seen.reported.values()) - started,
        "cpu": usage.cpu_seconds(own),
        "memory": usage.peak_megabytes(own),
        "apiserver": usage.cpu_seconds(server) - before,
    }
    return (Result(f"{name}.{what}", unit, found[what], None, None, 1) for what, unit in STARTED.items())


@dataclass(frozen=True, slots=True)
class Event:
    """Until the last NodeRuleSet that a change made, and how many there were."""

    milliseconds: float
    writes: int


def _changes(nodes: int, plane: ControlPlane, state: ClusterState, seen: Sightings) -> Iterator[Result]:
    chance = random.Random(1)  # noqa: S311 - no secret depends on it
    pods: list[Pod] = chance.sample(sorted(state.pods.values(), key=lambda pod: pod.key), EVENTS)
    policies = chance.sample(sorted(state.network_policies.values(), key=lambda each: each.name), EVENTS)
    moved = [
        _event(seen, partial(populace.readdress, plane.api, pod, address(number, net=12)))
        for number, pod in enumerate(pods)
    ]
    closed = [_event(seen, partial(_close, plane, policy)) for policy in policies]
    for kind, events in (("pod", moved), ("policy", closed)):
        written = [each.milliseconds for each in events]
        yield from (point(f"scale.{kind}.{nodes}.{name}", written, share) for name, share in POINTS.items())
        yield point(f"scale.{kind}.{nodes}.writes", [float(each.writes) for each in events], 0.5, "writes")


def _close(plane: ControlPlane, policy: NetworkPolicy) -> None:
    plane.api.patch(populace.network_policy(policy), {"spec": {"ingress": []}})


def _event(seen: Sightings, change: Callable[[], object]) -> Event:
    before = time.monotonic()
    change()
    answered = time.monotonic()
    until("a NodeRuleSet is written", lambda: seen.since(before), within=30, every=0.02)
    until("no more are written", lambda: time.monotonic() - seen.times[-1][0] > CALM, within=60, every=0.05)
    written = seen.since(before)
    return Event((max(written) - answered) * 1e3, len(written))
