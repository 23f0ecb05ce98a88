"""What is recorded: by the rule in explicit policies, by the namespace's wish in NetworkPolicies."""

import pytest

from nodewall.compile import Settings, compile_all
from nodewall.model.cluster import LogWish, Namespace
from nodewall.model.policy import ANY_PORT, ANYONE, Action, Direction, Logging, TierRule
from nodewall.model.ruleset import RuleClass, RuleLog
from tests.compile.verdicts import class_of
from tests.compile.world import ALL, NAMESPACES, allow, cluster, policy, tier_policy


def class_with(wish: LogWish | None, settings: Settings) -> RuleClass:
    namespaces = [Namespace("x", log=wish), *NAMESPACES[1:]]
    ruleset = compile_all(cluster(policy("x/p", ingress=allow(ALL)), namespaces=namespaces), settings)["n1"]
    found = class_of(ruleset, ruleset.endpoints[0], Direction.INGRESS)
    assert found
    return found


WISHES = [
    (LogWish.DENY, False, True),
    (LogWish.ACCEPT, True, False),
    (LogWish.ALL, True, True),
    (LogWish.NONE, False, False),
]


@pytest.mark.parametrize(("wish", "accepts", "denies"), WISHES)
@pytest.mark.parametrize("by_default", [False, True], ids=["annotation", "default"])
def test_a_namespaces_wish(wish: LogWish, accepts: bool, denies: bool, by_default: bool) -> None:
    settings = Settings(log_default=wish if by_default else LogWish.NONE, log_rate=3, log_burst=7)
    found = class_with(None if by_default else wish, settings)
    assert found.isolation
    assert found.isolation.log == (RuleLog(3, 7) if denies else None)
    assert [each.log for each in found.rules] == [RuleLog(3, 7) if accepts else None]


def test_the_annotation_silences_the_default() -> None:
    found = class_with(LogWish.NONE, Settings(log_default=LogWish.ALL))
    assert found.isolation
    assert found.isolation.log is None


def test_denials_are_recorded_unless_the_operator_says_otherwise() -> None:
    assert Settings().log_default is LogWish.DENY


BOTH = Logging(accept=True, deny=True, rate=1, burst=2, label="mine")
RULES = [
    ("a wanted verdict", Action.DENY, Logging(deny=True, rate=1, burst=2), RuleLog(1, 2)),
    ("the other verdict", Action.DENY, Logging(accept=True), None),
    ("accepts too", Action.ACCEPT, Logging(accept=True, rate=1, burst=2), RuleLog(1, 2)),
    ("nothing asked for", Action.ACCEPT, Logging(), None),
    ("Pass is no verdict", Action.PASS, BOTH, None),
]


@pytest.mark.parametrize(
    ("action", "logging", "expected"), [case[1:] for case in RULES], ids=[case[0] for case in RULES]
)
def test_a_rules_own_logging(action: Action, logging: Logging, expected: RuleLog | None) -> None:
    rule = TierRule(0, action, ANYONE, ANY_PORT, logging=logging)
    ruleset = compile_all(cluster(tier_policy(ingress=(rule,))))["n1"]
    assert [each.log for judged in ruleset.classes for each in judged.rules] == [expected]


def test_a_rule_id_leads_back_to_its_policy_rule_and_label() -> None:
    rule = TierRule(0, Action.DENY, ANYONE, ANY_PORT, name="no-strangers", logging=BOTH)
    ruleset = compile_all(cluster(tier_policy("guard", ingress=(rule,)), policy("x/p", ingress=allow(ALL))))["n1"]
    found = {each.id: (each.kind.value, each.namespace, each.name, each.rule, each.label) for each in ruleset.rules}
    used = {each.id for judged in ruleset.classes for each in judged.rules}
    assert used == set(found)
    assert sorted(found.values()) == [
        ("ClusterExtendedNetworkPolicy", "", "guard", "no-strangers", "mine"),
        ("NetworkPolicy", "x", "p", "ingress[0]", ""),
    ]


def test_rules_at_the_same_place_of_both_directions_have_ids_of_their_own() -> None:
    both = policy("x/p", ingress=allow(ALL), egress=allow(ALL))
    assert sorted(each.rule for each in compile_all(cluster(both))["n1"].rules) == ["egress[0]", "ingress[0]"]


def test_an_isolation_names_eight_policies_and_counts_all() -> None:
    policies = [policy(f"x/p{number:02}", ingress=()) for number in range(11)]
    ruleset = compile_all(cluster(*reversed(policies)))["n1"]
    (found,) = (each.isolation for each in ruleset.classes)
    assert found
    assert found.policies == tuple(f"x/p{number:02}" for number in range(8))
    assert found.count == 11


def test_an_isolation_by_other_policies_has_another_id() -> None:
    ids = set()
    for count in (9, 10):
        ruleset = compile_all(cluster(*(policy(f"x/p{number:02}", ingress=()) for number in range(count))))["n1"]
        ids |= {each.isolation.id for each in ruleset.classes if each.isolation}
    assert len(ids) == 2
