"""One large cluster in a process of its own, to tell its memory: `python -m bench.large SHAPE` prints JSON."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from bench import usage
from bench.bench_compile import Living
from bench.clusters import Shape, address, cluster
from nodewall.compile import Change, Input
from nodewall.model.cluster import ClusterState, Pod

SHAPES = {
    "cluster": Shape(100_000, 5_000, 10_000, 5_000),
    "namespaces": Shape(10_000, 2_500, 7_500, 100),
    "one-namespace": Shape(1_000, 1, 1_000, 10),
}
"""The last two have the proportions that another controller's benchmark has, at a tenth of its size."""
PARTS = {
    "neither": Shape(0, 5_000, 0, 5_000),
    "pods": Shape(100_000, 5_000, 0, 5_000),
}
"""The first of ``SHAPES`` without policies, and without pods too."""
EVENTS = 200


def main(name: str) -> None:
    state = cluster((SHAPES | PARTS)[name], teams=False)
    started = time.process_time()
    living = Living(state)
    start = time.process_time() - started
    memory = usage.own_peak_megabytes()
    started = time.process_time()
    for change in _moves(state):
        living.take(change)
    print(json.dumps({"start": start, "memory": memory, "pod": (time.process_time() - started) / EVENTS * 1e3}))


def _moves(state: ClusterState) -> Iterator[Change]:
    """Pods all over the cluster that get another address."""
    pods: list[Pod] = list(state.pods.values())
    for number in range(EVENTS if pods else 0):
        pod = pods[number * len(pods) // EVENTS]
        yield Change(Input.POD, pod.key, replace(pod, addresses=(address(number, net=12),)))


if __name__ == "__main__":
    main(sys.argv[1])
