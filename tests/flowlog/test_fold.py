"""Equal records become one, within bounds; and no hit of a rule is forgotten or told twice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.agent.flowlog_fold import Entry, Fold, Seen, Tally
from nodewall.agent.flowlog_packet import Packet
from nodewall.model.ruleset import NodeRuleSet

NOTHING = NodeRuleSet("n1")
ASK = Seen("deny:r1", Packet(b"\1\2\3\4", b"\5\6\7\10", 6, 4711, 80), False, 100.0, NOTHING)


def another(**packet: object) -> Seen:
    return replace(ASK, packet=replace(ASK.packet, **packet))  # type: ignore[arg-type]


# --- folding ----------------------------------------------------------------------------------------------------------


def test_a_client_that_retries_is_one_entry_with_a_count() -> None:
    fold = Fold()
    for number in range(3):
        assert fold.take(another(source_port=5000 + number), now=number / 10)
    assert fold.due(now=0.9) == []
    assert fold.due(now=1.0) == [Entry(another(source_port=5000), 3)]
    assert fold.due(now=9.0) == []


def test_after_the_window_a_new_entry_begins() -> None:
    fold = Fold()
    fold.take(ASK, now=0.0)
    fold.due(now=1.0)
    fold.take(ASK, now=1.1)
    assert fold.due(now=2.0) == []
    assert fold.due(now=2.1) == [Entry(ASK, 1)]


OTHERS = {
    "rule": replace(ASK, prefix="deny:r2"),
    "verdict": replace(ASK, prefix="accept:r1"),
    "hook": replace(ASK, to_node=True),
    "source": another(source=b"\1\2\3\5"),
    "destination": another(destination=b"\1\2\3\5"),
    "protocol": another(protocol=17),
    "port": another(destination_port=81),
    "type": another(icmp_type=8),
    "code": another(icmp_code=1),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_differs_is_an_entry_of_its_own(other: Seen) -> None:
    fold = Fold()
    fold.take(ASK, now=0.0)
    fold.take(other, now=0.0)
    assert fold.due(now=5.0) == [Entry(ASK, 1), Entry(other, 1)]


def test_entries_come_when_their_own_window_is_over() -> None:
    fold = Fold()
    fold.take(ASK, now=0.0)
    fold.take(OTHERS["port"], now=0.5)
    assert fold.due(now=1.2) == [Entry(ASK, 1)]
    assert fold.all() == [Entry(OTHERS["port"], 1)]
    assert len(fold) == 0


def test_a_flood_of_different_flows_finds_no_more_room_than_there_is() -> None:
    fold = Fold(capacity=10)
    taken = [fold.take(another(destination_port=port), now=0.0) for port in range(100)]
    assert taken == [True] * 10 + [False] * 90
    assert len(fold) == 10
    assert fold.take(another(destination_port=3), now=0.1)  # what is known needs no room
    assert sum(entry.count for entry in fold.all()) == 11


# --- hits and records -------------------------------------------------------------------------------------------------


def tallied(*readings: tuple[int, int], known: dict[str, int] | None = None) -> tuple[Tally, int]:
    """After (records, hits) pairs: so many records come, then the counter is read. And what was told of."""
    tally, told = Tally(known), 0
    for records, hits in readings:
        tally.recorded("r", records)
        tally.read({"r": hits}, {"r"})
        told += tally.take("r")
    return tally, told


@pytest.mark.parametrize(
    ("readings", "told"),
    [
        ([(0, 0), (10, 10), (0, 10)], 0),
        ([(0, 0), (10, 500), (0, 500)], 490),
        ([(0, 0), (10, 500)], 0),  # they may still be underway
        ([(0, 0), (0, 8), (8, 8)], 0),  # they were
        ([(0, 0), (5, 100), (5, 200), (0, 200)], 190),
        ([(0, 7), (0, 7), (0, 7)], 0),  # counted before anybody listened
        ([(3, 7), (0, 7), (0, 10), (0, 10)], 3),  # records of hits in the first reading are none of the later
        ([(0, 0), (10, 500), (0, 500), (0, 40), (0, 40)], 490 + 40),  # the table was replaced
        ([(0, 0), (0, 50), (9, 0), (0, 30), (0, 30)], 50 - 9 + 30),
        ([(0, 5), (9, 2), (0, 2)], 2),  # records of hits that went with the old table owe nothing to the new one's
    ],
)
def test_what_has_no_record_is_told_once(readings: list[tuple[int, int]], told: int) -> None:
    assert tallied(*readings)[1] == told


def test_a_rule_that_appears_has_hit_nothing_before() -> None:
    tally = Tally()
    tally.read({}, set())
    tally.read({"r": 30}, {"r"})
    tally.read({"r": 30}, {"r"})
    assert tally.take("r") == 30


def test_a_rule_that_begins_to_be_recorded_owes_nothing_for_the_time_before() -> None:
    tally = Tally()
    for hits, logged in ((0, set[str]()), (100, set[str]()), (130, {"r"}), (130, {"r"})):
        tally.read({"r": hits}, logged)
    assert tally.take("r") == 30


def test_a_line_that_was_not_written_is_told_of_later() -> None:
    tally, _ = tallied((0, 0), (1, 1), (0, 1))
    tally.lost("r", 1)
    assert tally.owing() == ["r"]
    assert tally.take("r") == 1
    assert tally.owing() == []


def test_whoever_comes_after_us_goes_on_where_we_ended() -> None:
    tally, told = tallied((0, 0), (10, 100))
    tally.recorded("r", 2)
    _, later = tallied((0, 150), (0, 150), known=tally.accounted({"r"}))
    assert told + later == 150 - 12


def test_whoever_comes_after_us_knows_of_a_rule_that_was_never_read() -> None:
    tally = Tally()
    tally.read({}, set())
    tally.recorded("r", 4)
    _, told = tallied((0, 90), (0, 90), known=tally.accounted({"r"}))
    assert told == 86


def test_a_rule_that_is_gone_is_forgotten_once_all_is_told() -> None:
    tally, _ = tallied((0, 0), (2, 100))
    tally.read({}, set())
    assert tally.take("r") == 98
    tally.recorded("r", 1)
    tally.read({}, set())
    tally.read({}, set())
    assert tally.settled
    assert tally.accounted({"r"}) == {"r": 0}


def test_settled_means_that_another_reading_would_tell_nothing() -> None:
    tally, _ = tallied((0, 0), (1, 1))
    assert not tally.settled
    tally.read({"r": 1}, {"r"})
    assert tally.settled


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20))
def test_in_the_end_each_hit_has_a_record_or_is_told_of(steps: list[tuple[int, int]]) -> None:
    """However late the records come, as long as there are no more of them than hits."""
    tally, hits, records, told = Tally(), 0, 0, 0
    tally.read({"r": 0}, {"r"})
    for more_hits, more_records in steps:
        hits += more_hits
        arrived = min(more_records, hits - records)
        records += arrived
        tally.recorded("r", arrived)
        tally.read({"r": hits}, {"r"})
        told += tally.take("r")
    tally.read({"r": hits}, {"r"})
    told += tally.take("r")
    assert told >= hits - records
    assert told - (hits - records) <= records
