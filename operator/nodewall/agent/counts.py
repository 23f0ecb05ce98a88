"""What the printer columns of a NodeRuleSet show."""

from dataclasses import dataclass

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
        policies=len({(ref.kind, ref.namespace, ref.name) for ref in ruleset.rules}),
        rules=len(ruleset.rules),
        addresses=sum(len(group.addresses) for group in ruleset.groups),
    )
