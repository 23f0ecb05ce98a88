"""Policies, labels, pods and nodes come, change and go: verdicts and objects follow, without a restart."""

import pytest

from e2e.cluster import Scene, reference
from e2e.components import Installation
from e2e.local import LocalCluster
from e2e.policies import INGRESS, deny, ingress, labels, port
from e2e.probe import tcp
from e2e.table import Table, await_table
from e2e.waiting import until

PORTS = (tcp(80), tcp(81))
RULE_SETS = ("nodewall.io/v1alpha1", "NodeRuleSet")


@pytest.fixture
def pods(policed: Scene) -> Scene:
    policed.namespace("x")
    policed.namespace("y", team="y")
    policed.pod("x/server", node=0, app="server")
    policed.pod("x/near", node=0, role="client")
    policed.pod("y/far", node=1, role="client")
    return policed


def to_server(scene: Scene) -> Table:
    return Table.of(scene.endpoints("x/near", "y/far"), PORTS, targets=scene.endpoints("x/server"))


def test_an_updated_policy_changes_verdicts(pods: Scene) -> None:
    pods.apply(ingress("x", "p", {"from": [{"podSelector": {}}], "ports": port(80)}))
    await_table(pods.cluster.prober, to_server(pods).closed().opened(source="x/near", port=tcp(80)))
    pods.apply(ingress("x", "p", {"from": [{"namespaceSelector": labels(team="y")}], "ports": port(81)}))
    await_table(pods.cluster.prober, to_server(pods).closed().opened(source="y/far", port=tcp(81)))
    pods.apply(ingress("x", "p"))
    await_table(pods.cluster.prober, to_server(pods).closed())
    pods.delete(ingress("x", "p"))
    await_table(pods.cluster.prober, to_server(pods))


def test_labels_of_peer_and_subject_change(pods: Scene) -> None:
    rule = {"from": [{"podSelector": labels(role="client")}]}
    pods.apply(ingress("x", "p", rule, pods={"app": "server"}))
    await_table(pods.cluster.prober, to_server(pods).closed(source="y/far"))
    pods.relabel("x/near", role="other")
    await_table(pods.cluster.prober, to_server(pods).closed())
    pods.relabel("x/near", role="client")
    await_table(pods.cluster.prober, to_server(pods).closed(source="y/far"))
    pods.relabel("x/server", app=None)
    await_table(pods.cluster.prober, to_server(pods))


def test_labels_of_a_namespace_change(pods: Scene) -> None:
    pods.apply(ingress("x", "p", {"from": [{"namespaceSelector": labels(team="z")}]}))
    await_table(pods.cluster.prober, to_server(pods).closed())
    pods.relabel("y", team="z")
    await_table(pods.cluster.prober, to_server(pods).closed().opened(source="y/far"))
    pods.relabel("y", team="y")
    await_table(pods.cluster.prober, to_server(pods).closed())


def test_an_address_reused_by_another_pod(pods: Scene, local_cluster: LocalCluster) -> None:
    pods.apply(ingress("x", "p", {"from": [{"podSelector": labels(role="client")}]}, pods={"app": "server"}))
    await_table(pods.cluster.prober, to_server(pods).closed(source="y/far"))
    former = pods.pods["x/near"]
    host = local_cluster.host_of(former)
    pods.remove_pod("x/near")
    newcomer = local_cluster.add_pod("x", "newcomer", "node-1", {"role": "stranger"}, host=host)
    pods.pods[newcomer.key] = newcomer
    assert newcomer.addresses == former.addresses
    table = Table.of(pods.endpoints("x/newcomer"), PORTS, targets=pods.endpoints("x/server"))
    await_table(pods.cluster.prober, table.closed())


def test_a_node_that_goes_takes_its_rule_set_along(engine: Installation, local_cluster: LocalCluster) -> None:
    local_cluster.add_node("node-9")
    try:
        until("its rule set made", lambda: local_cluster.api.find(*RULE_SETS, "node-9"), within=10)
    finally:
        local_cluster.remove_node("node-9")
    until("its rule set gone", lambda: local_cluster.api.find(*RULE_SETS, "node-9") is None, within=10)


def test_what_others_write_to_a_rule_set_is_repaired(pods: Scene, local_cluster: LocalCluster) -> None:
    pods.apply(deny("x", INGRESS))
    await_table(pods.cluster.prober, to_server(pods).closed())
    before = local_cluster.api.get(*RULE_SETS, "node-1")["spec"]
    target = reference("NodeRuleSet", "node-1", api_version=RULE_SETS[0])
    local_cluster.api.patch(target, {"spec": {"classes": [], "endpoints": []}})
    until("repaired", lambda: local_cluster.api.get(*RULE_SETS, "node-1")["spec"] == before, within=10)
    await_table(pods.cluster.prober, to_server(pods).closed())
    local_cluster.api.delete(target)
    until("made again", lambda: local_cluster.api.find(*RULE_SETS, "node-1"), within=10)
    await_table(pods.cluster.prober, to_server(pods).closed())


def test_the_table_outlives_the_agent_and_the_controller(
    pods: Scene, local_cluster: LocalCluster, engine: Installation
) -> None:
    pods.apply(ingress("x", "p", {"from": [{"podSelector": {}}]}))
    table = to_server(pods).closed(source="y/far")
    await_table(pods.cluster.prober, table)
    for component in engine.components.values():
        component.kill()
    try:
        await_table(pods.cluster.prober, table)
    finally:
        for component in engine.components.values():
            component.start()
        for component in engine.components.values():
            component.await_ready()
    await_table(pods.cluster.prober, table)


def test_rule_sets_tell_the_truth_at_a_glance(pods: Scene, local_cluster: LocalCluster) -> None:
    pods.apply(ingress("x", "p", {"from": [{"podSelector": labels(role="client")}]}))
    await_table(pods.cluster.prober, to_server(pods).closed(source="y/far"))

    def row() -> list[str]:
        lines = local_cluster.kubectl("get", "noderulesets", "node-1").splitlines()
        return lines[1].split()[:6]

    until("the columns of node-1", lambda: row() == ["node-1", "2", "1", "1", "2", "True"], within=10)
