"""A node made of two network namespaces: one that routes and judges, and everything around it.

::

    around  ── world ──  router (its own addresses on lo)
            ── pod0 ───
            ── pod1 ───   one link per pod, each pod's addresses routed to its link

``around`` has no addresses and answers nothing: it is where frames are sent from and seen to arrive.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from e2e import netns
from e2e.command import run
from e2e.waiting import until

WORLD = "world"
ROUTER_MAC = "02:00:00:00:00:01"
PEER_MAC = "02:00:00:00:00:02"
"""Of no link at all: what is sent to it is seen by packet sockets and ignored by the IP stack."""

HOP4, _HOP6 = "169.254.1.1", "fe80::1"
_SYSCTLS = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
    "ipv4/icmp_ratelimit": 0,
    "ipv6/icmp/ratelimit": 0,
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
}
_numbers = count()


@dataclass(slots=True)
class Router:
    """``routes``: link of each pod address; ``own``: the node's addresses."""

    name: str
    around: str
    pod_links: tuple[str, ...]
    routes: dict[str, str] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)

    def arrange(self, routes: Mapping[str, str], own: set[str]) -> None:
        """Route each address to its link, and give the node its addresses; what was there before goes."""
        commands = [
            *(_route("del", address, link) for address, link in self.routes.items() if routes.get(address) != link),
            *(f"address del {_host(address)} dev lo" for address in sorted(self.own - own)),
            *(_route("add", address, link) for address, link in routes.items() if self.routes.get(address) != link),
            *(f"address add {_host(address)} dev lo{_nodad(address)}" for address in sorted(own - self.own)),
        ]
        if commands:
            netns.batch(self.name, commands)
        if own - self.own:
            until("the node's own addresses are in use", lambda: self._has(own), within=10, every=0.002)
        self.routes, self.own = dict(routes), set(own)

    def _has(self, own: set[str]) -> bool:
        """IPv6 addresses come into use a moment after they were added."""
        routes = run(["ip", "-n", self.name, "-6", "route", "show", "table", "local"])
        return {address for address in own if ":" in address} <= set(routes.split())


@contextmanager
def router(pod_links: int = 8) -> Iterator[Router]:
    number = f"{os.getpid()}-{next(_numbers)}"
    made = Router(f"nw-router-{number}", f"nw-around-{number}", tuple(f"pod{i}" for i in range(pod_links)))
    try:
        netns.add(made.name)
        netns.add(made.around)
        netns.set_sysctls(made.around, {"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1})
        netns.set_sysctls(made.name, _SYSCTLS)
        links = (WORLD, *made.pod_links)
        netns.batch(made.name, [command for link in links for command in _link(link, made.around)] + _last())
        netns.batch(made.around, [f"link set {link} up" for link in links])
        yield made
    finally:
        netns.delete(made.name)
        netns.delete(made.around)


def _link(link: str, around: str) -> list[str]:
    return [
        f"link add {link} address {ROUTER_MAC} type veth peer name {link} netns {around}",
        f"link set {link} addrgenmode none",  # as many networks do: no link-local route back to a pod
        f"link set {link} up",
        f"neighbour add {HOP4} lladdr {PEER_MAC} dev {link} nud permanent",
        f"neighbour add {_HOP6} lladdr {PEER_MAC} dev {link} nud permanent",
    ]


def _last() -> list[str]:
    return [
        f"route add default via {HOP4} dev {WORLD} onlink",
        f"route add default via {_HOP6} dev {WORLD} onlink",
    ]


def _route(verb: str, address: str, link: str) -> str:
    return f"route {verb} {_host(address)} via {_HOP6 if ':' in address else HOP4} dev {link} onlink"


def _host(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _nodad(address: str) -> str:
    return " nodad" if ":" in address else ""
