"""How tables are drawn on this node: what was set, and what was found."""

from dataclasses import dataclass
from ipaddress import ip_address

from nodewall.model.address import Network
from nodewall.model.ruleset import NodeRuleSet
from nodewall.render import Guard, NewPodPolicy, Settings, Strict


@dataclass(frozen=True, slots=True)
class Links:
    """Links that local pods are behind, by name, sorted.

    ``own``: nothing but pods is behind them. ``shared``: those of them that a new pod will be behind too (bridges); a
    veth is one pod's alone, so it says nothing about the next.
    """

    own: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


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

    The guard's scope is the networks, and the shared links as well where a family has no network: one family open
    would leave a new pod open.
    """
    networks = _networks(setup, content)
    links = setup.links.shared if _uncovered(networks) else ()
    guard = Guard(setup.new_pods, networks, links)
    return Settings(guard=guard, strict=setup.strict, pod_links=setup.links.own)


def unguarded(setup: Setup, content: NodeRuleSet) -> list[str]:
    """Which new pods nothing guards, in words; empty when all are."""
    if setup.new_pods is NewPodPolicy.ALLOW:
        return []
    networks = _networks(setup, content)
    if _uncovered(networks) and setup.links.shared:
        return []
    addresses = [ip_address(address) for pod in content.endpoints for address in pod.addresses]
    outside = [address for address in addresses if not any(address in network for network in networks)]
    if networks and not outside:
        return []
    why = f"{outside[0]} of a pod is outside of {_listed(networks)}" if outside else f"the scope is {_listed(networks)}"
    return [f"new pods are not guarded: {why}, and no bridge is known that pods are behind; set --pod-cidrs"]


def _listed(networks: tuple[Network, ...]) -> str:
    return ", ".join(map(str, networks)) or "no network (the Node has no podCIDRs)"


def _networks(setup: Setup, content: NodeRuleSet) -> tuple[Network, ...]:
    return setup.networks or content.pod_cidrs


def _uncovered(networks: tuple[Network, ...]) -> list[int]:
    return sorted({4, 6} - {network.version for network in networks})
