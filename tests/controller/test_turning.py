"""Liveness of the controller: no progress although there is work, and nothing else."""

from collections.abc import Callable

import pytest

from nodewall.controller.publish import OversizedError, Result, Step
from nodewall.controller.schedule import Pace
from nodewall.controller.telling import Publishing
from nodewall.controller.turning import HANGS, Turning
from nodewall.kube.clock import LAST_DELAY, LONGEST_WISH
from nodewall.kube.errors import Call, UnreachableError
from nodewall.telemetry.metrics import CONTROLLER, Metrics
from tests.controller.running import furnish, measured, until
from tests.kube.fake_api import FakeApi


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turning(clock: Clock) -> Turning:
    return Turning(clock)


def test_with_work_and_without_a_turn_it_hangs(clock: Clock, turning: Turning) -> None:
    turning.turned(3)
    clock.now += HANGS - 1
    assert turning.problems() == []
    clock.now += 1
    assert turning.problems() == ["3 nodes wait, and nothing has been done for 300 seconds"]


def test_without_work_it_may_wait_for_ever(clock: Clock, turning: Turning) -> None:
    for waiting in (None, 0):
        turning.turned(waiting)
        clock.now += 100 * HANGS
        assert turning.problems() == []


def test_much_work_is_progress(clock: Clock, turning: Turning) -> None:
    """A sync of hours, with something done now and then."""
    turning.turned(5000)
    for _ in range(100):
        clock.now += HANGS / 2
        turning.turned()
        assert turning.problems() == []


def test_no_pause_of_the_loop_is_as_long() -> None:
    assert 2 * max(LAST_DELAY, LONGEST_WISH, Pace().patience) < HANGS


async def test_a_controller_says_so_where_the_kubelet_asks() -> None:
    async with FakeApi() as api:
        furnish(api)
        counters = Metrics(CONTROLLER, "test")
        async with measured(api, counters) as listing:
            assert listing.stuck() == ()
            await until("listed", listing.done.is_set)
            assert listing.stuck() == []


TURNS: dict[str, Callable[[Publishing], None]] = {
    "compiled": lambda publishing: publishing.compiled(0.1),
    "published": lambda publishing: publishing.published("n1", Result(Step.WRITE, "d"), 0.1),
    "left": lambda publishing: publishing.published("n1", Result(Step.STAND_BY, "d"), 0.1),
    "oversized": lambda publishing: publishing.oversized(OversizedError("n1", 1 << 20)),
    "failed": lambda publishing: publishing.failed("n1", UnreachableError(Call("patch", "n1"), "no answer"), 1.0),
    "waiting": lambda publishing: publishing.waiting(7),
}


@pytest.mark.parametrize("turn", TURNS)
def test_whatever_the_loop_does_counts(clock: Clock, turning: Turning, turn: str) -> None:
    publishing = Publishing(Metrics(CONTROLLER, "test"), lambda _node, _finding: None, lambda: None, turning)
    publishing.waiting(7)
    clock.now += HANGS
    assert turning.problems()
    TURNS[turn](publishing)
    assert turning.problems() == []
