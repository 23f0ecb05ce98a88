"""What a new NodeRuleSet costs the agent, from its JSON to the commit, beside a full replace of the same agent.

That is all that `update.*` leaves out: reading, checking, deciding, and what becomes of connections. Processor time of
the whole process.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

from bench.bed import Bed, bed
from bench.bench_update import CHANGES, SHAPES
from bench.measure import Benchmark
from bench.rulesets import rule_set
from nodewall.agent import decide
from nodewall.agent.decide import State, Target
from nodewall.agent.loop import Inbox, Loop, Sighting, Times, Ways
from nodewall.agent.reading import reader
from nodewall.agent.setup import Setup
from nodewall.api import ruleset as codec
from nodewall.kube.clock import SystemClock
from nodewall.model.address import Address

SIZES = ("1k", "10k", "55k")
NODE = "node"


def benchmarks() -> Iterator[Benchmark]:
    for size in SIZES:
        base = rule_set(SHAPES[size])
        documents = {kind: codec.document(change(base)) for kind, change in CHANGES.items()}
        original = codec.document(base)
        with bed() as place:
            agent = Agent(place)
            for kind, document in documents.items():
                update = partial(agent.alternate, document, original)
                yield Benchmark(f"agent.{kind}.{size}", "ms", update, partial(agent.anew, original), 10)


class Agent:
    """The agent's loop with a kernel, and without an API server."""

    def __init__(self, place: Bed) -> None:
        self._place, self._applied = place, asyncio.Event()
        self._inbox, self._generations = Inbox(), count(1)
        ways = Ways(reader(NODE), place.kernel, _forget, _reserve)
        self._loop = Loop(self._inbox, ways, self, Times(SystemClock(), time.time))
        self._running: asyncio.Task[Any] = place.run(self._start())
        self._other = False

    def alternate(self, one: dict[str, Any], other: dict[str, Any]) -> float:
        """The change, and the next time its undoing."""
        self._other = not self._other
        return self._take(one if self._other else other, lambda: None)

    def anew(self, document: dict[str, Any]) -> float:
        """The same, when the agent cannot be sure of what the kernel holds."""
        self._other = False
        return self._take(document, lambda: self._inbox.tell(_doubt))

    # --- as a listener of the loop

    def changed(self, _: State) -> None:
        pass

    def adopted(self, _: Target) -> None:
        pass

    def applied(self, *_: object) -> None:
        self._applied.set()

    def refused(self, *said: object) -> None:
        raise AssertionError(said)

    async def _start(self) -> "asyncio.Task[Any]":
        return asyncio.create_task(self._loop.run(Setup()))

    def _take(self, document: dict[str, Any], before: Callable[[], None]) -> float:
        generation = next(self._generations)
        metadata = {"name": NODE, "uid": "1", "generation": generation}
        source = json.dumps({**document, "metadata": metadata}).encode()
        started = time.process_time()
        self._place.run(self._apply(Sighting("1", generation, source), before))
        return (time.process_time() - started) * 1e3

    async def _apply(self, sighting: Sighting, before: Callable[[], None]) -> None:
        self._applied.clear()
        before()
        self._inbox.saw(sighting)
        await self._applied.wait()


def _doubt(state: State, _: float) -> State:
    return decide.uncertain(state)


async def _forget(_: frozenset[Address]) -> None:
    """No connections are here."""


def _reserve(_: int) -> None:
    """No generations either."""
