"""What one change costs on a node: ours (draw, compare, one small transaction) against replacing the whole table.

From the rule set as a value to the commit in a real kernel, by the clock, because that is what packets wait for. The
changes and the replace take turns on one table; each change is undone afterwards, which counts as one too.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from bench.bed import Bed, bed
from bench.measure import Result, Together, compared
from bench.rulesets import POD_CIDR, Shape, rule_set, with_peer, with_pod, with_policy
from nodewall.model.ruleset import NodeRuleSet
from nodewall.render import Guard, Settings, Table, Transaction, diff, render, replace

SHAPES = {
    "1k": Shape(10, 10, 10, 10),
    "10k": Shape(50, 50, 10, 20),
    "55k": Shape(110, 110, 10, 50),
    "55k-replicas": Shape(110, 22, 5, 500),
    "1M": Shape(110, 110, 50, 200),
}
"""By elements. Replicas: pods of one workload are under the same policies, so the sets are a tenth as many."""
ROUNDS = {"1k": 10, "10k": 10, "55k": 10, "55k-replicas": 10, "1M": 2}
CHANGES = {"pod": with_pod, "peer": with_peer, "policy": with_policy}
PAIRS_PER_ROUND = 3
"""Changes, each with its undoing, to one replace."""
SETTINGS = Settings(guard=Guard(networks=(POD_CIDR,)))


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds."""

    clock: float
    processor: float


def benchmarks() -> Iterator[Together]:
    for size, shape in SHAPES.items():
        names = tuple(f"update.{kind}.{size}" for kind in CHANGES)
        yield Together(names, partial(_measure, size, shape))


def _measure(size: str, shape: Shape) -> list[Result]:
    base = rule_set(shape)
    changed = {kind: change(base) for kind, change in CHANGES.items()}
    ours: dict[str, list[Times]] = {kind: [] for kind in CHANGES}
    replaced: list[Times] = []
    with bed() as place:
        node = Node(place)
        node.replace(base)
        for _ in range(ROUNDS[size]):
            gc.collect()
            for kind in PAIRS_PER_ROUND * list(CHANGES):
                ours[kind] += [node.update(changed[kind]), node.update(base)]
            replaced.append(node.replace(base))
    return [each for kind in CHANGES for each in _results(f"update.{kind}.{size}", ours[kind], replaced)]


def _results(name: str, ours: list[Times], replaced: list[Times]) -> Iterator[Result]:
    """By the clock, and in processor time, which others on the machine disturb less."""
    yield compared(name, "ms", [each.clock for each in ours], [each.clock for each in replaced])
    yield compared(f"{name}.cpu", "ms", [each.processor for each in ours], [each.processor for each in replaced])


@dataclass(slots=True)
class Node:
    """A namespace and the table that is in it."""

    place: Bed
    table: Table = field(default_factory=lambda: Table("nodewall"))

    def update(self, wanted: NodeRuleSet) -> Times:
        """As the agent does it: only what changed."""
        return self._apply(lambda: self._compared(render(wanted, SETTINGS, self.table)))

    def replace(self, wanted: NodeRuleSet) -> Times:
        """Without a memory: everything, in one transaction."""
        return self._apply(lambda: self._whole(render(wanted, SETTINGS)))

    def _compared(self, table: Table) -> Transaction:
        transaction = diff(self.table, table)
        assert transaction is not None, "the change changes nothing"
        self.table = table
        return transaction

    def _whole(self, table: Table) -> Transaction:
        self.table = table
        return replace(table)

    def _apply(self, decide: Callable[[], Transaction]) -> Times:
        clock, processor = time.perf_counter(), time.process_time()
        self.place.run(self.place.kernel.apply(decide().json()))
        return Times((time.perf_counter() - clock) * 1e3, (time.process_time() - processor) * 1e3)
