"""What the agent decides, as a state and functions from one state to the next. No I/O, no clock: times are arguments.

::

    read, absent, unusable   a NodeRuleSet came, is gone, cannot be used
    awaiting                 a NodeRuleSet came before its groups
    drifted, uncertain       somebody else wrote to the table, or may have
    set_up                   tables are drawn in another way from now on
    found                    something around the table weakens it
    tick                     time has passed
    next_step                what to do now: apply a transaction, take over without one, or nothing
    succeeded, failed        how that ended
    undrawable               it did not even come to that

The rule behind all of it: the last good table stays until a better one is there as a whole. Nothing that is missing,
late, broken or refused ever opens the node.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from nodewall.agent.changes import departed, handed_on, looser, stricter, without
from nodewall.agent.setup import Setup, settings, unguarded
from nodewall.model.address import Address
from nodewall.model.ruleset import NodeRuleSet
from nodewall.render import Settings, Table, Transaction, diff, render
from nodewall.render import replace as replaced

Seconds = float
"""On a clock that never goes back."""

RESTORED_HOLD: Seconds = 30.0
"""How long a NodeRuleSet from the past (a restored backup) is not believed. By then the controller has written what it
thinks is right; if it writes nothing, the old one is right, and waiting longer would only keep the node stale."""

RIPENING: Seconds = 0.4
"""How long new members that make something looser wait for a rule set. One event may concern groups of both, and the
controller writes a rule set a quarter of a second later at most: so what opens comes together with what closes."""

LEAST_DIFF = 1000
"""Operations up to which a diff is never more work than a replace, whatever the table's size."""

REPAIR_PAUSE: Seconds = 0.5
"""Between two repairs: whoever fights over the table gets two rounds per second, not all of the processor."""

DRIFT_SHOWN: Seconds = 60.0
"""How long the condition names who changed the table, after the repair."""

DEFAULTS = Setup()
FIRST_RETRY: Seconds = 1.0
LAST_RETRY: Seconds = 60.0


class Kind(StrEnum):
    """How a rule set gets into the kernel."""

    DIFF = "diff"
    REPLACE = "replace"


class Reason(StrEnum):
    """Reasons of conditions."""

    APPLIED = "Applied"
    WAITING = "Waiting"
    APPLYING = "Applying"
    KERNEL_REFUSED = "KernelRefused"
    KERNEL_UNAVAILABLE = "KernelUnavailable"
    HEALTHY = "Healthy"
    GROUPS_AWAITED = "WaitingForGroups"
    UNUSABLE = "RuleSetUnusable"
    MISSING = "RuleSetMissing"
    RESTORED = "RuleSetRestored"
    DRIFT = "Drift"
    BYPASS = "Bypass"
    UNGUARDED = "Unguarded"
    UNSAVED = "RuleSetUnsaved"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to report: a reason for machines, a message for people."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class RuleSet:
    """One NodeRuleSet, decoded and checked. ``source`` is its JSON, as it came.

    Equal identity, generation and digest mean equal content: comparing 100,000 addresses each time would be waste. Of
    the groups that are held apart ``members`` says the same; ``parts`` is their JSON, ``groups`` the revision of all of
    them, and ``report_within`` how many seconds a report about a newer revision may take.
    """

    uid: str
    generation: int
    digest: str
    content: NodeRuleSet = field(compare=False, repr=False)
    source: bytes = field(default=b"", compare=False, repr=False)
    members: str = ""
    groups: int = field(default=0, compare=False)
    report_within: int = field(default=0, compare=False)
    parts: tuple[bytes, ...] = field(default=(), compare=False, repr=False)

    def differs_in_members_only(self, other: "RuleSet") -> bool:
        """Whether nothing but members of groups that are held apart is another."""
        return self != other and self == replace(other, members=self.members)


@dataclass(frozen=True, slots=True)
class Target:
    """A rule set drawn with certain settings: what the kernel is to hold."""

    ruleset: RuleSet
    settings: Settings
    table: Table = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Observed:
    """The newest NodeRuleSet that was looked at, usable or not."""

    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class Held:
    """A NodeRuleSet from the past, and when it is believed after all."""

    ruleset: RuleSet
    until: Seconds


@dataclass(frozen=True, slots=True)
class Drift:
    """Somebody else changed the table: who ("" when it is no news any more), how often until now, when last."""

    who: str
    count: int
    at: Seconds


@dataclass(frozen=True, slots=True)
class State:
    """Everything the agent knows.

    ``setup``: how to draw tables now. ``table_found``: a table of ours is in the kernel, perhaps of an earlier run.
    ``saved``: the last good rule set from disk. ``wanted``: the newest good one. ``applied``: what the kernel holds by
    our own doing; None until the first apply of this run. ``observed``: the newest NodeRuleSet that was looked at.
    ``suspect``: the kernel may hold something else, so the next apply is a full replace. ``trouble``: why the newest
    NodeRuleSet is not wanted. ``refusal``: why ``wanted`` is not applied; no new try before ``retry_at``. ``findings``:
    what weakens the table from outside. ``groups``: the revision of the PeerGroups that ``wanted`` was looked at with.
    ``ripening``: ``wanted`` with newer members, which make something looser, and when these count.
    """

    setup: Setup = DEFAULTS
    table_found: bool = False
    saved: RuleSet | None = None
    wanted: RuleSet | None = None
    applied: Target | None = None
    applied_at: str = ""
    observed: Observed | None = None
    suspect: bool = True
    held: Held | None = None
    trouble: Finding | None = None
    refusal: Finding | None = None
    failures: int = 0
    retry_at: Seconds = 0.0
    drift: Drift | None = None
    findings: tuple[Finding, ...] = ()
    groups: int = 0
    ripening: Held | None = None

    @property
    def guarding(self) -> bool:
        """Whether a table of ours is in the kernel, of this run or of an earlier one."""
        return self.applied is not None or self.table_found


@dataclass(frozen=True, slots=True)
class Apply:
    """Bring ``target`` into the kernel by one transaction; then remove the connections of the addresses ``gone``."""

    kind: Kind
    target: Target
    transaction: Transaction
    gone: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class Adopt:
    """``target`` renders to what the kernel already holds: nothing to send."""

    target: Target
    gone: frozenset[Address] = frozenset()


Step = Apply | Adopt


def start(setup: Setup, table_found: bool, saved: RuleSet | None) -> State:
    """The first state.

    After a reboot the last good rule set goes in at once; a table that is there stays until a NodeRuleSet comes.
    """
    return State(setup, table_found, saved, wanted=None if table_found else saved)


def read(state: State, ruleset: RuleSet, now: Seconds) -> State:
    """A usable NodeRuleSet came from the API server."""
    state = replace(state, observed=Observed(ruleset.uid, ruleset.generation), trouble=None)
    if _is_from_the_past(state, ruleset):
        return _hold(state, ruleset, now)
    if _ripens(state, ruleset):
        until = state.ripening.until if state.ripening else now + RIPENING
        return replace(state, ripening=Held(ruleset, until))
    return _want(state, ruleset)


def _ripens(state: State, ruleset: RuleSet) -> bool:
    wanted = state.wanted
    if wanted is None or state.held or not ruleset.differs_in_members_only(wanted):
        return False
    return looser(wanted.content, ruleset.content)


def _is_from_the_past(state: State, ruleset: RuleSet) -> bool:
    newest = state.held.ruleset if state.held else state.wanted or state.saved
    if newest is None or newest.uid != ruleset.uid:
        return False
    if state.held and ruleset == newest:
        return True  # the same event again
    if ruleset.differs_in_members_only(newest):
        return ruleset.groups < newest.groups
    same = (ruleset.digest, ruleset.members) == (newest.digest, newest.members)
    return ruleset.generation < newest.generation and not same


def _hold(state: State, ruleset: RuleSet, now: Seconds) -> State:
    until = state.held.until if state.held else now + RESTORED_HOLD
    message = (
        f"the NodeRuleSet went back to generation {ruleset.generation}, as if etcd had been restored from a backup; "
        f"the last good one stays until the controller has written again, {RESTORED_HOLD:.0f} seconds at most"
    )
    return replace(state, held=Held(ruleset, until), ripening=None, trouble=Finding(Reason.RESTORED, message))


def _want(state: State, ruleset: RuleSet) -> State:
    state = found(state, Reason.UNGUARDED, unguarded(state.setup, ruleset.content))
    state = replace(state, groups=ruleset.groups, held=None, ripening=None)
    if state.wanted == ruleset:
        return replace(state, wanted=ruleset)
    return replace(state, wanted=ruleset, refusal=None, failures=0, retry_at=0.0)


def set_up(state: State, setup: Setup) -> State:
    """Draw tables in another way from now on."""
    if setup == state.setup:
        return state
    state = replace(state, setup=setup, refusal=None, failures=0, retry_at=0.0)
    return found(state, Reason.UNGUARDED, unguarded(setup, state.wanted.content) if state.wanted else ())


def tick(state: State, now: Seconds) -> State:
    """Time has passed: a held rule set is believed, new members count, an old drift is no longer news."""
    if state.ripening and now >= state.ripening.until:
        state = _want(state, state.ripening.ruleset)
    if state.held and now >= state.held.until:
        state = replace(_want(state, state.held.ruleset), trouble=None)
    if state.drift and now >= state.drift.at + DRIFT_SHOWN and not state.suspect:
        state = replace(state, drift=replace(state.drift, who=""))
    return state


def absent(state: State) -> State:
    """There is no NodeRuleSet of this node. The node stays as it is."""
    message = f"there is no NodeRuleSet for this node; {_meanwhile(state)}"
    return replace(state, held=None, trouble=Finding(Reason.MISSING, message))


def unusable(state: State, observed: Observed, why: str) -> State:
    """A NodeRuleSet came that cannot be used."""
    trouble = Finding(Reason.UNUSABLE, f"{why}; {_meanwhile(state)}")
    return replace(state, observed=observed, held=None, trouble=trouble)


def awaiting(state: State, observed: Observed, why: str) -> State:
    """A NodeRuleSet came, and a group that it names has not come yet. What is in force stays, with its members."""
    trouble = Finding(Reason.GROUPS_AWAITED, f"{why}; {_meanwhile(state)}")
    return replace(state, observed=observed, held=None, ripening=None, trouble=trouble)


def _meanwhile(state: State) -> str:
    """What holds without a rule set that can be used."""
    return "the last good table stays" if state.applied or state.table_found else "nothing is enforced until then"


def drifted(state: State, who: str, now: Seconds) -> State:
    """Somebody else changed the table. Without a rule set of this run the one from disk repairs it."""
    before = state.drift
    soonest = before.at + REPAIR_PAUSE if before else now
    return replace(
        uncertain(state),
        wanted=state.wanted or state.saved,
        drift=Drift(who, before.count + 1 if before else 1, now),
        retry_at=max(now, soonest),
    )


def uncertain(state: State) -> State:
    """What the kernel holds is not known for sure any more: the next apply is a full replace."""
    return replace(state, suspect=True)


def found(state: State, reason: Reason, messages: Iterable[str]) -> State:
    """The findings of one reason, replacing those there were. In a fixed order, so that equal findings are an equal
    state.
    """
    others = [finding for finding in state.findings if finding.reason is not reason]
    new = [Finding(reason, message) for message in messages]
    return replace(state, findings=tuple(sorted(others + new, key=lambda finding: (finding.reason, finding.message))))


def next_step(state: State, now: Seconds) -> Step | None:
    """What to do now, or None. Raises BadInputError when the wanted rule set cannot be drawn."""
    if state.wanted is None or now < state.retry_at:
        return None
    if not state.suspect and state.applied and _in_force(state.applied, state.wanted, state.setup):
        return None
    return _toward(state, *_stage(state, state.wanted))


def _in_force(target: Target, ruleset: RuleSet, setup: Setup) -> bool:
    return target.ruleset == ruleset and target.settings == settings(setup, ruleset.content)


def _before(state: State) -> NodeRuleSet | None:
    """Whose connections are in the kernel: those of what is in force, by our own doing or from an earlier run."""
    if state.applied:
        return state.applied.ruleset.content
    return state.saved.content if state.saved and state.table_found else None


def _stage(state: State, wanted: RuleSet) -> tuple[RuleSet, frozenset[Address]]:
    """(what to apply now, the addresses that leave their pod by it).

    An address that another pod owns now first belongs to nobody, so that its connections can be removed in between.
    """
    before = _before(state)
    if before is None:
        return wanted, frozenset()
    moved = handed_on(before, wanted.content)
    if not moved:
        return wanted, departed(before, wanted.content)
    between = replace(wanted, digest="", content=without(wanted.content, moved), source=b"")
    return between, departed(before, between.content)


def _toward(state: State, ruleset: RuleSet, gone: frozenset[Address]) -> Step:
    drawn = settings(_judging_anew(state, ruleset), ruleset.content)
    previous = state.applied.table if state.applied else None
    target = Target(ruleset, drawn, render(ruleset.content, drawn, previous))
    if state.suspect or state.applied is None:
        return Apply(Kind.REPLACE, target, replaced(target.table), gone)
    change = diff(state.applied.table, target.table)
    if change is None:
        return Adopt(target, gone)
    if change.operations > LEAST_DIFF and change.operations > target.table.size + LEAST_DIFF:
        return Apply(Kind.REPLACE, target, replaced(target.table), gone)
    return Apply(Kind.DIFF, target, change, gone)


def _judging_anew(state: State, ruleset: RuleSet) -> Setup:
    """The setup, with the next generation of connections where those that live have to be judged again.

    The first table of a run needs no other one: the run began with a generation that nobody carries.
    """
    strict = state.setup.strict
    if strict is None or state.applied is None:
        return state.setup
    if not state.suspect and not stricter(state.applied.ruleset.content, ruleset.content):
        return state.setup
    return replace(state.setup, strict=replace(strict, generation=strict.generation + 1))


def succeeded(state: State, target: Target, at: str) -> State:
    """``target`` is in force. ``at`` is RFC 3339 text: of the rule set, not of each member of its groups."""
    if state.applied and target.ruleset.differs_in_members_only(state.applied.ruleset):
        at = state.applied_at
    return replace(
        state,
        setup=replace(state.setup, strict=target.settings.strict),
        applied=target,
        applied_at=at,
        suspect=False,
        refusal=None,
        failures=0,
        retry_at=0.0,
        table_found=True,
    )


def undrawable(state: State, why: str) -> State:
    """The wanted rule set cannot be drawn: back to what is in force, unless that is the one that cannot."""
    before = state.applied.ruleset if state.applied and state.applied.ruleset != state.wanted else None
    finding = Finding(Reason.UNUSABLE, f"{why}; the last good table stays")
    return replace(state, wanted=before, trouble=finding, refusal=None)


def failed(state: State, step: Apply, finding: Finding, now: Seconds) -> State:
    """The kernel refused. A diff is followed by a full replace at once, a replace by another after a while."""
    state = replace(uncertain(state), refusal=finding, failures=state.failures + 1)
    if step.kind is Kind.DIFF:
        return replace(state, retry_at=now)
    return replace(state, retry_at=now + retry_delay(state.failures))


def retry_delay(failures: int) -> Seconds:
    """1, 2, 4 ... 60 seconds."""
    return float(min(FIRST_RETRY * 2.0 ** min(failures - 1, 10), LAST_RETRY))


def wake_at(state: State) -> Seconds | None:
    """When ``tick`` or ``next_step`` has something to do although nothing happened; None: never."""
    times = (
        state.retry_at if state.wanted and (state.refusal or state.suspect) else None,
        state.held.until if state.held else None,
        state.ripening.until if state.ripening else None,
        state.drift.at + DRIFT_SHOWN if state.drift and state.drift.who else None,
    )
    return min((time for time in times if time is not None), default=None)
