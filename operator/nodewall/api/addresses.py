"""Addresses and CIDRs as the API has accepted them over the years -> the one spelling of the model.

Stored objects may hold leading zeros (decimal, as Kubernetes reads them: kubernetes/kubernetes#100895), host bits
behind the prefix, and IPv4 addresses written as IPv6. All are read; newer API servers only refuse to *write* them.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from nodewall.api.parsed import Report
from nodewall.model.address import Address, IpBlock, Network

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_CANONICAL_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
_OLD_IPV4 = re.compile(r"(?:[0-9]+\.){3}[0-9]+", re.ASCII)
_OLD_IPV6 = re.compile(r"[0-9A-Fa-f:]+(?P<ipv4>(?:(?<=:)[0-9]+(?:\.[0-9]+){3})?)", re.ASCII)
_PREFIX = re.compile(r"[0-9]+", re.ASCII)
_LEADING_ZEROS = re.compile(r"(?<![0-9A-Fa-f])0+(?=[0-9A-Fa-f])", re.ASCII)
_LONGEST = 128
"""Characters. Longer than any spelling that anybody has a use for; a bound for the regular expressions."""


def _host(text: str) -> IPv4Address | IPv6Address | None:
    """The address as written; leading zeros are decimal (IPv4) or padding (IPv6)."""
    if len(text) > _LONGEST:
        return None
    try:
        if _OLD_IPV4.fullmatch(text):
            return IPv4Address(_LEADING_ZEROS.sub("", text))
        if _OLD_IPV6.fullmatch(text):
            return IPv6Address(_LEADING_ZEROS.sub("", text))
    except ValueError:
        pass
    return None


def address(text: str) -> Address | None:
    """The canonical spelling, or None. An IPv4 address written as IPv6 (``::ffff:10.0.0.1``) is the IPv4 address."""
    if _CANONICAL_IPV4.fullmatch(text):
        return Address(text)
    host = _host(text)
    if host is None:
        return None
    mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else None
    return Address(str(mapped or host))


def network(text: str) -> Network | None:
    """The block with its host bits cleared, or None. Needs a prefix length; a mapped one from /96 on is the IPv4
    block.
    """
    start, slash, length = text.partition("/")
    host = _host(start)
    if host is None or not slash or not _PREFIX.fullmatch(length) or len(length) > _LONGEST:
        return None
    bits = int(length)
    if bits > host.max_prefixlen:
        return None
    if isinstance(host, IPv4Address):
        return IPv4Network((int(host), bits), strict=False)
    if host.ipv4_mapped is not None and bits >= 96:
        return IPv4Network((int(host.ipv4_mapped), bits - 96), strict=False)
    return IPv6Network((int(host), bits), strict=False)


def read_network(text: str, at: str, report: Report) -> Network | None:
    found = network(text)
    if found is None:
        report.add(at, f"{text!r} is not a CIDR; write one like 10.0.0.0/8 or fd00::/8")
    return found


def read_ip_block(cidr: str, excepts: list[str], at: str, report: Report) -> IpBlock | None:
    """The block of ``cidr`` without ``excepts``, each of which must lie inside of it and be smaller."""
    block = read_network(cidr, f"{at}.cidr", report)
    carved = [_read_except(block, one, f"{at}.except[{index}]", report) for index, one in enumerate(excepts)]
    if block is None or None in carved:
        return None
    return IpBlock(block, tuple(one for one in carved if one is not None))


def _read_except(block: Network | None, text: str, at: str, report: Report) -> Network | None:
    carved = read_network(text, at, report)
    if carved is None or block is None:
        return carved
    if carved.prefixlen > block.prefixlen and carved.network_address in block:
        return carved
    report.add(at, f"{text!r} must be a part of the cidr {block}, and smaller than it")
    return None
