"""How long changes take to the kernel: which are measured, and which would say nothing."""

import json
from dataclasses import replace

import pytest

from nodewall.agent.decide import Target
from nodewall.agent.programming import MOST, Programming
from nodewall.api.ruleset import CHANGED_AT
from nodewall.render import Settings, render
from tests.agent.rulesets import content, ruleset

BEGAN = 1_800_000_000.0
AT = "2027-01-15T08:00:{:09.6f}Z"
"""So many seconds after BEGAN."""


class World:
    def __init__(self) -> None:
        self.now, self.seen = BEGAN, list[float]()
        self.programming = Programming(self.seen.append, lambda: self.now)

    def saw(self, generation: int, changed: float | str | None, uid: str = "u1") -> None:
        text = AT.format(changed) if isinstance(changed, float) else changed
        metadata = {} if text is None else {"annotations": {CHANGED_AT: text, "a": "b"}}
        self.programming.saw(uid, generation, json.dumps({"metadata": metadata, "spec": {}}).encode())

    def applied(
        self, generation: int, at: float, *, source: bytes = b"{}", uid: str = "u1", parts: tuple[bytes, ...] = ()
    ) -> None:
        self.now = BEGAN + at
        found = replace(ruleset(generation, uid=uid), source=source, parts=parts)
        self.programming.applied(Target(found, Settings(), render(content())))


@pytest.fixture
def world() -> World:
    return World()


def test_from_the_change_to_the_kernel(world: World) -> None:
    world.saw(1, 1.5)
    world.applied(1, at=1.75)
    assert world.seen == [pytest.approx(0.25)]


def test_what_is_nested_too_deep_is_measured_as_well(world: World) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    source = f'{{"metadata":{{"annotations":{{"{CHANGED_AT}":"{AT.format(1.5)}"}},"managedFields":{deep}}}}}'
    world.programming.saw("u1", 1, source.encode())
    world.applied(1, at=1.75)
    assert world.seen == [pytest.approx(0.25)]


def test_what_was_skipped_has_been_waiting_since_its_own_change(world: World) -> None:
    for generation, changed in ((1, 1.0), (2, 2.0), (3, 3.0)):
        world.saw(generation, changed)
    world.applied(2, at=4.0)
    assert world.seen == [pytest.approx(3.0), pytest.approx(2.0)]
    world.applied(3, at=5.0)
    assert world.seen[2:] == [pytest.approx(2.0)]


def test_each_once(world: World) -> None:
    """Its status comes back, and the table is drawn anew because of a link."""
    world.saw(1, 1.0)
    world.saw(1, 1.0)
    world.applied(1, at=2.0)
    world.saw(1, 1.0)
    world.applied(1, at=9.0)
    assert len(world.seen) == 1


def test_not_what_happened_before_this_process(world: World) -> None:
    world.saw(7, "2027-01-15T07:59:59Z")
    world.applied(7, at=1.0)
    assert world.seen == []


def test_not_a_step_on_the_way(world: World) -> None:
    world.saw(1, 1.0)
    world.applied(1, at=1.5, source=b"")
    assert world.seen == []
    world.applied(1, at=2.0)
    assert world.seen == [pytest.approx(1.0)]


def test_another_object_begins_anew(world: World) -> None:
    world.saw(1, 1.0)
    world.saw(2, 2.0, uid="u2")
    world.applied(1, at=3.0)
    assert world.seen == []
    world.applied(2, at=4.0, uid="u2")
    assert world.seen == [pytest.approx(2.0)]


def test_a_clock_that_is_ahead_of_ours_is_no_negative_time(world: World) -> None:
    world.saw(1, 3.0)
    world.applied(1, at=1.0)
    assert world.seen == [0.0]


def part(name: str, changed: float | str | None) -> bytes:
    text = AT.format(changed) if isinstance(changed, float) else changed
    metadata = {"name": name} | ({"annotations": {CHANGED_AT: text}} if text is not None else {})
    return json.dumps({"metadata": metadata}).encode()


def test_a_new_version_of_a_shared_group_counts_once(world: World) -> None:
    first, other, second = part("g", 1.0), part("h", 1.0), part("g", 5.0)
    world.saw(1, 1.0)
    world.applied(1, at=2.0, parts=(first, other))
    assert world.seen == [pytest.approx(1.0)]
    for at in (5.5, 7.0):
        world.applied(1, at=at, parts=(second, other))
    assert world.seen[1:] == [pytest.approx(0.5)]


def test_a_shared_group_that_changed_before_this_process_says_nothing(world: World) -> None:
    """What was in force from the disk was older still."""
    for at, changed in ((1.0, "2027-01-15T07:00:00Z"), (2.0, "2027-01-15T07:59:59Z")):
        world.applied(1, at=at, uid="", parts=(part("g", changed),))
    assert world.seen == []


def test_a_shared_group_that_is_new_here_says_nothing(world: World) -> None:
    """It changed long before a pod of this node needed it."""
    world.saw(1, 1.0)
    world.applied(1, at=1.0, parts=(part("g", 0.5),))
    world.applied(1, at=100.0, parts=(part("g", 0.5), part("h", 2.0)))
    world.applied(1, at=200.0, parts=(part("g", 0.5), part("h", 2.0), part("i", None)))
    world.applied(1, at=300.0, parts=(part("i", None),))
    assert world.seen[1:] == []


@pytest.mark.parametrize("text", [None, "", "yesterday", "2027-13-45T00:00:00Z"])
def test_an_object_that_does_not_say_is_not_measured(world: World, text: str | None) -> None:
    world.saw(1, text)
    world.applied(1, at=1.0)
    assert world.seen == []


def test_memory_is_bounded(world: World) -> None:
    for generation in range(MOST + 10):
        world.saw(generation + 1, 1.0)
    world.applied(MOST + 10, at=2.0)
    assert len(world.seen) == MOST
