"""The loop itself: it ends when told to, skips what is outdated, and survives what nobody foresaw."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from nodewall.agent.decide import Finding, Kind, Reason, RuleSet, State, Target
from nodewall.agent.kernel import KernelRefusedError, KernelUnavailableError
from nodewall.agent.loop import HANGS, Inbox, Loop, Sighting, Times, Ways
from nodewall.agent.setup import Setup
from nodewall.kube.clock import SystemClock
from nodewall.model.address import Address
from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import Endpoint, NodeRuleSet
from tests.agent.rulesets import broken, content, ruleset


class Kernel:
    """Takes everything, but the errors that wait for it."""

    def __init__(self) -> None:
        self.applied: list[Mapping[str, Any]] = []
        self.errors: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply(self, commands: Mapping[str, Any]) -> None:
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.applied.append(commands)

    async def has_table(self) -> bool:
        return False


class Listener:
    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    def changed(self, _state: State) -> None:
        pass

    def applied(self, kind: Kind, target: Target, _seconds: float) -> None:
        self.events.append((kind.value, target.ruleset.generation))

    def adopted(self, target: Target) -> None:
        self.events.append(("adopted", target.ruleset.generation))

    def refused(self, kind: Kind, finding: Finding, _seconds: float) -> None:
        self.events.append((f"refused {kind.value}", finding.reason))


class Clock(SystemClock):
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def owned_by(pod: str) -> NodeRuleSet:
    return replace(content(), endpoints=(Endpoint("shop", pod, (Address("10.0.1.10"),), ingress="web"),))


CONTENTS = {
    1: content("10.0.2.1"),
    2: content("10.0.2.2"),
    3: content("10.0.2.3"),
    4: owned_by("first"),
    5: owned_by("second"),
    8: broken(),
}


def read(source: bytes) -> RuleSet:
    generation = int(source)
    if generation == 9:
        raise BadInputError("cannot be used")
    if generation == 10:
        raise ZeroDivisionError("a mistake of ours")
    return ruleset(generation, CONTENTS[generation])


def sighting(generation: int) -> Sighting:
    return Sighting("u1", generation, str(generation).encode())


class World:
    def __init__(self) -> None:
        self.kernel, self.listener, self.clock, self.inbox = Kernel(), Listener(), Clock(), Inbox()
        ways = Ways(read, self.kernel, self.forget, self.reserve)
        self.loop = Loop(self.inbox, ways, self.listener, Times(self.clock, lambda: 0.0))
        self.forgotten: list[tuple[frozenset[Address], int]] = []
        """Which addresses, after how many transactions."""
        self.reserved: list[int] = []

    async def forget(self, addresses: frozenset[Address]) -> None:
        self.forgotten.append((addresses, len(self.kernel.applied)))

    def reserve(self, generation: int) -> None:
        self.reserved.append(generation)

    async def turned(self, *generations: int) -> list[tuple[str, object]]:
        for generation in generations:
            self.inbox.saw(sighting(generation))
            await self.loop.turn()
        return self.listener.events


async def test_one_after_the_other() -> None:
    assert await World().turned(1, 2, 3) == [("replace", 1), ("diff", 2), ("diff", 3)]


async def test_what_is_outdated_is_skipped() -> None:
    world = World()
    for generation in (1, 2):
        world.inbox.saw(sighting(generation))
    assert await world.turned(3) == [("replace", 3)]


async def test_what_came_while_the_kernel_was_busy_is_not_forgotten() -> None:
    world = World()
    world.kernel.gate.clear()
    world.inbox.saw(sighting(1))
    turn = asyncio.create_task(world.loop.turn())
    await asyncio.sleep(0)
    world.inbox.saw(sighting(2))
    world.kernel.gate.set()
    await turn
    assert world.listener.events == [("replace", 1), ("diff", 2)]


async def test_a_refused_diff_is_followed_by_a_replace() -> None:
    world = World()
    await world.turned(1)
    world.kernel.errors.append(KernelRefusedError("busy"))
    assert await world.turned(2) == [
        ("replace", 1),
        ("refused diff", Reason.KERNEL_REFUSED),
        ("replace", 2),
    ]


async def test_a_refused_replace_is_tried_again_later() -> None:
    world = World()
    world.kernel.errors.append(KernelUnavailableError("no permission"))
    assert await world.turned(1) == [("refused replace", Reason.KERNEL_UNAVAILABLE)]
    await world.loop.turn()
    assert len(world.listener.events) == 1
    world.clock.now += 1
    await world.loop.turn()
    assert world.listener.events[1:] == [("replace", 1)]


@pytest.mark.parametrize("generation", [8, 9, 10])
async def test_the_unusable_the_unforeseen_and_the_undrawable_leave_the_last_good_one(
    generation: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    assert await world.turned(1, generation) == [("replace", 1)]
    assert world.loop.state.trouble is not None
    assert world.loop.state.trouble.reason is Reason.UNUSABLE
    assert (await world.turned(2))[1:] == [("diff", 2)]


async def test_a_handed_on_address_is_forgotten_between_its_owners() -> None:
    world = World()
    await world.turned(4, 5)
    assert world.listener.events == [("replace", 4), ("diff", 5), ("diff", 5)]
    assert world.forgotten == [(frozenset({Address("10.0.1.10")}), 2)]


async def test_it_ends_when_told_to_even_together_with_news() -> None:
    for _ in range(200):
        world = World()
        task = asyncio.create_task(world.loop.run(Setup()))
        for _ in range(5):
            await asyncio.sleep(0)
        world.inbox.saw(sighting(1))
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()


async def test_a_transaction_that_takes_long_is_no_standstill() -> None:
    world = World()
    world.kernel.gate.clear()
    turning = asyncio.create_task(world.turned(1))
    await asyncio.sleep(0)
    world.clock.now += 2 * HANGS
    assert world.loop.problems() == []
    world.kernel.gate.set()
    await turning
    assert world.loop.problems() == []
    world.clock.now += HANGS
    assert world.loop.problems() != []


async def test_a_loop_that_stands_still_is_told_and_a_long_transaction_is_not() -> None:
    world = World()
    await world.turned(1)
    assert world.loop.problems() == []
    world.clock.now += HANGS
    assert world.loop.problems() == ["the loop has stood still for 60 seconds"]
    world.loop.applying = True
    assert world.loop.problems() == []
