"""The kernel's messages, read: whole, cut, foreign or random."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.agent import nflog
from nodewall.agent.netlink import attribute, attributes, message, messages
from nodewall.agent.nflog import Logged

PACKET = 4 << 8


def record(*, prefix: bytes = b"deny:r1\0", payload: bytes = b"\x45data", hook: int = 2, sequence: int = 5) -> bytes:
    parts = (
        attribute(1, struct.pack(">HBx", 0x0800, hook)),
        attribute(10, prefix),
        attribute(9, payload),
        attribute(3, struct.pack(">QQ", 1_700_000_000, 250_000)),
        attribute(12, struct.pack(">I", sequence)),
        attribute(18, b"of no interest"),
    )
    return message(PACKET, 0, bytes((2, 0)) + struct.pack(">H", 5577) + b"".join(parts))


def test_a_record_holds_what_the_rule_said_and_the_packet() -> None:
    assert list(nflog.records(record())) == [Logged("deny:r1", b"\x45data", False, 1_700_000_000.25, 5)]


def test_the_input_hook_is_told_apart() -> None:
    assert [each.to_node for each in nflog.records(record(hook=1) + record(hook=2))] == [True, False]


def test_several_come_at_once_between_others() -> None:
    done = message(3, 0, bytes(20))
    found = nflog.records(record(sequence=1) + done + record(sequence=2))
    assert [each.sequence for each in found] == [1, 2]


def test_what_the_kernel_leaves_out_is_unknown() -> None:
    bare = message(PACKET, 0, bytes(4) + attribute(10, b"deny:r1\0"))
    assert list(nflog.records(bare)) == [Logged("deny:r1", b"", False, 0.0, -1)]


def test_a_prefix_with_foreign_bytes_is_still_text() -> None:
    (found,) = nflog.records(record(prefix=b"\xff\x1b[31m\n\0"))
    assert found.prefix == "\ufffd\x1b[31m\n"


@pytest.mark.parametrize("length", range(len(record())))
def test_a_cut_record_is_left_out(length: int) -> None:
    assert list(nflog.records(record()[:length])) == []


@given(st.binary(max_size=300))
def test_nothing_in_a_datagram_is_an_error(data: bytes) -> None:
    for whole in (data, record()[:20] + data, message(PACKET, 0, data)):
        assert all(isinstance(each, Logged) for each in nflog.records(whole))


def test_the_binding_asks_for_numbers_and_for_no_more_of_a_packet_than_needed() -> None:
    (request,) = messages(nflog.binding(5577, 128))
    assert request.payload[:4] == b"\0\0" + struct.pack(">H", 5577)
    asked = attributes(request.payload[4:])
    assert asked[1] == b"\x01"
    assert asked[2] == struct.pack(">IBB", 128, 2, 0)
    assert asked[6] == struct.pack(">H", 1)


@pytest.mark.parametrize(
    ("before", "sequence", "lost"),
    [(4, 5, 0), (4, 8, 3), (2**32 - 1, 0, 0), (2**32 - 2, 1, 2), (-1, 7, 0), (7, -1, 0)],
)
def test_a_gap_in_the_numbers_is_what_was_lost(before: int, sequence: int, lost: int) -> None:
    assert nflog.missed(before, sequence) == lost
