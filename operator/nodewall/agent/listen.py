"""What follows from what the loop did: log lines, metrics, the status, the file on disk. Decides nothing."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from nodewall.agent import decide
from nodewall.agent.counts import count
from nodewall.agent.decide import Finding, Kind, Reason, RuleSet, State, Target
from nodewall.agent.loop import Inbox
from nodewall.agent.reading import to_save
from nodewall.agent.report import weaknesses
from nodewall.agent.saved import Saved
from nodewall.agent.wall import Wall
from nodewall.kube.clock import Clock, awaited
from nodewall.telemetry import metrics
from nodewall.telemetry.metrics import Metrics, Outcome, Result

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Followers:
    """Who is told: what there is to do when the state or the kernel's table is another one."""

    changed: tuple[Callable[[State], None], ...]
    applied: tuple[Callable[[Target], None], ...]


class Listening:
    """Listener of the loop."""

    def __init__(self, counts: Metrics, wall: Wall, followers: Followers) -> None:
        self._counts, self._wall, self._followers = counts, wall, followers
        self._weak: list[Finding] = []
        self._drifts = 0

    def changed(self, state: State) -> None:
        """See ``Listener``."""
        for tell in self._followers.changed:
            tell(state)
        self._count_drift(state)
        weak = weaknesses(state)
        self._counts.set(metrics.DEGRADED, bool(weak))
        for finding in weak:
            if finding not in self._weak:
                log.warning(finding.message, extra={"fields": {"reason": finding.reason.value}})
        if self._weak and not weak:
            log.info("everything that the rule set asks for is enforced")
        self._weak = weak

    def applied(self, kind: Kind, target: Target, seconds: float) -> None:
        """See ``Listener``."""
        log.info(
            "rule set applied",
            extra={
                "fields": {
                    "generation": target.ruleset.generation,
                    "kind": kind.value,
                    "milliseconds": round(seconds * 1000, 2),
                }
            },
        )
        self._counts.observe(metrics.APPLY_SECONDS, seconds, metrics.Kind(kind.value), Result.DONE)
        self._counts.add(metrics.APPLIES, Outcome.DONE)
        self._in_force(target)

    def _count_drift(self, state: State) -> None:
        """Once it is repaired."""
        if state.suspect:
            return
        drifts = state.drift.count if state.drift else 0
        self._counts.add(metrics.DRIFTS, by=drifts - self._drifts)
        self._drifts = drifts

    def adopted(self, target: Target) -> None:
        """See ``Listener``."""
        self._counts.add(metrics.APPLIES, Outcome.UNCHANGED)
        self._in_force(target)

    def refused(self, kind: Kind, finding: Finding, seconds: float) -> None:
        """See ``Listener``."""
        self._counts.observe(metrics.APPLY_SECONDS, seconds, metrics.Kind(kind.value), Result.FAILED)
        self._counts.add(metrics.APPLIES, Outcome.FAILED)
        fields = {"kind": kind.value, "reason": finding.reason.value}
        log.error("the kernel refused the rule set: %s", finding.message, extra={"fields": fields})

    def _in_force(self, target: Target) -> None:
        self._counts.set(metrics.APPLIED_AT, self._wall())
        self._counts.set(metrics.APPLIED_GENERATION, target.ruleset.generation)
        counts = count(target.ruleset.content)
        for gauge, number in (
            (metrics.APPLIED_PODS, counts.pods),
            (metrics.APPLIED_POLICIES, counts.policies),
            (metrics.APPLIED_RULES, counts.rules),
            (metrics.APPLIED_ADDRESSES, counts.addresses),
            (metrics.APPLIED_ELEMENTS, target.table.size),
        ):
            self._counts.set(gauge, number)
        for tell in self._followers.applied:
            tell(target)


class Keeper:
    """Writes the newest applied NodeRuleSet to disk, off the loop, at most once per second."""

    PAUSE = 1.0
    SHARED_PAUSE = 10.0
    """Until mere members of shared groups are written: each pod somewhere changes them, and they are big."""
    RETRY = 10.0
    """After a failure: the next rule set may be days away, and the disk be mended long before."""

    def __init__(self, saved: Saved, inbox: Inbox, clock: Clock) -> None:
        self._saved, self._inbox, self._clock = saved, inbox, clock
        self._newest: RuleSet | None = None
        self._news, self._own = asyncio.Event(), asyncio.Event()

    def keep(self, target: Target) -> None:
        """To be written soon. What has no source is only a step on the way."""
        new, old = target.ruleset, self._newest
        if new.source and (old is None or (new.source, new.parts) != (old.source, old.parts)):
            self._newest = new
            self._news.set()
            if old is None or (new.uid, new.generation) != (old.uid, old.generation):
                self._own.set()

    async def run(self) -> NoReturn:
        """Until cancelled. A disk that takes nothing is reported, and tried again."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                self._own.clear()
                problems = await self._store(self._newest) if self._newest else []
                self._tell(problems)
                if problems:
                    self._news.set()
                    await self._clock.sleep(self.RETRY)
                else:
                    await self._rest()
        finally:
            self._store_last()

    async def _rest(self) -> None:
        """Shorter for what the node's own pods are: who starts anew compares them with the file (semantics 60)."""
        await self._clock.sleep(self.PAUSE)
        if self._newest and self._newest.parts:
            await awaited(self._own, self.SHARED_PAUSE - self.PAUSE)

    def _store_last(self) -> None:
        """A node that is shut down in order comes back with what was in force, not with what was a pause ago."""
        if self._newest and self._news.is_set():
            with contextlib.suppress(OSError):
                self._saved.store(to_save(self._newest))

    async def _store(self, ruleset: RuleSet) -> list[str]:
        try:
            await asyncio.to_thread(lambda: self._saved.store(to_save(ruleset)))
        except OSError as error:  # in words without the file's name, which is another one each time
            return [f"the rule set cannot be saved for a reboot without API server: {error.strerror or error}"]
        return []

    def _tell(self, problems: list[str]) -> None:
        self._inbox.tell(lambda state, _now: decide.found(state, Reason.UNSAVED, problems))
