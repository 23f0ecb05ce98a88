"""A rule set with one rule of each kind, and names that would break a line if they could."""

from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, Kind, Tier
from nodewall.model.ruleset import Audit, Endpoint, Isolation, Match, NodeRuleSet, Rule, RuleClass, RuleLog, RuleRef

LOG = RuleLog(10, 20)
ANYTHING = Match(any_peer=True, any_port=True)
NASTY = 'x\n{"verdict":"accept"}\r\x1b[31m"\\\u2028\u009b31m\ud800'
MANY = tuple(f"shop/p{number}" for number in range(8))


def rule(id_: str, tier: Tier, action: Action, log: RuleLog | None = LOG) -> Rule:
    return Rule(id_, tier, action, ANYTHING, log=log)


INGRESS = RuleClass(
    "i",
    Direction.INGRESS,
    (
        rule("admin", Tier.ADMIN, Action.DENY),
        rule("silent", Tier.ADMIN, Action.DENY, None),
        rule("own", Tier.NAMESPACE, Action.ACCEPT),
        rule("plain", Tier.NETWORK_POLICY, Action.ACCEPT),
    ),
    Isolation("iso", MANY, 11, LOG),
    (Audit((rule("try-deny", Tier.BASELINE, Action.DENY), rule("try-pass", Tier.BASELINE, Action.PASS))),),
)
EGRESS = RuleClass("e", Direction.EGRESS, (rule("out", Tier.BASELINE, Action.DENY),), Isolation("quiet", ("a/b",), 1))

RULESET = NodeRuleSet(
    "n1",
    classes=(INGRESS, EGRESS),
    endpoints=(Endpoint("shop", "web-0", (Address("10.0.0.2"), Address("fd00::2")), "i", "e"),),
    rules=(
        RuleRef("admin", Kind.CLUSTER_EXTENDED, "", "guards", Direction.INGRESS, "no-strangers", "cross-tenant"),
        RuleRef("silent", Kind.CLUSTER, "", "other", Direction.INGRESS, "ingress[0]"),
        RuleRef("own", Kind.EXTENDED, "shop", "own", Direction.INGRESS, NASTY, NASTY),
        RuleRef("plain", Kind.NETWORK_POLICY, "shop", "web", Direction.INGRESS, "ingress[0]"),
        RuleRef("try-deny", Kind.CLUSTER_EXTENDED, "", "trial", Direction.INGRESS, "ingress[0]"),
        RuleRef("try-pass", Kind.CLUSTER_EXTENDED, "", "trial", Direction.INGRESS, "ingress[1]"),
        RuleRef("out", Kind.CLUSTER_EXTENDED, "", "floor", Direction.EGRESS, "egress[0]"),
    ),
)
