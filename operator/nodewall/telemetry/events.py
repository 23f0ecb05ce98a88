"""Kubernetes Events, said once: repeats raise a count, floods are combined, and memory is bounded.

`Deduplication` decides and does no I/O: it is told what happened and when, and answers which Event objects are to be
written now. `EventWriter` does the writing, in one task, through an `EventSink`. Only the controller writes Events.

An Event here is a core/v1 object. Repeats of the same text about the same object keep its name and raise its `count`,
so the sink must create or replace by name; server-side apply does.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from nodewall.telemetry import metrics
from nodewall.telemetry.lines import clamp, one_line

log = logging.getLogger(__name__)

MESSAGE_BYTES: Final = 1024
"""Longest message that the API server takes."""
COMBINED: Final = "(combined from similar events) "
_NAME_PREFIX: Final = 236  # of a name's 253 bytes; the rest is a dot and 16 hexadecimal digits
_FAILURES_IN_A_ROW: Final = 3  # after so many the API server is away, and the rest of a round would fail too
_SHORTEST_PAUSE: Final = 1.0  # seconds between rounds when one ended early


class Severity(StrEnum):
    """The two types that Kubernetes knows."""

    NORMAL = "Normal"
    WARNING = "Warning"


class Reason(StrEnum):
    """Why an Event is written; nothing else ever is."""

    POLICY_ACCEPTED = "PolicyAccepted"
    POLICY_INVALID = "PolicyInvalid"
    POLICY_CONFLICTED = "PolicyConflicted"
    POLICY_DEGRADED = "PolicyDegraded"
    POLICY_RECOVERED = "PolicyRecovered"
    NOT_COMPILED = "NotCompiled"
    ANNOTATION_INVALID = "AnnotationInvalid"
    RULE_SET_TOO_LARGE = "RuleSetTooLarge"
    RULE_SET_HELD = "RuleSetHeld"
    RULE_SET_REPAIRED = "RuleSetRepaired"
    RULE_SET_NOT_APPLIED = "RuleSetNotApplied"
    NODE_DRIFTED = "NodeDrifted"
    NODE_DEGRADED = "NodeDegraded"
    NODE_RECOVERED = "NodeRecovered"


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about; an empty namespace means a cluster-scoped one."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing worth an Event. Two equal notices are the same thing said twice."""

    subject: Subject
    severity: Severity
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is said; times in seconds."""

    repeat_after: float = 60
    """Least time between two writes of one Event."""
    forget_after: float = 600
    """A notice that was silent for so long begins a new Event."""
    distinct: int = 10
    """Different messages per subject and reason; further ones share one combined Event."""
    capacity: int = 4096
    """Notices remembered; the longest silent one is forgotten first."""
    retry_after: float = 10
    """Time until a failed write is tried again; it doubles with every failure."""
    attempts: int = 5
    """Writes tried before an Event is given up until it is noted again."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who writes: the component's name and the host it runs on."""

    component: str
    host: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known about one notice; times in seconds since 1970."""

    message: str
    first: float
    last: float
    count: int = 1
    written: int = 0
    due: float = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """An Event object to write now: hand `key` and `count` back when that worked or failed."""

    key: Notice
    count: int
    event: Mapping[str, Any]


class EventSink(Protocol):
    """The way to the API server."""

    async def write_event(self, event: Mapping[str, Any]) -> None:
        """Create the Event, or replace the one of this name; raise when that fails."""


class Deduplication:
    """What has been said lately. The clock is an argument: seconds since 1970."""

    def __init__(self, reporter: Reporter, limits: Limits | None = None) -> None:
        self._reporter = reporter
        self._limits = limits or Limits()
        self._seen: OrderedDict[Notice, Seen] = OrderedDict()  # the longest silent first
        self._messages: Counter[Notice] = Counter()  # per notice without its message

    def __len__(self) -> int:
        return len(self._seen)

    def note(self, notice: Notice, now: float) -> int:
        """Take in one notice; what is to be written because of it comes from `due`.

        Returns how many others were forgotten for lack of room although they had never been written.
        """
        self._forget(now)
        notice = replace(notice, message=clamp(one_line(notice.message), MESSAGE_BYTES))
        key = self._key(notice)
        message = notice.message if key.message else clamp(COMBINED + notice.message, MESSAGE_BYTES)
        seen = self._seen.get(key)
        if seen is None:
            dropped = self._make_room()
            self._add(key, Seen(message=message, first=now, last=now, due=now))
            return dropped
        self._seen[key] = replace(seen, message=message, last=now, count=seen.count + 1)
        self._seen.move_to_end(key)
        return 0

    def due(self, now: float) -> list[Due]:
        """Every Event that has something new to say and has been quiet for long enough."""
        return [
            Due(key, seen.count, _event(key, seen, self._reporter))
            for key, seen in self._seen.items()
            if seen.written < seen.count and seen.due <= now
        ]

    def next_due(self) -> float | None:
        """When `due` will next have something; None while there is nothing to say."""
        return min((seen.due for seen in self._seen.values() if seen.written < seen.count), default=None)

    def succeeded(self, due: Due, now: float) -> None:
        """The Event was written."""
        self._mark(due.key, written=due.count, due=now + self._limits.repeat_after, failures=0)

    def failed(self, due: Due, now: float) -> None:
        """The Event was not written; it stays due, later each time, until it is given up."""
        seen = self._seen.get(due.key)
        if seen is None:
            return
        failures = seen.failures + 1
        if failures >= self._limits.attempts:
            self.succeeded(due, now)
            return
        self._mark(due.key, due=now + self._limits.retry_after * 2 ** (failures - 1), failures=failures)

    def _mark(self, key: Notice, **changes: Any) -> None:
        if key in self._seen:
            self._seen[key] = replace(self._seen[key], **changes)

    def _key(self, notice: Notice) -> Notice:
        """The notice itself, or the one that stands for all further messages of its subject and reason."""
        combined = replace(notice, message="")
        if notice in self._seen or self._messages[combined] < self._limits.distinct:
            return notice
        return combined

    def _make_room(self) -> int:
        dropped = 0
        while len(self._seen) >= self._limits.capacity:
            oldest = next(iter(self._seen))
            dropped += self._seen[oldest].written == 0
            self._remove(oldest)
        return dropped

    def _add(self, key: Notice, seen: Seen) -> None:
        self._seen[key] = seen
        if key.message:
            self._messages[replace(key, message="")] += 1

    def _remove(self, key: Notice) -> None:
        del self._seen[key]
        group = replace(key, message="")
        if key.message:
            self._messages[group] -= 1
            if not self._messages[group]:
                del self._messages[group]

    def _forget(self, now: float) -> None:
        for key in list(self._silent(now)):
            self._remove(key)

    def _silent(self, now: float) -> Iterator[Notice]:
        """Notices that have been silent for long and owe no write, from the longest silent on."""
        for key, seen in self._seen.items():
            if now - seen.last < self._limits.forget_after:
                return
            if seen.written == seen.count:
                yield key


class EventWriter:
    """Notes at any time, from anywhere in the loop; writes from the one task that runs `run`."""

    def __init__(
        self,
        sink: EventSink,
        deduplication: Deduplication,
        counters: metrics.Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sink = sink
        self._deduplication = deduplication
        self._counters = counters
        self._clock = clock
        self._noted = asyncio.Event()

    def note(self, notice: Notice) -> None:
        """Say something; returns at once, and never fails because of the API server."""
        if dropped := self._deduplication.note(notice, self._clock()):
            self._counters.add(metrics.EVENTS_DROPPED, by=dropped)
        self._noted.set()

    async def run(self) -> None:
        """Write what is due, for ever; cancel it to stop."""
        while True:
            self._noted.clear()
            await self.write_due()
            await self._until_something_is_due()

    async def write_due(self) -> None:
        """Write everything that is due now; after a few failures in a row the rest waits for the next round."""
        in_a_row = 0
        for due in self._deduplication.due(self._clock()):
            in_a_row = 0 if await self._write(due) else in_a_row + 1
            if in_a_row >= _FAILURES_IN_A_ROW:
                return

    async def _write(self, due: Due) -> bool:
        try:
            await self._sink.write_event(due.event)
        except Exception as error:  # noqa: BLE001  the loop that retries: no failure of the API server may end it
            log.warning("cannot write an event", extra={"fields": {"reason": due.key.reason, "error": str(error)}})
            self._deduplication.failed(due, self._clock())
            self._counters.add(metrics.EVENTS, metrics.Outcome.FAILED)
            return False
        self._deduplication.succeeded(due, self._clock())
        self._counters.add(metrics.EVENTS, metrics.Outcome.DONE)
        return True

    async def _until_something_is_due(self) -> None:
        next_due = self._deduplication.next_due()
        wait = None if next_due is None else max(next_due - self._clock(), _SHORTEST_PAUSE)
        # Not wait_for: on 3.11 it swallows a cancellation that arrives together with the event (python/cpython#86296).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._noted.wait()


def _event(key: Notice, seen: Seen, reporter: Reporter) -> dict[str, Any]:
    """The core/v1 object; Events about cluster-scoped objects live in `default`, as the API server demands."""
    subject = key.subject
    namespace = subject.namespace or "default"
    involved = {"apiVersion": subject.api_version, "kind": subject.kind, "name": subject.name, "uid": subject.uid}
    if subject.namespace:
        involved["namespace"] = subject.namespace
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": _name(key, seen), "namespace": namespace},
        "involvedObject": {field: value for field, value in involved.items() if value},
        "type": key.severity.value,
        "reason": key.reason.value,
        "message": seen.message,
        "count": seen.count,
        "firstTimestamp": _timestamp(seen.first),
        "lastTimestamp": _timestamp(seen.last),
        "source": {"component": reporter.component, "host": reporter.host},
        "reportingComponent": reporter.component,
        "reportingInstance": reporter.host,
    }


def _name(key: Notice, seen: Seen) -> str:
    """Name of the Event: the same for repeats, another one when the notice had been forgotten in between."""
    subject = key.subject
    parts = (subject.api_version, subject.kind, subject.namespace, subject.name, subject.uid)
    text = "\0".join((*parts, key.severity, key.reason, key.message, repr(seen.first)))
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{subject.name[:_NAME_PREFIX].rstrip('.-')}.{digest}"


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
