"""Overlapping CIDRs and ports as disjoint spans.

nft refuses a whole transaction when two elements of an interval set overlap, so whatever users write is merged
before: a span is a pair of integers (first, last), both included.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from nodewall.model.address import IpBlock, Network
from nodewall.render.expressions import Prefix, Range

Span = tuple[int, int]

BITS = {4: 32, 6: 128}


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same numbers in as few spans as possible, ascending."""
    result: list[Span] = []
    for first, last in sorted(spans):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return tuple(result)


def without(span: Span, holes: Iterable[Span]) -> Iterator[Span]:
    """What is left of ``span`` outside of all ``holes``, ascending."""
    first, last = span
    for hole_first, hole_last in merged(holes):
        if hole_last < first or hole_first > last:
            continue
        if hole_first > first:
            yield first, hole_first - 1
        first = hole_last + 1
    if first <= last:
        yield first, last


def network_span(network: Network) -> Span:
    return int(network.network_address), int(network.broadcast_address)


def block_spans(blocks: Iterable[IpBlock], family: int) -> tuple[Span, ...]:
    """The addresses of one family that any of the blocks holds. An except carves its own block only (semantics 24)."""
    return merged(
        span
        for block in blocks
        if block.cidr.version == family
        for span in without(
            network_span(block.cidr), (network_span(hole) for hole in block.excepts if hole.version == family)
        )
    )


def network_spans(networks: Iterable[Network], family: int) -> tuple[Span, ...]:
    return merged(network_span(network) for network in networks if network.version == family)


def everything(family: int) -> Span:
    return 0, (1 << BITS[family]) - 1


def address_element(span: Span, family: int) -> str | Prefix | Range:
    """A span of addresses as nft spells it: an address, a prefix where it is one, else a range."""
    first, last = span
    size = last - first + 1
    if size == 1:
        return _address(first, family)
    if size & (size - 1) == 0 and first % size == 0:
        return Prefix(_address(first, family), BITS[family] - size.bit_length() + 1)
    return Range(_address(first, family), _address(last, family))


def port_element(span: Span) -> int | Range:
    first, last = span
    return first if first == last else Range(first, last)


def _address(number: int, family: int) -> str:
    return str(IPv4Address(number) if family == 4 else IPv6Address(number))
