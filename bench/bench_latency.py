"""How long packets are judged by yesterday's rules: from the API server's answer to the first changed verdict.

A real API server, the controller and two agents, and datagrams between pods on the two nodes. Everything runs on this
machine and shares its cores.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bench import ballast
from bench.engine import engine
from bench.lane import PORT, Lane, lane
from bench.measure import Result, Together, point
from bench.sightings import Sightings, sightings
from e2e.api import Object
from e2e.cluster import Pod, Scene, pod_object, reference
from e2e.local import IMAGE, LocalCluster

BALLAST = (0, 1_000)
CHANGES = 200
"""Of the policy, half of them open and half of them close; and so many pods come, and go."""
PAUSE = (0.06, 0.25)
"""Seconds between a verdict and the next change, at random: no change falls into the same moment of anything."""
POINTS = {"p50": 0.5, "p99": 0.99, "max": 1.0}
NAMESPACE = "latency"
ALLOW = [{"from": [{"podSelector": {"matchLabels": {"role": "client"}}}], "ports": [{"port": PORT, "protocol": "UDP"}]}]

Event = tuple[float, float, float | None]
"""Monotonic seconds: the API server had answered, the verdict had changed, the NodeRuleSets had (None: not seen)."""


def benchmarks() -> Iterator[Together]:
    kinds = ("policy", "pod", "removal")
    names = tuple(f"latency.{kind}.{load}.{point}" for load in BALLAST for kind in kinds for point in POINTS)
    yield Together(names, _measure)


def _measure() -> Iterator[Result]:
    with engine() as cluster, Scene(cluster) as scene, sightings(cluster.api) as seen:
        stage = Stage(cluster, scene, seen)
        for load in BALLAST:
            if load:
                ballast.load(cluster, load)
            yield from _results("policy", load, stage.policy_changes())
            came, went = stage.pod_changes()
            yield from _results("pod", load, came) + _results("removal", load, went)


class Stage:
    """A server whose policy lets clients in, a client on the other node, and a second one that comes and goes."""

    def __init__(self, cluster: LocalCluster, scene: Scene, seen: Sightings) -> None:
        self._cluster, self._seen = cluster, seen
        scene.namespace(NAMESPACE)
        self._server = scene.pod(f"{NAMESPACE}/server", node=1, role="server")
        self._client = scene.pod(f"{NAMESPACE}/client", node=0, role="client")
        self._late = cluster.wire(Pod(NAMESPACE, "late", cluster.nodes[0], (), {"role": "client"}))
        self._policy = reference("NetworkPolicy", "gate", NAMESPACE, "networking.k8s.io/v1")
        selector = {"podSelector": {"matchLabels": {"role": "server"}}}
        scene.apply({**self._policy, "spec": {**selector, "ingress": ALLOW, "policyTypes": ["Ingress"]}})

    def policy_changes(self) -> list[Event]:
        with self._lane(self._client) as way:
            way.await_open()
            return [self._event(*self._turn(way, opens=bool(number % 2))) for number in range(CHANGES)]

    def _turn(self, way: Lane, *, opens: bool) -> tuple[Callable[[], object], Callable[[], float]]:
        change = {"spec": {"ingress": ALLOW if opens else []}}
        return partial(self._cluster.api.patch, self._policy, change), way.await_open if opens else way.await_closed

    def pod_changes(self) -> tuple[list[Event], list[Event]]:
        """(addresses set until allowed, pod deleted until denied)."""
        came, went = [], []
        late: Object = pod_object(self._late, IMAGE, ())
        with self._lane(self._late) as way:
            for _ in range(CHANGES):
                self._cluster.api.create(late)
                came.append(self._event(partial(self._cluster.report_running, self._late), way.await_open))
                delete = partial(self._cluster.api.delete, self._late.reference, grace=0)
                went.append(self._event(delete, way.await_closed))
        return came, went

    @contextmanager
    def _lane(self, client: Pod) -> Iterator[Lane]:
        ends = [(self._cluster.namespace_of(pod), pod.addresses[0]) for pod in (client, self._server)]
        with lane(ends[0], ends[1]) as way:
            yield way

    def _event(self, change: Callable[[], object], changed: Callable[[], float]) -> Event:
        time.sleep(random.uniform(*PAUSE))  # noqa: S311 - no secret depends on it
        before = time.monotonic()
        change()
        answered = time.monotonic()
        verdict = changed()
        return answered, verdict, self._seen.between(before, verdict)


def _results(kind: str, load: int, events: Sequence[Event]) -> list[Result]:
    """All of the way, and the part of it until the NodeRuleSet was there; the rest is the agent's."""
    name = f"latency.{kind}.{load}"
    whole = [(verdict - answered) * 1e3 for answered, verdict, _ in events]
    until_written = [(written - answered) * 1e3 for answered, _, written in events if written is not None]
    after = [(verdict - written) * 1e3 for _, verdict, written in events if written is not None]
    points = [point(f"{name}.{label}", whole, share) for label, share in POINTS.items()]
    return [*points, point(f"{name}.controller", until_written, 0.5), point(f"{name}.agent", after, 0.5)]
