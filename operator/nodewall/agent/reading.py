"""From a NodeRuleSet's JSON to a rule set of this node, or the reason why it cannot be used."""

from nodewall.agent.decide import RuleSet
from nodewall.agent.loop import Read
from nodewall.api import parsed, ruleset
from nodewall.model.errors import BadInputError

LARGEST = 4 << 20
"""Bytes. The API server stores less; whatever is longer did not come from our controller."""


def reader(node: str) -> Read:
    """Reads the NodeRuleSets of ``node``.

    Raises BadInputError for another node's (its pods are not here, and ours would be unguarded), for one that is not
    whole or that holds what this version does not know.
    """

    def read(source: bytes) -> RuleSet:
        if len(source) > LARGEST:
            raise BadInputError(f"is {len(source)} bytes long, {LARGEST} at most are read", subject="NodeRuleSet")
        body = parsed.decode(source)
        meta = parsed.meta_of(body, namespaced=False)
        if meta.name != node:
            raise BadInputError(
                f"belongs to another node, this is {node}", subject=f"NodeRuleSet {meta.name}", path="metadata.name"
            )
        content = ruleset.decode(body)
        return RuleSet(meta.uid, meta.generation, ruleset.stated_digest(body), content, source)

    return read
