"""A NodeRuleSet read word by word as its docstrings define it: what the agent's node would do with a packet.

This is neither the evaluator (which never sees a rule set) nor the kernel: it checks the compiler alone, thousands of
packets a second, and so tells a wrong rule set from a wrong rendering of a right one.
"""

from ipaddress import ip_address

from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, Icmp, IpProtocol, NumericPort, PortRange, Tier
from nodewall.model.ruleset import Match, NodeRuleSet, RuleClass
from tests.truth.flows import Flow

_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}


def passes(ruleset: NodeRuleSet, flow: Flow, own_addresses: frozenset[Address]) -> bool:
    """Whether the node lets the packet through: judged for each end that is one of its pods.

    ``own_addresses`` are the node's: what it sends is never judged, what a pod sends to it by explicit rules only.
    """
    for direction, subject, peer in (
        (Direction.EGRESS, flow.source, flow.destination),
        (Direction.INGRESS, flow.destination, flow.source),
    ):
        found = _class(ruleset, direction, subject)
        if found is None or (direction is Direction.INGRESS and peer in own_addresses):
            continue
        if not _judge(ruleset, found, flow, peer, to_node=peer in own_addresses):
            return False
    return True


def _class(ruleset: NodeRuleSet, direction: Direction, address: Address) -> RuleClass | None:
    for endpoint in ruleset.endpoints:
        if address in endpoint.addresses:
            name = endpoint.ingress if direction is Direction.INGRESS else endpoint.egress
            return next((c for c in ruleset.classes if c.name == name), None)
    return None


def _judge(ruleset: NodeRuleSet, found: RuleClass, flow: Flow, peer: Address, to_node: bool) -> bool:
    itself = _same_endpoint(ruleset, flow)
    for tier in Tier:
        rules = (rule for rule in found.rules if rule.tier is tier)
        first = next((rule for rule in rules if _matches(ruleset, rule.match, flow, peer)), None)
        if first is not None and first.action is not Action.PASS:
            return first.action is Action.ACCEPT
        if tier is Tier.NETWORK_POLICY and found.isolation is not None:
            return to_node or itself
    return True


def _same_endpoint(ruleset: NodeRuleSet, flow: Flow) -> bool:
    return any({flow.source, flow.destination} <= set(endpoint.addresses) for endpoint in ruleset.endpoints)


def _matches(ruleset: NodeRuleSet, match: Match, flow: Flow, peer: Address) -> bool:
    if _in_port_groups(ruleset, match, flow):
        return True
    return _peer(ruleset, match, peer) and (match.any_port or any(_port(port, flow) for port in match.ports))


def _in_port_groups(ruleset: NodeRuleSet, match: Match, flow: Flow) -> bool:
    members = (m for group in ruleset.port_groups if group.name in match.port_groups for m in group.members)
    return any(
        (m.address, _NUMBERS[m.protocol], m.port) == (flow.destination, flow.traffic.protocol, flow.traffic.port)
        for m in members
    )


def _peer(ruleset: NodeRuleSet, match: Match, peer: Address) -> bool:
    if match.any_peer or any(peer in g.addresses for g in ruleset.groups if g.name in match.groups):
        return True
    address = ip_address(peer)
    return any(address in b.cidr and not any(address in e for e in b.excepts) for b in match.blocks)


def _port(port: NumericPort, flow: Flow) -> bool:
    traffic = flow.traffic
    match port:
        case PortRange():
            in_range = port.whole or port.first <= traffic.port <= port.last
            return _NUMBERS[port.protocol] == traffic.protocol and in_range
        case Icmp():
            same = port.type in (-1, traffic.icmp_type) and port.code in (-1, traffic.icmp_code)
            return same and traffic.protocol == (1 if port.family == 4 else 58)
        case IpProtocol():
            return port.number == traffic.protocol
