"""Packets judged by compiled rule sets, the way ``nodewall.model.ruleset`` words it and the kernel will do it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from nodewall.compile import compile_all
from nodewall.model.address import IpBlock
from nodewall.model.cluster import ClusterState
from nodewall.model.policy import Action, Direction, Icmp, IpProtocol, NumericPort, PortRange, Protocol, Tier
from nodewall.model.ruleset import Endpoint, Match, NodeRuleSet, PortMember, Rule, RuleClass

_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}


@dataclass(frozen=True)
class Packet:
    """``protocol`` is a transport protocol with a ``port``, an ICMP message, or another protocol by its number."""

    source: str
    destination: str
    protocol: Protocol | Icmp | IpProtocol
    port: int = 0


def packet(state: ClusterState, text: str) -> Packet:
    """``x/a -> y/b:80/TCP``; an address may stand for a pod, a second ``6`` as in ``x/a -> y/b:80/TCP6`` means IPv6."""
    found = re.fullmatch(r"(\S+) -> (\S+):(\d+)/([A-Z]+)(6?)", text)
    assert found, text
    source, destination, port, protocol, second = found.groups()
    family = 1 if second else 0
    return Packet(_address(state, source, family), _address(state, destination, family), Protocol(protocol), int(port))


def _address(state: ClusterState, who: str, index: int) -> str:
    namespace, _, name = who.partition("/")
    return state.pods[namespace, name].addresses[index] if name else who.strip("[]")


def allowed(state: ClusterState, text: str) -> bool:
    """Whether the packet passes the egress of its source and the ingress of its destination."""
    return passes(compile_all(state), packet(state, text))


def passes(rulesets: Mapping[str, NodeRuleSet], one: Packet) -> bool:
    return all(decisions(rulesets, one))


def decisions(rulesets: Mapping[str, NodeRuleSet], one: Packet) -> tuple[bool, bool]:
    """(egress of the source, ingress of the destination)"""
    egress = _judge(rulesets, Direction.EGRESS, one.source, one.destination, one)
    ingress = _judge(rulesets, Direction.INGRESS, one.destination, one.source, one)
    return egress, ingress


def _judge(rulesets: Mapping[str, NodeRuleSet], direction: Direction, own: str, peer: str, one: Packet) -> bool:
    owners = [(ruleset, each) for ruleset in rulesets.values() for each in ruleset.endpoints if own in each.addresses]
    assert len(owners) <= 1, f"{own} is an endpoint more than once: {owners}"
    for ruleset, endpoint in owners:
        found = class_of(ruleset, endpoint, direction)
        return found is None or verdict(ruleset, found, peer, one)
    return True


def class_of(ruleset: NodeRuleSet, endpoint: Endpoint, direction: Direction) -> RuleClass | None:
    name = endpoint.ingress if direction is Direction.INGRESS else endpoint.egress
    return {each.name: each for each in ruleset.classes}[name] if name else None


def verdict(ruleset: NodeRuleSet, judged: RuleClass, peer: str, one: Packet) -> bool:
    """Tier by tier; the first match decides, Pass leaves the tier, isolation ends everything."""
    for tier in Tier:
        action = first_match(ruleset, (each for each in judged.rules if each.tier is tier), peer, one)
        if action in (Action.ACCEPT, Action.DENY):
            return action is Action.ACCEPT
        if tier is Tier.NETWORK_POLICY and judged.isolation:
            return False
    return True


def first_match(ruleset: NodeRuleSet, rules: Iterable[Rule], peer: str, one: Packet) -> Action | None:
    return next((each.action for each in rules if _matches(ruleset, each.match, peer, one)), None)


def _matches(ruleset: NodeRuleSet, match: Match, peer: str, one: Packet) -> bool:
    groups = {each.name: each.addresses for each in ruleset.groups}
    port_groups = {each.name: each.members for each in ruleset.port_groups}
    somebody = match.any_peer or any(peer in groups[name] for name in match.groups)
    somebody = somebody or any(_inside(each, peer) for each in match.blocks)
    if somebody and (match.any_port or any(_covers(each, one) for each in match.ports)):
        return True
    pair = (one.destination, one.protocol, one.port)
    return any(pair == _plain(member) for name in match.port_groups for member in port_groups[name])


def _plain(member: PortMember) -> tuple[str, Protocol, int]:
    return (member.address, member.protocol, member.port)


def _inside(block: IpBlock, address: str) -> bool:
    found = ip_address(address)
    return found in block.cidr and not any(found in each for each in block.excepts)


def _covers(port: NumericPort, one: Packet) -> bool:
    match port, one.protocol:
        case PortRange(protocol, first, last), Protocol():
            return protocol is one.protocol and first <= one.port <= last
        case IpProtocol(number), Protocol():
            return number == _NUMBERS[one.protocol]
        case IpProtocol(number), IpProtocol(other):
            return number == other
        case IpProtocol(number), Icmp(family):
            return number == (1 if family == 4 else 58)
        case Icmp(family, type_, code), Icmp(other, its_type, its_code):
            return family == other and type_ in (-1, its_type) and code in (-1, its_code)
    return False
