"""From a NodeRuleSet's JSON to a rule set of this node, or the reason why it cannot be used."""

from nodewall.agent.decide import RuleSet
from nodewall.agent.loop import Read


def reader(node: str) -> Read:
    """Reads the NodeRuleSets of ``node``. Another node's is refused: its pods are not here, and ours would be
    unguarded.
    """

    def read(source: bytes) -> RuleSet:
        raise NotImplementedError

    return read
