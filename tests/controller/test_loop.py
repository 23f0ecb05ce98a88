# ruff: noqa: ARG002 - a fake is told more than a test asks about
"""What is written when, for what the compiler says: with a compiler and an API that the test plays itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise

from nodewall.compile.changes import Change, Dirty, Input, Reason
from nodewall.controller.groups import Groups
from nodewall.controller.limiter import Limiter
from nodewall.controller.loop import BULK_RATE, BULK_WINDOW, HANDS, Loop
from nodewall.controller.publish import Encoded, OversizedError, Published, Publisher, Result
from nodewall.controller.quarantine import HeldError
from nodewall.controller.schedule import Pace
from nodewall.kube.errors import Call, InvalidError, RefusedError, ThrottledError, TooLargeError, UnreachableError
from nodewall.model.cluster import Node
from nodewall.model.ruleset import AddressGroup, GroupPart, NodeRuleSet
from tests.controller.running import until
from tests.kube.mirroring import QuickClock

PATIENT = Pace(quiet=60.0, patience=60.0)
"""Nothing but what is urgent is written while a test lasts."""
EAGER = Pace(quiet=0.01, patience=0.05)


@dataclass
class Compiler:
    """Answers what the test put there."""

    dirty: dict[str, Reason] = field(default_factory=dict)
    content: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    batches: list[list[Change]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    during: Callable[[], None] = lambda: None
    halves: int = 0

    def steps(self, changes: Iterable[Change]) -> Generator[None, None, Dirty]:
        self.batches.append(list(changes))
        yield
        return dict(self.dirty)

    def parts(self) -> Iterator[GroupPart]:
        return iter(())

    @property
    def shared(self) -> dict[str, int]:
        return {}

    def assembling(self, node: str) -> Generator[None, None, NodeRuleSet]:
        batches = len(self.batches)
        self.during()
        yield
        self.halves += len(self.batches) != batches
        self.made.append(node)
        if node in self.broken:
            raise RuntimeError(f"nobody foresaw {node}")
        return NodeRuleSet(node, groups=(AddressGroup("g", self.content.get(node, ""), ()),))


@dataclass
class Api:
    """Keeps what is written; while ``gate`` is clear, writes take their time."""

    written: list[tuple[str, str]] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    ages: list[float] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    most: int = 0
    failures: int = 0
    failure: type[RefusedError | UnreachableError] = UnreachableError
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, node: Node, wanted: Encoded, age: float) -> Published:
        assert node.name not in self.busy, "two writes of one node at a time"
        self.busy.append(node.name)
        self.most = max(self.most, len(self.busy))
        try:
            await self.gate.wait()
            if self.failures:
                self.failures -= 1
                raise self.failure(Call("patch", node.name), "told to")
        finally:
            self.busy.remove(node.name)
        self.written.append((node.name, wanted.digest))
        self.ages.append(age)
        self.owners[node.name] = node.uid
        return Published("uid", wanted.digest, node.uid)

    async def hold(self, name: str, why: str) -> None:
        raise AssertionError((name, why))

    async def remove(self, name: str, uid: str) -> None:
        self.written.append((name, "removed"))


class Unused:
    """No test here has a shared group."""

    async def write(self, name: str, spec: bytes, age: float) -> tuple[str, int]:
        raise AssertionError(name)

    async def remove(self, name: str, uid: str) -> None:
        raise AssertionError(name)


@dataclass
class Watcher:
    """Remembers what it is told."""

    failed_nodes: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    delays: list[float | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def waiting(self, nodes: int) -> None: ...
    def published(self, node: str, result: Result, seconds: float) -> None: ...
    def oversized(self, error: OversizedError) -> None: ...
    def held(self, error: HeldError) -> None: ...

    def compiled(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def repairing(self, node: str) -> None:
        self.repaired.append(node)

    def failed(self, node: str, error: Exception, delay: float | None) -> None:
        self.failed_nodes.append(node)
        self.delays.append(delay)


class Ahead(QuickClock):
    """A clock that the test can put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@dataclass
class Stage:
    compiler: Compiler
    api: Api
    watcher: Watcher
    publisher: Publisher
    loop: Loop
    clock: Ahead

    def change(self, content: str, *nodes: str, reason: Reason = Reason.CHANGED) -> None:
        """Something happened that makes these nodes dirty, with this content from now on."""
        self.compiler.dirty = dict.fromkeys(nodes, reason)
        self.compiler.content |= dict.fromkeys(nodes, content)
        self.loop.feed([Change(Input.POD, ("ns", "pod"), None)])

    def written(self, node: str) -> list[str]:
        return [content for name, content in self.api.written if name == node]


def encoding(rule_set: NodeRuleSet) -> Generator[None, None, Encoded]:
    yield
    return Encoded(rule_set.groups[0].description, b"{}")


@asynccontextmanager
async def stage(
    *nodes: str, pace: Pace = EAGER, limiter: Limiter | None = None, content: str = "", without: str = ""
) -> AsyncIterator[Stage]:
    """The loop at work on these nodes, each published as "" before (but ``without`` one), and ``content`` now."""
    compiler, api, watcher, clock = Compiler(content=dict.fromkeys(nodes, content)), Api(), Watcher(), Ahead()
    publisher = Publisher(api, encoding, lambda: True, Groups(Unused(), lambda: True, QuickClock()), QuickClock())
    loop = Loop(compiler, publisher, watcher, clock, pace, limiter)
    for name in set(nodes) - {without}:
        publisher.saw(name, Published("uid", "", "u1"))
    loop.feed([Change(Input.NODE, name, Node(name, uid="u1")) for name in nodes])
    listed = asyncio.Event()
    listed.set()
    api.gate.set()
    task = asyncio.create_task(loop.run(listed))
    try:
        await until("taken in", lambda: compiler.batches)
        await asyncio.sleep(0.01)
        yield Stage(compiler, api, watcher, publisher, loop, clock)
    finally:
        assert not task.done(), task
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_new_pod_does_not_wait_for_quiet_and_everything_else_does() -> None:
    async with stage("n1", "n2", pace=PATIENT) as here:
        here.change("quiet", "n2")
        await until("taken in", lambda: here.loop.progress.batch == 2)
        here.change("at once", "n1", reason=Reason.NEW_POD)
        await until("written", lambda: here.written("n1") == ["at once"], within=2)
        assert here.written("n2") == []


async def test_the_newest_wins_and_one_write_at_a_time_is_under_way() -> None:
    async with stage("n1") as here:
        here.api.gate.clear()
        here.change("first", "n1", reason=Reason.NEW_POD)
        await until("under way", lambda: here.api.busy == ["n1"])
        for content in ("second", "third"):
            here.change(content, "n1", reason=Reason.NEW_POD)
            await asyncio.sleep(0.01)
        here.api.gate.set()
        await until("the last one", lambda: here.written("n1") == ["first", "third"])


async def test_so_many_writes_at_a_time_and_no_more() -> None:
    nodes = [f"n{number}" for number in range(3 * HANDS)]
    async with stage(*nodes) as here:
        here.api.gate.clear()
        here.change("x", *nodes, reason=Reason.NEW_POD)
        await until("all hands are busy", lambda: len(here.api.busy) == HANDS)
        here.api.gate.set()
        await until("all are written", lambda: len(here.api.written) == len(nodes))
        assert here.api.most == HANDS


async def test_a_node_that_cannot_be_compiled_does_not_stop_the_others() -> None:
    async with stage("n1", "n2") as here:
        here.compiler.broken = {"n1"}
        here.change("x", "n1", "n2")
        await until("the other", lambda: here.written("n2") == ["x"])
        await until("told", lambda: "n1" in here.watcher.failed_nodes)
        here.compiler.broken = set()
        await until("tried again", lambda: here.written("n1") == ["x"])


async def test_a_write_that_failed_brings_the_newest_when_it_is_tried_again() -> None:
    async with stage("n1") as here:
        here.api.failures = 1
        here.change("old", "n1")
        await until("failed", lambda: here.watcher.failed_nodes == ["n1"])
        here.change("new", "n1")
        await until("written", lambda: here.written("n1") == ["new"])


async def test_what_is_refused_for_good_is_asked_again_and_a_change_does_not_wait_for_that() -> None:
    """The definition in the cluster may be older than we are, and be brought up to date."""
    async with stage("n1") as here:
        here.api.failures, here.api.failure = 1, InvalidError
        here.change("same", "n1")
        await until("refused", lambda: here.watcher.failed_nodes == ["n1"])
        await until("asked again", lambda: here.written("n1") == ["same"])
        here.api.failures = 1
        here.change("refused", "n1")
        await until("refused", lambda: here.watcher.failed_nodes == ["n1", "n1"])
        here.change("changed", "n1")
        await until("written", lambda: here.written("n1") == ["same", "changed"])


async def test_a_node_made_again_in_one_go_owns_its_object() -> None:
    """The compiler sees no difference: the rule set is the same."""
    async with stage("n1") as here:
        here.loop.feed([Change(Input.NODE, "n1", None), Change(Input.NODE, "n1", Node("n1", uid="u2"))])
        await until("owned", lambda: here.api.owners.get("n1") == "u2")


async def test_the_first_object_of_a_node_is_no_repair() -> None:
    async with stage("n1") as here:
        here.loop.feed([Change(Input.NODE, "n2", Node("n2", uid="u1"))])
        await until("written", lambda: here.written("n2"))
        assert here.watcher.repaired == []


async def test_an_edit_while_we_write_is_put_right_by_what_we_write() -> None:
    async with stage("n1") as here:
        here.api.gate.clear()
        here.change("good", "n1", reason=Reason.NEW_POD)
        await until("under way", lambda: here.api.busy)
        here.loop.saw("n1", here.publisher.saw("n1", Published("uid", "foreign", "u1")))
        here.api.gate.set()
        await until("settled", lambda: here.publisher.published["n1"].content == "good")
        assert here.watcher.repaired == []


async def test_batches_are_counted_with_what_waits() -> None:
    async with stage("n1") as here:
        await until("the first", lambda: here.loop.progress.batch == 1)
        assert here.loop.next_batch == 1
        here.loop.feed([Change(Input.POD, ("ns", "p"), None)])
        assert here.loop.next_batch == 2
        await until("taken in", lambda: here.loop.progress.batch == 2)
        assert here.loop.next_batch == 2


async def test_it_is_warm_when_every_rule_set_has_been_made_once() -> None:
    async with stage("n1", "n2") as here:
        await until("warm", here.loop.warmed.is_set)
        assert here.loop.warm


async def test_after_each_compile_everybody_else_has_a_turn() -> None:
    nodes = [f"n{number}" for number in range(HANDS)]
    async with stage(*nodes) as here:
        turns: list[int] = []

        async def others() -> None:
            while True:
                turns.append(len(here.compiler.made))
                await asyncio.sleep(0)

        await until("all are done", lambda: len(here.compiler.made) == HANDS)
        here.compiler.made.clear()
        task = asyncio.create_task(others())
        here.change("x", *nodes, reason=Reason.NEW_POD)
        await until("all are made", lambda: len(here.compiler.made) == HANDS)
        task.cancel()
        assert max(after - before for before, after in pairwise(turns)) == 1


async def test_while_the_api_server_rests_nothing_is_compiled_and_the_newest_is_written_after_it() -> None:
    limiter = Limiter()
    async with stage("n1", limiter=limiter) as here:
        await until("warm", here.loop.warmed.is_set)
        here.compiler.made.clear()
        now = here.clock.monotonic()
        limiter.ended(now, now, ThrottledError(Call("patch", "n1"), "slow down", retry_after=0.5))
        for content in ("first", "second"):
            here.change(content, "n1", reason=Reason.NEW_POD)
            await asyncio.sleep(0.05)
        assert here.compiler.made == []
        await until("written", lambda: here.written("n1"))
        assert here.clock.monotonic() - now >= 0.5
        assert (here.written("n1"), here.compiler.made) == (["second"], ["n1"])


async def test_fewer_hands_are_fewer_writes_at_a_time() -> None:
    nodes = [f"n{number}" for number in range(12)]
    async with stage(*nodes, limiter=Limiter(3)) as here:
        here.api.gate.clear()
        here.change("x", *nodes, reason=Reason.NEW_POD)
        await until("all hands are busy", lambda: len(here.api.busy) == 3)
        here.api.gate.set()
        await until("all are written", lambda: len(here.api.written) == len(nodes))
        assert here.api.most == 3


async def test_what_an_upgrade_changes_is_spread_out_and_changes_of_the_day_go_first() -> None:
    """Each object is there, and each is another one now."""
    nodes = [f"n{number:03}" for number in range(6 * BULK_WINDOW)]
    began = time.monotonic()
    async with stage(*nodes, content="of the new version") as here:
        await until("begun", lambda: here.api.written)
        here.change("of the day", nodes[-1], reason=Reason.NEW_POD)
        await until("the change of the day", lambda: here.written(nodes[-1]) == ["of the day"])
        assert len(here.api.written) < len(nodes) - HANDS
        await until("all", lambda: len({name for name, _ in here.api.written}) == len(nodes))
        assert time.monotonic() - began >= (len(nodes) - BULK_WINDOW - 1) / BULK_RATE
        assert len(here.api.written) == len(nodes), "nothing is written twice"


async def test_what_is_as_it_was_costs_no_write_and_no_time() -> None:
    nodes = [f"n{number:03}" for number in range(20 * BULK_WINDOW)]
    async with stage(*nodes) as here:
        began = here.clock.monotonic()
        await until("warm", here.loop.warmed.is_set)
        assert here.clock.monotonic() - began < len(nodes) / BULK_RATE / 2
        assert here.api.written == []


async def test_a_node_without_an_object_waits_for_a_handful_of_others_at_most() -> None:
    nodes = [f"n{number:03}" for number in range(6 * BULK_WINDOW)]
    async with stage(*nodes, content="new", without=nodes[-1]) as here:
        await until("written", lambda: here.written(nodes[-1]))
        assert (nodes[-1], "new") in here.api.written[: 2 * HANDS]


async def test_what_is_too_large_for_the_api_server_is_not_tried_again_before_it_changes() -> None:
    async with stage("n1") as here:
        here.api.failures, here.api.failure = 1, TooLargeError
        here.change("too large", "n1")
        await until("refused", lambda: here.watcher.failed_nodes == ["n1"])
        assert here.watcher.delays == [None]
        here.change("smaller", "n1")
        await until("written", lambda: here.written("n1") == ["smaller"])


async def test_changes_wait_until_a_rule_set_is_assembled_and_everybody_else_does_not() -> None:
    async with stage("n1", "n2") as here:
        turns = list[int]()

        def long() -> None:
            here.compiler.during = lambda: None
            here.clock.ahead += 1.0  # so a pause is due
            here.change("later", "n1", "n2")
            asyncio.get_running_loop().call_soon(lambda: turns.append(len(here.compiler.made)))

        made = len(here.compiler.made)
        here.compiler.during = long
        here.change("now", "n1")
        await until("written", lambda: here.written("n1")[-1:] == ["later"] == here.written("n2")[-1:])
        assert turns == [made], "in the middle of it"
        assert here.compiler.halves == 0


async def test_the_pauses_are_no_work_of_the_compiler() -> None:
    async with stage("n1") as here:

        def long() -> None:
            here.compiler.during = lambda: None
            here.clock.ahead += 1.0
            asyncio.get_running_loop().call_soon(others)

        def others() -> None:
            here.clock.ahead += 100.0

        here.compiler.during = long
        here.change("now", "n1")
        await until("written", lambda: here.written("n1"))
        assert 1.0 <= max(here.watcher.seconds) < 100.0
