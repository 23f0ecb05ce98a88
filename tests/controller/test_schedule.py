"""When a key is handed out: after quiet, after patience, at once, never twice at a time."""

import pytest

from nodewall.controller.schedule import Pace, Schedule

PACE = Pace(quiet=0.05, patience=0.25)


@pytest.fixture
def schedule() -> Schedule[str]:
    return Schedule(PACE, hands=2)


def test_a_key_waits_for_quiet(schedule: Schedule[str]) -> None:
    schedule.mark("n1", 0.0)
    schedule.mark("n1", 0.04)
    assert schedule.take(0.08) == []
    assert schedule.take(0.09) == ["n1"]


def test_patience_ends_before_quiet_comes(schedule: Schedule[str]) -> None:
    for tick in range(25):
        schedule.mark("n1", tick / 100)
        assert schedule.take(tick / 100) == []
    assert schedule.take(0.25) == ["n1"]


ALONE = Pace(quiet=0.05, patience=0.25, idle=0.3)


def test_a_key_that_was_idle_does_not_wait() -> None:
    schedule: Schedule[str] = Schedule(ALONE, hands=1)
    schedule.mark("n1", 1.0)
    assert schedule.wakes_at() == 1.0
    assert schedule.take(1.0) == ["n1"]
    schedule.done("n1", 1.1)
    schedule.mark("n1", 1.5)
    assert schedule.take(1.5) == ["n1"]


@pytest.mark.parametrize("in_hand", [True, False])
def test_what_follows_closely_waits_for_quiet(in_hand: bool) -> None:
    """Whether its hand was still busy, or just free again; so a storm is a few writes, not one for each change."""
    schedule: Schedule[str] = Schedule(ALONE, hands=1)
    schedule.mark("n1", 1.0)
    schedule.take(1.0)
    if in_hand:
        schedule.mark("n1", 1.09)
    schedule.done("n1", 1.1)
    schedule.mark("n1", 1.11)
    assert schedule.take(1.15) == []
    assert schedule.take(1.161) == ["n1"]


def test_changes_in_a_row_are_few_hands() -> None:
    """One at once, then one for each patience."""
    schedule: Schedule[str] = Schedule(ALONE, hands=1)
    taken = 0
    for tick in range(100):
        schedule.mark("n1", tick / 100)
        for key in schedule.take(tick / 100):
            taken += 1
            schedule.done(key, tick / 100)
    assert taken == 1 + 3


def test_a_failure_is_no_rest() -> None:
    schedule: Schedule[str] = Schedule(ALONE, hands=1)
    schedule.mark("n1", 1.0)
    schedule.take(1.0)
    schedule.failed("n1", 1.0, delay=3.0)
    schedule.mark("n1", 2.0)
    assert schedule.take(3.9) == []
    assert schedule.take(4.0) == ["n1"]


def test_no_key_is_remembered_for_longer_than_it_matters() -> None:
    schedule: Schedule[str] = Schedule(ALONE, hands=1)
    for number in range(100):
        schedule.mark(f"n{number}", float(number))
        (key,) = schedule.take(float(number))
        schedule.done(key, float(number))
    assert len(schedule._used) <= 2  # noqa: SLF001 - nothing else tells


def test_an_urgent_key_does_not_wait_and_overtakes(schedule: Schedule[str]) -> None:
    for key in ("a", "b", "c"):
        schedule.mark(key, 0.0)
    schedule.mark("c", 0.06, urgent=True)
    assert schedule.take(0.06) == ["c", "a"]


def test_no_more_keys_than_hands(schedule: Schedule[str]) -> None:
    for key in ("a", "b", "c"):
        schedule.mark(key, 0.0, urgent=True)
    assert schedule.take(0.0) == ["a", "b"]
    assert schedule.wakes_at() is None
    schedule.done("a", 0.0)
    assert schedule.take(0.0) == ["c"]


@pytest.mark.parametrize("urgent", [False, True])
def test_a_key_in_hand_is_not_handed_out_again(schedule: Schedule[str], urgent: bool) -> None:
    schedule.mark("n1", 0.0, urgent=True)
    assert schedule.take(0.0) == ["n1"]
    schedule.mark("n1", 0.1, urgent=urgent)
    assert schedule.take(1.0) == []
    schedule.done("n1", 1.0)
    assert schedule.take(1.0) == ["n1"]
    schedule.done("n1", 1.0)
    assert schedule.take(2.0) == []
    assert len(schedule) == 0


def test_an_old_timer_does_not_hand_out_a_key_in_hand(schedule: Schedule[str]) -> None:
    schedule.mark("n1", 0.0)
    schedule.mark("n1", 0.01, urgent=True)
    assert schedule.take(0.01) == ["n1"]
    schedule.mark("n1", 0.02)
    assert schedule.take(1.0) == []


def test_back_off_holds_whatever_marks_come(schedule: Schedule[str]) -> None:
    schedule.mark("n1", 0.0, urgent=True)
    schedule.take(0.0)
    schedule.failed("n1", 0.0, delay=3.0)
    schedule.mark("n1", 1.0, urgent=True)
    assert schedule.take(2.9) == []
    assert schedule.wakes_at() == 3.0
    assert schedule.take(3.0) == ["n1"]


def test_a_failed_key_comes_again_without_a_mark(schedule: Schedule[str]) -> None:
    schedule.mark("n1", 0.0)
    schedule.take(1.0)
    schedule.failed("n1", 1.0, delay=0.5)
    assert schedule.take(1.4) == []
    assert schedule.take(1.5) == ["n1"]


@pytest.mark.parametrize(
    ("marks", "at"),
    [
        ([], None),
        ([("a", 1.0, False)], 1.05),
        ([("a", 1.0, True)], 1.0),
        ([("a", 1.0, False), ("b", 0.9, False)], 0.95),
    ],
)
def test_it_says_when_to_come_back(schedule: Schedule[str], marks: list[tuple[str, float, bool]], at: float) -> None:
    for key, now, urgent in marks:
        schedule.mark(key, now, urgent=urgent)
    assert schedule.wakes_at() == pytest.approx(at)


def test_without_marks_it_need_not_come_back(schedule: Schedule[str]) -> None:
    assert schedule.wakes_at() is None


def test_what_is_forgotten_is_not_handed_out(schedule: Schedule[str]) -> None:
    schedule.mark("a", 0.0)
    schedule.mark("b", 0.0, urgent=True)
    schedule.forget("a")
    schedule.forget("b")
    assert schedule.take(9.0) == []


def test_thousands_of_keys_leave_in_the_order_they_were_due() -> None:
    schedule = Schedule[int](PACE, hands=5000)
    for key in range(5000):
        schedule.mark(key, key / 10_000)
    assert schedule.take(1.0) == list(range(5000))


def test_one_that_was_forgotten_comes_back_as_it_is_marked_then() -> None:
    schedule = Schedule[str](PACE, 1)
    schedule.mark("old", 0.0, urgent=True)
    schedule.forget("old")
    schedule.mark("old", 0.0)
    schedule.mark("new", 0.0, urgent=True)
    assert schedule.take(0.0) == ["new"]
