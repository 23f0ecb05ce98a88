"""A section of a NetworkPolicy that is larger by itself than a NodeRuleSet may be.

It could never be in force, and would keep the nodes of its pods from everything that anybody else changes. And where
peers and port names multiply, 70 KB of a policy ask the controllers for 1.5 GB.
"""

from collections.abc import Iterable, Iterator
from itertools import product

from nodewall.model.address import IpBlock
from nodewall.model.labels import EVERYTHING, Operator, Selector
from nodewall.model.policy import AllowRule, Anyone, AnyPort, Direction, Peer, PodPeer, PortName

MOST_BYTES = 512 * 1024
"""Of a NodeRuleSet."""

RULE_BYTES, GROUP_BYTES, BLOCK_BYTES = 200, 100, 12
"""What a rule, a group of peers (or of peers by a port name) and a block take there at least."""

MOST_RULES = MOST_BYTES // RULE_BYTES

MOST_EXCLUSIONS = 2_000
"""Conditions of selectors that only exclude: there is no label to find pods by, so all pods are tried."""

TOO_LARGE = "is larger than a NodeRuleSet may be: write fewer rules, peers, port names and excluding conditions"

Group = tuple[Peer, PortName | None]
_ANY_POD = PodPeer(EVERYTHING)


def fits(rules: Iterable[AllowRule], direction: Direction) -> bool:
    """Whether the section may fit into a rule set, which holds each group once however many rules name it."""
    groups, size = set[Group](), 0
    for rule in rules:
        size += RULE_BYTES + BLOCK_BYTES * sum(_blocks(rule))
        for group in _groups(rule, direction):
            groups.add(group)
            if size + GROUP_BYTES * len(groups) > MOST_BYTES:
                return False
    if size + GROUP_BYTES * len(groups) > MOST_BYTES:
        return False
    return sum(map(exclusions, {each.pods for each, _ in groups if isinstance(each, PodPeer)})) <= MOST_EXCLUSIONS


def _blocks(rule: AllowRule) -> Iterator[int]:
    peers = () if isinstance(rule.peers, Anyone) or _names_only(rule) else rule.peers
    return (1 + len(each.excepts) for each in {each for each in peers if isinstance(each, IpBlock)})


def exclusions(selector: Selector) -> int:
    """How many conditions it has, if none of them names a label that a pod must have."""
    found = selector.requirements
    return 0 if any(each.operator in {Operator.IN, Operator.EXISTS} for each in found) else len(found)


def _groups(rule: AllowRule, direction: Direction) -> Iterator[Group]:
    """A name in ingress is the protected pod's own, and takes nothing."""
    peers = () if isinstance(rule.peers, Anyone) else rule.peers
    pods = dict.fromkeys(each for each in peers if not isinstance(each, IpBlock))
    if not _names_only(rule):
        yield from ((each, None) for each in pods)
    if direction is Direction.EGRESS:
        yield from product([_ANY_POD] if isinstance(rule.peers, Anyone) else pods, dict.fromkeys(_names(rule)))


def _names(rule: AllowRule) -> list[PortName]:
    return [] if isinstance(rule.ports, AnyPort) else [each for each in rule.ports if isinstance(each, PortName)]


def _names_only(rule: AllowRule) -> bool:
    return not isinstance(rule.ports, AnyPort) and len(_names(rule)) == len(rule.ports)
