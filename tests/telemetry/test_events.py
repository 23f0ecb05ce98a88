"""Events are said once, counted, combined, bounded, and written whatever the API server does."""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.telemetry import metrics
from nodewall.telemetry.events import (
    COMBINED,
    MESSAGE_BYTES,
    Deduplication,
    EventWriter,
    Limits,
    Notice,
    Reason,
    Reporter,
    Severity,
    Subject,
)

START = 1_700_000_000.0
LIMITS = Limits(repeat_after=60, forget_after=600, distinct=3, capacity=8, retry_after=10, attempts=3)
REPORTER = Reporter("nodewall-controller", "host-1")
POLICY = Subject("networking.k8s.io/v1", "NetworkPolicy", "deny-all", "shop", "uid-1")
NODE = Subject("v1", "Node", "worker-1", uid="uid-2")
INVALID = Notice(POLICY, Severity.WARNING, Reason.POLICY_INVALID, "ingress[0]: bad CIDR")


def fresh(limits: Limits = LIMITS) -> Deduplication:
    return Deduplication(REPORTER, limits)


def said(seen: Deduplication, now: float) -> list[Mapping[str, Any]]:
    """What is written at `now`, all of it with success."""
    due = seen.due(now)
    for each in due:
        seen.succeeded(each, now)
    return [each.event for each in due]


def counts(events: list[Mapping[str, Any]]) -> list[int]:
    return [event["count"] for event in events]


def test_the_shape_of_an_event() -> None:
    seen = fresh()
    seen.note(INVALID, START)
    (event,) = said(seen, START)
    name = event["metadata"]["name"]
    assert re.fullmatch(r"deny-all\.[0-9a-f]{16}", name)
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "shop"},
        "involvedObject": {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "namespace": "shop",
            "name": "deny-all",
            "uid": "uid-1",
        },
        "type": "Warning",
        "reason": "PolicyInvalid",
        "message": "ingress[0]: bad CIDR",
        "count": 1,
        "firstTimestamp": "2023-11-14T22:13:20Z",
        "lastTimestamp": "2023-11-14T22:13:20Z",
        "source": {"component": "nodewall-controller", "host": "host-1"},
        "reportingComponent": "nodewall-controller",
        "reportingInstance": "host-1",
    }
    assert [type(value) for value in (event["type"], event["reason"])] == [str, str]


def test_a_cluster_scoped_subject_has_its_events_in_default() -> None:
    seen = fresh()
    seen.note(replace(INVALID, subject=NODE), START)
    (event,) = said(seen, START)
    assert event["metadata"]["namespace"] == "default"
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "worker-1", "uid": "uid-2"}


def test_a_repeat_raises_the_count_of_the_same_event_but_not_at_once() -> None:
    seen = fresh()
    seen.note(INVALID, START)
    (first,) = said(seen, START)
    for second in (1, 2, 3):
        seen.note(INVALID, START + second)
    assert said(seen, START + 59) == []
    assert seen.next_due() == START + 60
    (repeat,) = said(seen, START + 60)
    assert repeat["metadata"] == first["metadata"]
    assert (repeat["count"], repeat["firstTimestamp"]) == (4, first["firstTimestamp"])
    assert repeat["lastTimestamp"] == "2023-11-14T22:13:23Z"
    assert (said(seen, START + 1000), seen.next_due()) == ([], None)


def test_what_was_silent_for_long_begins_a_new_event() -> None:
    seen = fresh()
    seen.note(INVALID, START)
    (first,) = said(seen, START)
    seen.note(INVALID, START + 600)
    (later,) = said(seen, START + 600)
    assert later["metadata"]["name"] != first["metadata"]["name"]
    assert later["count"] == 1


def test_what_goes_on_stays_one_event() -> None:
    seen = fresh()
    names = set()
    for second in range(0, 6000, 500):
        seen.note(INVALID, START + second)
        names |= {event["metadata"]["name"] for event in said(seen, START + second)}
    assert len(names) == 1


DIFFERENCES = [
    replace(INVALID, message="another text"),
    replace(INVALID, reason=Reason.POLICY_CONFLICTED),
    replace(INVALID, severity=Severity.NORMAL),
    replace(INVALID, subject=replace(POLICY, name="other")),
    replace(INVALID, subject=replace(POLICY, namespace="other")),
    replace(INVALID, subject=replace(POLICY, uid="uid-of-a-successor")),
]


@pytest.mark.parametrize("other", DIFFERENCES)
def test_what_differs_is_another_event(other: Notice) -> None:
    seen = fresh()
    seen.note(INVALID, START)
    seen.note(other, START)
    events = said(seen, START)
    assert counts(events) == [1, 1]
    assert len({event["metadata"]["name"] for event in events}) == 2


def test_a_flood_of_different_messages_is_combined() -> None:
    seen = fresh()
    for number in range(10):
        seen.note(replace(INVALID, message=f"problem {number}"), START)
    events = said(seen, START)
    assert [event["message"] for event in events] == ["problem 0", "problem 1", "problem 2", f"{COMBINED}problem 9"]
    assert counts(events) == [1, 1, 1, 7]


def test_combining_leaves_other_subjects_and_known_messages_alone() -> None:
    seen = fresh()
    for number in range(10):
        seen.note(replace(INVALID, message=f"problem {number}"), START)
    said(seen, START)
    seen.note(replace(INVALID, message="problem 1"), START + 1)
    seen.note(replace(INVALID, subject=NODE), START + 1)
    assert [event["message"] for event in said(seen, START + 100)] == ["problem 1", INVALID.message]


def test_a_flood_that_is_over_is_forgotten() -> None:
    seen = fresh()
    for number in range(10):
        seen.note(replace(INVALID, message=f"problem {number}"), START)
    said(seen, START)
    seen.note(INVALID, START + 600)
    assert len(seen) == 1
    assert [event["message"] for event in said(seen, START + 600)] == [INVALID.message]


def test_memory_is_bounded_and_the_longest_silent_goes_first() -> None:
    seen = fresh()
    subjects = [replace(POLICY, name=f"policy-{number}") for number in range(LIMITS.capacity)]
    for subject in subjects:
        seen.note(replace(INVALID, subject=subject), START)
    seen.note(replace(INVALID, subject=subjects[0]), START + 1)
    assert seen.note(INVALID, START + 2) == 1
    assert len(seen) == LIMITS.capacity
    names = [event["involvedObject"]["name"] for event in said(seen, START + 2)]
    assert names == [*(subject.name for subject in subjects[2:]), "policy-0", "deny-all"]
    assert seen.note(replace(INVALID, subject=NODE), START + 3) == 0


MESSAGES = [
    ("line\nbreak\x1b[0m", "line\\nbreak\\x1b[0m"),
    ("ä" * 1000, "ä" * 510 + "..."),
    ("x" * 1024, "x" * 1024),
]


@pytest.mark.parametrize(("message", "written"), MESSAGES)
def test_messages_are_one_line_and_clamped(message: str, written: str) -> None:
    seen = fresh()
    seen.note(replace(INVALID, message=message), START)
    assert [event["message"] for event in said(seen, START)] == [written]


def test_a_combined_message_is_clamped_too() -> None:
    seen = fresh()
    for number in range(5):
        seen.note(replace(INVALID, message=f"{number}" + "x" * 2000), START)
    assert {len(event["message"]) for event in said(seen, START)} == {MESSAGE_BYTES}


def test_a_long_subject_name_still_makes_a_valid_name() -> None:
    seen = fresh()
    seen.note(replace(INVALID, subject=replace(POLICY, name="a" * 235 + "." + "b" * 17)), START)
    (event,) = said(seen, START)
    assert len(event["metadata"]["name"]) <= 253
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", event["metadata"]["name"])
    assert ".." not in event["metadata"]["name"]


def test_a_failed_write_is_tried_again_later_each_time_and_then_given_up() -> None:
    seen = fresh()
    seen.note(INVALID, START)
    tried = []
    for second in range(200):
        for due in seen.due(START + second):
            tried.append(second)
            seen.failed(due, START + second)
    assert tried == [0, 10, 30]
    seen.note(INVALID, START + 200)
    assert counts(said(seen, START + 200)) == [2]


def test_what_is_not_written_yet_is_not_forgotten() -> None:
    seen = fresh()
    seen.note(INVALID, START)
    seen.note(replace(INVALID, subject=NODE), START + 10_000)
    assert len(said(seen, START + 10_000)) == 2


def test_a_repeat_during_a_write_is_not_lost() -> None:
    seen = fresh()
    seen.note(INVALID, START)
    (due,) = seen.due(START)
    seen.note(INVALID, START)
    seen.succeeded(due, START)
    assert counts(said(seen, START + 60)) == [2]


def test_the_end_of_a_write_that_is_no_longer_known_is_ignored() -> None:
    seen = fresh(replace(LIMITS, capacity=1))
    seen.note(INVALID, START)
    (due,) = seen.due(START)
    seen.note(replace(INVALID, subject=NODE), START)
    seen.failed(due, START)
    seen.succeeded(due, START)
    assert [event["involvedObject"]["kind"] for event in said(seen, START)] == ["Node"]


notices = st.builds(
    Notice,
    subject=st.sampled_from([POLICY, NODE, replace(POLICY, name="other")]),
    severity=st.sampled_from(Severity),
    reason=st.sampled_from([Reason.POLICY_INVALID, Reason.POLICY_CONFLICTED]),
    message=st.sampled_from(["", "a", "b", "c", "d", "e"]),
)


@given(st.lists(st.tuples(notices, st.floats(min_value=0, max_value=700)), max_size=60))
def test_every_notice_is_counted_exactly_once(history: list[tuple[Notice, float]]) -> None:
    """Over all Events, the last count that was written adds up to the number of notices; memory stays bounded."""
    seen = fresh(replace(LIMITS, capacity=1000))
    now, last = START, {}
    for notice, pause in history:
        now += pause
        seen.note(notice, now)
        last.update({event["metadata"]["name"]: event["count"] for event in said(seen, now)})
    last.update({event["metadata"]["name"]: event["count"] for event in said(seen, now + 60)})
    assert sum(last.values()) == len(history)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class FakeSink:
    """An API server that keeps Events by name, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.attempts = 0
        self.stored: dict[str, Mapping[str, Any]] = {}
        self.wrote = asyncio.Event()

    async def write_event(self, event: Mapping[str, Any]) -> None:
        self.attempts += 1
        if self.away:
            raise ConnectionError("the API server is away")
        self.stored[event["metadata"]["name"]] = json.loads(json.dumps(event))
        self.wrote.set()


class Bench:
    """A writer with everything it talks to."""

    def __init__(self) -> None:
        self.clock, self.sink = Clock(), FakeSink()
        self.counters = metrics.Metrics(metrics.CONTROLLER, "1.0")
        self.writer = EventWriter(self.sink, fresh(), self.counters, self.clock)

    def counted(self, name: str) -> float:
        pattern = rf"^{re.escape(name)} (\S+)$"
        return float(re.findall(pattern, self.counters.exposition().decode(), re.MULTILINE)[0])


async def test_the_writer_writes_and_counts() -> None:
    bench = Bench()
    bench.writer.note(INVALID)
    await bench.writer.write_due()
    assert [event["message"] for event in bench.sink.stored.values()] == [INVALID.message]
    assert bench.counted('nodewall_controller_events_total{outcome="done"}') == 1


async def test_the_writer_survives_an_api_server_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.sink.away = True
    bench.writer.note(INVALID)
    with caplog.at_level(logging.WARNING):
        await bench.writer.write_due()
    assert bench.counted('nodewall_controller_events_total{outcome="failed"}') == 1
    assert "cannot write an event" in caplog.messages
    bench.sink.away = False
    await bench.writer.write_due()
    assert bench.sink.stored == {}
    bench.clock.now += 10
    await bench.writer.write_due()
    assert len(bench.sink.stored) == 1


async def test_a_round_ends_early_while_the_api_server_is_away() -> None:
    bench = Bench()
    bench.sink.away = True
    for number in range(LIMITS.capacity):
        bench.writer.note(replace(INVALID, subject=replace(POLICY, name=f"policy-{number}")))
    await bench.writer.write_due()
    assert bench.sink.attempts == 3


async def test_what_had_to_be_forgotten_is_counted() -> None:
    bench = Bench()
    for number in range(LIMITS.capacity + 2):
        bench.writer.note(replace(INVALID, subject=replace(POLICY, name=f"policy-{number}")))
    assert bench.counted("nodewall_controller_events_dropped_total") == 2


async def test_the_running_writer_wakes_for_each_notice() -> None:
    bench = Bench()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.writer.run())
        for subject in (POLICY, NODE):
            bench.writer.note(replace(INVALID, subject=subject))
            await bench.sink.wrote.wait()
            bench.sink.wrote.clear()
        running.cancel()
    assert {event["involvedObject"]["name"] for event in bench.sink.stored.values()} == {"deny-all", "worker-1"}


async def test_the_running_writer_comes_back_for_what_is_due_later() -> None:
    limits = replace(LIMITS, retry_after=0.01)
    sink, counters = FakeSink(), metrics.Metrics(metrics.CONTROLLER, "1.0")
    writer = EventWriter(sink, fresh(limits), counters)
    sink.away = True
    writer.note(INVALID)
    await writer.write_due()
    sink.away = False
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(writer.run())
        await sink.wrote.wait()
        running.cancel()
    assert len(sink.stored) == 1
