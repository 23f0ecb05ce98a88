"""The layout of netlink messages, and the answers of a real kernel."""

import os
from pathlib import Path

import pytest

from e2e import netns
from nodewall.agent.netlink import (
    ACK,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    first_number,
    message,
    messages,
    nested,
    open_socket,
    ports_of_this_process,
    text,
)


def test_messages_are_read_back() -> None:
    datagram = message(7, 5, b"abc", 9) + b"\0" + message(8, 0, b"")
    assert [(each.kind, each.flags, each.sequence, each.payload) for each in messages(datagram)] == [
        (7, 5, 9, b"abc"),
        (8, 0, 1, b""),
    ]


def test_attributes_are_read_back_and_padded() -> None:
    assert attributes(attribute(1, b"abc") + nested(2, attribute(3, b"x")) + attribute(4, b"")) == {
        1: b"abc",
        2: attribute(3, b"x"),
        4: b"",
    }
    assert len(attribute(1, b"abc")) == 8


@pytest.mark.parametrize("cut", range(24))
def test_a_cut_or_senseless_datagram_ends(cut: int) -> None:
    datagram = message(7, 0, attribute(1, b"abc"))
    for data in (datagram[:cut], b"\0" * cut, b"\1" * cut):
        list(messages(data))
        attributes(data)


def test_text_of_foreign_bytes() -> None:
    assert text(b"nft\0") == "nft"
    assert text(b"\xff\xfe\0") == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("last", "count", "first"),
    [(0, 1, 1), (5, 9, 6), (2**32 - 4, 3, 2**32 - 3), (2**32 - 3, 3, 1), (2**32 - 1, 1, 1)],
)
def test_the_numbers_of_requests_fit_their_field(last: int, count: int, first: int) -> None:
    """An agent that is busy for weeks gets there."""
    assert first_number(last, count) == first
    assert message(7, 0, b"", first + count - 1)


@pytest.mark.kernel
def test_the_kernels_refusal_is_raised(namespace: str) -> None:
    def work() -> None:
        connection = Netlink(NETLINK_ROUTE)
        try:
            with pytest.raises(NetlinkError) as caught:
                connection.ask(26, b"\2\x20" + bytes(10) + attribute(1, bytes((192, 0, 2, 1))), ACK)
        finally:
            connection.close()
        assert os.strerror(caught.value.errno) == str(caught.value) == "Network is unreachable"

    netns.inside(namespace, work)


@pytest.mark.kernel
def test_the_ports_of_this_process() -> None:
    before = ports_of_this_process(NETLINK_NETFILTER)
    with open_socket(NETLINK_NETFILTER) as one, open_socket(NETLINK_NETFILTER) as other, open_socket(NETLINK_ROUTE):
        # The first has the number of the process, as one may that is open elsewhere, in another namespace.
        mine = {one.getsockname()[0], other.getsockname()[0]}
        assert ports_of_this_process(NETLINK_NETFILTER) == before | mine
    files = len(list(Path("/proc/self/fd").iterdir()))
    assert ports_of_this_process(NETLINK_NETFILTER) == before
    assert len(list(Path("/proc/self/fd").iterdir())) == files
