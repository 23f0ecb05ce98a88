"""Changes of every kind that leave the verdicts of ``pods`` as they are: client reaches open, nobody reaches shut."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network

from nodewall.model.address import Address, IpBlock
from nodewall.model.policy import Action, Direction, Kind, PortRange, Protocol, Tier
from nodewall.model.ruleset import (
    AddressGroup,
    Endpoint,
    Isolation,
    Match,
    NodeRuleSet,
    Rule,
    RuleClass,
    RuleLog,
    RuleRef,
)
from tests.agent.pods import address
from tests.agent.rulesets import NODE

FAMILIES = (4, 6)
POD_CIDRS = (ip_network("10.0.1.0/24"), ip_network("fd00:1::/64"))


def _both(pod: str) -> tuple[Address, ...]:
    return tuple(Address(address(pod, family)) for family in FAMILIES)


@dataclass
class Cluster:
    """What changes. ``content`` is the rule set of the moment."""

    chance: random.Random
    friends: set[str] = field(default_factory=set)
    enemies: set[str] = field(default_factory=set)
    neighbours: set[int] = field(default_factory=set)
    blocks: set[str] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)
    name: int = 0
    egress: bool = False
    logged: bool = False
    admin: bool = False

    def step(self) -> str:
        """Change something; returns the kind of change."""
        kind = self.chance.choice(list(KINDS))
        KINDS[kind](self)
        return kind

    def content(self) -> NodeRuleSet:
        ids = ("a1", "e1", "i1", "n1", "n2", "n3", "n4")
        return NodeRuleSet(
            node=NODE,
            groups=(
                AddressGroup("clients", "role=client", _both("client")),
                AddressGroup("enemies", "role=enemy", tuple(sorted(map(Address, self.enemies)))),
                AddressGroup("friends", "role=friend", tuple(sorted(map(Address, self.friends)))),
            ),
            classes=tuple(sorted(self._classes(), key=lambda each: each.name)),
            endpoints=tuple(sorted(self._endpoints(), key=lambda each: (each.namespace, each.pod))),
            rules=tuple(RuleRef(each, Kind.NETWORK_POLICY, "shop", "web", Direction.INGRESS, "rule") for each in ids),
            pod_cidrs=POD_CIDRS,
        )

    def _classes(self) -> list[RuleClass]:
        log = RuleLog(10, 10) if self.logged else None
        rules = [
            Rule("n1", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=("clients",), any_port=True), log=log),
            Rule("n2", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=("friends",), any_port=True)),
            Rule("n3", Tier.NETWORK_POLICY, Action.ACCEPT, Match(blocks=self._blocks(), ports=self._ports())),
        ]
        deny = Rule("a1", Tier.ADMIN, Action.DENY, Match(groups=("enemies",), any_port=True))
        isolation = Isolation("i1", ("shop/web",), 1, log)
        everywhere = Rule("e1", Tier.NETWORK_POLICY, Action.ACCEPT, Match(any_peer=True, any_port=True))
        return [
            RuleClass(f"open{self.name}", Direction.INGRESS, (*([deny] if self.admin else []), *rules), isolation),
            RuleClass("shut", Direction.INGRESS, (*([deny] if self.admin else []), rules[2]), isolation),
            RuleClass("out", Direction.EGRESS, (everywhere,), Isolation("i1", ("shop/web",), 1)),
        ]

    def _blocks(self) -> tuple[IpBlock, ...]:
        return tuple(IpBlock(ip_network(block)) for block in sorted(self.blocks))

    def _ports(self) -> tuple[PortRange, ...]:
        return tuple(PortRange(Protocol.TCP, port, port + 5) for port in sorted(self.ports))

    def _endpoints(self) -> list[Endpoint]:
        others = [
            Endpoint("zoo", f"n{number}", (Address(f"10.0.1.{number}"),), ingress=self.chance.choice(("", "shut")))
            for number in self.neighbours
        ]
        out = "out" if self.egress else ""
        return [
            Endpoint("shop", "client", _both("client"), egress=out),
            Endpoint("shop", "open", _both("open"), ingress=f"open{self.name}"),
            Endpoint("shop", "shut", _both("shut"), ingress="shut"),
            *others,
        ]


def _toggle(members: set[str], member: str) -> None:
    members.symmetric_difference_update({member})


def _peer(it: Cluster) -> None:
    _toggle(it.friends, f"10.7.0.{it.chance.randrange(1, 250)}")


def _many_peers(it: Cluster) -> None:
    it.friends = {f"10.8.{it.chance.randrange(256)}.{it.chance.randrange(1, 255)}" for _ in range(300)}


def _enemy(it: Cluster) -> None:
    _toggle(it.enemies, f"fd00:9::{it.chance.randrange(1, 250):x}")


def _pod(it: Cluster) -> None:
    it.neighbours.symmetric_difference_update({it.chance.randrange(10, 250)})


def _block(it: Cluster) -> None:
    _toggle(it.blocks, f"172.16.{it.chance.randrange(256)}.0/{it.chance.choice((24, 25))}")


def _port(it: Cluster) -> None:
    it.ports.symmetric_difference_update({it.chance.randrange(1, 60000)})


def _rename(it: Cluster) -> None:
    it.name += 1


def _flip(name: str) -> Callable[[Cluster], None]:
    def flip(it: Cluster) -> None:
        setattr(it, name, not getattr(it, name))

    return flip


KINDS: dict[str, Callable[[Cluster], None]] = {
    "a peer": _peer,
    "many peers": _many_peers,
    "an enemy": _enemy,
    "a pod": _pod,
    "a CIDR": _block,
    "a port": _port,
    "another class": _rename,
    "egress isolation": _flip("egress"),
    "logging": _flip("logged"),
    "an Admin policy": _flip("admin"),
}
