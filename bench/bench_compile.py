"""What a change costs the controller: the incremental compiler against compiling everything from scratch.

Processor time, because compiling does nothing but compute: it does not depend on who else is running.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from bench.clusters import Shape, address, cluster
from bench.measure import Benchmark
from nodewall.compile import Change, Compiler, Input, compile_all
from nodewall.model.cluster import ClusterState, Namespace, Pod
from nodewall.model.labels import Labels
from nodewall.model.policy import NetworkPolicy

SIZES = {"100": 100, "1k": 1_000, "10k": 10_000}
ELSEWHERE = address(0, net=11)


def benchmarks() -> Iterator[Benchmark]:
    for name, pods in SIZES.items():
        state = cluster(Shape.of(pods))
        living = Living(state)
        runs = 5 if pods > 1_000 else 15
        for kind, changes in _changes(state).items():
            yield Benchmark(f"compile.{kind}.{name}", "ms", _turn(living, changes), _from_scratch(state), runs)
        yield Benchmark(f"compile.start.{name}", "ms", _starting(state), _from_scratch(state), 3)


@dataclass(slots=True)
class Living:
    """A compiler that has seen the whole cluster, and has compiled every node once."""

    compiler: Compiler

    def __init__(self, state: ClusterState) -> None:
        self.compiler = Compiler()
        listed = [Change(kind, key, value) for kind in Input for key, value in getattr(state, kind.value).items()]
        self.take(*listed)

    def take(self, *changes: Change) -> None:
        """Take changes in and compile the nodes that they concern."""
        for node in self.compiler.apply(changes):
            self.compiler.ruleset(node)


def cpu(work: Callable[[], object]) -> float:
    """Milliseconds of processor time."""
    gc.collect()
    started = time.thread_time()
    work()
    return (time.thread_time() - started) * 1e3


def _changes(state: ClusterState) -> dict[str, list[Change]]:
    """Each change and its undoing, in turns."""
    pod: Pod = next(iter(state.pods.values()))
    namespace: Namespace = next(iter(state.namespaces.values()))
    policy: NetworkPolicy = next(iter(state.network_policies.values()))
    key: Any = (policy.namespace, policy.name)
    return {
        "pod": _there_and_back(Input.POD, pod.key, replace(pod, addresses=(ELSEWHERE,)), pod),
        "namespace": _there_and_back(
            Input.NAMESPACE, namespace.name, replace(namespace, labels=Labels({"team": "none"})), namespace
        ),
        "policy": _there_and_back(Input.NETWORK_POLICY, key, replace(policy, ingress=()), policy),
    }


def _there_and_back(kind: Input, key: Any, other: Any, one: Any) -> list[Change]:
    return [Change(kind, key, other), Change(kind, key, one)]


def _turn(living: Living, changes: list[Change]) -> Callable[[], float]:
    coming = cycle(changes)

    def run() -> float:
        change = next(coming)
        return cpu(lambda: living.take(change))

    return run


def _starting(state: ClusterState) -> Callable[[], float]:
    return lambda: cpu(lambda: Living(state))


def _from_scratch(state: ClusterState) -> Callable[[], float]:
    return lambda: cpu(lambda: compile_all(state))
