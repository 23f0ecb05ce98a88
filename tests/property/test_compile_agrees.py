"""The rule sets that the compiler makes mean what the evaluator reads in the policies."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nodewall.compile import compile_all
from nodewall.evaluate import NodeParty, Packet, Party, PodParty, Traffic, evaluate, party_of_address
from nodewall.model.address import Address, family
from nodewall.model.cluster import ClusterState
from nodewall.model.ruleset import NodeRuleSet
from tests.property.reading import Flow, passes
from tests.property.strategies import PINGS, clusters, known_addresses, traffics


def _home(party: Party) -> str:
    if isinstance(party, PodParty):
        return party.pod.node
    return party.name if isinstance(party, NodeParty) else ""


def _enforced(state: ClusterState, rulesets: dict[str, NodeRuleSet], flow: Flow) -> bool:
    """What the nodes on the way do; a node sees what its pods send and get, and nothing of what stays in a pod."""
    ends = [party_of_address(state, address) for address in (flow.source, flow.destination)]
    homes = {home for home in map(_home, ends) if home}
    return all(passes(rulesets[home], flow, frozenset(state.nodes[home].addresses)) for home in homes)


def _readable(state: ClusterState, flow: Flow) -> str:
    ends = " -> ".join(str(party_of_address(state, address)) for address in (flow.source, flow.destination))
    return f"{ends} ({flow.source} -> {flow.destination}) {flow.traffic}"


@settings(max_examples=400, deadline=None)
@given(state=clusters(), data=st.data())
def test_compiled_rule_sets_mean_what_the_policies_say(state: ClusterState, data: st.DataObject) -> None:
    rulesets = compile_all(state)
    addresses = known_addresses(state)
    sent = data.draw(st.lists(traffics(state), min_size=1, max_size=4, unique=True))
    for source in addresses:
        for destination in addresses:
            if family(source) != family(destination):
                continue
            for traffic in (*sent, PINGS[family(source) == 6]):
                _agree(state, rulesets, source, destination, traffic)


def _agree(
    state: ClusterState, rulesets: dict[str, NodeRuleSet], source: Address, destination: Address, traffic: Traffic
) -> None:
    flow = Flow(source, destination, traffic)
    packet = Packet(party_of_address(state, source), party_of_address(state, destination), traffic, via_service=True)
    expected = evaluate(state, packet)
    assert _enforced(state, rulesets, flow) == expected.allowed, (_readable(state, flow), expected)
