"""The verdict log: from the kernel's records to lines on standard output.

::

    NFLOG group ──► Fold (equal records of a second are one) ──► names of the rule set in force ──► JSON lines
    counters    ──► Tally (hits without a record) ─────────────┘

Nothing of it may ever cost a verdict, a change of policy or a probe its time: the event loop only reads and counts, for
milliseconds at a time; names, JSON and writing are the work of a thread; what a flood brings beyond that is dropped and
counted.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import msgspec

from nodewall.agent import flowlog_counters as counters
from nodewall.agent.decide import Target
from nodewall.agent.flowlog_fold import Entry, Fold, Seen, Tally
from nodewall.agent.flowlog_lines import Library, encode, line, summary
from nodewall.agent.flowlog_packet import parse
from nodewall.agent.flowlog_socket import Group
from nodewall.agent.loop import Times
from nodewall.agent.nflog import Logged
from nodewall.agent.saved import COUNTS
from nodewall.kube.clock import backoff
from nodewall.model.ruleset import NodeRuleSet
from nodewall.render import Settings
from nodewall.render.names import Recorded, read_log_prefix
from nodewall.telemetry import metrics
from nodewall.telemetry.metrics import Loss, Metrics, Verdict

log = logging.getLogger(__name__)

TURN = 0.2
"""Seconds between two looks at what is due."""
BUSY, IDLE = 5.0, 60.0
"""Seconds between two readings of the counters, while records come and while none do."""
_DRAWN = Settings()


class Printer(Protocol):
    """Where lines go."""

    def write(self, lines: Sequence[bytes]) -> int:
        """Write them; returns how many were written. Blocks. Raises OSError."""
        ...

    def stop(self) -> None:
        """From now on write only what can be written at once."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Whose log it is, and the directory in which counts outlive the process."""

    node: str
    directory: Path


Item = tuple[Entry | str, int, tuple[NodeRuleSet, ...]]
"""What becomes a line: an entry (or only a rule's id), how much to say was suppressed, and where names may be found."""


class Flowlog:
    """See the module. ``begin`` before the table is touched, then ``run``; ``applied`` whenever it is another one."""

    def __init__(self, place: Place, printer: Printer, counts: Metrics, times: Times) -> None:
        self._place, self._printer, self._counts = place, printer, counts
        self._clock, self._wall = times.clock, times.wall
        self._in_force = self._before = NodeRuleSet(place.node)
        self._fold, self._tally, self._library = Fold(), Tally(), Library()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verdicts")
        self._group: Group | None = None
        self._lost = dict.fromkeys(Loss, 0)
        self._busy = True

    def applied(self, target: Target) -> None:
        """The table is another one."""
        content = target.ruleset.content
        if content is not self._in_force:
            self._before, self._in_force = self._in_force, content

    async def begin(self, content: NodeRuleSet | None) -> None:
        """Listen, and read what was counted while nobody did: replacing the table sets the counters back.

        ``content`` is what a table from an earlier run is made of.
        """
        self._in_force = content or self._in_force
        self._tally = Tally(_load(self._place.directory / COUNTS))
        with contextlib.suppress(OSError):
            self._group = self._bind()
        await self._read_counters()

    async def run(self) -> NoReturn:
        """Until cancelled; then what is there is written, as far as somebody takes it. No failure ends this."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for duty in (self._listen(), self._write_on(), self._count_on()):
                    tasks.create_task(duty)
        finally:
            self._end()
        raise AssertionError("tasks without end have ended")

    # --- reading ------------------------------------------------------------------------------------------------------

    def _bind(self) -> Group:
        return Group(_DRAWN.nflog_group, _DRAWN.snaplen, self._took, lambda lost: self._lose(Loss.KERNEL, lost))

    async def _listen(self) -> NoReturn:
        failures = 0
        while self._group is None:
            try:
                self._group = self._bind()
            except OSError as error:
                failures += 1
                delay = backoff(failures, self._clock.chance())
                fields = {"group": _DRAWN.nflog_group, "error": str(error), "next_try_seconds": round(delay, 1)}
                log.warning("no verdict is recorded; does another program read the group?", extra={"fields": fields})
                await self._clock.sleep(delay)
        with self._group as group:
            try:
                await asyncio.Event().wait()
            finally:
                group.finish()
        raise AssertionError("an event that nobody sets was set")

    def _took(self, record: Logged) -> None:
        """On the loop, for each record of a flood: no names, no text."""
        packet = parse(record.packet)
        try:
            _, rule_id = read_log_prefix(record.prefix)
        except ValueError:
            return  # somebody else's rule, which uses the same group
        if packet is None:
            return
        self._busy = True
        now = self._clock.monotonic()
        seen = Seen(record.prefix, packet, record.to_node, record.time or self._wall(), self._in_force)
        if self._fold.take(seen, now):
            self._tally.recorded(rule_id)
        else:
            self._lose(Loss.CROWDED, 1)

    def _lose(self, loss: Loss, count: int) -> None:
        self._lost[loss] += count
        self._counts.add(metrics.RECORDS_LOST, loss, by=count)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write_on(self) -> NoReturn:
        while True:
            await self._clock.sleep(TURN)
            await self._write(self._items(self._fold.due(self._clock.monotonic())))

    def _items(self, entries: Sequence[Entry]) -> list[Item]:
        """Entries with what their rules suppressed, each rule's once."""
        return [self._item(entry) for entry in entries]

    def _item(self, entry: Entry) -> Item:
        _, rule_id = read_log_prefix(entry.seen.prefix)
        return entry, self._tally.take(rule_id), (entry.seen.in_force, self._in_force)

    def _summaries(self) -> list[Item]:
        """What no entry is underway to say."""
        return [(rule_id, self._tally.take(rule_id), (self._in_force, self._before)) for rule_id in self._tally.owing()]

    async def _write(self, items: Sequence[Item]) -> None:
        """Print in the thread. Cancelled, it is told to hurry, and what it wrote is still counted."""
        if not items:
            return
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._print, items)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._printer.stop()
            await work
            raise
        finally:
            self._account(items, work.result() if work.done() else 0)

    def _print(self, items: Sequence[Item]) -> int:
        """In the thread. Returns how many lines were written."""
        lines = [encode(self._line(item)) for item in items]
        try:
            return self._printer.write(lines)
        except OSError as error:
            log.warning("verdict records cannot be written", extra={"fields": {"error": str(error)}})
            return 0

    def _line(self, item: Item) -> dict[str, object]:
        what, suppressed, rule_sets = item
        node = self._place.node
        if isinstance(what, str):
            return summary(what, suppressed, self._library.best(what, rule_sets), node, self._wall())
        _, rule_id = read_log_prefix(what.seen.prefix)
        return line(what, self._library.best(rule_id, rule_sets), node, suppressed)

    def _account(self, items: Sequence[Item], written: int) -> None:
        for what, suppressed, _ in items[:written]:
            self._counts.add(metrics.RECORDS_SUPPRESSED, by=suppressed)
            if isinstance(what, Entry):
                verdict, _ = read_log_prefix(what.seen.prefix)
                self._counts.add(metrics.RECORDS, _METRIC[verdict], by=what.count)
        for what, suppressed, _ in items[written:]:
            self._forgo(what, suppressed)

    def _forgo(self, what: Entry | str, suppressed: int) -> None:
        """A line that was not written says nothing of what it holds, so another one has to."""
        if isinstance(what, str):
            self._tally.lost(what, suppressed)
            return
        _, rule_id = read_log_prefix(what.seen.prefix)
        self._tally.lost(rule_id, suppressed + what.count)
        self._lose(Loss.OUTPUT, what.count)

    # --- counting -----------------------------------------------------------------------------------------------------

    async def _count_on(self) -> NoReturn:
        quiet = 0.0
        while True:
            await self._clock.sleep(BUSY)
            quiet += BUSY
            if not self._busy and self._tally.settled and quiet < IDLE:
                continue
            quiet, self._busy = 0.0, False
            await self._read_counters()
            await self._write(self._summaries())
            self._say_what_was_lost()

    async def _read_counters(self) -> None:
        """One reading, off the loop, and the state for whoever comes after us."""
        run = asyncio.get_running_loop().run_in_executor
        try:
            hits, logged = await run(self._thread, self._hits, self._in_force)
        except counters.CountersError as error:
            log.warning("%s", error)
            return
        self._tally.read(hits, logged)
        await run(self._thread, self._save, self._tally.accounted(logged))

    def _hits(self, ruleset: NodeRuleSet) -> tuple[dict[str, int], frozenset[str]]:
        return counters.by_rule(counters.read()), self._library.names(ruleset).logged

    def _save(self, accounted: dict[str, int]) -> None:
        path = self._place.directory / COUNTS
        new = path.with_name(f".{COUNTS}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(accounted))
            new.replace(path)
        except OSError as error:
            log.warning("counts of verdicts cannot be saved", extra={"fields": {"error": str(error)}})

    def _say_what_was_lost(self) -> None:
        lost = {loss.value: count for loss, count in self._lost.items() if count}
        if lost:
            log.warning("verdict records were lost", extra={"fields": lost})
            self._lost = dict.fromkeys(Loss, 0)

    def _end(self) -> None:
        """Write and save what is left, without waiting for anybody."""
        self._printer.stop()
        items = self._items(self._fold.all()) + self._summaries()
        self._account(items, self._print(items) if items else 0)
        self._save(self._tally.accounted(self._library.names(self._in_force).logged))
        self._thread.shutdown(wait=False, cancel_futures=True)


_METRIC = {each: Verdict(each.value) for each in Recorded}


def _load(path: Path) -> dict[str, int] | None:
    """What a predecessor left; None when there is nothing of use."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.DecodeError):
        return None
