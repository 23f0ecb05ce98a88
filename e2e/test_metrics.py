"""What the processes of an installation measure of themselves: nothing that happens here stays at zero."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e import netns
from e2e.api import Object
from e2e.cluster import Scene, reference
from e2e.command import run
from e2e.components import Component, Installation
from e2e.local import LocalCluster
from e2e.policies import ingress, port
from e2e.probe import tcp
from e2e.table import Table, await_table
from e2e.waiting import until
from nodewall.telemetry import metrics
from nodewall.telemetry.metrics import Histogram, Metric

pytestmark = pytest.mark.datapath("routed")

PORTS = {"agent": 9811, "controller": 9810}


def series(component: Component, metric: Metric) -> dict[tuple[str, ...], float]:
    """Values by labels; of a histogram how many were observed."""
    text = component.http(PORTS[component.workload.name.rpartition("-")[2]], "/metrics")[1]
    name = metric.name + ("_count" if isinstance(metric, Histogram) else "")
    samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
    return {tuple(each.labels.values()): each.value for each in samples if each.name == name}


def value(component: Component, metric: Metric, *labels: str) -> float:
    return series(component, metric)[labels]


@pytest.fixture
def agent(policed: Scene, engine: Installation, local_cluster: LocalCluster) -> Component:
    """Of a node on which a policy was made, much was denied, and somebody changed the table."""
    agent = engine.on("agent", "node-1")
    policed.namespace("m")
    local_cluster.api.patch(reference("Namespace", "m"), {"metadata": {"annotations": {"nodewall.io/log": "All"}}})
    policed.pod("m/server", node=0)
    policed.pod("m/client", node=1)
    policed.apply(ingress("m", "little", {"ports": port(7999)}))
    numbers = [tcp(number) for number in range(8000, 8040)]
    table = Table.of(policed.endpoints("m/client"), numbers, targets=policed.endpoints("m/server")).closed()
    await_table(policed.cluster.prober, table)
    run([*netns.argv(local_cluster.topology.nodes["node-1"].namespace), "nft", "flush table inet nodewall"])
    until("repaired", lambda: value(agent, metrics.DRIFTS), within=20)
    await_table(policed.cluster.prober, table)
    return agent


def test_an_agent_counts_what_it_does(agent: Component, policed: Scene, local_cluster: LocalCluster) -> None:
    assert value(agent, metrics.APPLY_SECONDS, "diff", "done") > 0
    assert value(agent, metrics.APPLY_SECONDS, "replace", "done") > 1
    assert value(agent, metrics.APPLIES, "done") > 0
    assert value(agent, metrics.REPORTS, "done") > 0
    assert 0 < value(agent, metrics.PROGRAMMING_SECONDS) <= value(agent, metrics.APPLIES, "done")
    for gauge in (
        metrics.APPLIED_AT,
        metrics.APPLIED_GENERATION,
        metrics.APPLIED_PODS,
        metrics.APPLIED_POLICIES,
        metrics.APPLIED_RULES,
        metrics.APPLIED_ELEMENTS,
    ):
        assert value(agent, gauge) > 0
    until("records", lambda: value(agent, metrics.RECORDS, "deny"), within=10)
    until("hits over the rate", lambda: value(agent, metrics.RECORDS_SUPPRESSED), within=30)


def test_a_change_takes_the_time_that_is_measured(agent: Component, policed: Scene) -> None:
    """One pod more is one observation more, and a small one: both clocks are this machine's."""
    text = "nodewall_agent_programming_seconds_sum"

    def spent() -> tuple[float, float]:
        families = text_string_to_metric_families(agent.http(9811, "/metrics")[1])
        found = {each.name: each.value for family in families for each in family.samples}
        return found[text.replace("_sum", "_count")], found[text]

    before = spent()
    policed.pod("m/more", node=0)
    until("measured", lambda: spent()[0] > before[0], within=10)
    after = spent()
    assert 0 < after[1] - before[1] < 5 * (after[0] - before[0])


def test_a_controller_counts_what_it_does(
    agent: Component, policed: Scene, engine: Installation, local_cluster: LocalCluster
) -> None:
    leaders = [each for each in engine.of("controller") if value(each, metrics.LEADS)]
    assert len(leaders) == 1
    (leader,) = leaders
    rule_set: Object = {**reference("NodeRuleSet", "node-2"), "apiVersion": "nodewall.io/v1alpha1"}
    local_cluster.api.patch(rule_set, {"spec": {"endpoints": []}})
    until("repaired", lambda: value(leader, metrics.REPAIRS), within=10)
    for each in engine.of("controller"):
        assert value(each, metrics.SYNCED) == 1
        assert value(each, metrics.COMPILE_SECONDS) > 0
        for kind in ("pods", "nodes", "networkpolicies", "noderulesets"):
            listed = len(local_cluster.api.list(*KINDS[kind]))
            until(f"{kind} as they are", lambda e=each, k=kind, n=listed: value(e, metrics.MIRRORED, k) == n, within=5)  # type: ignore[misc]
        assert value(each, metrics.POLICIES, "accepted") == 1
    assert value(leader, metrics.PUBLISHES, "done") > 0
    assert value(leader, metrics.PUBLISH_SECONDS) > 0
    assert value(leader, metrics.PUBLISHED_AT) > 0
    until("nothing left to do", lambda: not value(leader, metrics.DIRTY_NODES), within=10)
    until("events", lambda: value(leader, metrics.EVENTS, "done"), within=10)


KINDS = {
    "pods": ("v1", "Pod"),
    "nodes": ("v1", "Node"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
    "noderulesets": ("nodewall.io/v1alpha1", "NodeRuleSet"),
}


@pytest.mark.parametrize("half", PORTS)
def test_every_process_says_what_it_runs(engine: Installation, half: str) -> None:
    for each in engine.of(half):
        assert 'nodewall_build_info{version="' in each.http(PORTS[half], "/metrics")[1]
