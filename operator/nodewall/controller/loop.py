"""Changes go into the compiler; the nodes that become dirty wait for quiet, are compiled and written.

All of it runs in one event loop, and nothing between two awaits is slow: edits are taken in at one go, so what is
compiled is never half of a batch, and each node is compiled at the moment its write begins, so the newest state wins.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from nodewall.controller.publish import OversizedError, Publisher, Result
from nodewall.controller.schedule import Pace, Schedule
from nodewall.controller.store import Edit, Table
from nodewall.kube.clock import Clock, backoff
from nodewall.kube.errors import ApiError
from nodewall.model.cluster import Node
from nodewall.model.ruleset import NodeRuleSet

log = logging.getLogger(__name__)

HANDS = 16
"""Writes at a time. More only queue up in the API server."""


class Compiler(Protocol):
    """Keeps what it needs of the cluster, and compiles any node at any time."""

    def apply(self, edits: Sequence[Edit]) -> Mapping[str, bool]:
        """Take changes in. Returns the nodes whose rule set may differ now; True: at once, for a new local pod."""
        ...

    def rule_set(self, node: str) -> NodeRuleSet:
        """The node's rule set."""
        ...


class Watcher(Protocol):
    """Who counts, logs, and tells the policies' authors. Called from the loop, and must not block."""

    def dirty(self, nodes: int) -> None:
        """So many nodes wait or are being written."""
        ...

    def compiled(self, node: str, seconds: float) -> None:
        """A node was compiled."""
        ...

    def published(self, node: str, result: Result, seconds: float) -> None:
        """A node's object is as it has to be, so many seconds after the first change that asked for it."""
        ...

    def repairing(self, node: str) -> None:
        """Somebody else changed or removed a node's object: it is written again."""
        ...

    def oversized(self, error: OversizedError) -> None:
        """A node keeps its last rule set."""
        ...

    def failed(self, node: str, error: Exception, delay: float | None) -> None:
        """A node could not be compiled or written. It is tried again after ``delay`` seconds; None: when it changes."""
        ...


class Loop:
    """``feed`` and ``check`` are called by the mirrors; ``run`` does the rest until it is cancelled."""

    def __init__(
        self,
        nodes: Mapping[str, Node],
        compiler: Compiler,
        publisher: Publisher,
        watcher: Watcher,
        clock: Clock,
        pace: Pace | None = None,
    ) -> None:
        self._nodes, self._compiler, self._publisher = nodes, compiler, publisher
        self._watcher, self._clock = watcher, clock
        self._schedule = Schedule[str](pace or Pace(), HANDS)
        self._edits: list[Edit] = []
        self._since: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._open = False

    def feed(self, edits: Iterable[Edit]) -> None:
        """The cluster changed."""
        self._edits.extend(edits)
        self._wake.set()

    def check(self, node: str) -> None:
        """The node's object is not what was published, or its node is new or gone: see to it at once."""
        self._mark(node, urgent=True)
        self._wake.set()

    def saw(self, node: str, *, as_published: bool) -> None:
        """The node's object changed or went. A difference that no write of ours explains is somebody else's doing."""
        if as_published or not self._open:
            return
        if node not in self._schedule and node in self._nodes:
            self._watcher.repairing(node)
        self.check(node)

    async def run(self, listed: asyncio.Event) -> None:
        """Publish. Nothing is written before ``listed`` is set: every input has been mirrored as a whole."""
        await listed.wait()
        self._take_in()
        for node in sorted(self._nodes.keys() | self._publisher.published.keys()):
            self._mark(node, urgent=False)
        self._open = True
        async with asyncio.TaskGroup() as writes:
            while True:
                await self._sleep()
                self._take_in()
                for node in self._schedule.take(self._clock.monotonic()):
                    writes.create_task(self._bring(node))
                self._watcher.dirty(len(self._schedule))

    async def _sleep(self) -> None:
        """Until something is due or changed."""
        at = self._schedule.wakes_at()
        timeout = None if at is None else max(at - self._clock.monotonic(), 0)
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _take_in(self) -> None:
        edits, self._edits = self._edits, []
        if not edits:
            return
        for node, urgent in self._compiler.apply(edits).items():
            self._mark(node, urgent=urgent)
        for edit in edits:
            if edit.table is Table.NODES:
                self._mark(edit.key, urgent=True)

    def _mark(self, node: str, *, urgent: bool) -> None:
        now = self._clock.monotonic()
        self._since.setdefault(node, now)
        self._schedule.mark(node, now, urgent=urgent)

    async def _bring(self, node: str) -> None:
        since = self._since.pop(node, self._clock.monotonic())
        try:
            result = await self._publish(node)
        except OversizedError as error:
            self._settle(node)
            self._watcher.oversized(error)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw about one node must not stop the others
            self._since.setdefault(node, since)
            self._fail(node, error)
        else:
            self._settle(node)
            self._watcher.published(node, result, self._clock.monotonic() - since)
        finally:
            self._wake.set()

    async def _publish(self, name: str) -> Result:
        node = self._nodes.get(name)
        if node is None:
            return await self._publisher.remove(name)
        started = self._clock.monotonic()
        rule_set = self._compiler.rule_set(name)
        self._watcher.compiled(name, self._clock.monotonic() - started)
        return await self._publisher.publish(node, rule_set)

    def _settle(self, node: str) -> None:
        self._failures.pop(node, None)
        self._schedule.done(node)

    def _fail(self, node: str, error: Exception) -> None:
        failures = self._failures[node] = self._failures.get(node, 0) + 1
        if isinstance(error, ApiError) and error.permanent:
            self._schedule.done(node)
            self._watcher.failed(node, error, None)
            return
        wish = error.retry_after if isinstance(error, ApiError) else None
        delay = backoff(failures, self._clock.chance(), wish)
        self._schedule.failed(node, self._clock.monotonic(), delay)
        self._watcher.failed(node, error, delay)
