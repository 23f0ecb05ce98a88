"""Small random clusters, weighted to the nasty corners: shared addresses, name clashes, host network, finished pods."""

from ipaddress import ip_network
from typing import Any

from hypothesis import strategies as st

from nodewall.model.address import Address, IpBlock
from nodewall.model.cluster import ClusterState, ContainerPort, EndpointSlice, LogWish, Namespace, Node, Phase, Pod
from nodewall.model.labels import Labels, Operator, Requirement, Selector
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    NOBODY,
    SAME_NAMESPACE,
    Action,
    AllowRule,
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
from tests.compile.verdicts import Packet

NAMESPACES, NAMES, NODES = ("x", "y", "z"), ("a", "b", "c"), ("n1", "n2", "n3")
ADDRESSES = tuple(map(Address, (*(f"10.0.0.{number}" for number in range(1, 7)), "fd00::1", "fd00::2")))
NETWORKS = tuple(map(ip_network, ("0.0.0.0/0", "10.0.0.0/24", "10.0.0.0/30", "10.0.0.4/32", "::/0", "fd00::/127")))
_VALUES = ("1", "2")

labels = st.dictionaries(st.sampled_from(("k", "l")), st.sampled_from(_VALUES), max_size=2).map(Labels)


@st.composite
def _requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(Operator))
    valued = operator in (Operator.IN, Operator.NOT_IN)
    values = draw(st.sets(st.sampled_from(_VALUES), min_size=1)) if valued else ()
    return Requirement(draw(st.sampled_from(("k", "l"))), operator, tuple(sorted(values)))


selectors = st.lists(_requirements(), max_size=2).map(Selector.of)
_names = st.sets(st.sampled_from(NAMESPACES), max_size=2).map(lambda names: NamespaceNames(tuple(sorted(names))))
_protocols = st.sampled_from(Protocol)
_port_names = st.sampled_from(("http", "dns"))


def _own_addresses(namespace: str, name: str) -> st.SearchStrategy[tuple[Address, ...]]:
    """Mostly the pod's own, so that most pods live; sometimes somebody else's, or none."""
    number = 3 * NAMESPACES.index(namespace) + NAMES.index(name)
    own = (ADDRESSES[number % len(ADDRESSES)],)
    some = st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True).map(tuple)
    return st.one_of(st.just(own), st.just((*own, Address(f"fd00::a{number}"))), some)


def pods(namespace: str, name: str) -> st.SearchStrategy[Pod]:
    return st.builds(
        Pod,
        namespace=st.just(namespace),
        name=st.just(name),
        uid=st.sampled_from("123"),
        labels=labels,
        node=st.sampled_from((*NODES, *NODES, "")),
        addresses=_own_addresses(namespace, name),
        ports=st.lists(st.builds(ContainerPort, _port_names, _protocols, st.sampled_from((80, 81))), max_size=2).map(
            tuple
        ),
        service_account=st.sampled_from(("default", "web")),
        host_network=st.sampled_from((*[False] * 7, True)),
        phase=st.sampled_from((*[Phase.RUNNING] * 5, Phase.PENDING, Phase.FINISHED)),
        terminating=st.booleans(),
        created=st.sampled_from(("2026-01-01", "2026-01-02")),
    )


def namespaces(name: str) -> st.SearchStrategy[Namespace]:
    return st.builds(Namespace, st.just(name), labels, st.booleans(), st.sampled_from((None, *LogWish)))


def nodes(name: str) -> st.SearchStrategy[Node]:
    addresses = st.sampled_from(((), (Address("192.0.2.1"),), (Address("192.0.2.2"), Address("192.0.2.1"))))
    cidrs = st.sampled_from(((), (NETWORKS[1],)))
    return st.builds(Node, st.just(name), st.just(name), labels, addresses, cidrs)


def slices(namespace: str, name: str) -> st.SearchStrategy[EndpointSlice]:
    return st.builds(
        EndpointSlice,
        st.just(namespace),
        st.just(name),
        st.sampled_from(("web", "db")),
        st.lists(st.sampled_from(ADDRESSES), max_size=3).map(tuple),
        st.lists(st.tuples(_protocols, st.sampled_from((80, 81))), max_size=2).map(tuple),
    )


_blocks = st.builds(IpBlock, st.sampled_from(NETWORKS), st.lists(st.sampled_from(NETWORKS[1:]), max_size=2).map(tuple))
_pod_peers = st.builds(PodPeer, st.one_of(selectors, _names), selectors)
_tier_peers = st.one_of(
    _pod_peers,
    st.builds(PodPeer, st.just(SAME_NAMESPACE), selectors),
    st.builds(ServiceAccountPeer, st.sampled_from(NAMESPACES), st.sampled_from(("default", "web"))),
    st.builds(ServicePeer, st.sampled_from(NAMESPACES), st.sampled_from(("web", "db"))),
    st.builds(NodePeer, selectors),
    _blocks,
)


def _some(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(ANYONE), one.map(lambda each: (each,)), st.lists(one, max_size=3).map(tuple))


def peers() -> st.SearchStrategy[Any]:
    """Of a NetworkPolicy's rule."""
    return _some(st.one_of(_pod_peers, _blocks))


_ranges = st.builds(
    lambda protocol, ends: PortRange(protocol, min(ends), max(ends)),
    _protocols,
    st.tuples(st.sampled_from((0, 79, 80, 81, 65535)), st.sampled_from((0, 79, 80, 81, 65535))),
)
_plain_ports = st.one_of(_ranges, st.builds(PortName, _port_names, _protocols))
_tier_ports = st.one_of(
    _plain_ports,
    st.builds(PortName, _port_names, st.none()),
    st.builds(Icmp, st.sampled_from((4, 6)), st.sampled_from((-1, 8))),
    st.builds(IpProtocol, st.sampled_from((6, 47))),
)


def port_sets(one: st.SearchStrategy[Any] = _plain_ports) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(ANY_PORT), st.lists(one, max_size=2).map(tuple))


def _indexed(kind: Any, least: int, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    rules = st.lists(st.fixed_dictionaries(parts), min_size=least, max_size=3)
    return rules.map(lambda given: tuple(kind(index=index, **each) for index, each in enumerate(given)))


_allow_rules = _indexed(AllowRule, 0, peers=peers(), ports=port_sets())
_tier_rules = _indexed(
    TierRule,
    1,
    action=st.sampled_from(Action),
    peers=_some(_tier_peers),
    ports=port_sets(_tier_ports),
    logging=st.builds(Logging, st.booleans(), st.booleans()),
)


def network_policies(namespace: str, name: str = "new") -> st.SearchStrategy[NetworkPolicy]:
    sections = st.one_of(st.none(), _allow_rules)
    return st.builds(NetworkPolicy, st.just(namespace), st.just(name), selectors, sections, sections)


@st.composite
def tier_policies(draw: st.DrawFn, kind: Kind, name: str) -> TierPolicy:
    local = kind is Kind.EXTENDED
    namespace = draw(st.sampled_from(NAMESPACES)) if local else ""
    subject = st.builds(
        Subject, st.just(NamespaceNames((namespace,))) if local else st.one_of(selectors, _names), selectors
    )
    return TierPolicy(
        kind=kind,
        namespace=namespace,
        name=name,
        tier=Tier.NAMESPACE if local else draw(st.sampled_from((Tier.ADMIN, Tier.BASELINE))),
        priority=draw(st.sampled_from((0, 1))),
        subject=draw(st.one_of(subject, subject, subject, st.just(NOBODY))),
        mode=draw(st.sampled_from((Mode.ENFORCE, Mode.ENFORCE, Mode.AUDIT, Mode.DISABLED))),
        nodes=draw(st.one_of(st.none(), selectors)),
        ingress=draw(_tier_rules),
        egress=draw(_tier_rules),
    )


TIER_KINDS = (Kind.EXTENDED, Kind.CLUSTER_EXTENDED, Kind.CLUSTER)


@st.composite
def clusters(draw: st.DrawFn) -> ClusterState:
    def some(keys: Any, strategy: Any, least: int = 0) -> list[Any]:
        return [
            draw(strategy(*key)) for key in draw(st.sets(st.sampled_from(keys), min_size=least, max_size=least + 3))
        ]

    pairs = [(namespace, name) for namespace in NAMESPACES for name in NAMES]
    policies = some([(kind, name) for kind in TIER_KINDS for name in ("p", "q")], tier_policies, 2)
    return ClusterState(
        pods={each.key: each for each in some(pairs, pods, 6)},
        namespaces={each.name: each for each in some([(name,) for name in NAMESPACES], namespaces, 1)},
        nodes={each.name: each for each in some([(name,) for name in NODES], nodes, 2)},
        slices={(each.namespace, each.name): each for each in some(pairs, slices)},
        network_policies={(each.namespace, each.name): each for each in some(pairs, network_policies, 3)},
        tier_policies={each.ref: each for each in policies},
    )


def packets(state: ClusterState) -> st.SearchStrategy[list[Packet]]:
    """Between the addresses of the cluster, and one outside of it."""
    used = sorted({address for each in state.pods.values() for address in each.addresses} | {Address("203.0.113.7")})
    one = st.builds(
        Packet,
        st.sampled_from(used),
        st.sampled_from(used),
        st.one_of(_protocols, st.builds(Icmp, st.sampled_from((4, 6)), st.just(8)), st.just(IpProtocol(47))),
        st.sampled_from((79, 80, 81)),
    )
    return st.lists(one, min_size=1, max_size=8)
