"""Which links local pods are behind, found by asking the kernel for the route to each pod's address.

A link counts when the route to a pod leads straight to it (no gateway), and neither the default route nor loopback
does: an address that is not on this node yet, or a pod that shares the uplink, must not turn the uplink into a "pod
link".

Layouts: linux/rtnetlink.h, linux/if_link.h.
"""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from struct import Struct, unpack

from nodewall.agent.netlink import (
    NETLINK_ROUTE,
    Message,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    text,
)
from nodewall.agent.setup import Links
from nodewall.model.address import Address
from nodewall.render import LINK_NAME

_GETROUTE, _GETLINK = 26, 18
_ROUTE = Struct("=BBBBBBBBI")
_LINK = Struct("=BxHiII")
_DESTINATION, _OUT, _GATEWAY, _VIA = 1, 4, 5, 18
_IFNAME, _LINKINFO, _INFO_KIND, _MASTER = 3, 18, 1, 10
_UNICAST = 1
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_ANYWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Addresses for documentation: nobody has a route to them but the default one."""

BRIDGE, VETH = "bridge", "veth"
SHARING = ("ipvlan", "macvlan", "macvtap", "ipvtap")
"""Kinds of links whose traffic does not cross the forward hook of this node."""


@dataclass(frozen=True, slots=True)
class Link:
    """``kind`` is the kernel's word: veth, bridge, macvlan ...; "" for hardware."""

    name: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """``link`` is the index of the link that leads there."""

    link: int
    direct: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found: every link by index, the default routes' links, and each local pod address's route."""

    links: Mapping[int, Link]
    uplinks: frozenset[int]
    routes: Mapping[Address, Route]

    def behind(self) -> dict[int, list[Address]]:
        """Pod addresses by the link that leads straight to them."""
        found: dict[int, list[Address]] = {}
        for address, route in sorted(self.routes.items()):
            if route.direct and route.link in self.links and self.links[route.link].name != "lo":
                found.setdefault(route.link, []).append(address)
        return found


def pod_links(found: Surroundings) -> Links:
    """Links that only pods are behind, as far as a rule can name them: one odd name must not cost every update."""
    behind = (found.links[index] for index in found.behind().keys() - found.uplinks)
    own = [link for link in behind if LINK_NAME.match(link.name)]
    names = sorted(link.name for link in own if link.kind not in SHARING)
    shared = sorted(link.name for link in own if link.kind == BRIDGE)
    return Links(tuple(names), tuple(shared), _foreign(found) if any(link.kind == VETH for link in own) else None)


def _foreign(found: Surroundings) -> tuple[str, ...] | None:
    """None where a rule cannot name them all: then no link that is not known can be told from them."""
    uplinks = (found.links[index] for index in found.uplinks & found.links.keys())
    veths = sorted(link.name for link in uplinks if link.kind == VETH)
    return tuple(veths) if all(map(LINK_NAME.match, veths)) else None


# --- asking the kernel ------------------------------------------------------------------------------------------------


def survey(addresses: Iterable[Address]) -> Surroundings:
    """Look around. Raises NetlinkError, OSError."""
    connection = Netlink(NETLINK_ROUTE)
    try:
        links = dict(map(read_link, connection.ask(_GETLINK, _LINK.pack(0, 0, 0, 0, 0), flags=0x300)))
        uplinks = [_route(connection, Address(address)) for address in _ANYWHERE.values()]
        routes = {address: _route(connection, address) for address in addresses}
    finally:
        connection.close()
    return Surroundings(
        links,
        frozenset(route.link for route in uplinks if route),
        {address: route for address, route in routes.items() if route},
    )


def _route(connection: Netlink, address: Address) -> Route | None:
    parsed = ip_address(address)
    header = _ROUTE.pack(_FAMILY[parsed.version], parsed.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    try:
        # Without a flag for an acknowledgement the answer is the route alone, and an error is an error.
        (reply,) = connection.ask(_GETROUTE, header + attribute(_DESTINATION, parsed.packed))
    except (NetlinkError, ValueError):  # no route to it
        return None
    return read_route(reply)


def read_route(reply: Message) -> Route | None:
    """None for what is no way to another host: the node's own address, a blackhole."""
    found = attributes(reply.payload[_ROUTE.size :])
    kind = reply.payload[7]
    if kind != _UNICAST or _OUT not in found:
        return None
    (link,) = unpack("=I", found[_OUT])
    return Route(link, direct=_GATEWAY not in found and _VIA not in found)


def read_link(reply: Message) -> tuple[int, Link]:
    _, _, index, _, _ = _LINK.unpack_from(reply.payload)
    found = attributes(reply.payload[_LINK.size :])
    kind = attributes(found.get(_LINKINFO, b"")).get(_INFO_KIND, b"")
    return index, Link(text(found.get(_IFNAME, b"")), text(kind))
