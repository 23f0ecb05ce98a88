"""For every nesting of CIDRs, excepts and port ranges the first rule that matches decides (statement 56)."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodewall.evaluate import Traffic
from nodewall.model.address import Address, IpBlock, Network
from nodewall.model.cluster import ClusterState, Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    Action,
    Kind,
    Peers,
    PortRange,
    Ports,
    Protocol,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)
from tests.property.questions import allowed, readable
from tests.property.tally import JUDGED
from tests.truth.flows import Flow
from tests.truth.nodes import Nodes, nodes

pytestmark = pytest.mark.kernel

POD = {4: Address("10.0.1.10"), 6: Address("fd00:1::a")}
_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17}
_LOWEST = {4: int(IPv4Address("203.0.113.0")), 6: int(IPv6Address("2001:db8::"))}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with nodes("n1") as made:
        yield made


@st.composite
def nested(draw: st.DrawFn, family: int) -> Network:
    """A block of at most 256 addresses at the same place, so that any two are apart, equal, or one inside the other."""
    width, bits = draw(st.integers(0, 8)), 32 if family == 4 else 128
    offset = draw(st.integers(0, 255)) >> width << width
    form = IPv4Network if family == 4 else IPv6Network
    return form((_LOWEST[family] + offset, bits - width))


@st.composite
def blocks(draw: st.DrawFn) -> IpBlock:
    family = draw(st.sampled_from((4, 6)))
    cidr = draw(nested(family) | st.just(ip_network("0.0.0.0/0" if family == 4 else "::/0")))
    carved = [each for each in draw(st.lists(nested(family), max_size=3)) if each != cidr and each.subnet_of(cidr)]  # type: ignore[arg-type]
    return IpBlock(cidr, tuple(carved))


@st.composite
def ranges(draw: st.DrawFn) -> PortRange:
    first, last = sorted((draw(st.integers(1, 40)), draw(st.integers(1, 40) | st.just(65535))))
    return PortRange(draw(st.sampled_from(tuple(_NUMBERS))), first, last)


@st.composite
def rules(draw: st.DrawFn, index: int) -> TierRule:
    peers: Peers = draw(st.lists(blocks(), min_size=1, max_size=3).map(tuple) | st.just(ANYONE))
    ports: Ports = draw(st.lists(ranges(), min_size=1, max_size=3).map(tuple) | st.just(ANY_PORT))
    return TierRule(index, draw(st.sampled_from(Action)), peers, ports)


@st.composite
def policies(draw: st.DrawFn) -> tuple[TierPolicy, ...]:
    """Three policies of one tier, the last of which denies what nobody decided."""
    made = [
        TierPolicy(
            kind=Kind.CLUSTER_EXTENDED,
            namespace="",
            name=f"p{number}",
            tier=Tier.ADMIN,
            priority=number,
            subject=Subject(EVERYTHING),
            ingress=tuple(draw(rules(i)) for i in range(draw(st.integers(1, 6)))),
        )
        for number in range(2)
    ]
    last = TierRule(0, draw(st.sampled_from((Action.DENY, Action.ACCEPT))), ANYONE)
    return (*made, TierPolicy(Kind.CLUSTER, "", "last", Tier.BASELINE, 0, Subject(EVERYTHING), ingress=(last,)))


def _edges(made: tuple[TierPolicy, ...], data: st.DataObject) -> list[Flow]:
    """Packets at and beside both ends of everything that the rules name."""
    named = [rule for policy in made for rule in policy.ingress]
    networks = [
        network
        for rule in named
        if rule.peers is not ANYONE
        for block in rule.peers
        if isinstance(block, IpBlock)
        for network in (block.cidr, *block.excepts)
        if network.prefixlen
    ]
    sources = {
        (network.version, int(end) + step)
        for network in networks
        for end, step in ((network[0], -1), (network[0], 0), (network[-1], 0), (network[-1], 1))
    } | set(_LOWEST.items())
    spans = [port for rule in named if rule.ports is not ANY_PORT for port in rule.ports]
    ports = {
        (port.protocol, number)
        for port in spans
        if isinstance(port, PortRange)
        for number in (port.first - 1, port.first, port.last, port.last + 1)
        if 1 <= number <= 65535
    } | {(Protocol.TCP, 1), (Protocol.UDP, 41)}
    chosen = data.draw(st.lists(st.sampled_from(sorted(ports)), min_size=1, max_size=12, unique=True))
    form = {4: IPv4Address, 6: IPv6Address}
    return [
        Flow(Address(str(form[version](number))), POD[version], Traffic(_NUMBERS[protocol], port))
        for version, number in sorted(sources)
        for protocol, port in chosen
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(made=policies(), data=st.data())
def test_the_first_rule_that_matches_decides(cluster: Nodes, made: tuple[TierPolicy, ...], data: st.DataObject) -> None:
    pod = Pod("a", "web", node="n1", addresses=tuple(POD.values()))
    state = ClusterState(
        pods={pod.key: pod},
        namespaces={"a": Namespace("a")},
        nodes={"n1": Node("n1")},
        tier_policies={policy.ref: policy for policy in made},
    )
    probed = _edges(made, data)
    cluster.program(state)
    passed = cluster.verdicts(state, probed)
    JUDGED.update({"packets by the kernel": len(probed), "of them stopped": passed.count(False)})
    wrong = [readable(state, flow) for flow, did in zip(probed, passed, strict=True) if did != allowed(state, flow)]
    assert wrong == []
