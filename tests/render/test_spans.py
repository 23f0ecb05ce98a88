"""Overlapping CIDRs become disjoint spans that hold the same addresses."""

from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.model.address import IpBlock
from nodewall.render.expressions import Prefix, Range
from nodewall.render.spans import Span, address_element, block_spans, merged, port_element, without
from tests.render.rulesets import block

spans = st.tuples(st.integers(0, 40), st.integers(0, 10)).map(lambda pair: (pair[0], sum(pair)))


def _held(these: tuple[Span, ...]) -> set[int]:
    return {number for first, last in these for number in range(first, last + 1)}


@given(st.lists(spans))
def test_merged_spans_hold_the_same_numbers_and_never_touch(these: list[Span]) -> None:
    result = merged(these)
    assert _held(result) == _held(tuple(these))
    assert all(before[1] + 1 < after[0] for before, after in pairwise(result))


@given(spans, st.lists(spans))
def test_holes_are_cut_out_and_nothing_else(span: Span, holes: list[Span]) -> None:
    assert _held(tuple(without(span, holes))) == _held((span,)) - _held(tuple(holes))


@st.composite
def small_blocks(draw: st.DrawFn) -> IpBlock:
    def network(shortest: int) -> str:
        length = draw(st.integers(shortest, 32))
        return f"10.0.0.{draw(st.integers(0, 255)) >> (32 - length) << (32 - length)}/{length}"

    return block(network(26), *(network(24) for _ in range(draw(st.integers(0, 3)))))


@given(st.lists(small_blocks(), max_size=4))
def test_blocks_hold_what_their_words_say(blocks: list[IpBlock]) -> None:
    """An except carves its own block only (semantics 24); one that lies outside carves nothing."""
    base = int(ip_address("10.0.0.0"))
    expected = {base + n for n in range(256) if any(_holds(one, base + n) for one in blocks)}
    assert _held(block_spans(blocks, 4)) == expected
    assert block_spans(blocks, 6) == ()


def _holds(one: IpBlock, number: int) -> bool:
    address = ip_address(number)
    return address in one.cidr and not any(address in hole for hole in one.excepts)


@pytest.mark.parametrize(
    ("first", "last", "spelled"),
    [
        ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("10.0.0.0", "10.0.0.1", Prefix("10.0.0.0", 31)),
        ("10.0.0.1", "10.0.0.2", Range("10.0.0.1", "10.0.0.2")),
        ("0.0.0.0", "255.255.255.255", Prefix("0.0.0.0", 0)),
        ("10.1.0.0", "10.2.255.255", Range("10.1.0.0", "10.2.255.255")),
        ("fd00::", "fd00::ffff", Prefix("fd00::", 112)),
        ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Prefix("::", 0)),
    ],
)
def test_a_span_is_spelled_as_an_address_a_prefix_or_a_range(first: str, last: str, spelled: object) -> None:
    start, end = ip_address(first), ip_address(last)
    assert address_element((int(start), int(end)), start.version) == spelled


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_prefix_is_the_whole_span(one: int, other: int) -> None:
    first, last = sorted((one, other))
    spelled = address_element((first, last), 4)
    if isinstance(spelled, Prefix):
        network = ip_network(f"{spelled.address}/{spelled.length}")
        assert (int(network.network_address), int(network.broadcast_address)) == (first, last)
    else:
        assert [int(ip_address(part)) for part in str(spelled).split("-")] == [first, last][: 1 + (first != last)]


def test_a_port_span_of_one_is_a_port() -> None:
    assert (port_element((80, 80)), port_element((80, 81))) == (80, Range(80, 81))
