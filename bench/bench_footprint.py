"""What an agent takes while nothing happens, and while something happens ten times a second.

A real agent in a cluster with 1,000 policies and 200 pods, half of them on its node. Each change is a pod of its node
that gets another address, which is a new NodeRuleSet, a transaction in the kernel and a report.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle

from bench import ballast, usage
from bench.engine import installed
from bench.measure import Result, Together, compared
from bench.sightings import sightings
from e2e.cluster import Pod
from e2e.local import LocalCluster

POLICIES = 1_000
WINDOWS, SECONDS = 3, 8
RATE = 10
ELSEWHERE = 20
"""Number in the node's pod range from which on no pod is."""
NAMES = tuple(f"footprint.agent.{what}" for what in ("memory", "idle", "busy", "updates", "memory-after"))


def benchmarks() -> Iterator[Together]:
    yield Together(NAMES, _measure)


def _measure() -> Sequence[Result]:
    with installed() as installation, sightings(installation.cluster.api) as seen:
        cluster = installation.cluster
        node = cluster.nodes[0]
        agent = installation.on("agent", node).process
        assert agent is not None
        ballast.load(cluster, POLICIES)
        own = agent.identity.pid
        idle = [_share(own, lambda: time.sleep(SECONDS)) for _ in range(WINDOWS)]
        memory = usage.megabytes(own)
        coming = cycle(_moves([pod for pod in ballast.pods(cluster) if pod.node == node]))
        before, begun = len(seen.times), time.monotonic()
        busy = [_share(own, lambda: _change(cluster, coming)) for _ in range(WINDOWS)]
        updates = [name for _, name in seen.times[before:]].count(node) / (time.monotonic() - begun)
        values = [memory], idle, busy, [updates], [usage.megabytes(own)]
        return [compared(*each) for each in zip(NAMES, ("MB", "cores", "cores", "1/s", "MB"), values, strict=True)]


def _share(process: int, work: Callable[[], object]) -> float:
    """Cores that the process kept busy meanwhile."""
    before, begun = usage.cpu_seconds(process), time.monotonic()
    work()
    return (usage.cpu_seconds(process) - before) / (time.monotonic() - begun)


def _moves(pods: Sequence[Pod]) -> Iterator[Pod]:
    """Each pod with another address, then each with its own again."""
    for number, pod in enumerate(pods):
        subnet = pod.addresses[0].rpartition(".")[0]
        yield replace(pod, addresses=(f"{subnet}.{number + ELSEWHERE}",))
    yield from pods


def _change(cluster: LocalCluster, coming: Iterator[Pod]) -> None:
    begun = time.monotonic()
    for number in range(RATE * SECONDS):
        time.sleep(max(begun + number / RATE - time.monotonic(), 0))
        cluster.report_running(next(coming))
    time.sleep(max(begun + SECONDS - time.monotonic(), 0))
