"""What the printer columns count."""

from nodewall.agent.counts import count
from nodewall.model.address import Address
from nodewall.model.policy import Direction, Kind
from nodewall.model.ruleset import AddressGroup, Endpoint, Isolation, NodeRuleSet, RuleClass, RuleRef


def ruleset(*isolations: Isolation) -> NodeRuleSet:
    return NodeRuleSet(
        node="n",
        groups=(AddressGroup("g", "", (Address("10.0.0.1"), Address("10.0.0.2"))), AddressGroup("h", "", ())),
        classes=tuple(RuleClass(f"c{i}", Direction.INGRESS, isolation=each) for i, each in enumerate(isolations)),
        endpoints=(Endpoint("a", "x", (Address("10.0.1.1"),)),),
        rules=(
            RuleRef("1", Kind.NETWORK_POLICY, "a", "p", Direction.INGRESS, "ingress[0]"),
            RuleRef("2", Kind.NETWORK_POLICY, "a", "p", Direction.INGRESS, "ingress[1]"),
        ),
    )


def test_a_policy_counts_once_whatever_its_rules() -> None:
    counts = count(ruleset())
    assert (counts.pods, counts.policies, counts.rules, counts.addresses) == (1, 1, 2, 2)


def test_a_policy_that_only_isolates_counts_too() -> None:
    assert count(ruleset(Isolation("i", ("a/p", "a/deny-all"), 2))).policies == 2


def test_more_isolating_policies_than_a_class_names_count() -> None:
    assert count(ruleset(Isolation("i", ("a/p",), 1), Isolation("j", tuple("abcdefgh"), 12))).policies == 12


def test_nothing_counts_as_nothing() -> None:
    counts = count(NodeRuleSet("n"))
    assert (counts.pods, counts.policies, counts.rules, counts.addresses) == (0, 0, 0, 0)
