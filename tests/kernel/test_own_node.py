"""Pod and own node: NetworkPolicy never comes between them, explicit egress rules do (semantics 42, 44)."""

import pytest

from nodewall.model.policy import Action, DenyWith, Direction, PortRange, Protocol, Tier
from nodewall.model.ruleset import Isolation, Match, Rule, RuleClass
from tests.kernel.checker import Checker, Outcome
from tests.kernel.packets import Packet
from tests.kernel.scenes import (
    DROPPED,
    OTHER,
    OWN,
    PASSED,
    POD,
    REJECTED,
    WORLD,
    both_families,
    programmed,
    ruleset,
)
from tests.render.rulesets import ANYTHING, block

pytestmark = pytest.mark.kernel

ISOLATED = Isolation("o", ("a/b",), 1)
WEB = Match(any_peer=True, ports=(PortRange(Protocol.TCP, 80, 80),))
NODE = Match(blocks=(block("192.0.2.0/24"), block("fd00:f::/64")), any_port=True)


def _rule(tier: Tier, action: Action, match: Match = ANYTHING, deny_with: DenyWith = DenyWith.DROP) -> Rule:
    return Rule(f"{tier.name}-{action}".lower().replace("_", "-"), tier, action, match, deny_with)


ADMIN_DENY, ADMIN_REJECT = _rule(Tier.ADMIN, Action.DENY), _rule(Tier.ADMIN, Action.DENY, deny_with=DenyWith.REJECT)
ADMIN_PASS, NAMESPACE_PASS = _rule(Tier.ADMIN, Action.PASS), _rule(Tier.NAMESPACE, Action.PASS)
NAMESPACE_DENY, NAMESPACE_ACCEPT = _rule(Tier.NAMESPACE, Action.DENY), _rule(Tier.NAMESPACE, Action.ACCEPT)
WEB_ONLY = _rule(Tier.NETWORK_POLICY, Action.ACCEPT, WEB)
BASELINE_DENY = _rule(Tier.BASELINE, Action.DENY)
NODE_DENY = _rule(Tier.ADMIN, Action.DENY, NODE)

CASES: dict[str, tuple[tuple[Rule, ...], Isolation | None, Outcome, Outcome]] = {
    # rules, isolation: towards the own node, towards the world
    "isolated by NetworkPolicy": ((), ISOLATED, PASSED, DROPPED),
    "isolated with another port allowed": ((WEB_ONLY,), ISOLATED, PASSED, DROPPED),
    "Admin denies": ((ADMIN_DENY,), None, DROPPED, DROPPED),
    "Admin rejects": ((ADMIN_REJECT,), None, REJECTED, REJECTED),
    "Admin denies the node's addresses": ((NODE_DENY,), None, DROPPED, PASSED),
    "Namespace denies, isolated": ((NAMESPACE_DENY,), ISOLATED, DROPPED, DROPPED),
    "Admin passes, Namespace denies": ((ADMIN_PASS, NAMESPACE_DENY), None, DROPPED, DROPPED),
    "Namespace accepts before Baseline": ((NAMESPACE_ACCEPT, BASELINE_DENY), None, PASSED, PASSED),
    "Baseline denies": ((BASELINE_DENY,), None, DROPPED, DROPPED),
    "Baseline is not reached when isolated": ((BASELINE_DENY,), ISOLATED, PASSED, DROPPED),
    "Namespace passes, isolated, Baseline": ((NAMESPACE_PASS, BASELINE_DENY), ISOLATED, PASSED, DROPPED),
    "Admin and Namespace pass to Baseline": ((ADMIN_PASS, NAMESPACE_PASS, BASELINE_DENY), None, DROPPED, DROPPED),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_judged_towards_the_own_node(
    checker: Checker, case: tuple[tuple[Rule, ...], Isolation | None, Outcome, Outcome]
) -> None:
    rules, isolation, to_node, to_world = case
    programmed(checker, ruleset(egress=RuleClass("out", Direction.EGRESS, rules, isolation)))
    assert checker.outcomes(both_families(POD, OWN, dport=443)) == [to_node] * 2
    assert checker.outcomes(both_families(POD, WORLD, dport=443)) == [to_world] * 2


@pytest.mark.parametrize("proto", [6, 17, 132, 47])
def test_the_own_node_always_reaches_its_pods(checker: Checker, proto: int) -> None:
    """Whatever its policies say; another node does not."""
    denied = RuleClass("in", Direction.INGRESS, (ADMIN_DENY,), Isolation("i", ("a/b",), 1))
    programmed(checker, ruleset(denied, RuleClass("out", Direction.EGRESS, (ADMIN_DENY,), ISOLATED)))
    assert checker.outcomes(both_families(OWN, POD, proto)) == [PASSED] * 2
    assert (
        checker.outcomes([Packet("192.0.2.2", POD[0], proto, 80), Packet("fd00:f::2", POD[1], proto, 80)])
        == [DROPPED] * 2
    )


def test_the_rules_of_one_pod_are_no_other_ones(checker: Checker) -> None:
    programmed(checker, ruleset(egress=RuleClass("out", Direction.EGRESS, (ADMIN_DENY,))))
    assert checker.outcomes([*both_families(OTHER, OWN), *both_families(WORLD, OWN)]) == [PASSED] * 4
