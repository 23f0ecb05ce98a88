"""Addresses and address blocks.

An address is its canonical text (RFC 5952 for IPv6), because text hashes and compares several times faster than
``ipaddress`` objects and is what the wire and nft want. A block is an ``ipaddress`` network with its host bits cleared.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import NewType

Address = NewType("Address", str)
Network = IPv4Network | IPv6Network


def family(address: Address) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


@dataclass(frozen=True, slots=True)
class IpBlock:
    """``cidr`` without the addresses of ``excepts``. Host bits are cleared; excepts outside of cidr carve nothing."""

    cidr: Network
    excepts: tuple[Network, ...] = ()

    def __str__(self) -> str:
        return f"{self.cidr} except {', '.join(map(str, self.excepts))}" if self.excepts else str(self.cidr)
