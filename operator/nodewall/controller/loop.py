"""Changes go into the compiler; the nodes that become dirty wait for quiet, are compiled and written.

One task takes changes in and compiles, so a rule set is never made of half a batch; only the writes run beside it. A
node is compiled at the moment its write begins, so the newest state wins.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Iterable
from typing import Protocol

from nodewall.compile.changes import Change, Input, Reason
from nodewall.controller.limiter import MOST, Limiter
from nodewall.controller.progress import Progress
from nodewall.controller.publish import Likeness, OversizedError, Publisher, Result, Step
from nodewall.controller.quarantine import Compiler, HeldError
from nodewall.controller.schedule import Pace, Schedule
from nodewall.controller.status import Reason as Why
from nodewall.kube.clock import Breath, Clock, backoff, heard, in_turns, soonest
from nodewall.kube.errors import ApiError, InvalidError
from nodewall.model.cluster import Node
from nodewall.model.ruleset import NodeRuleSet

log = logging.getLogger(__name__)

HANDS = MOST
"""Writes at a time, at most."""

BULK_RATE = 100.0
"""Writes per second of what has been there for long, after an upgrade for one: changes of the day go before them."""

BULK_WINDOW = HANDS
"""Nodes that are compared with their objects at a time: a change of the day waits for no more than these."""

PACE = Pace(idle=0.05)

REFUSED_PAUSE = 60.0
"""Seconds until what the API server calls invalid is tried again: its definition may be another one by then."""


class Watcher(Protocol):
    """Who counts, logs, and tells the policies' authors. Called from the loop, and must not block."""

    def waiting(self, nodes: int) -> None:
        """So many nodes wait or are being written."""
        ...

    def compiled(self, seconds: float) -> None:
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

    def held(self, error: HeldError) -> None:
        """A node keeps the rule set that it has; it becomes dirty when that ends."""
        ...

    def failed(self, node: str, error: Exception, delay: float | None) -> None:
        """A node could not be compiled or written. It is tried again after ``delay`` seconds; None: when it changes."""
        ...


class Loop:
    """``feed`` and ``saw`` are called by the mirrors, and ``run`` does the rest until it is cancelled."""

    def __init__(
        self,
        compiler: Compiler,
        publisher: Publisher,
        watcher: Watcher,
        clock: Clock,
        pace: Pace | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self._compiler, self._publisher = compiler, publisher
        self._watcher, self._clock = watcher, clock
        self._limiter = limiter or Limiter()
        self._schedule = Schedule[str](pace or PACE, HANDS)
        self._bulk: deque[str] = deque()
        self._comparing: set[str] = set()
        self._bulk_rest = float("-inf")
        self._changes: list[Change] = []
        self._nodes: dict[str, Node] = {}
        self._since: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._cold: set[str] = set()
        self._refused: set[str] = set()
        self._open = self._busy = False
        self.warmed = asyncio.Event()
        """Set when the rule set of every node has been made once."""
        self.progress = Progress()

    @property
    def next_batch(self) -> int:
        """Number of the batch that has everything fed so far in it."""
        return self.progress.batch + self._busy + bool(self._changes)

    @property
    def warm(self) -> bool:
        """Whether the rule set of every node has been made once."""
        return self._open and not self._cold

    def take_over(self) -> None:
        """From now on it is for us to write: every node's object is compared with what it ought to be."""
        if self._open:
            self._publisher.groups.take_over()
            self._mark_all()
            self._wake.set()

    def feed(self, changes: Iterable[Change]) -> None:
        """The cluster changed."""
        self._changes.extend(changes)
        self._wake.set()

    def saw(self, node: str, likeness: Likeness) -> None:
        """The node's object changed or went. What no write of ours explains is somebody else's doing, and is undone."""
        if likeness is Likeness.AS_PUBLISHED or not self._open:
            return
        if likeness is Likeness.FOREIGN and node not in self._schedule and node in self._nodes:
            self._watcher.repairing(node)
        self._mark(node, urgent=True)
        self._wake.set()

    async def run(self, listed: asyncio.Event) -> None:
        """Publish. Nothing is written before ``listed`` is set: every input has been mirrored as a whole.

        Who does not lead (see ``Publisher``) makes the rule sets all the same, and is as far as the one who does.
        """
        await listed.wait()
        await self._take_in()
        for node in self._publisher.published:  # everything looks new to a compiler that has just begun
            self._schedule.forget(node)
        self._mark_all()
        self._cold = set(self._nodes)
        self._open = True
        async with asyncio.TaskGroup() as writes:
            while True:
                if self.warm:
                    self.warmed.set()
                await self._sleep()
                await self._take_in()
                now = self._clock.monotonic()
                self._compare_more(now)
                self._schedule.hands = self._limiter.hands(now)
                for node in self._schedule.take(now):
                    await self._begin(node, writes)
                    self._cold.discard(node)
                    await asyncio.sleep(0)  # one is encoded, and everybody else has a turn, before the next is compiled
                self._watcher.waiting(len(self._schedule))

    def _mark_all(self) -> None:
        """Who has no object at once, all others bit by bit: what they have is in force."""
        there = self._publisher.published
        for node in sorted(self._nodes.keys() - there.keys()):
            self._mark(node, urgent=False)
        self._bulk = deque(sorted(there))
        self._comparing.clear()

    def _compare_more(self, now: float) -> None:
        while self._bulk and now >= self._bulk_rest and len(self._comparing) < BULK_WINDOW:
            node = self._bulk.popleft()
            self._comparing.add(node)
            self._mark(node, urgent=True)

    def _compared(self, node: str, *, written: bool) -> None:
        if node in self._comparing and written:
            self._bulk_rest = max(self._bulk_rest, self._clock.monotonic()) + 1 / BULK_RATE
        self._comparing.discard(node)

    async def _sleep(self) -> None:
        """Until something is due or has changed."""
        instants = (self._schedule.wakes_at(), self._bulk_at(), self._rest_at())
        await heard(self._wake, soonest(self._clock, instants))

    def _bulk_at(self) -> float | None:
        return self._bulk_rest if self._bulk and len(self._comparing) < BULK_WINDOW else None

    def _rest_at(self) -> float | None:
        """The end of a rest that the API server asked for, when somebody waits for it."""
        return self._limiter.rest if not self._schedule.hands and len(self._schedule) else None

    async def _take_in(self) -> None:
        changes, self._changes = self._changes, []
        if not changes:
            return
        for change in changes:
            if change.kind is Input.NODE:
                self._note_node(str(change.key), change.new)
        self._busy = True
        dirty = await in_turns(self._compiler.steps(changes), Breath(self._clock))
        await self._share()
        self._busy = False
        self.progress.took_in(dirty)
        for node, reason in sorted(dirty.items(), key=lambda each: each[1]):
            self._mark(node, urgent=reason is Reason.NEW_POD)

    async def _share(self) -> None:
        """Before the next changes come in, so that what is written of the groups is never half a batch."""
        breath = Breath(self._clock)
        for part in self._compiler.parts():
            self._publisher.groups.want(part)
            await breath.take()
        self._publisher.groups.wanted(self._compiler.shared)

    def _note_node(self, name: str, node: object) -> None:
        if isinstance(node, Node):
            self._nodes[name] = node
        else:
            self._nodes.pop(name, None)
        # Not only when its rule set differs: the object has to come and go with its Node, and names it as its owner.
        self._mark(name, urgent=True)

    def _mark(self, node: str, *, urgent: bool) -> None:
        now = self._clock.monotonic()
        self._since.setdefault(node, now)
        self._schedule.mark(node, now, urgent=urgent)

    async def _begin(self, name: str, writes: asyncio.TaskGroup) -> None:
        since = self._since.pop(name, self._clock.monotonic())
        node = self._nodes.get(name)
        batch = self.progress.batch
        try:
            rule_set = None if node is None else await self._compile(name)
        except HeldError as error:
            self._watcher.held(error)
            writes.create_task(self._say(name, Why.HELD, since))
            return
        except Exception as error:  # noqa: BLE001 - what nobody foresaw about one node must not stop the others
            self._fail(name, error, since)
            return
        found = None if node is None or rule_set is None else (node, rule_set)
        writes.create_task(self._bring(name, self._publish(name, found, batch, since), since))

    async def _compile(self, node: str) -> NodeRuleSet:
        started, breath = self._clock.monotonic(), Breath(self._clock)
        rule_set = await in_turns(self._compiler.assembling(node), breath)
        self._watcher.compiled(self._clock.monotonic() - started - breath.rested)
        return rule_set

    async def _publish(self, name: str, found: tuple[Node, NodeRuleSet] | None, batch: int, since: float) -> Result:
        if found is None:
            result = await self._publisher.remove(name)
            self.progress.gone(name)
        else:
            result = await self._publisher.publish(*found, self._clock.monotonic() - since)
            self.progress.published(name, result.digest, batch)
        return result

    async def _bring(self, name: str, publishing: Awaitable[Result], since: float) -> None:
        try:
            result = await publishing
        except OversizedError as error:
            self._watcher.oversized(error)
            await self._say(name, Why.TOO_LARGE, since)
        except Exception as error:  # noqa: BLE001 - as above
            await self._fall_behind(name, error, since)
        else:
            self._watcher.published(name, result, self._clock.monotonic() - since)
            await self._say(name, "", since, written=result.step in {Step.WRITE, Step.REMOVE})

    async def _say(self, name: str, why: str, since: float, *, written: bool = False) -> None:
        """On its object, why the node keeps an older rule set than its policies ask for, or that it does not."""
        try:
            told = name in self._nodes and await self._publisher.hold(name, why)
        except Exception as error:  # noqa: BLE001 - as above
            await self._fall_behind(name, error, since)
        else:
            self._compared(name, written=written or told)
            self._settle(name)

    async def _fall_behind(self, name: str, error: Exception, since: float) -> None:
        self._fail(name, error, since)
        if isinstance(error, InvalidError):
            await self._ask_again(name)

    async def _ask_again(self, name: str) -> None:
        """After a while; what changes until then is written at once. One at a time: each may be refused anew."""
        if name in self._refused:
            return
        self._refused.add(name)
        await self._clock.sleep(REFUSED_PAUSE)
        self._refused.discard(name)
        self._mark(name, urgent=False)
        self._wake.set()

    def _settle(self, node: str) -> None:
        self._failures.pop(node, None)
        self._comparing.discard(node)
        self._schedule.done(node, self._clock.monotonic())
        self._wake.set()

    def _fail(self, node: str, error: Exception, since: float) -> None:
        failures = self._failures[node] = self._failures.get(node, 0) + 1
        self._comparing.discard(node)
        self._wake.set()
        if isinstance(error, ApiError) and error.permanent:
            self._schedule.done(node, self._clock.monotonic())
            self._watcher.failed(node, error, REFUSED_PAUSE if isinstance(error, InvalidError) else None)
            return
        self._since[node] = since
        wish = error.retry_after if isinstance(error, ApiError) else None
        delay = backoff(failures, self._clock.chance(), wish)
        self._schedule.failed(node, self._clock.monotonic(), delay)
        self._watcher.failed(node, error, delay)
