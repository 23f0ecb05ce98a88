"""What a rule matches, as alternatives of nft statements: a packet matches the rule when it passes all of one
alternative.

Everything here is for the chains of one family, so no alternative has to say which family it means.
"""

from collections.abc import Iterable, Iterator
from itertools import product

from nodewall.model.policy import Direction, Icmp, IpProtocol, NumericPort, PortRange
from nodewall.model.ruleset import Match
from nodewall.render.draft import Draft
from nodewall.render.expressions import Fields, Is, Meta, OneOf, Payload, Proto, Tuple
from nodewall.render.members import PROTOCOL_NUMBER
from nodewall.render.spans import Span, block_spans, everything, merged, port_element

Alternative = tuple[Is, ...]

NO_CONDITION: Alternative = ()
PROTOCOL = Meta("l4proto")
PROTOCOL_AND_PORT = Fields((PROTOCOL, Payload("th", "dport")))
IP = {4: "ip", 6: "ip6"}
ICMP = {4: "icmp", 6: "icmpv6"}
ICMP_NUMBER = {4: 1, 6: 58}
PORT_FIELD = {number: Payload(name.lower(), "dport") for name, number in PROTOCOL_NUMBER.items()}


def alternatives(match: Match, direction: Direction, family: int, draft: Draft) -> tuple[Alternative, ...]:
    """None at all: the rule matches no packet of this family."""
    ports = tuple(port_alternatives(match, family, draft))
    peers = tuple(peer_alternatives(match, peer_field(direction, family), family, draft)) if ports else ()
    named = tuple(_port_groups(match, direction, family, draft))
    return tuple(peer + port for peer, port in product(peers, ports)) + named


def peer_field(direction: Direction, family: int) -> Payload:
    return Payload(IP[family], "saddr" if direction is Direction.INGRESS else "daddr")


def peer_alternatives(match: Match, field: Payload, family: int, draft: Draft) -> Iterator[Alternative]:
    spans = block_spans(match.blocks, family)
    if match.any_peer or spans == (everything(family),):
        yield NO_CONDITION
        return
    if spans:
        yield (Is(field, draft.within(spans, family)),)
    for group in match.groups:
        yield (Is(field, draft.group(group, family)),)


def port_alternatives(match: Match, family: int, draft: Draft) -> Iterator[Alternative]:
    if match.any_port:
        yield NO_CONDITION
        return
    whole = _whole_protocols(match.ports, family)
    if whole:
        yield (_protocol_in(whole),)
    spans = _port_spans(match.ports, whole)
    if spans:
        yield (_port_in(spans, draft),)
    if ICMP_NUMBER[family] not in whole:
        yield from _icmp(match.ports, family)


def _port_groups(match: Match, direction: Direction, family: int, draft: Draft) -> Iterator[Alternative]:
    if direction is Direction.EGRESS:
        key = Fields((peer_field(direction, family), *PROTOCOL_AND_PORT.parts))
        for group in match.port_groups:
            yield (Is(key, draft.port_group(group, family)),)


def _whole_protocols(ports: Iterable[NumericPort], family: int) -> tuple[int, ...]:
    """Protocols of which everything matches. No port is looked at, which short and port-less packets do not have."""
    return tuple(sorted({number for port in ports for number in _whole(port, family)}))


def _whole(port: NumericPort, family: int) -> Iterator[int]:
    match port:
        case IpProtocol(number) if 0 <= number <= 255:
            yield number
        case PortRange(protocol) if port.whole:
            yield PROTOCOL_NUMBER[protocol]
        case Icmp(version, -1, -1) if version == family:
            yield ICMP_NUMBER[family]


def _protocol_in(numbers: tuple[int, ...]) -> Is:
    protocols = tuple(map(Proto, numbers))
    return Is(PROTOCOL, protocols[0] if len(protocols) == 1 else OneOf(protocols))


def _port_spans(ports: Iterable[NumericPort], whole: tuple[int, ...]) -> tuple[tuple[int, Span], ...]:
    """(protocol number, ports), disjoint, ascending."""
    spans: dict[int, list[Span]] = {}
    for port in ports:
        if isinstance(port, PortRange) and port.first <= port.last and PROTOCOL_NUMBER[port.protocol] not in whole:
            spans.setdefault(PROTOCOL_NUMBER[port.protocol], []).append((port.first, port.last))
    return tuple((number, span) for number in sorted(spans) for span in merged(spans[number]))


def _port_in(spans: tuple[tuple[int, Span], ...], draft: Draft) -> Is:
    if len(spans) == 1:
        number, span = spans[0]
        return Is(PORT_FIELD[number], port_element(span))
    elements = tuple(Tuple((Proto(number), port_element(span))) for number, span in spans)
    return Is(PROTOCOL_AND_PORT, draft.port_spans(elements))


def _icmp(ports: Iterable[NumericPort], family: int) -> Iterator[Alternative]:
    wanted = {(port.type, port.code) for port in ports if isinstance(port, Icmp) and port.family == family}
    for kind, code in sorted(wanted):
        fields = (("type", kind), ("code", code))
        yield tuple(Is(Payload(ICMP[family], field), value) for field, value in fields if value >= 0)
