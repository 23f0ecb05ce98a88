"""Every spelling that the API has ever stored becomes one, and nothing else is an address."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.api.addresses import address, network, read_ip_block
from nodewall.api.parsed import Report

ADDRESSES = [
    ("10.0.0.1", "10.0.0.1"),
    ("0.0.0.0", "0.0.0.0"),
    ("255.255.255.255", "255.255.255.255"),
    ("010.008.000.001", "10.8.0.1"),  # decimal, as Kubernetes reads it; octal would be 8.8.0.1
    ("10.0.0.0000000001", "10.0.0.1"),
    ("FD00:0:0:0:0:0:0:1", "fd00::1"),
    ("fd00::00001", "fd00::1"),
    ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
    ("::", "::"),
    ("::ffff:10.0.0.1", "10.0.0.1"),
    ("::ffff:010.0.0.01", "10.0.0.1"),
    ("::ffff:a00:1", "10.0.0.1"),
    ("64:ff9b::10.0.0.1", "64:ff9b::a00:1"),
    ("", None),
    ("10.0.0", None),
    ("10.0.0.256", None),
    ("10.0.0.1.2", None),
    ("10.0.0.1 ", None),
    (" 10.0.0.1", None),
    ("10.0.0.1\n", None),
    ("+10.0.0.1", None),
    ("0x0a.0.0.1", None),
    ("\u0661\u0660.0.0.1", None),  # Arabic digits
    ("10.0.0.1/32", None),
    ("fe80::1%eth0", None),
    ("fd00::10000", None),
    ("1::2::3", None),
    (":::", None),
    ("10.0.0.1::", None),
    ("example.com", None),
    ("0" * 500 + "1.0.0.0", None),
]

NETWORKS = [
    ("10.0.0.0/8", "10.0.0.0/8"),
    ("10.1.2.3/8", "10.0.0.0/8"),
    ("010.0.0.0/008", "10.0.0.0/8"),
    ("0.0.0.0/0", "0.0.0.0/0"),
    ("10.0.0.1/32", "10.0.0.1/32"),
    ("::/0", "::/0"),
    ("FD00::1/64", "fd00::/64"),
    ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
    ("::ffff:10.1.2.3/96", "0.0.0.0/0"),
    ("::ffff:10.1.2.3/95", "::fffe:0:0/95"),
    ("10.0.0.0", None),
    ("10.0.0.0/", None),
    ("10.0.0.0/33", None),
    ("10.0.0.0/255.0.0.0", None),
    ("10.0.0.0/-1", None),
    ("10.0.0.0/+8", None),
    ("10.0.0.0/8 ", None),
    ("10.0.0.0/8/8", None),
    ("fd00::/129", None),
    ("/8", None),
    ("10.0.0.0/\u0668", None),
    ("10.0.0.0/" + "9" * 5000, None),
]


@pytest.mark.parametrize(("text", "meaning"), ADDRESSES)
def test_an_address_is_read(text: str, meaning: str | None) -> None:
    assert address(text) == meaning


@pytest.mark.parametrize(("text", "meaning"), NETWORKS)
def test_a_cidr_is_read(text: str, meaning: str | None) -> None:
    found = network(text)
    assert found == (None if meaning is None else ip_network(meaning))


@given(st.ip_addresses())
def test_reading_an_address_twice_changes_nothing(given_address: object) -> None:
    once = address(str(given_address))
    assert once is not None
    assert address(once) == once
    assert ip_address(once).compressed == once or "ffff" in once


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-fA-F:./]{0,50}"))
def test_no_text_is_too_strange(text: str) -> None:
    found = address(text)
    assert found is None or address(found) == found
    block = network(text)
    assert block is None or network(str(block)) == block


EXCEPTS = [
    ("10.0.0.0/8", ["10.1.0.0/16"], True),
    ("10.0.0.0/8", ["10.1.2.3/16"], True),
    ("10.0.0.0/8", ["10.0.0.0/9", "10.128.0.0/9"], True),
    ("fd00::/8", ["fd00::/64"], True),
    ("10.0.0.0/8", ["10.0.0.0/8"], False),
    ("10.0.0.0/16", ["10.0.0.0/8"], False),
    ("10.0.0.0/8", ["11.0.0.0/16"], False),
    ("0.0.0.0/0", ["fd00::/64"], False),
    ("::/0", ["10.0.0.0/8"], False),
    ("10.0.0.0/8", ["10.1.0.0/16", "bad"], False),
    ("bad", [], False),
]


@pytest.mark.parametrize(("cidr", "excepts", "good"), EXCEPTS)
def test_an_except_is_a_smaller_part_of_its_cidr(cidr: str, excepts: list[str], good: bool) -> None:
    report = Report()
    block = read_ip_block(cidr, excepts, "ipBlock", report)
    assert (block is not None, not report.problems) == (good, good)
    if block is not None:
        assert block.excepts == tuple(network(one) for one in excepts)


def test_the_path_names_the_except_that_is_wrong() -> None:
    report = Report()
    read_ip_block("10.0.0.0/8", ["10.1.0.0/16", "11.0.0.0/16"], "spec.ingress[0].from[1].ipBlock", report)
    assert [problem.path for problem in report.problems] == ["spec.ingress[0].from[1].ipBlock.except[1]"]
