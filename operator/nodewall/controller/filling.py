"""What a rule set is full of: for whoever has to make it smaller."""

from collections import Counter
from collections.abc import Iterator

from nodewall.model.policy import PolicyRef
from nodewall.model.ruleset import NodeRuleSet, Rule

MOST = 3
"""What is told of."""

_RULE, _BLOCK, _GROUP, _PORTS, _MEMBER = 120, 30, 24, 48, 24
"""Bytes that one takes on the wire, about: what they are needed for is which of two takes more."""


def filling(rule_set: NodeRuleSet) -> str:
    """What takes most of it, the largest first, each with its part of all rules and groups; "" when there are none.

    Costs a fraction of encoding it.
    """
    found = Counter[str]()
    for owner, size in _parts(rule_set):
        found[owner] += size
    total = found.total()
    return ", ".join(f"{owner} ({100 * size // total} %)" for owner, size in found.most_common(MOST))


def _parts(rule_set: NodeRuleSet) -> Iterator[tuple[str, int]]:
    """(whose it is, bytes)."""
    owners = {ref.id: str(PolicyRef(ref.kind, ref.namespace, ref.name)) for ref in rule_set.rules}
    for each in rule_set.classes:
        for rule in (*each.rules, *(rule for audit in each.audits for rule in audit.rules)):
            yield owners.get(rule.id, f"rule {rule.id}"), _size(rule)
    for group in rule_set.groups:
        yield f"the addresses of {group.description}", _GROUP + sum(map(len, group.addresses))
    for ports in rule_set.port_groups:
        yield f"the {ports.description}", _GROUP + _MEMBER * len(ports.members)


def _size(rule: Rule) -> int:
    match = rule.match
    blocks = len(match.blocks) + sum(len(block.excepts) for block in match.blocks)
    return _RULE + _BLOCK * blocks + _GROUP * (len(match.groups) + len(match.port_groups)) + _PORTS * len(match.ports)
