"""Ports in canonical form, and port names resolved on the pods that expose them (semantics 29-35)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from nodewall.model.cluster import ContainerPort
from nodewall.model.policy import ANY_PORT, AnyPort, Icmp, IpProtocol, NumericPort, PortName, PortRange, Protocol

_PROTOCOL_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}


def canonical(ports: Iterable[NumericPort]) -> tuple[NumericPort, ...]:
    """Sorted, without repeats, ranges of one protocol merged where they touch: equal meaning, equal value."""
    given = set(ports)
    ranges = _merged(each for each in given if isinstance(each, PortRange))
    icmp = sorted(each for each in given if isinstance(each, Icmp))
    others = sorted(each for each in given if isinstance(each, IpProtocol))
    return (*ranges, *icmp, *others)


def _merged(ranges: Iterable[PortRange]) -> Iterator[PortRange]:
    current: PortRange | None = None
    for each in sorted(ranges):
        if current and each.protocol is current.protocol and each.first <= current.last + 1:
            current = PortRange(current.protocol, current.first, max(current.last, each.last))
            continue
        if current:
            yield current
        current = each
    if current:
        yield current


def exposed_as(wanted: PortName, ports: Iterable[ContainerPort]) -> Iterator[ContainerPort]:
    """The ports that a pod exposes by this name. One name may stand for several numbers: each of them counts."""
    return (each for each in ports if each.name == wanted.name and wanted.protocol in (None, each.protocol))


def resolved(names: Iterable[PortName], ports: tuple[ContainerPort, ...]) -> Iterator[PortRange]:
    """Port names on the pod that exposes ``ports``; a name that it does not expose gives nothing (34)."""
    named = defaultdict[str, list[ContainerPort]](list)
    for port in ports:
        named[port.name].append(port)
    for name in names:
        for found in exposed_as(name, named.get(name.name, ())):
            yield PortRange(found.protocol, found.port, found.port)


def covers(ports: tuple[NumericPort, ...] | AnyPort, protocol: Protocol, port: int) -> bool:
    """Whether one (protocol, port) is among ``ports``."""
    return ports is ANY_PORT or any(_covers(each, protocol, port) for each in ports)


def _covers(port: NumericPort, protocol: Protocol, number: int) -> bool:
    match port:
        case PortRange():
            return port.protocol is protocol and port.first <= number <= port.last
        case IpProtocol():
            return port.number == _PROTOCOL_NUMBERS[protocol]
    return False
