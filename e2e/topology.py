"""Nodes, pods and the world outside as network namespaces.

::

    nw-cp (API server) ──management── nw-node-1 ──veth── nw-p-NAMESPACE.POD
                              └────── nw-node-2 ──veth── ...
                                          │ eth0
                                       nw-net (a switch: one bridge, no addresses)
                                          │
                                       nw-ext (everything outside: many addresses, the nodes' default route)

A node connects its pods in one of two ways, the `Datapath`s below: routed, a link and a host route per pod, or bridged,
all on one Linux bridge whose traffic br_netfilter shows to the IP hooks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from e2e import addressing, netns
from e2e.addressing import NodePlan
from e2e.command import run
from e2e.controlplane import MANAGEMENT_BRIDGE, MANAGEMENT_PREFIX
from e2e.instance import Instance

BRIDGE = "cni0"

# IPv6 addresses are usable at once, and nothing is inherited from the machine's own settings.
_HOST_SYSCTLS = {
    "ipv6/conf/all/disable_ipv6": 0,
    "ipv6/conf/default/disable_ipv6": 0,
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/all/accept_ra": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
}
_ROUTER_SYSCTLS = _HOST_SYSCTLS | {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}
_BRIDGE_NETFILTER = (
    "bridge/bridge-nf-call-iptables",
    "bridge/bridge-nf-call-ip6tables",
    "bridge/bridge-nf-filter-vlan-tagged",
)


@dataclass(slots=True)
class Node:
    """A node's network namespace; `hosts` are the numbers in its pod ranges that are taken."""

    name: str
    plan: NodePlan
    namespace: str
    hosts: set[int] = field(default_factory=set)
    next_host: int = 10


@dataclass(frozen=True, slots=True)
class Wire:
    """A pod's network namespace and link, IPv4 then IPv6 address, and its number in the node's ranges."""

    namespace: str
    link: str
    addresses: tuple[str, str]
    host: int


class Datapath(Protocol):
    """How a node connects its pods."""

    name: str

    def prepare(self, node: Node) -> None:
        """Set the node up before its first pod."""

    def plug(self, node: Node, wire: Wire) -> None:
        """Connect a pod whose namespace exists and has no link yet."""


class Routed:
    """A link and a host route per pod, as Calico and the ptp plugin do."""

    name = "routed"

    def prepare(self, node: Node) -> None:
        """Addresses of its ranges that no pod has go nowhere (and not out by the default route)."""
        v4, v6 = node.plan.pod_cidrs
        netns.batch(node.namespace, [f"route add blackhole {v4}", f"route add blackhole {v6}"])

    def plug(self, node: Node, wire: Wire) -> None:
        """Both ends of the link have the same gateway addresses behind them on every pod."""
        v4, v6 = wire.addresses
        own4, own6 = node.plan.addresses
        netns.batch(
            node.namespace,
            [
                _pair(wire),
                f"link set {wire.link} addrgenmode none",
                f"address add {addressing.POD_GATEWAY}/32 dev {wire.link} scope link",
                f"link set {wire.link} up",
                f"address add {addressing.POD_GATEWAY6}/64 dev {wire.link} nodad",
                f"route add {v4}/32 dev {wire.link} src {own4}",
                f"route add {v6}/128 dev {wire.link} src {own6}",
            ],
        )
        netns.batch(
            wire.namespace,
            [
                f"address add {v4}/32 dev eth0",
                "link set eth0 up",
                f"address add {v6}/128 dev eth0 nodad",
                f"route add {addressing.POD_GATEWAY} dev eth0 scope link",
                f"route add default via {addressing.POD_GATEWAY} dev eth0",
                f"route add default via {addressing.POD_GATEWAY6} dev eth0",
            ],
        )


class Bridged:
    """All pods of a node on one Linux bridge, which has the gateway addresses, as the bridge plugin and flannel do."""

    name = "bridged"

    def prepare(self, node: Node) -> None:
        """Without br_netfilter pods of one node would reach each other below the IP hooks."""
        _require_bridge_netfilter()
        netns.set_sysctls(node.namespace, dict.fromkeys(_BRIDGE_NETFILTER, 1))
        v4, v6 = node.plan.gateways
        netns.batch(
            node.namespace,
            [
                f"link add {BRIDGE} address {addressing.hardware_address(v4)} type bridge",
                f"address add {v4}/24 dev {BRIDGE}",
                f"link set {BRIDGE} up",
                f"address add {v6}/64 dev {BRIDGE} nodad",
            ],
        )

    def plug(self, node: Node, wire: Wire) -> None:
        """A port of the bridge, and default routes to its addresses."""
        v4, v6 = wire.addresses
        gateway4, gateway6 = node.plan.gateways
        netns.batch(
            node.namespace,
            [
                _pair(wire),
                f"link set {wire.link} addrgenmode none",
                f"link set {wire.link} master {BRIDGE}",
                f"link set {wire.link} up",
            ],
        )
        netns.batch(
            wire.namespace,
            [
                f"address add {v4}/24 dev eth0",
                "link set eth0 up",
                f"address add {v6}/64 dev eth0 nodad",
                f"route add default via {gateway4} dev eth0",
                f"route add default via {gateway6} dev eth0",
            ],
        )


DATAPATHS: Mapping[str, Datapath] = {each.name: each for each in (Routed(), Bridged())}


@dataclass(slots=True)
class Topology:
    """The networks of one cluster."""

    instance: Instance
    datapath: Datapath
    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def switch(self) -> str:
        """The namespace of the network between nodes."""
        return self.instance.name("net")

    @property
    def external(self) -> str:
        """The namespace of the host outside the cluster."""
        return self.instance.name("ext")

    @property
    def control_plane(self) -> str:
        """The namespace of the control plane."""
        return self.instance.name("cp")

    def adopt_node(self, name: str, number: int) -> None:
        """Know a node that another process made."""
        self.nodes[name] = Node(name, NodePlan(number), self.instance.name(name))

    def adopt_pod(self, namespace: str, pod: str, node: str, addresses: tuple[str, str]) -> Wire:
        """Know a pod that another process connected."""
        host = int(addresses[0].rpartition(".")[2])
        self.nodes[node].hosts.add(host)
        name = self.instance.name(f"p-{namespace}.{pod}")
        return Wire(name, addressing.link_name(namespace, pod), addresses, host)

    def start(self) -> None:
        """Make the switch and the host outside."""
        self.instance.add_namespace("net")
        if (Path("/proc/sys/net") / _BRIDGE_NETFILTER[0]).exists():
            netns.set_sysctls(self.switch, dict.fromkeys(_BRIDGE_NETFILTER, 0))
        netns.batch(self.switch, ["link add br0 type bridge", "link set br0 up"])
        self._start_external()

    def end(self) -> None:
        """Remove the nodes, the switch and the host outside; pods must be gone."""
        for name in list(self.nodes):
            self.remove_node(name)
        for namespace in (self.external, self.switch):
            self.instance.remove_namespace(namespace)

    def add_node(self, name: str) -> Node:
        """Make a node with routes to and from all others."""
        taken = {node.plan.number for node in self.nodes.values()}
        plan = NodePlan(next(number for number in range(1, 200) if number not in taken))
        node = Node(name, plan, self.instance.add_namespace(name))
        netns.set_sysctls(node.namespace, _ROUTER_SYSCTLS)
        self._connect(node.namespace, plan.addresses, f"port{plan.number}")
        self._connect_management(node)
        netns.batch(node.namespace, _default_routes())
        self.datapath.prepare(node)
        for other in self.nodes.values():
            netns.batch(node.namespace, _routes_to_pods(other.plan))
            netns.batch(other.namespace, _routes_to_pods(plan))
        netns.batch(self.external, _routes_to_pods(plan))
        self.nodes[name] = node
        return node

    def remove_node(self, name: str) -> None:
        """Remove a node's namespace and the routes to its pods."""
        node = self.nodes.pop(name)
        # The kernel empties a removed namespace later; the far ends of its links must not be in the way until then.
        netns.batch(node.namespace, ["link del eth0", "link del mgmt0"])
        self.instance.remove_namespace(node.namespace)
        for namespace in (self.external, *(other.namespace for other in self.nodes.values())):
            netns.batch(namespace, _routes_to_pods(node.plan, "del"))

    def set_management(self, node: str, *, up: bool) -> None:
        """Cut a node off from the API server, or connect it again; traffic of pods is not touched."""
        netns.batch(self.nodes[node].namespace, [f"link set mgmt0 {'up' if up else 'down'}"])

    def add_pod(self, namespace: str, pod: str, node_name: str, host: int | None = None) -> Wire:
        """Connect a new pod; `host` asks for that number in the node's ranges (to reuse a former pod's addresses)."""
        node = self.nodes[node_name]
        number = _take_host(node, host)
        name = self.instance.add_namespace(f"p-{namespace}.{pod}")
        netns.set_sysctls(name, _HOST_SYSCTLS)
        wire = Wire(name, addressing.link_name(namespace, pod), node.plan.pod_addresses(number), number)
        self.datapath.plug(node, wire)
        return wire

    def remove_pod(self, node_name: str, wire: Wire) -> None:
        """Remove a pod's link at once and its namespace; the addresses are free again."""
        node = self.nodes.get(node_name)
        if node is not None:
            netns.batch(node.namespace, [f"link del {wire.link}"])
            node.hosts.discard(wire.host)
        self.instance.remove_namespace(wire.namespace)

    def _start_external(self) -> None:
        self.instance.add_namespace("ext")
        netns.set_sysctls(self.external, _HOST_SYSCTLS)
        self._connect(self.external, addressing.EXTERNAL_ROUTER, "ext")
        netns.batch(self.external, [f"address add {each} dev lo" for each in addressing.EXTERNAL_ADDRESSES])

    def _connect(self, namespace: str, addresses: tuple[str, str], port: str) -> None:
        """Put a namespace on the network between nodes, as its eth0."""
        v4, v6 = (f"{address}/{prefix}" for address, prefix in zip(addresses, addressing.NODE_PREFIXES, strict=True))
        mac = addressing.hardware_address(addresses[0])
        netns.batch(
            namespace,
            [
                f"link add eth0 address {mac} type veth peer name {port} netns {self.switch}",
                f"address add {v4} dev eth0",
                "link set eth0 up",
                f"address add {v6} dev eth0 nodad",
            ],
        )
        netns.batch(self.switch, [f"link set {port} master br0", f"link set {port} up"])

    def _connect_management(self, node: Node) -> None:
        port = f"node{node.plan.number}"
        netns.batch(
            node.namespace,
            [
                f"link add mgmt0 type veth peer name {port} netns {self.control_plane}",
                f"address add {node.plan.management}/{MANAGEMENT_PREFIX} dev mgmt0",
                "link set mgmt0 up",
            ],
        )
        netns.batch(self.control_plane, [f"link set {port} master {MANAGEMENT_BRIDGE}", f"link set {port} up"])


def _pair(wire: Wire) -> str:
    mac = addressing.hardware_address(wire.addresses[0])
    return f"link add {wire.link} type veth peer name eth0 address {mac} netns {wire.namespace}"


def _default_routes() -> Iterator[str]:
    v4, v6 = addressing.EXTERNAL_ROUTER
    yield f"route add default via {v4}"
    yield f"route add default via {v6}"


def _routes_to_pods(plan: NodePlan, verb: str = "add") -> Iterator[str]:
    for cidr, via in zip(plan.pod_cidrs, plan.addresses, strict=True):
        yield f"route {verb} {cidr} via {via}"


def _take_host(node: Node, wanted: int | None) -> int:
    """A free number; those given back are not used again soon unless they are asked for."""
    free = (number for number in range(node.next_host, 250) if number not in node.hosts)
    number = next(free) if wanted is None else wanted
    if number in node.hosts:
        raise ValueError(f"{node.plan.pod_addresses(number)[0]} is in use")
    node.hosts.add(number)
    if wanted is None:
        node.next_host = number + 1 if number < 240 else 10
    return number


def _require_bridge_netfilter() -> None:
    """Load br_netfilter where the kernel has it as a module; its switches then exist in every network namespace."""
    if not (Path("/proc/sys/net") / _BRIDGE_NETFILTER[0]).exists():
        run(["modprobe", "br_netfilter"])
