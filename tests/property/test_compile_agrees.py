"""The rule sets that the compiler makes mean what the evaluator reads in the policies."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodewall.compile import Compiler, Settings, compile_all
from nodewall.model.cluster import ClusterState
from nodewall.model.ruleset import NodeRuleSet
from tests.property.questions import allowed, flows, readable
from tests.property.reading import passes
from tests.property.strategies import clusters, traffics
from tests.property.tally import JUDGED
from tests.truth.flows import Flow, nodes_on_the_way
from tests.truth.nodes import changes
from tests.truth.wire import all_received


def _enforced(state: ClusterState, rulesets: dict[str, NodeRuleSet], flow: Flow) -> bool:
    """What the nodes on the way do."""
    return all(
        passes(rulesets[name], flow, frozenset(state.nodes[name].addresses)) for name in nodes_on_the_way(state, flow)
    )


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(state=clusters(), data=st.data())
def test_compiled_rule_sets_mean_what_the_policies_say(state: ClusterState, data: st.DataObject) -> None:
    _agree(state, compile_all(state), data)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(state=clusters(), data=st.data())
def test_with_every_group_apart_they_mean_the_same(state: ClusterState, data: st.DataObject) -> None:
    """Written by the incremental compiler as rule sets and PeerGroups, and read as an agent does."""
    compiler = Compiler(Settings(share_above=0))
    compiler.apply(changes(ClusterState(), state))
    _agree(state, dict(all_received(compiler)), data)


def _agree(state: ClusterState, rulesets: dict[str, NodeRuleSet], data: st.DataObject) -> None:
    sent = data.draw(st.lists(traffics(state), min_size=1, max_size=4, unique=True))
    for flow in flows(state, sent):
        JUDGED.update({"packets by compiled rule sets": 1})
        assert _enforced(state, rulesets, flow) == allowed(state, flow), readable(state, flow)
