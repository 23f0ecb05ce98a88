"""Clusters, policies and packets for hypothesis, on the values of the model.

Everything is drawn from small pools, so that selectors hit, CIDRs nest, ports meet at their edges and names repeat: a
random label out of a million would only ever test "nobody matches".
"""

from ipaddress import ip_network

from hypothesis import strategies as st

from nodewall.evaluate import Traffic
from nodewall.model.address import Address, IpBlock, Network
from nodewall.model.cluster import (
    ClusterState,
    ContainerPort,
    EndpointSlice,
    LogWish,
    Namespace,
    Node,
    Phase,
    Pod,
)
from nodewall.model.labels import Labels, Operator, Requirement, Selector
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    NOBODY,
    SAME_NAMESPACE,
    Action,
    AllowRule,
    DenyWith,
    Icmp,
    IpProtocol,
    Kind,
    Logging,
    Mode,
    NamespaceNames,
    NetworkPolicy,
    NodePeer,
    PodPeer,
    PortName,
    PortRange,
    Protocol,
    ServiceAccountPeer,
    ServicePeer,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)

NAMESPACES = ("a", "b", "c")
NODES = ("n1", "n2")
OUTSIDE = tuple(
    map(Address, ("203.0.113.7", "203.0.113.64", "203.0.114.1", "10.0.1.200", "2001:db8::7", "2001:db8:0:1::7"))
)
EDGES = (0, 1, 79, 80, 81, 90, 91, 443, 8080, 65534, 65535)
PORT_NAMES = ("http", "dns", "nobody")
SERVICES = ("web", "db")
_KEYS, _VALUES = ("app", "role"), ("x", "y")

labels = st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(_VALUES)).map(Labels)


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    key, operator = draw(st.sampled_from(_KEYS)), draw(st.sampled_from(Operator))
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST):
        return Requirement(key, operator)
    values = draw(st.lists(st.sampled_from(_VALUES), min_size=1, max_size=2, unique=True))
    return Requirement(key, operator, tuple(sorted(values)))


selectors = st.lists(requirements(), max_size=2).map(Selector.of)
wide_selectors = st.just(Selector()) | selectors
"""Of subjects: a policy about nobody tests nothing but that."""
protocols = st.sampled_from((Protocol.TCP, Protocol.TCP, Protocol.TCP, Protocol.UDP, Protocol.SCTP))
_NETWORKS: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.1.0/24",
            "10.0.1.10/31",
            "203.0.113.0/24",
            "203.0.113.0/26",
            "203.0.113.7/32",
            "192.168.0.0/24",
            "::/0",
            "fd00::/16",
            "fd00:1::/64",
            "fd00:1::a/127",
            "2001:db8::/32",
            "2001:db8::/64",
        ),
    )
)
networks = st.sampled_from(_NETWORKS)


@st.composite
def ip_blocks(draw: st.DrawFn) -> IpBlock:
    cidr = draw(networks)
    inside = [n for n in _NETWORKS if n.version == cidr.version and n != cidr and cidr.supernet_of(n)]  # type: ignore[arg-type]
    carved = draw(st.lists(st.sampled_from(inside), max_size=2, unique=True)) if inside else []
    return IpBlock(cidr, tuple(carved))


@st.composite
def port_ranges(draw: st.DrawFn) -> PortRange:
    if draw(st.booleans()):
        return PortRange(draw(protocols))
    first, last = sorted((draw(st.sampled_from(EDGES[1:])), draw(st.sampled_from(EDGES[1:]))))
    return PortRange(draw(protocols), first, draw(st.sampled_from((first, last))))


_names = st.sampled_from((*PORT_NAMES, "http", "http"))
port_names = st.builds(PortName, _names, protocols)
any_protocol_names = st.builds(PortName, _names, st.none())
icmps = st.builds(Icmp, st.sampled_from((4, 6)), st.sampled_from((-1, 0, 8, 128)), st.just(-1)) | st.builds(
    Icmp, st.sampled_from((4, 6)), st.sampled_from((3, 8, 128)), st.sampled_from((0, 1))
)
ip_protocols = st.builds(IpProtocol, st.sampled_from((1, 6, 17, 47, 58, 132)))

# --- NetworkPolicy ----------------------------------------------------------------------------------------------------


@st.composite
def network_policy_peers(draw: st.DrawFn, namespace: str) -> PodPeer | IpBlock:
    which = draw(st.integers(0, 3))
    if which == 0:
        return draw(ip_blocks())
    if which == 1:
        return PodPeer(NamespaceNames((namespace,)), draw(selectors))
    return PodPeer(draw(selectors), draw(selectors) if which == 2 else Selector())


@st.composite
def allow_rules(draw: st.DrawFn, namespace: str, index: int) -> AllowRule:
    peers = draw(st.just(ANYONE) | st.lists(network_policy_peers(namespace), max_size=2).map(tuple))
    ports = draw(st.just(ANY_PORT) | st.lists(port_ranges() | port_names, max_size=3).map(tuple))
    return AllowRule(index, peers, ports)


@st.composite
def network_policies(draw: st.DrawFn, name: str) -> NetworkPolicy:
    namespace = draw(st.sampled_from(("a", *NAMESPACES)))
    sections = [
        None
        if draw(st.integers(0, 2)) == 2
        else tuple(draw(allow_rules(namespace, i)) for i in range(draw(st.integers(0, 2))))
        for _ in range(2)
    ]
    return NetworkPolicy(namespace, name, draw(wide_selectors), *sections)


# --- ordered tiers ----------------------------------------------------------------------------------------------------

_TIER_KINDS = (Kind.CLUSTER_EXTENDED, Kind.CLUSTER, Kind.EXTENDED)
_service_peers = st.builds(ServicePeer, st.sampled_from(NAMESPACES), st.sampled_from(SERVICES))


def _tier_peers(egress: bool) -> st.SearchStrategy[tuple[object, ...]]:
    one = (
        st.builds(PodPeer, selectors | st.just(SAME_NAMESPACE) | st.just(NamespaceNames(("a", "c"))), selectors)
        | st.builds(ServiceAccountPeer, st.sampled_from(NAMESPACES), st.sampled_from(("default", "robot")))
        | st.builds(NodePeer, selectors)
        | ip_blocks()
        | networks.map(IpBlock)
    )
    return st.lists(one if egress else one | _service_peers, min_size=1, max_size=3).map(tuple)


@st.composite
def tier_rules(draw: st.DrawFn, egress: bool, index: int) -> TierRule:
    if egress and draw(st.integers(0, 5)) == 0:
        peers, ports = (draw(_service_peers),), ANY_PORT
    else:
        peers = draw(st.just(ANYONE) | _tier_peers(egress))  # type: ignore[assignment]
        port = port_ranges() | port_names | any_protocol_names | icmps | ip_protocols
        ports = draw(st.just(ANY_PORT) | st.lists(port, max_size=3).map(tuple))  # type: ignore[assignment]
    logging = Logging(accept=draw(st.booleans()), deny=draw(st.booleans()))
    action = draw(st.sampled_from((Action.DENY, Action.DENY, Action.PASS, Action.ACCEPT)))
    deny_with = draw(st.sampled_from(DenyWith))
    return TierRule(index, action, peers, ports, draw(st.sampled_from(("", "named"))), deny_with, logging)


@st.composite
def tier_policies(draw: st.DrawFn, name: str, kinds: tuple[Kind, ...] = _TIER_KINDS) -> TierPolicy:
    kind = draw(st.sampled_from(kinds))
    namespaced = kind is Kind.EXTENDED
    namespace = draw(st.sampled_from(NAMESPACES)) if namespaced else ""
    where = NamespaceNames((namespace,)) if namespaced else draw(wide_selectors)
    rules = [tuple(draw(tier_rules(egress, i)) for i in range(draw(st.integers(1, 3)))) for egress in (False, True)]
    return TierPolicy(
        kind=kind,
        namespace=namespace,
        name=name,
        tier=Tier.NAMESPACE if namespaced else draw(st.sampled_from((Tier.BASELINE, Tier.ADMIN, Tier.BASELINE))),
        priority=draw(st.sampled_from((0, 5, 1000))),
        subject=NOBODY if draw(st.integers(0, 11)) == 11 else Subject(where, draw(wide_selectors)),
        mode=draw(st.sampled_from((*[Mode.ENFORCE] * 6, Mode.AUDIT, Mode.DISABLED))),
        nodes=draw(selectors) if draw(st.integers(0, 3)) == 3 else None,
        ingress=rules[0],
        egress=rules[1],
    )


# --- clusters ---------------------------------------------------------------------------------------------------------


@st.composite
def pods(draw: st.DrawFn, number: int) -> Pod:
    node = draw(st.sampled_from(NODES))
    n = NODES.index(node) + 1
    last = draw(st.sampled_from((10 + number, 10 + number, 10 + number, 10)))
    both = (Address(f"10.0.{n}.{last}"), Address(f"fd00:{n}::{last:x}"))
    host = draw(st.integers(0, 7)) == 7
    own = (Address(f"192.168.0.{n}"), Address(f"fd00:f::{n}"))
    container_port = st.builds(
        ContainerPort, st.sampled_from(PORT_NAMES[:2]), protocols, st.sampled_from((80, 81, 8080))
    )
    return Pod(
        namespace=draw(st.sampled_from(("a", *NAMESPACES))),
        name=f"p{number}",
        uid=f"u{draw(st.integers(0, 2))}",
        labels=draw(labels),
        node=node,
        addresses=own if host else draw(st.sampled_from((both, both, both, both[:1], both[1:], ()))),
        ports=tuple(draw(st.lists(container_port, max_size=2))),
        service_account=draw(st.sampled_from(("default", "robot"))),
        host_network=host,
        phase=draw(st.sampled_from((Phase.RUNNING, Phase.RUNNING, Phase.RUNNING, Phase.PENDING, Phase.FINISHED))),
        terminating=draw(st.booleans()),
        created=draw(st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"))),
    )


@st.composite
def _slices(draw: st.DrawFn, number: int, addresses: tuple[Address, ...]) -> EndpointSlice:
    chosen = draw(st.lists(st.sampled_from(addresses), max_size=2, unique=True)) if addresses else []
    ports = draw(st.lists(st.tuples(protocols, st.sampled_from((80, 8080))), max_size=2))
    namespace, service = draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from(SERVICES))
    return EndpointSlice(namespace, f"s{number}", service, tuple(chosen), tuple(ports))


@st.composite
def clusters(draw: st.DrawFn, tiers: bool = True) -> ClusterState:
    """Two nodes, three namespaces, up to five pods, a few policies (``tiers`` False: NetworkPolicies only)."""
    made = [draw(pods(number)) for number in range(draw(st.integers(2, 5)))]
    wishes = st.none() | st.sampled_from(LogWish)
    spaces = [Namespace(name, draw(labels), log=draw(wishes)) for name in NAMESPACES]
    addresses = tuple(dict.fromkeys(a for pod in made for a in pod.addresses))
    slices = [draw(_slices(i, (*addresses, *OUTSIDE[:1]))) for i in range(draw(st.integers(0, 2)))] if tiers else []
    local = [draw(network_policies(f"np{i}")) for i in range(draw(st.sampled_from((1, 2, 3, 4, 0))))]
    tiered = [draw(tier_policies(f"tp{i}")) for i in range(draw(st.sampled_from((1, 2, 3, 4, 0))))] if tiers else []
    return ClusterState(
        pods={pod.key: pod for pod in made},
        namespaces={space.name: space for space in spaces},
        nodes={name: _node(name, draw(labels)) for name in NODES},
        slices={(piece.namespace, piece.name): piece for piece in slices},
        network_policies={(policy.namespace, policy.name): policy for policy in local},
        tier_policies={policy.ref: policy for policy in tiered},
    )


def _node(name: str, its_labels: Labels) -> Node:
    n = NODES.index(name) + 1
    cidrs = (ip_network(f"10.0.{n}.0/24"), ip_network(f"fd00:{n}::/64"))
    return Node(name, f"uid-{name}", its_labels, (Address(f"192.168.0.{n}"), Address(f"fd00:f::{n}")), cidrs)


# --- packets ----------------------------------------------------------------------------------------------------------

_numbers = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}


PINGS = (Traffic(1, icmp_type=8, icmp_code=0), Traffic(58, icmp_type=128, icmp_code=0))
WITHOUT_PORTS = (
    *PINGS,
    Traffic(1, icmp_type=8, icmp_code=1),
    Traffic(1, icmp_type=0, icmp_code=0),
    Traffic(1, icmp_type=3, icmp_code=1),
    Traffic(58, icmp_type=128, icmp_code=1),
    Traffic(58, icmp_type=3, icmp_code=0),
    Traffic(4),
    Traffic(47),
    Traffic(50),
)


@st.composite
def traffics(draw: st.DrawFn, state: ClusterState) -> Traffic:
    """Half of them on a port that somebody exposes or serves, so that names and Services are hit."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(WITHOUT_PORTS))
    exposed = [(port.protocol, port.port) for pod in state.pods.values() for port in pod.ports]
    served = [port for piece in state.slices.values() for port in piece.ports]
    if draw(st.booleans()) and (exposed or served):
        protocol, number = draw(st.sampled_from(exposed + served))
        return Traffic(_numbers[protocol], number)
    return Traffic(_numbers[draw(protocols)], draw(st.sampled_from(EDGES[1:])))


def known_addresses(state: ClusterState) -> tuple[Address, ...]:
    """Every address that a packet of this cluster may carry."""
    of_pods = (a for pod in state.pods.values() for a in pod.addresses)
    of_nodes = (a for node in state.nodes.values() for a in node.addresses)
    return tuple(dict.fromkeys((*of_pods, *of_nodes, *OUTSIDE)))
