"""The status of a policy: what it ought to say (pure), and how it reads and is written.

::

    Accepted      the policy holds as it is written
    Programmed    every node that owns a selected pod enforces this generation, or a later one
    Conflicted    a policy of equal priority, judged before this one, is about the same pods in the same direction
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from nodewall.model.errors import Problem
from nodewall.model.policy import Kind, PolicyRef

LONGEST_MESSAGE = 1024
"""Characters of a condition's message."""


class Type(StrEnum):
    """Types of conditions."""

    ACCEPTED = "Accepted"
    PROGRAMMED = "Programmed"
    CONFLICTED = "Conflicted"


class Reason(StrEnum):
    """Reasons of conditions."""

    ACCEPTED = "Accepted"
    INVALID = "Invalid"
    SUBJECT_INVALID = "SubjectInvalid"
    PROGRAMMED = "Programmed"
    PENDING = "Pending"
    NOTHING_SELECTED = "NothingSelected"
    TOO_LARGE = "RuleSetTooLarge"
    UNIQUE = "Unique"
    CONFLICT = "EqualPriority"
    COMPILER_ERROR = "CompilerError"
    HELD = "RuleSetHeld"


@dataclass(frozen=True, slots=True)
class Condition:
    """``since`` is RFC 3339 text: when ``true`` became what it is."""

    type: str
    true: bool
    reason: str
    message: str
    generation: int
    since: str


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """Counts are -1 where none is stated."""

    generation: int = -1
    pods: int = -1
    desired: int = -1
    programmed: int = -1
    conditions: tuple[Condition, ...] = ()


UNKNOWN = PolicyStatus()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one policy now.

    ``selected`` counts the selected pods of each node that has some; ``reached`` are the nodes that enforce this
    generation; ``oversized`` those that keep an older rule set because the new one is too large, ``held`` because the
    compiler fails on some policy. ``trouble`` is what it says when it fails on this one.
    """

    generation: int
    problems: tuple[Problem, ...] = ()
    subject_broken: bool = False
    keeps_last: bool = False
    selected: Mapping[str, int] = field(default_factory=dict)
    reached: frozenset[str] = frozenset()
    oversized: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    trouble: str = ""
    rivals: tuple[PolicyRef, ...] = ()


def assess(facts: Facts, before: PolicyStatus, now: str) -> PolicyStatus:
    """The status for these facts. Equal to ``before`` when nothing has to be written; ``now`` is RFC 3339 text."""
    drafts = (_accepted(facts), _programmed(facts), _conflicted(facts))
    return PolicyStatus(
        generation=facts.generation,
        pods=sum(facts.selected.values()),
        desired=len(facts.selected),
        programmed=len(facts.selected.keys() & facts.reached),
        conditions=tuple(_dated(draft, before.conditions, now) for draft in drafts),
    )


def explanation(facts: Facts) -> str:
    """Why a policy is not accepted as it is written, in one line; "" when it is."""
    if facts.trouble:
        return _clamped(facts.trouble)
    if not facts.problems:
        return ""
    told = "; ".join(map(str, facts.problems))
    return f"{told}{_CONSEQUENCE[facts.subject_broken, facts.keeps_last]}"


_CONSEQUENCE = {
    (False, False): "",
    (False, True): "",
    (True, False): " (it has no last accepted spec)",
    (True, True): " (the last accepted spec stays in force)",
}

_Draft = tuple[Type, bool, Reason, str, int]


def _accepted(facts: Facts) -> _Draft:
    if facts.trouble:
        return Type.ACCEPTED, False, Reason.COMPILER_ERROR, explanation(facts), facts.generation
    if not facts.problems:
        return Type.ACCEPTED, True, Reason.ACCEPTED, "in force as it is written", facts.generation
    reason = Reason.SUBJECT_INVALID if facts.subject_broken else Reason.INVALID
    return Type.ACCEPTED, False, reason, _clamped(explanation(facts)), facts.generation


def _programmed(facts: Facts) -> _Draft:
    missing = facts.selected.keys() - facts.reached
    if facts.trouble:
        return Type.PROGRAMMED, False, Reason.COMPILER_ERROR, explanation(facts), facts.generation
    if not facts.selected:
        return Type.PROGRAMMED, True, Reason.NOTHING_SELECTED, "no pod is selected", facts.generation
    if not missing:
        message = "every node with a selected pod enforces it"
        return Type.PROGRAMMED, True, Reason.PROGRAMMED, message, facts.generation
    if large := missing & facts.oversized:
        message = f"the rule set is too large, and an older one stays in force, on {_some(large)}"
        return Type.PROGRAMMED, False, Reason.TOO_LARGE, message, facts.generation
    if held := missing & facts.held:
        message = f"the compiler fails on another policy, and an older rule set stays in force, on {_some(held)}"
        return Type.PROGRAMMED, False, Reason.HELD, message, facts.generation
    return Type.PROGRAMMED, False, Reason.PENDING, f"not yet on {_some(missing)}", facts.generation


def _conflicted(facts: Facts) -> _Draft:
    if not facts.rivals:
        return Type.CONFLICTED, False, Reason.UNIQUE, "no overlapping policy has its priority", facts.generation
    told = _clamped(f"judged after {', '.join(map(str, facts.rivals))} of equal priority")
    return Type.CONFLICTED, True, Reason.CONFLICT, told, facts.generation


def _some(nodes: Iterable[str]) -> str:
    """One name and a count: of 5,000 nodes nobody reads all."""
    first, *rest = sorted(nodes)
    return f"node {first} and {len(rest)} more" if rest else f"node {first}"


def _clamped(text: str) -> str:
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 3]}..."


def _dated(draft: _Draft, before: Iterable[Condition], now: str) -> Condition:
    kind, true, reason, message, generation = draft
    old = next((condition for condition in before if condition.type == kind), None)
    since = old.since if old is not None and old.true == true and old.since else now
    return Condition(kind, true, reason, message, generation, since)


# --- the wire ---------------------------------------------------------------------------------------------------------


class _ConditionWire(msgspec.Struct, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    observed_generation: int = -1
    last_transition_time: str = ""


class _NodesWire(msgspec.Struct):
    desired: int = -1
    programmed: int = -1


class _StatusWire(msgspec.Struct, rename="camel"):
    observed_generation: int = -1
    selected_pods: int = -1
    nodes: _NodesWire = msgspec.field(default_factory=_NodesWire)
    conditions: list[_ConditionWire] = []


class _ObjectWire(msgspec.Struct):
    status: _StatusWire = msgspec.field(default_factory=_StatusWire)


_decoder = msgspec.json.Decoder(_ObjectWire)


def read_status(body: bytes | msgspec.Raw) -> PolicyStatus:
    """What an object's JSON says in its status, our conditions only; ``UNKNOWN`` where it cannot be read."""
    try:
        wire = _decoder.decode(body).status
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UNKNOWN
    ours = {each.type: each for each in wire.conditions if each.type in set(Type)}
    return PolicyStatus(
        generation=wire.observed_generation,
        pods=wire.selected_pods,
        desired=wire.nodes.desired,
        programmed=wire.nodes.programmed,
        conditions=tuple(_condition(ours[kind]) for kind in Type if kind in ours),
    )


def _condition(wire: _ConditionWire) -> Condition:
    return Condition(
        wire.type,
        wire.status == "True",
        wire.reason,
        wire.message,
        wire.observed_generation,
        wire.last_transition_time,
    )


def as_written(kind: Kind, status: PolicyStatus) -> dict[str, Any]:
    """The status as it is applied; a ClusterNetworkPolicy's has nothing but conditions."""
    conditions = [
        {
            "type": each.type,
            "status": "True" if each.true else "False",
            "reason": each.reason,
            "message": each.message,
            "observedGeneration": each.generation,
            "lastTransitionTime": each.since,
        }
        for each in status.conditions
    ]
    if kind is Kind.CLUSTER:
        return {"conditions": conditions}
    return {
        "observedGeneration": status.generation,
        "selectedPods": status.pods,
        "nodes": {"desired": status.desired, "programmed": status.programmed},
        "conditions": conditions,
    }


def same(kind: Kind, one: PolicyStatus, other: PolicyStatus) -> bool:
    """Whether there is nothing to write."""
    return as_written(kind, one) == as_written(kind, other)
