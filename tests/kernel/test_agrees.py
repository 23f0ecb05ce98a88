"""What the policies say is what the kernel does: random clusters, compiled, rendered, and judged packet by packet."""

from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodewall.compile import compile_all
from nodewall.evaluate import Packet as Question
from nodewall.evaluate import PodParty, Traffic, evaluate, party_of_address
from nodewall.model.address import Address, family
from nodewall.model.cluster import ClusterState
from nodewall.render import Settings, render, replace
from tests.kernel.checker import Checker
from tests.kernel.packets import Packet
from tests.property.strategies import PINGS, clusters, known_addresses, traffics

pytestmark = pytest.mark.kernel

DRAWINGS = (Settings(), Settings(fold_from=0), Settings(fold_from=0, fold_limit=3))
Flow = tuple[Address, Address, Traffic]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(state=clusters(), data=st.data())
def test_the_kernel_does_what_the_policies_say(checker: Checker, state: ClusterState, data: st.DataObject) -> None:
    drawn_with = data.draw(st.sampled_from(DRAWINGS))
    sent = data.draw(st.lists(traffics(state), min_size=1, max_size=4, unique=True))
    flows = tuple(_flows(known_addresses(state), sent))
    allowed = dict.fromkeys(flows, True)
    for node, ruleset in compile_all(state).items():
        checker.load(replace(render(ruleset, drawn_with)).json())
        checker.arrange([endpoint.addresses for endpoint in ruleset.endpoints], state.nodes[node].addresses)
        here = [flow for flow in flows if _passes_by(state, flow, node)]
        for flow, passed in zip(here, checker.verdicts(map(_packet, here)), strict=True):
            allowed[flow] &= passed
    wrong = [_readable(state, flow, allowed[flow]) for flow in flows if allowed[flow] != _expected(state, flow)]
    assert wrong == []


def _flows(addresses: tuple[Address, ...], sent: list[Traffic]) -> list[Flow]:
    pairs = [pair for pair in product(addresses, addresses) if family(pair[0]) == family(pair[1])]
    return [(*pair, traffic) for pair in pairs for traffic in (*sent, PINGS[family(pair[0]) == 6])]


def _passes_by(state: ClusterState, flow: Flow, node: str) -> bool:
    """Whether the node sees the packet: one of its pods sends or gets it."""
    ends = [party_of_address(state, address) for address in flow[:2]]
    return any(isinstance(end, PodParty) and end.pod.node == node for end in ends)


def _packet(flow: Flow) -> Packet:
    source, destination, traffic = flow
    return Packet(
        source,
        destination,
        traffic.protocol,
        dport=max(traffic.port, 0),
        icmp_type=max(traffic.icmp_type, 0),
        icmp_code=max(traffic.icmp_code, 0),
    )


def _expected(state: ClusterState, flow: Flow) -> bool:
    return evaluate(state, _question(state, flow)).allowed


def _question(state: ClusterState, flow: Flow) -> Question:
    source, destination = (party_of_address(state, address) for address in flow[:2])
    return Question(source, destination, flow[2], via_service=True)


def _readable(state: ClusterState, flow: Flow, passed: bool) -> str:
    question = _question(state, flow)
    did = "passed" if passed else "dropped"
    return f"{question.source} -> {question.destination} ({flow[0]} -> {flow[1]}) {flow[2]}: the kernel {did} it"
