"""Who may write: the Lease as it is seen, the time, and what follows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nodewall.controller.lease import LONGEST_SECONDS, Move, Sight, Terms, look, move, released, renewed, taken
from nodewall.kube.lease import Lease

WALL = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms(duration=10, keep=7.0)
THEIRS = Lease("b", 10, WALL, WALL, transitions=3, version="7")
OURS = replace(THEIRS, holder="a")

CASES = {
    "there is none": (Sight(None, 0), 0, Move.TAKE),
    "there is none any more": (Sight(None, 0, vanished=True), 9.9, Move.WAIT),
    "there has been none for long": (Sight(None, 0, vanished=True), 10, Move.TAKE),
    "nobody holds it": (Sight(replace(THEIRS, holder=""), 0), 0, Move.TAKE),
    "it is ours": (Sight(OURS, 0), 100, Move.RENEW),
    "it is another's": (Sight(THEIRS, 0), 9.9, Move.WAIT),
    "the other is silent": (Sight(THEIRS, 0), 10, Move.TAKE),
    "the other asked for longer": (Sight(replace(THEIRS, seconds=20), 0), 19.9, Move.WAIT),
    "longer has passed": (Sight(replace(THEIRS, seconds=20), 0), 20, Move.TAKE),
    "the other asked for nothing": (Sight(replace(THEIRS, seconds=0), 0), 9.9, Move.WAIT),
    "the other asked for days": (Sight(replace(THEIRS, seconds=10**6), 0), LONGEST_SECONDS, Move.TAKE),
}


@pytest.mark.parametrize(("sight", "now", "wanted"), CASES.values(), ids=CASES)
def test_moves(sight: Sight, now: float, wanted: Move) -> None:
    assert move("a", sight, TERMS, now) is wanted


def test_a_sign_of_life_makes_it_fresh_and_nothing_else_does() -> None:
    sight = look(None, THEIRS, 0)
    assert look(sight, replace(THEIRS, version="8"), 5) == Sight(replace(THEIRS, version="8"), 0)
    fresh = replace(THEIRS, renewed=WALL + timedelta(seconds=2))
    assert look(sight, fresh, 5) == Sight(fresh, 5)
    assert look(sight, replace(THEIRS, holder="c"), 5).since == 5


def test_a_clock_that_is_wrong_elsewhere_decides_nothing() -> None:
    """What counts is that the text changes, not what it says."""
    sight = look(None, replace(THEIRS, renewed=WALL + timedelta(days=1)), 0)
    earlier = replace(THEIRS, renewed=WALL - timedelta(days=1))
    assert look(sight, earlier, 9).since == 9
    assert move("a", sight, TERMS, 10) is Move.TAKE


def test_one_that_vanished_is_remembered_until_it_is_there_again() -> None:
    gone = look(look(None, THEIRS, 0), None, 1)
    assert gone == Sight(None, 1, vanished=True)
    assert look(gone, None, 5) == gone
    assert look(None, None, 0) == Sight(None, 0)
    assert look(gone, THEIRS, 6) == Sight(THEIRS, 6)


def test_what_is_written() -> None:
    later = WALL + timedelta(seconds=5)
    assert taken("a", None, TERMS, WALL) == Lease("a", 10, WALL, WALL, 0, "")
    assert taken("a", THEIRS, TERMS, later) == Lease("a", 10, later, later, 4, "7")
    assert renewed(OURS, TERMS, later) == replace(OURS, renewed=later)
    assert released(OURS, later) == replace(OURS, holder="", seconds=1, renewed=later)


def test_who_holds_it_stops_before_anybody_else_may_begin() -> None:
    """With room for a request that is answered as late as can be."""
    terms = Terms()
    assert terms.keep + terms.request <= terms.duration
    assert terms.renew + terms.request < terms.keep
    assert terms.duration + 2 * terms.poll + terms.request <= 15
