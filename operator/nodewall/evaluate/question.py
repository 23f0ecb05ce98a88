"""A question as a person types it: ``default/web-0`` to ``prod/db-0`` on ``5432/TCP``; answered for each family."""

from collections.abc import Iterator
from dataclasses import replace

from nodewall.evaluate.packet import (
    PROTOCOL_NUMBERS,
    NodeParty,
    Packet,
    Party,
    Traffic,
    canonical,
    party_of_address,
    party_of_pod,
)
from nodewall.evaluate.result import Explanation
from nodewall.evaluate.walk import evaluate
from nodewall.model.address import Address, family
from nodewall.model.cluster import ClusterState, Node, Phase, Pod
from nodewall.model.errors import BadInputError
from nodewall.model.policy import LAST_PORT

_WAYS = "write NAMESPACE/POD, ip:ADDRESS or node:NAME"
_TRAFFIC = (
    "write PORT, PORT/TCP, PORT/UDP, PORT/SCTP, a port name, icmp[/TYPE[/CODE]], icmpv6[/TYPE[/CODE]] or ip/PROTOCOL"
)
_ECHO_REQUEST = {"ICMP": 8, "ICMPv6": 128}
_Named = Pod | Node | Address


def ask(
    state: ClusterState, source: str, destination: str, traffic: str, *, via_service: bool = False
) -> tuple[Explanation, ...]:
    """Answers, one for each address family in which the two can talk; a single one where the families do not differ.

    Raises BadInputError when a name or the traffic cannot be read.
    """
    asked = packets(state, source, destination, traffic, via_service=via_service)
    found = [evaluate(state, packet) for packet in asked]
    if all(_same(one, found[0]) for one in found):
        return (found[0],)
    return tuple(replace(one, family=_family(packet)) for one, packet in zip(found, asked, strict=True))


def _same(one: Explanation, other: Explanation) -> bool:
    return (one.allowed, one.judgements) == (other.allowed, other.judgements)


def _family(packet: Packet) -> int | None:
    known = (packet.source.address, packet.destination.address)
    return next((family(address) for address in known if address is not None), None)


def packets(
    state: ClusterState, source: str, destination: str, traffic: str, *, via_service: bool = False
) -> tuple[Packet, ...]:
    """What is asked about, one packet for each address family; raises like ``ask``."""
    ends = _named(state, source), _named(state, destination)
    sent = parse_traffic(traffic, ends[1])
    return tuple(
        Packet(_party(state, ends[0], fam), _party(state, ends[1], fam), sent, via_service)
        for fam in _families(ends, sent)
    )


# --- who --------------------------------------------------------------------------------------------------------------


def _named(state: ClusterState, text: str) -> _Named:
    prefix, separator, rest = text.partition(":")
    if separator and prefix == "ip":
        return _address(state, canonical(rest))
    if separator and prefix == "node":
        return _node(state, rest)
    namespace, separator, name = text.partition("/")
    if not separator or not namespace or not name:
        raise BadInputError(f"is not a name that can be looked up: {_WAYS}", subject=repr(text))
    return _pod(state, namespace, name)


def _address(state: ClusterState, address: Address) -> Address:
    service = next((s for s in state.services.values() if address in s.cluster_ips), None)
    if service is not None:
        raise BadInputError(
            f"is the address of Service {service.namespace}/{service.name}: its traffic is judged by the endpoint that"
            " is chosen; ask about its pods and their ports",
            subject=f"ip:{address}",
        )
    return address


def _node(state: ClusterState, name: str) -> Node:
    node = state.nodes.get(name)
    if node is None:
        raise BadInputError("there is no such node", subject=f"node:{name!r}")
    return node


def _pod(state: ClusterState, namespace: str, name: str) -> Pod:
    pod = state.pods.get((namespace, name))
    if pod is None:
        raise BadInputError("there is no such pod", subject=repr(f"{namespace}/{name}"))
    if pod.phase is Phase.FINISHED:
        raise BadInputError("this pod has finished: its address is no longer its own", subject=f"{namespace}/{name}")
    return pod


def _party(state: ClusterState, named: _Named, wanted: int | None) -> Party:
    if isinstance(named, Pod):
        return party_of_pod(named, wanted)
    if isinstance(named, Node):
        return NodeParty(named.name, next((a for a in named.addresses if wanted in (None, family(a))), None))
    return party_of_address(state, named)


def _addresses(named: _Named) -> tuple[Address, ...]:
    return named.addresses if isinstance(named, Pod | Node) else (named,)


def _families(ends: tuple[_Named, _Named], traffic: Traffic) -> Iterator[int | None]:
    """The families that both ends have and the traffic allows. An end without addresses may yet get either."""
    known = [{family(a) for a in _addresses(end)} for end in ends]
    common = (known[0] or {4, 6}) & (known[1] or {4, 6})
    common -= {6} if traffic.protocol == PROTOCOL_NUMBERS["ICMP"] else set()
    common -= {4} if traffic.protocol == PROTOCOL_NUMBERS["ICMPv6"] else set()
    if not common:
        raise BadInputError("the two have no address family in common that can carry this")
    if not any(known):
        yield None
        return
    yield from sorted(common)


# --- what -------------------------------------------------------------------------------------------------------------


def parse_traffic(text: str, destination: _Named) -> Traffic:
    """``5432/TCP``, ``53/UDP``, ``http`` (a port name of the destination pod), ``icmp/8``, ``ip/47``."""
    first, *rest = text.split("/")
    if first.lower() in ("icmp", "icmpv6"):
        return _icmp("ICMPv6" if first.lower() == "icmpv6" else "ICMP", rest, text)
    if first.lower() == "ip" and len(rest) == 1:
        return Traffic(_number(rest[0], 255, text))
    protocol = rest[0].upper() if rest else "TCP"
    if protocol not in ("TCP", "UDP", "SCTP") or len(rest) > 1:
        raise BadInputError(f"is not traffic that can be judged: {_TRAFFIC}", subject=repr(text))
    if first.isascii() and first.isdigit():
        return Traffic(PROTOCOL_NUMBERS[protocol], _number(first, LAST_PORT, text))
    return _port_name(first, protocol if rest else None, destination, text)


def _icmp(protocol: str, rest: list[str], text: str) -> Traffic:
    if len(rest) > 2:
        raise BadInputError(f"is not traffic that can be judged: {_TRAFFIC}", subject=repr(text))
    type_ = _number(rest[0], 255, text) if rest else _ECHO_REQUEST[protocol]
    code = _number(rest[1], 255, text) if len(rest) > 1 else 0
    return Traffic(PROTOCOL_NUMBERS[protocol], icmp_type=type_, icmp_code=code)


def _port_name(name: str, protocol: str | None, destination: _Named, text: str) -> Traffic:
    ports = destination.ports if isinstance(destination, Pod) else ()
    for port in ports:
        if port.name == name and protocol in (None, port.protocol):
            return Traffic(PROTOCOL_NUMBERS[port.protocol], port.port)
    raise BadInputError(f"the destination exposes no port of this name; {_TRAFFIC}", subject=repr(text))


def _number(digits: str, last: int, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(last)) and int(digits) <= last):
        raise BadInputError(f"a number from 0 to {last} is wanted here; {_TRAFFIC}", subject=repr(text))
    return int(digits)
