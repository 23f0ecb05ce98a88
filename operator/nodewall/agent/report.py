"""The status of the NodeRuleSet: what this node enforces, for people and for the controller.

``status`` says it, purely; ``Reporter`` writes it, on change only and at most once per ``PAUSE``. The agent owns all of
the status, so a patch carries all of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import msgspec

from nodewall.agent.counts import Counts, count
from nodewall.agent.decide import Finding, Reason, State
from nodewall.agent.wall import Wall, rfc3339
from nodewall.api import shallow
from nodewall.kube.clock import Clock, awaited, backoff, soonest
from nodewall.kube.errors import ApiError, NotFoundError

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two writes of one node: 5,000 nodes under constant change are 5,000 writes per second at most."""

SETTLE = 0.05
"""Seconds between the first news and the write."""

MINOR = frozenset({"appliedGroups", "addresses"})
"""What a pod that joins a shared group changes on every node."""

LONGEST_SPREAD = 300.0
"""Seconds that a minor change waits at most, whatever the controller asks for."""

LONGEST_MESSAGE = 1024
"""Characters of a condition's message."""

Condition = dict[str, Any]
Status = dict[str, Any]


def status(state: State, before: list[Condition], at: str) -> Status:
    """The whole status. ``before``: the conditions there were, whose times stay where nothing changed; ``at``: now."""
    target = state.applied
    counts = count(target.ruleset.content) if target else Counts()
    return {
        "observedGeneration": state.observed.generation if state.observed else None,
        "appliedDigest": target.ruleset.digest if target else None,
        "appliedAt": state.applied_at if target else None,
        "pods": counts.pods,
        "policies": counts.policies,
        "rules": counts.rules,
        "addresses": counts.addresses,
        "appliedGroups": _groups(state) or None,
        "conditions": [_dated(condition, before, at) for condition in conditions(state)],
    }


def _groups(state: State) -> int:
    """Revision of the groups that are held apart with which the node enforces; 0 without any."""
    target = state.applied
    if target is None or not target.ruleset.members:
        return 0
    return state.groups if target.ruleset == state.wanted else target.ruleset.groups


def conditions(state: State) -> list[Condition]:
    """``Applied`` and ``Degraded``, without times."""
    generation = state.observed.generation if state.observed else 0
    return [
        _condition("Applied", not _unapplied(state), _unapplied(state) or _applied(state), generation),
        _condition("Degraded", bool(weaknesses(state)), _summary(weaknesses(state)), generation),
    ]


def weaknesses(state: State) -> list[Finding]:
    """Everything that keeps this node from enforcing as it should, the worst first. A change on its way is none."""
    drift = state.drift and state.drift.who and _drift(state)
    return [finding for finding in (_obstacle(state), drift, *state.findings) if finding]


def _unapplied(state: State) -> Finding | None:
    """Why the newest NodeRuleSet is not in force, or None when it is."""
    return _obstacle(state) or _on_its_way(state)


def _obstacle(state: State) -> Finding | None:
    trouble = None if _awaits(state) else state.trouble
    if trouble or state.refusal:
        return trouble or state.refusal
    if state.applied is None:
        return Finding(Reason.WAITING, "no NodeRuleSet has been applied since the agent started")
    return None


def _awaits(state: State) -> bool:
    """Groups that come a moment later; the controller tells when that moment is long."""
    return state.trouble is not None and state.trouble.reason is Reason.GROUPS_AWAITED


def _on_its_way(state: State) -> Finding | None:
    if _awaits(state):
        return state.trouble
    if state.wanted is None or state.applied is None or state.wanted == state.applied.ruleset:
        return None
    return Finding(Reason.APPLYING, f"generation {state.wanted.generation} is being applied")


def _applied(state: State) -> Finding:
    generation = state.applied.ruleset.generation if state.applied else 0
    return Finding(Reason.APPLIED, f"generation {generation} is in force")


def _drift(state: State) -> Finding | None:
    if state.drift is None:
        return None
    times = "once" if state.drift.count == 1 else f"{state.drift.count} times"
    repaired = "not repaired yet" if state.suspect else "repaired"
    return Finding(
        Reason.DRIFT, f"the table was changed by {state.drift.who}; {repaired} ({times} since the agent started)"
    )


def _summary(findings: list[Finding]) -> Finding:
    """The first one's reason, everybody's message."""
    if not findings:
        return Finding(Reason.HEALTHY, "everything that the rule set asks for is enforced")
    return Finding(findings[0].reason, "; ".join(finding.message for finding in findings))


def _condition(kind: str, true: bool, finding: Finding, generation: int) -> Condition:
    return {
        "type": kind,
        "status": "True" if true else "False",
        "reason": finding.reason.value,
        "message": finding.message[:LONGEST_MESSAGE],
        "observedGeneration": generation,
    }


def _dated(condition: Condition, before: list[Condition], at: str) -> Condition:
    old = next((each for each in before if each.get("type") == condition["type"]), {})
    same = old.get("status") == condition["status"] and old.get("lastTransitionTime")
    return condition | {"lastTransitionTime": old["lastTransitionTime"] if same else at}


def recall(source: bytes) -> Status:
    """The status in a NodeRuleSet's JSON; empty when there is none or it cannot be read."""
    try:
        found = shallow.read(_decode, source).status
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found.get("conditions", []), list) else {}


class _WithStatus(msgspec.Struct, frozen=True):
    status: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_WithStatus).decode


Patch = Callable[[Status], Awaitable[None]]
"""Writes the status. Raises ApiError."""


class Reporter:
    """Writes the newest status until it is written, and then nothing until it changes."""

    def __init__(self, patch: Patch, clock: Clock, wall: Wall, wrote: Callable[[bool], None]) -> None:
        self._patch, self._clock, self._wall, self._wrote = patch, clock, wall, wrote
        self._state = State()
        self._uid = ""
        self._written: Status = {}
        self._news = asyncio.Event()
        self._minor_at: float | None = None  # when a minor change is told

    def changed(self, state: State) -> None:
        """The state is another one."""
        self._state = state
        if state.observed:
            self._news.set()

    def remember(self, uid: str, source: bytes) -> None:
        """The NodeRuleSet came with a status. One that is not ours (edited by hand, or of a restored backup) is written
        again; that of another object with the same name counts for nothing.
        """
        found = recall(source)
        if uid == self._uid and self._state.observed and _said(found) != _said(self._written):
            self._news.set()
        self._uid, self._written = uid, found

    async def run(self) -> NoReturn:
        """Until cancelled. No failure ends this."""
        failures = 0
        while True:
            await self._wait()
            await self._clock.sleep(SETTLE)  # a change often takes several steps
            self._news.clear()
            failures = await self._report(failures)
            await self._clock.sleep(PAUSE if not failures else backoff(failures, self._clock.chance()))

    async def _wait(self) -> None:
        """Until there is news, or a minor change is to be told."""
        await awaited(self._news, soonest(self._clock, [self._minor_at]))

    def _can_wait(self, new: Status) -> bool:
        """Whether only members of shared groups changed: all nodes would say so of the same pod, at the same time."""
        if _major(new) != _major(self._written):
            return False
        now, spread = self._clock.monotonic(), self._spread()
        if self._minor_at is None:
            self._minor_at = now + spread * (0.5 + self._clock.chance() / 2)
        return now < self._minor_at

    def _spread(self) -> float:
        wanted = self._state.wanted
        return min(wanted.report_within, LONGEST_SPREAD) if wanted else 0

    async def _report(self, failures: int) -> int:
        """Write if there is something new. Returns the failures in a row."""
        new = status(self._state, self._written.get("conditions", []), rfc3339(self._wall()))
        if self._state.trouble and self._state.trouble.reason is Reason.MISSING:
            return 0  # there is nothing to write to
        if _said(new) == _said(self._written) or self._can_wait(new):
            return 0
        self._minor_at = None
        try:
            await self._patch(new)
        except NotFoundError:
            return 0  # gone since; the watch will tell
        except ApiError as error:
            log.warning("the status cannot be written", extra={"fields": {"error": str(error)}})
            self._wrote(False)
            self._news.set()
            return failures + 1
        self._written = new
        self._wrote(True)
        return 0


def _major(written: Status) -> Status:
    return {key: value for key, value in _said(written).items() if key not in MINOR}


def _said(written: Status) -> Status:
    """What a status says, without empty fields: as it comes back from the API server."""
    return {key: value for key, value in written.items() if value is not None}
