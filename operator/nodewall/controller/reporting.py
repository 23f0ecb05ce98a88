"""Tells the authors of policies how they fare: status of the kinds that have one, Events for all.

What a status ought to say follows from the store, the compiler's progress and the agents' reports, and is compared with
what it does say: so it does not matter which hint of a change is lost, and nothing is written twice. A policy that was
touched is looked at soon; all of them in rounds whenever pods, nodes or reports have changed, at a bounded share of the
processor.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from nodewall.api.kinds import BY_KIND
from nodewall.compile.changes import Change, Input
from nodewall.compile.selectors import matches
from nodewall.controller.fence import Writer
from nodewall.controller.progress import Progress
from nodewall.controller.schedule import Pace, Schedule
from nodewall.controller.selection import Selections, conflicts, counts
from nodewall.controller.setbacks import Setbacks
from nodewall.controller.status import UNKNOWN, Facts, PolicyStatus, Type, as_written, assess, explanation, same
from nodewall.controller.status import Reason as Why
from nodewall.controller.store import Store, StoredPolicy
from nodewall.kube.clock import Breath, Clock, backoff, heard, soonest
from nodewall.kube.errors import ApiError, NotFoundError
from nodewall.kube.http import Target
from nodewall.kube.resource import Resource
from nodewall.model.cluster import Pod
from nodewall.model.policy import Kind, NetworkPolicy, PolicyRef, Tier, TierPolicy
from nodewall.telemetry.events import Notice, Reason, Severity, Subject

log = logging.getLogger(__name__)

HANDS = 8
PACE = Pace(quiet=0.2, patience=1.0)
ROUND_SECONDS = 1.0
"""Least time between two rounds."""
SHARE = 0.1
"""Of the time, for rounds."""

CONFLICT_SECONDS = 30.0
"""How long a conflict may go unnoticed, or be reported in vain, because pods came or went."""
MANAGER = "nodewall-controller-status"

Place = tuple[Tier, int, str]
"""Policies of one tier, priority and namespace are ordered by name alone."""

Wall = Callable[[], str]
"""Now, as RFC 3339 text."""


class StatusApi(Protocol):
    """The way to the API server. Failures are ``nodewall.kube.errors.ApiError``."""

    async def write(self, ref: PolicyRef, status: Mapping[str, Any]) -> None:
        """Server-side apply of a policy's status."""
        ...


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Why policies may not get through to the nodes, each as it is at the moment that it is asked.

    ``oversized``: nodes that keep an older rule set because the new one is too large. ``held``: because the compiler
    fails on some policy. ``trouble``: what it says when it fails on this one, "" when it takes it.
    """

    oversized: Callable[[], frozenset[str]]
    held: Callable[[], frozenset[str]]
    trouble: Callable[[PolicyRef], str]


class Survey:
    """What is known about each policy."""

    def __init__(self, store: Store, progress: Progress, obstacles: Obstacles, clock: Clock) -> None:
        self._store, self._progress, self._obstacles, self._clock = store, progress, obstacles, clock
        self._selections = Selections(store)
        self._since: dict[PolicyRef, tuple[str, int, int]] = {}
        self._places: defaultdict[Place, dict[PolicyRef, TierPolicy]] = defaultdict(dict)
        self._place_of: dict[PolicyRef, Place] = {}
        self._conflicts: dict[Place, tuple[float, Mapping[PolicyRef, tuple[PolicyRef, ...]]]] = {}

    def saw_policy(self, ref: PolicyRef, stored: StoredPolicy | None, batch: int) -> None:
        """A policy was made, changed or deleted; ``batch`` is the one that brings this to the compiler."""
        if stored is None:
            self._since.pop(ref, None)
        elif self._since.get(ref, ())[:2] != (stored.uid, stored.generation):
            self._since[ref] = (stored.uid, stored.generation, batch)
        policy = self._store.in_force(ref) if stored is not None else None
        if ref.kind is Kind.NETWORK_POLICY:
            return
        assert policy is None or isinstance(policy, TierPolicy)  # noqa: S101 - by its kind; for the type checker
        if policy is None or policy != self._placed(ref):  # another status says nothing new, and costs a count of pods
            self._selections.policy(ref, policy)
            self._put(ref, policy)

    def saw_pod(self, old: Pod | None, new: Pod | None) -> None:
        """A pod came, changed or went."""
        self._selections.pod(old, new)

    def saw(self, changes: Iterable[Change]) -> None:
        """Anything changed; of interest are labels."""
        kinds = {change.kind for change in changes}
        if Input.NAMESPACE in kinds:
            self._selections.namespace()
        if Input.NODE in kinds:
            self._selections.node()

    def facts(self, stored: StoredPolicy) -> Facts:
        """What its status is made of. A NetworkPolicy has none: only nodes that keep an older rule set count for it."""
        batch = self._since[stored.ref][2]
        if stored.ref.kind is Kind.NETWORK_POLICY:
            nodes = self._on(self.in_trouble(), stored.ref)
        else:
            nodes = self._selections.by_node(stored.ref)
        return Facts(
            generation=stored.generation,
            problems=stored.problems,
            subject_broken=stored.subject_broken,
            keeps_last=self._store.keeps_last_accepted(stored.ref),
            selected=nodes,
            reached=frozenset(node for node in nodes if self._progress.reached(node) >= batch),
            oversized=self._obstacles.oversized(),
            held=self._obstacles.held(),
            trouble=self._obstacles.trouble(stored.ref),
            rivals=self._rivals(stored.ref),
        )

    def in_trouble(self) -> frozenset[str]:
        """Nodes that keep an older rule set."""
        return self._obstacles.oversized() | self._obstacles.held()

    def _on(self, nodes: frozenset[str], ref: PolicyRef) -> Mapping[str, int]:
        """How many pods a NetworkPolicy selects on each of these nodes. Counted each time: there are seldom any."""
        policy = self._store.in_force(ref) if nodes else None
        if not isinstance(policy, NetworkPolicy):
            return {}
        here = (pod for pod in self._store.pods_of(policy.namespace) if pod.node in nodes and counts(pod))
        return Counter(pod.node for pod in here if matches(policy.pods, pod.labels))

    def _rivals(self, ref: PolicyRef) -> tuple[PolicyRef, ...]:
        """Counted anew when one of the policies changes, and now and then because their pods do."""
        place = self._place_of.get(ref)
        if place is None or len(self._places[place]) < 2:
            return ()
        now = self._clock.monotonic()
        until, found = self._conflicts.get(place, (now, {}))
        if until <= now:
            found = conflicts(self._places[place].values(), self._store)
            self._conflicts[place] = (now + CONFLICT_SECONDS, found)
        return found.get(ref, ())

    def _placed(self, ref: PolicyRef) -> TierPolicy | None:
        place = self._place_of.get(ref)
        return None if place is None else self._places[place][ref]

    def _put(self, ref: PolicyRef, policy: TierPolicy | None) -> None:
        before = self._place_of.get(ref)
        if before is not None:
            self._conflicts.pop(before, None)
            del self._places[before][ref], self._place_of[ref]
            if not self._places[before]:
                del self._places[before]
        if policy is not None:
            self._place_of[ref] = place = (policy.tier, policy.priority, policy.namespace)
            self._places[place][ref] = policy
            self._conflicts.pop(place, None)


class Reporting:
    """``touch`` and ``touch_all`` say what to look at; ``run`` does the rest until it is cancelled."""

    def __init__(
        self, store: Store, survey: Survey, api: StatusApi, note: Callable[[Notice], None], clock: Clock, wall: Wall
    ) -> None:
        self._store, self._survey = store, survey
        self._api, self._note, self._clock, self._wall = api, note, clock, wall
        self._schedule = Schedule[PolicyRef](PACE, HANDS)
        self._written: dict[PolicyRef, PolicyStatus] = {}
        self._kept: set[PolicyRef] = set()
        self._announced: dict[PolicyRef, str] = {}
        self._failures: dict[PolicyRef, int] = {}
        self._setbacks = Setbacks(self._held_back, self._say)
        self._wake = asyncio.Event()
        self._stale, self._next_round = False, 0.0
        self._leads = False

    def lead(self, leads: bool) -> None:
        """Whether it is for us to say anything. Who begins to looks at everything, and trusts what the API has."""
        self._leads = leads
        if not leads:
            return
        self._written.clear()
        self._setbacks.begin()
        for ref in self._store.policies:
            self.touch(ref)

    def touch(self, ref: PolicyRef) -> None:
        """Look at this policy soon."""
        self._schedule.mark(ref, self._clock.monotonic())
        self._wake.set()

    def mirrored(self, ref: PolicyRef) -> None:
        """The API has this policy as the store says, its status too: what we wrote before does not count any more.

        Except for ClusterNetworkPolicies: without ``conditions`` in its schema the server drops them without a word,
        and we would write them for ever. Once it has kept what we wrote of this one, it is as any other.
        """
        self._compare(ref)
        if ref.kind is not Kind.CLUSTER or ref in self._kept or ref not in self._store.policies:
            self._written.pop(ref, None)
        self.touch(ref)

    def _compare(self, ref: PolicyRef) -> None:
        """Whether the server has kept what we wrote. The watch may be faster than the answer to the write."""
        stored, written = self._store.policies.get(ref), self._written.get(ref)
        if stored is not None and written is not None and same(ref.kind, written, stored.status):
            self._kept.add(ref)

    def touch_all(self) -> None:
        """Look at every policy, in one of the next rounds."""
        self._stale = True
        self._wake.set()

    async def run(self, ready: asyncio.Event) -> NoReturn:
        """Nothing is said before it is ``ready``: every input is listed (a count of half the pods would be wrong) and
        every node has been compared with its object (what is in force already would be said to be on its way).
        """
        await ready.wait()
        async with asyncio.TaskGroup() as writes:
            while True:
                await self._sleep()
                await self._begin_round()
                for ref in self._schedule.take(self._clock.monotonic()):
                    self._look(ref, writes)
                await asyncio.sleep(0)

    async def _sleep(self) -> None:
        instants = (self._schedule.wakes_at(), self._next_round if self._stale and self._leads else None)
        await heard(self._wake, soonest(self._clock, instants))

    async def _begin_round(self) -> None:
        started = self._clock.monotonic()
        if not self._leads or not self._stale or started < self._next_round:
            return
        self._stale = False
        self._setbacks.begin_round()
        breath, spent = Breath(self._clock), 0.0
        for ref in self._of_interest():
            before = self._clock.monotonic()
            if ref not in self._schedule and self._has_news(ref):
                self._schedule.mark(ref, before)
            spent += self._clock.monotonic() - before
            await breath.take()
        self._next_round = self._clock.monotonic() + max(ROUND_SECONDS, spent / SHARE)

    def _of_interest(self) -> list[PolicyRef]:
        """What a round has to look at: NetworkPolicies only where some node is, or was, in trouble."""
        trouble = bool(self._survey.in_trouble())
        plain, told = Kind.NETWORK_POLICY, self._setbacks.is_told
        return [ref for ref in self._store.policies if ref.kind is not plain or trouble or told(ref)]

    def _has_news(self, ref: PolicyRef) -> bool:
        stored = self._store.policies.get(ref)
        if stored is None or ref.kind is not Kind.NETWORK_POLICY:
            return self._news(ref) is not None
        return self._setbacks.is_news(stored)

    def _held_back(self, stored: StoredPolicy) -> str:
        return _setback(assess(self._survey.facts(stored), UNKNOWN, ""))

    def _look(self, ref: PolicyRef, writes: asyncio.TaskGroup) -> None:
        stored = self._store.policies.get(ref)
        if stored is None:
            self._forget(ref)
            return
        if not self._leads:
            self._settle(ref)
            return
        self._announce(stored)
        if ref.kind is Kind.NETWORK_POLICY:
            self._stale |= not self._setbacks.tell(stored)
            self._settle(ref)
            return
        status = self._news(ref)
        if status is None:
            self._settle(ref)
            return
        self._announce_change(stored, status)
        writes.create_task(self._write(ref, status))

    def _news(self, ref: PolicyRef) -> PolicyStatus | None:
        """The status to write; None when it is there already."""
        stored = self._store.policies.get(ref)
        if stored is None:
            return None
        before = self._written.get(ref, stored.status)
        after = assess(self._survey.facts(stored), before, self._wall())
        return None if same(ref.kind, before, after) else after

    async def _write(self, ref: PolicyRef, status: PolicyStatus) -> None:
        try:
            await self._api.write(ref, as_written(ref.kind, status))
        except NotFoundError:  # deleted meanwhile, or without a status: either way there is nobody to tell
            self._written[ref] = status
            self._settle(ref)
        except ApiError as error:
            self._fail(ref, error)
        else:
            self._written[ref] = status
            self._compare(ref)
            self._settle(ref)

    def _settle(self, ref: PolicyRef) -> None:
        self._failures.pop(ref, None)
        self._schedule.done(ref, self._clock.monotonic())
        self._wake.set()

    def _fail(self, ref: PolicyRef, error: ApiError) -> None:
        failures = self._failures[ref] = self._failures.get(ref, 0) + 1
        delay = backoff(failures, self._clock.chance(), error.retry_after)
        self._schedule.failed(ref, self._clock.monotonic(), delay)
        fields = {"policy": str(ref), "next_try_seconds": round(delay, 1)}
        log.warning("cannot write the status of a policy: %s", error, extra={"fields": fields})
        self._wake.set()

    def _forget(self, ref: PolicyRef) -> None:
        for each in (self._written, self._announced):
            each.pop(ref, None)
        self._kept.discard(ref)
        self._setbacks.forget(ref)
        self._settle(ref)

    # -- Events

    def _announce(self, stored: StoredPolicy) -> None:
        """Once for each thing that is wrong, and once when nothing is any more."""
        facts = self._survey.facts(stored)
        said, problem = self._announced.get(stored.ref), explanation(facts)
        if problem == (_complaint(stored) if said is None else said):
            return
        self._announced[stored.ref] = problem
        if problem:
            reason = Reason.NOT_COMPILED if facts.trouble else Reason.POLICY_INVALID
            self._say(stored, Severity.WARNING, reason, problem)
        else:
            self._say(stored, Severity.NORMAL, Reason.POLICY_ACCEPTED, "in force as it is written")

    def _announce_change(self, stored: StoredPolicy, after: PolicyStatus) -> None:
        """When something begins that its author cannot see in the policy itself; that it goes on is in the status."""
        before = self._written.get(stored.ref, stored.status)
        for reason, told in _TOLD:
            if told(after) and not told(before):
                self._say(stored, Severity.WARNING, reason, told(after))

    def _say(self, stored: StoredPolicy, severity: Severity, reason: Reason, message: str) -> None:
        ref = stored.ref
        subject = Subject(BY_KIND[ref.kind].api_version, ref.kind, ref.name, ref.namespace, stored.uid)
        self._note(Notice(subject, severity, reason, message))


def _complaint(stored: StoredPolicy) -> str:
    """What the status says is wrong with this very spec, so what was announced before we started; "" for nothing."""
    told = (each for each in stored.status.conditions if each.type == Type.ACCEPTED and not each.true)
    return next((each.message for each in told if each.generation == stored.generation), "")


def _conflict(status: PolicyStatus) -> str:
    """What the status says about a conflict; "" for none."""
    found = (each for each in status.conditions if each.type == Type.CONFLICTED and each.true)
    return next((each.message for each in found), "")


def _setback(status: PolicyStatus) -> str:
    """Why nodes keep an older rule set instead of one with this policy; "" when none does, or not for long."""
    found = (each for each in status.conditions if each.type == Type.PROGRAMMED and each.reason in _SETBACKS)
    return next((each.message for each in found), "")


_SETBACKS = (Why.TOO_LARGE, Why.HELD)
_TOLD = ((Reason.POLICY_CONFLICTED, _conflict), (Reason.POLICY_DEGRADED, _setback))


class ApiStatus:
    """``StatusApi`` at the API server."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def write(self, ref: PolicyRef, status: Mapping[str, Any]) -> None:
        """See ``StatusApi``."""
        kind = BY_KIND[ref.kind]
        body = {"apiVersion": kind.api_version, "kind": ref.kind, "metadata": {"name": ref.name}, "status": status}
        resource = Resource(kind.group, kind.version, kind.plural, kind.namespaced)
        await self._writer.apply(Target(resource, ref.name, ref.namespace, "status"), body, MANAGER)
