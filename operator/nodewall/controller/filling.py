"""What a rule set is full of: for whoever has to make it smaller."""

from collections import Counter
from collections.abc import Collection, Generator, Iterator
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

from nodewall.model.policy import PolicyRef
from nodewall.model.ruleset import NodeRuleSet, Rule, RuleClass, RuleRef

MOST = 3
"""What is told of."""
WORTH_TELLING = 5
"""Percent. Where no policy or group has as much, it is told whose the policies are."""

_EXCEPTS = attrgetter("excepts")
_TOGETHER = 16
"""Rules that are looked at in one step."""
_RULE, _BLOCK, _NAME, _PORTS, _MEMBER, _ENTRY = 120, 30, 24, 48, 24, 100
"""Bytes that one takes on the wire, about: what they are needed for is which of two takes more."""


class Owner(NamedTuple):
    """``what`` it is and ``where`` it belongs are words; two are the same by their ``key``."""

    key: str
    what: str
    where: str


def filling(rule_set: NodeRuleSet) -> Generator[None, None, str]:
    """What takes most of it, the largest first, each with its part; "" when it is empty. In small steps."""
    found = Counter[Owner]()
    for part in _parts(rule_set):
        for owner, size in part:
            found[owner] += size
        yield
    return _told([(owner.what, size) for owner, size in found.items()]) or _told(_by_place(found).items())


def _told(sizes: Collection[tuple[str, int]]) -> str:
    total = sum(size for _, size in sizes)
    largest = sorted(sizes, key=lambda each: (-each[1], each[0]))[:MOST]
    parts = [(what, 100 * size // total) for what, size in largest]
    return ", ".join(f"{what} ({part} %)" for what, part in parts if part >= WORTH_TELLING)


def _by_place(found: Counter[Owner]) -> Counter[str]:
    sizes = Counter[str]()
    for owner, size in found.items():
        sizes[owner.where] += size
    return sizes


def _parts(rule_set: NodeRuleSet) -> Iterator[list[tuple[Owner, int]]]:
    """(whose it is, bytes), some at a time."""
    owners = {ref.id: _policy(ref) for ref in rule_set.rules}
    yield [(owner, _ENTRY) for owner in owners.values()]
    for each in rule_set.classes:
        sizes = _of_class(each, owners)
        while some := list(islice(sizes, _TOGETHER)):
            yield some
    for group in rule_set.groups:
        owner = Owner(group.name, f"the addresses of {group.description}", "the addresses of groups")
        yield [(owner, _NAME + sum(map(len, group.addresses)))]
    for ports in rule_set.port_groups:
        owner = Owner(ports.name, f"the {ports.description}", "the ports of groups")
        yield [(owner, _NAME + _MEMBER * len(ports.members))]
    yield [(_plain(f"the pods of namespace {one.namespace}"), _ENTRY) for one in rule_set.endpoints]


def _of_class(each: RuleClass, owners: dict[str, Owner]) -> Iterator[tuple[Owner, int]]:
    for rule in (*each.rules, *(rule for audit in each.audits for rule in audit.rules)):
        yield owners.get(rule.id) or _plain("rules that no policy is known of"), _size(rule)
    if isolation := each.isolation:
        namespace = "".join(isolation.policies[:1]).partition("/")[0]
        yield _plain(_policies_of(namespace)), _RULE + sum(map(len, isolation.policies))


def _policy(ref: RuleRef) -> Owner:
    policy = str(PolicyRef(ref.kind, ref.namespace, ref.name))
    return Owner(policy, policy, _policies_of(ref.namespace))


def _plain(words: str) -> Owner:
    return Owner(words, words, words)


def _policies_of(namespace: str) -> str:
    return f"policies of namespace {namespace}" if namespace else "policies of the cluster"


def _size(rule: Rule) -> int:
    match = rule.match
    blocks = len(match.blocks) + sum(map(len, map(_EXCEPTS, match.blocks)))
    return _RULE + _BLOCK * blocks + _NAME * (len(match.groups) + len(match.port_groups)) + _PORTS * len(match.ports)
