"""What compile and render make of any policies, the real kernel judges as the evaluator reads them."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodewall.model.cluster import ClusterState
from nodewall.render import Guard, Settings, Strict
from tests.property.questions import allowed, flows, owned_or_outside, readable
from tests.property.strategies import NODES, clusters, traffics
from tests.property.tally import JUDGED
from tests.truth.flows import Flow
from tests.truth.nodes import Nodes, nodes

pytestmark = pytest.mark.kernel

_TABLES = (
    Settings(),
    Settings(strict=Strict(7)),
    Settings(guard=Guard()),
    Settings(fold_from=0),
    Settings(fold_from=0, fold_limit=6),
)
"""Ways to draw a table. None of them changes a verdict on a packet between addresses that somebody has."""
_BIG = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with nodes(*NODES) as made:
        yield made


@settings(_BIG, max_examples=300)
@given(state=clusters(), data=st.data())
def test_the_kernel_judges_as_the_evaluator_reads(cluster: Nodes, state: ClusterState, data: st.DataObject) -> None:
    _judge(cluster, state, data)


@pytest.mark.soak
@settings(_BIG, max_examples=100_000)
@given(state=clusters(), data=st.data())
def test_the_kernel_judges_as_the_evaluator_reads_for_hours(
    cluster: Nodes, state: ClusterState, data: st.DataObject
) -> None:
    _judge(cluster, state, data)


def _judge(cluster: Nodes, state: ClusterState, data: st.DataObject) -> None:
    sent = data.draw(st.lists(traffics(state), min_size=3, max_size=8, unique=True))
    table = data.draw(st.sampled_from(_TABLES))
    cluster.program(state, table, share=data.draw(st.booleans()))
    probed = [
        flow
        for flow in flows(state, sent)
        if table.guard is None or all(owned_or_outside(state, a) for a in (flow.source, flow.destination))
    ]
    JUDGED.update({"clusters": 1})
    _agree(cluster, state, probed)


def _agree(cluster: Nodes, state: ClusterState, probed: list[Flow]) -> None:
    before, passed = cluster.judged, cluster.verdicts(state, probed)
    JUDGED.update({"packets by the kernel": cluster.judged - before, "of them stopped": passed.count(False)})
    wrong = [
        f"{readable(state, flow)}: the kernel {'passed' if verdict else 'stopped'} it"
        for flow, verdict in zip(probed, passed, strict=True)
        if verdict != allowed(state, flow)
    ]
    assert wrong == []
