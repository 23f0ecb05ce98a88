"""A long rule set is encoded in pieces, and is what it would be as a whole, byte for byte."""

from collections.abc import Callable
from hashlib import sha256
from ipaddress import IPv4Network

import msgspec
import pytest

from nodewall.api.ruleset import canonical, digest_of, encode_json, encoding
from nodewall.model.address import Address, IpBlock
from nodewall.model.policy import Action, Direction, Kind, PortRange, Protocol, Tier
from nodewall.model.ruleset import (
    AddressGroup,
    Audit,
    Endpoint,
    Isolation,
    Match,
    NodeRuleSet,
    PortGroup,
    PortMember,
    Rule,
    RuleClass,
    RuleLog,
    RuleRef,
)

LENGTHS = [0, 1, 63, 64, 65, 128, 129, 300]


def rule(number: int) -> Rule:
    match = Match(
        groups=(f'ä"{number}',), blocks=(IpBlock(IPv4Network("10.0.0.0/8")),), ports=(PortRange(Protocol.TCP),)
    )
    return Rule(f"r{number}", Tier.ADMIN, Action.DENY, match, log=RuleLog(1, 2) if number % 2 else None)


def group(number: int) -> AddressGroup:
    return AddressGroup(f"g{number}", "app=x", (Address(f"10.0.0.{number % 256}"),) * (number % 3))


def member(number: int) -> PortMember:
    return PortMember(Address("10.0.0.1"), Protocol.UDP, number + 1)


def port_group(number: int) -> PortGroup:
    return PortGroup(f"p{number}", "app=x", tuple(map(member, range(number % 3))))


def one_class(number: int, rules: int = 1, audits: int = 0) -> RuleClass:
    isolation = Isolation("i", ("a/b",), 1, None) if number % 2 else None
    audited = tuple(Audit((rule(each), rule(each + 1))) for each in range(audits))
    return RuleClass(f"c{number}", Direction.INGRESS, tuple(map(rule, range(rules))), isolation, audited)


def endpoint(number: int) -> Endpoint:
    return Endpoint("shop", f"p{number}", (Address("10.0.0.1"),), "c1" if number % 2 else "", "")


def ref(number: int) -> RuleRef:
    return RuleRef(f"r{number}", Kind.NETWORK_POLICY, "shop", "p", Direction.EGRESS, "x", "l" if number % 2 else "")


LISTS: dict[str, Callable[[int], NodeRuleSet]] = {
    "groups": lambda length: NodeRuleSet("n", groups=tuple(map(group, range(length)))),
    "port groups": lambda length: NodeRuleSet(
        "n", port_groups=tuple(PortGroup(f"p{i}", "", ()) for i in range(length))
    ),
    "members": lambda length: NodeRuleSet("n", port_groups=(PortGroup("p", "", tuple(map(member, range(length)))),)),
    "classes": lambda length: NodeRuleSet("n", classes=tuple(map(one_class, range(length)))),
    "rules": lambda length: NodeRuleSet("n", classes=(one_class(1, length), one_class(2, length, 1))),
    "audits": lambda length: NodeRuleSet("n", classes=(one_class(1, 0, length), one_class(2, 1, length))),
    "endpoints": lambda length: NodeRuleSet("n", endpoints=tuple(map(endpoint, range(length)))),
    "policies": lambda length: NodeRuleSet("n", rules=tuple(map(ref, range(length)))),
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("make", LISTS.values(), ids=LISTS)
def test_pieces_change_nothing(make: Callable[[int], NodeRuleSet], length: int) -> None:
    digest, text = encode_json(make(length))
    spec = msgspec.json.decode(text)
    assert spec.pop("digest") == digest == digest_of(spec)
    whole = canonical(spec)
    assert sha256(whole).hexdigest() == digest
    assert text == b'{"digest":"%s",%s' % (digest.encode(), whole[1:])


def entries(value: object) -> int:
    """Of all lists in it."""
    if isinstance(value, dict):
        return sum(map(entries, value.values()))
    return sum(1 + entries(each) for each in value) if isinstance(value, list) else 0


@pytest.mark.parametrize("make", LISTS.values(), ids=LISTS)
def test_nothing_is_lost_and_long_ones_take_steps(make: Callable[[int], NodeRuleSet]) -> None:
    few, many = (entries(msgspec.json.decode(encode_json(make(length))[1])) for length in (64, 640))
    assert many - few >= 576
    assert sum(1 for _ in encoding(make(640))) >= 10
