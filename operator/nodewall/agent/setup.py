"""How tables are drawn on this node: what was set, and what was found."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from nodewall.model.address import Address, Network
from nodewall.model.ruleset import NodeRuleSet
from nodewall.render import Guard, NewPodPolicy, Settings, Strict


@dataclass(frozen=True, slots=True)
class Links:
    """Links that local pods are behind, by name, sorted.

    ``own``: nothing but pods is behind them. ``shared``: those of them that a new pod will be behind too (bridges); a
    veth is one pod's alone, so it says nothing about the next. ``foreign``: where pods are behind veths, those that are
    none of theirs (the node's own way out may be one); None where they are not.
    """

    own: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    foreign: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """``networks``:

    the guard's scope as set; else that of the rule set. ``strict`` None: established connections keep.
    """

    new_pods: NewPodPolicy = NewPodPolicy.DROP
    networks: tuple[Network, ...] = ()
    strict: Strict | None = None
    links: Links = Links()


def settings(setup: Setup, content: NodeRuleSet) -> Settings:
    """What the table of this rule set is drawn with.

    The guard's scope is the networks, and the shared links as well where the networks miss a family or a pod: what they
    miss for one pod they miss for the next.
    """
    networks = setup.networks or content.pod_cidrs
    links = setup.links.shared if _missed(networks, content) else ()
    return Settings(
        guard=Guard(setup.new_pods, networks, links),
        strict=setup.strict,
        pod_links=setup.links.own,
        foreign_veths=setup.links.foreign,
    )


def unguarded(setup: Setup, content: NodeRuleSet) -> list[str]:
    """Which new pods nothing guards, in words; empty when all are."""
    if setup.new_pods is NewPodPolicy.ALLOW or setup.links.shared:
        return []
    networks = setup.networks or content.pod_cidrs
    outside = _outside(networks, content)
    if networks and not outside:
        return []
    why = f"{outside[0]} of a pod is outside of {_listed(networks)}" if outside else f"the scope is {_listed(networks)}"
    return [f"new pods are not guarded: {why}, and no bridge is known that pods are behind; set --pod-cidrs"]


def _missed(networks: tuple[Network, ...], content: NodeRuleSet) -> bool:
    return {network.version for network in networks} != {4, 6} or bool(_outside(networks, content))


def _outside(networks: tuple[Network, ...], content: NodeRuleSet) -> list[Address]:
    """Addresses of pods that are in none of the networks."""
    addresses = (address for pod in content.endpoints for address in pod.addresses)
    return [each for each in addresses if not _is_within(each, networks)]


@lru_cache(maxsize=1 << 12)
def _is_within(address: Address, networks: tuple[Network, ...]) -> bool:
    """Remembered, because every NodeRuleSet asks again for the few hundred addresses of a node's pods."""
    return any(ip_address(address) in network for network in networks)


def _listed(networks: tuple[Network, ...]) -> str:
    return ", ".join(map(str, networks)) or "no network (the Node has no podCIDRs)"
