"""An explanation for people: a line for the verdict, then what decided it in each direction."""

from collections.abc import Iterator
from typing import Any

from nodewall.evaluate.result import TIER_NAMES, Explanation, Judgement, Step
from nodewall.model.policy import Action


def explain(explanation: Explanation) -> str:
    """Several short lines, without a trailing newline."""
    return "\n".join(_lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    verdict = "ALLOWED" if explanation.allowed else "DENIED"
    family = f"  IPv{explanation.family}" if explanation.family else ""
    yield f"{verdict}  {explanation.source} -> {explanation.destination}  {explanation.traffic}{family}"
    if explanation.note:
        yield f"  {explanation.note}"
    for judgement in explanation.judgements:
        yield from _judgement(judgement)


def _judgement(judgement: Judgement) -> Iterator[str]:
    verdict = "allowed" if judgement.allowed else "denied"
    yield f"  {judgement.direction.lower()} of {judgement.subject}: {verdict}"
    for number, step in enumerate(judgement.steps, start=1):
        yield f"    {number}. {step.reason}{_outcome(step, decided=step is judgement.decision)}"
    for step in judgement.audits:
        yield f"    audit: {step.reason} (changes nothing)"


def _outcome(step: Step, *, decided: bool) -> str:
    if step.verdict is Action.PASS:
        return " (goes on with the next tier)"
    return "" if decided else ", goes on"


def as_object(explanation: Explanation) -> dict[str, Any]:
    """The same for programs: plain JSON values, field names in lowerCamelCase."""
    return {
        "source": explanation.source,
        "destination": explanation.destination,
        "traffic": explanation.traffic,
        "family": f"IPv{explanation.family}" if explanation.family else None,
        "allowed": explanation.allowed,
        "note": explanation.note,
        "directions": [_direction_object(judgement) for judgement in explanation.judgements],
    }


def _direction_object(judgement: Judgement) -> dict[str, Any]:
    return {
        "direction": judgement.direction.value,
        "subject": judgement.subject,
        "allowed": judgement.allowed,
        "decidedBy": _step_object(judgement.decision),
        "steps": [_step_object(step) for step in judgement.steps],
        "audits": [_step_object(step) for step in judgement.audits],
    }


def _step_object(step: Step) -> dict[str, Any]:
    policy = step.policy
    return {
        "tier": None if step.tier is None else TIER_NAMES[step.tier],
        "verdict": None if step.verdict is None else step.verdict.value,
        "reason": step.reason,
        "policy": None if policy is None else {"kind": policy.kind, "namespace": policy.namespace, "name": policy.name},
        "rule": step.rule,
    }
