"""What the printer columns of a NodeRuleSet show."""

from dataclasses import dataclass

from nodewall.model.policy import Kind
from nodewall.model.ruleset import NodeRuleSet


@dataclass(frozen=True, slots=True)
class Counts:
    """``addresses`` are those of all address groups: the sets' sizes, not the cluster's."""

    pods: int = 0
    policies: int = 0
    rules: int = 0
    addresses: int = 0


def count(ruleset: NodeRuleSet) -> Counts:
    return Counts(
        pods=len(ruleset.endpoints),
        policies=_policies(ruleset),
        rules=len(ruleset.rules),
        addresses=sum(len(group.addresses) for group in ruleset.groups),
    )


def _policies(ruleset: NodeRuleSet) -> int:
    """Policies with a rule here, and those that only isolate. A class names its first few of these and says how many
    there are, so the larger of the two figures counts."""
    of_rules = {(str(ref.kind), ref.namespace, ref.name) for ref in ruleset.rules}
    isolations = [each.isolation for each in ruleset.classes if each.isolation]
    named = {(str(Kind.NETWORK_POLICY), *name.split("/", 1)) for each in isolations for name in each.policies}
    return max(len(of_rules | named), *(each.count for each in isolations), 0)
