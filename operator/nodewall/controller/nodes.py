"""How the nodes fare, told as Events on them: from what their agents report, and from reports that do not come.

An agent writes its conditions at any time and a change often takes several of them, so what is told is what still
stands after a moment: once when it comes, once when it has become something else, once when all is well again. A flood
of different stories is the writer of Events' to bound. `Troubles` decides, and is told the time; `run` waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

from nodewall.controller.publish import Condition, Published
from nodewall.kube.clock import Clock, awaited, soonest
from nodewall.telemetry.events import Reason, Severity

SETTLE_SECONDS = 2.0
"""How long a report must stand. An agent writes at most one per second, so its next word comes within this."""

LATE_SECONDS = 30.0
"""How long an agent may say nothing about a newer rule set: it restarts in much less."""

PAUSE_SECONDS = 1.0
"""Between two looks at all nodes: reports of thousands of them come in at once."""

_ON_THE_WAY = {"Waiting", "Applying", "WaitingForGroups"}
"""An agent that has just started, or has a new rule set in hand, or its groups not yet; one that never gets further is
late."""

_REASONS = {"Drift": Reason.NODE_DRIFTED}
"""Of a condition, as the reason of an Event; any other is ``NODE_DEGRADED``."""

_LATE = "its agent has not applied the present NodeRuleSet, and does not say why; is the agent running?"
_WAITS = (
    "its agent waits for groups that the present NodeRuleSet names, as its condition says; can it watch PeerGroups?"
)
_BEHIND = (
    "its agent has not taken over the present members of the groups that many nodes share; can it watch PeerGroups?"
)
_WELL = "the present NodeRuleSet is applied and nothing weakens it"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to tell about a node."""

    severity: Severity
    reason: Reason
    message: str


WELL = Finding(Severity.NORMAL, Reason.NODE_RECOVERED, _WELL)
LATE = Finding(Severity.WARNING, Reason.RULE_SET_NOT_APPLIED, _LATE)
WAITS = Finding(Severity.WARNING, Reason.RULE_SET_NOT_APPLIED, _WAITS)
BEHIND = Finding(Severity.WARNING, Reason.RULE_SET_NOT_APPLIED, _BEHIND)


def reported(published: Published) -> Finding | None:
    """What the agent says is wrong; None when it says nothing of the kind."""
    found = {each.type: each for each in published.conditions}
    applied, degraded = found.get("Applied"), found.get("Degraded")
    if applied is not None and applied.status == "False" and applied.reason not in _ON_THE_WAY:
        # The other condition names this reason first, and whatever else is wrong after it.
        said = degraded if degraded is not None and degraded.reason == applied.reason else applied
        return _warning(Reason.RULE_SET_NOT_APPLIED, said)
    if degraded is not None and degraded.status == "True" and degraded.reason not in _ON_THE_WAY:
        return _warning(_REASONS.get(degraded.reason, Reason.NODE_DEGRADED), degraded)
    return None


def _late(published: Published) -> Finding:
    """What it is when nothing comes after this."""
    waits = any((each.type, each.reason) == ("Applied", "WaitingForGroups") for each in published.conditions)
    return WAITS if waits else LATE


def _warning(reason: Reason, condition: Condition) -> Finding:
    return Finding(Severity.WARNING, reason, f"{condition.reason}: {condition.message}")


@dataclass(slots=True)
class _Story:
    """One node. ``heard`` is when its agent last got somewhere; ``told`` is None while nothing was ever wrong.

    ``late`` is what to tell when it gets no further. ``groups`` is the revision of shared groups that it reports, None
    where its rule set names none.
    """

    now: Finding | None
    since: float
    applied: str
    current: bool
    heard: float
    late: Finding
    groups: int | None = None
    told: Finding | None = None

    def due(self, overdue: int) -> float | None:
        """When there is something to tell, as things stand. Everybody ought to have the revision ``overdue`` by now."""
        if self.now is not None:
            return None if self.now == self.told else self.since + SETTLE_SECONDS
        if not self.current:
            return None if self.told == self.late else self.heard + LATE_SECONDS
        if self._behind(overdue):
            return None if self.told == BEHIND else self.since
        return None if self.told in {None, WELL} else self.since + SETTLE_SECONDS

    def finding(self, overdue: int) -> Finding:
        """What to tell when it is due."""
        if self.now or not self.current:
            return self.now or self.late
        return BEHIND if self._behind(overdue) else WELL

    def _behind(self, overdue: int) -> bool:
        return self.groups is not None and self.groups < overdue


class Troubles:
    """What is wrong where, and what of it was told. Instants are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._stories: dict[str, _Story] = {}
        self._revisions: deque[tuple[float, int]] = deque()  # (when everybody ought to have it, which)
        self._overdue = 0

    def revised(self, revision: int, spread: float, now: float) -> None:
        """The shared groups have a new revision, and nodes take ``spread`` seconds to say that they have it."""
        self._revisions.append((now + spread + LATE_SECONDS, revision))

    def saw(self, node: str, published: Published | None, now: float) -> None:
        """A node's object came, changed or went."""
        if published is None:
            self._stories.pop(node, None)
            return
        finding, current = reported(published), published.applied == published.content
        groups = published.applied_groups if published.groups else None
        story = self._stories.get(node)
        if story is None:
            self._stories[node] = _Story(finding, now, published.applied, current, now, _late(published), groups)
            return
        if (finding, current) != (story.now, story.current):
            story.since = now
        if current or story.current or published.applied != story.applied:
            story.heard = now
        story.now, story.current, story.applied, story.groups = finding, current, published.applied, groups
        story.late = _late(published)

    def due(self, now: float) -> list[tuple[str, Finding]]:
        """What is to be told now, by node; it counts as told."""
        while self._revisions and self._revisions[0][0] <= now:
            self._overdue = self._revisions.popleft()[1]
        told = []
        for node, story in sorted(self._stories.items()):
            at = story.due(self._overdue)
            if at is None or at > now:
                continue
            story.told = story.finding(self._overdue)
            told.append((node, story.told))
        return told

    def next_due(self) -> float | None:
        """When ``due`` has something, as things stand."""
        stories = (story.due(self._overdue) for story in self._stories.values())
        revisions = (at for at, _ in islice(self._revisions, 1))
        return min((at for at in (*stories, *revisions) if at is not None), default=None)


class Nodes:
    """``saw`` at any time; ``run`` tells until it is cancelled, while ``leads`` says that it is for us to tell."""

    def __init__(self, tell: Callable[[str, Finding], None], leads: Callable[[], bool], clock: Clock) -> None:
        self._tell, self._leads, self._clock = tell, leads, clock
        self._troubles = Troubles()
        self._news = asyncio.Event()

    def saw(self, node: str, published: Published | None) -> None:
        """See ``Troubles.saw``."""
        self._troubles.saw(node, published, self._clock.monotonic())
        self._news.set()

    def revised(self, revision: int, spread: float) -> None:
        """See ``Troubles.revised``."""
        self._troubles.revised(revision, spread, self._clock.monotonic())
        self._news.set()

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            self._news.clear()
            for node, finding in self._troubles.due(self._clock.monotonic()) if self._leads() else ():
                self._tell(node, finding)
            await self._clock.sleep(PAUSE_SECONDS)
            await awaited(self._news, soonest(self._clock, [self._troubles.next_due()]))
