"""A pod that reaches itself through a Service: isolation exempts it, explicit rules do not (semantics 46)."""

import pytest

from nodewall.model.policy import Action, Direction, Tier
from nodewall.model.ruleset import Isolation, Rule, RuleClass
from nodewall.render import Guard, Settings
from tests.kernel.checker import Checker, Outcome
from tests.kernel.scenes import DROPPED, OTHER, PASSED, POD, both_families, programmed, ruleset
from tests.render.rulesets import ANYTHING

pytestmark = pytest.mark.kernel

ADMIN = Rule("a", Tier.ADMIN, Action.DENY, ANYTHING)
BASELINE = Rule("b", Tier.BASELINE, Action.DENY, ANYTHING)
CASES: dict[str, tuple[tuple[Rule, ...], bool, Outcome]] = {
    "isolated": ((), True, PASSED),
    "isolated, which ends evaluation before Baseline": ((BASELINE,), True, PASSED),
    "Baseline denies": ((BASELINE,), False, DROPPED),
    "Admin denies": ((ADMIN,), False, DROPPED),
    "Admin denies, isolated": ((ADMIN,), True, DROPPED),
}


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("settings", [Settings(), Settings(guard=Guard())], ids=["plain", "guarded"])
def test_a_pod_that_reaches_itself(
    checker: Checker, direction: Direction, case: tuple[tuple[Rule, ...], bool, Outcome], settings: Settings
) -> None:
    rules, isolated, expected = case
    judged = RuleClass("c", direction, rules, Isolation("i", ("a/b",), 1) if isolated else None)
    chosen = ruleset(ingress=judged) if direction is Direction.INGRESS else ruleset(egress=judged)
    programmed(checker, chosen, settings)
    assert checker.outcomes(both_families(POD, POD)) == [expected] * 2


def test_the_exemption_is_for_itself_only(checker: Checker) -> None:
    isolated = RuleClass("c", Direction.INGRESS, (), Isolation("i", ("a/b",), 1))
    programmed(checker, ruleset(ingress=isolated))
    assert checker.outcomes(both_families(OTHER, POD)) == [DROPPED] * 2
