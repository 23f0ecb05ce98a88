"""Events on nodes: what an agent finds reaches people who look at the node."""

import pytest

from e2e import netns
from e2e.api import Object
from e2e.cluster import Scene
from e2e.command import run
from e2e.components import Installation
from e2e.local import LocalCluster
from e2e.policies import INGRESS, deny
from e2e.probe import tcp
from e2e.table import Table, await_table
from e2e.waiting import until


def on_node(cluster: LocalCluster, node: str, reason: str) -> list[Object]:
    """The Events of this reason that `kubectl describe node` would show."""
    uid = cluster.api.get("v1", "Node", node)["metadata"]["uid"]
    found = cluster.api.list("v1", "Event", "default")
    return [each for each in found if each["reason"] == reason and each["involvedObject"].get("uid") == uid]


def test_a_table_that_somebody_deletes_is_repaired_and_the_node_says_who_did_it(
    policed: Scene, local_cluster: LocalCluster
) -> None:
    policed.namespace("x")
    policed.pod("x/server", node=0)
    policed.pod("x/client", node=1)
    table = Table.of(policed.endpoints("x/client"), (tcp(80),), targets=policed.endpoints("x/server")).closed()
    policed.apply(deny("x", INGRESS))
    await_table(policed.cluster.prober, table)
    inside = local_cluster.topology.nodes["node-1"].namespace
    run([*netns.argv(inside), "nft", "delete", "table", "inet", "nodewall"])
    await_table(policed.cluster.prober, table)
    (event, *others) = until("an event", lambda: on_node(local_cluster, "node-1", "NodeDrifted"), within=10)
    assert others == []
    assert (event["type"], event["involvedObject"]["name"]) == ("Warning", "node-1")
    assert "the table was changed by nft (pid " in event["message"]
    assert "; repaired" in event["message"]
    assert on_node(local_cluster, "node-2", "NodeDrifted") == []
    assert "NodeDrifted" in local_cluster.kubectl("describe", "node", "node-1")


@pytest.mark.datapath("routed")
def test_an_agent_that_may_not_use_the_kernel_says_so_and_its_node_stays_closed(
    policed: Scene, local_cluster: LocalCluster, engine: Installation
) -> None:
    """As where an admission policy strips capabilities. The reason and what to do are at the object and in an Event."""
    policed.namespace("x")
    policed.pod("x/server", node=0)
    policed.pod("x/client", node=1)
    table = Table.of(policed.endpoints("x/client"), (tcp(80),), targets=policed.endpoints("x/server")).closed()
    policed.apply(deny("x", INGRESS))
    await_table(policed.cluster.prober, table)
    agent = engine.on("agent", "node-1")
    capabilities = agent.pod["spec"]["containers"][0]["securityContext"]["capabilities"]
    granted = capabilities.pop("add")
    try:
        agent.restart()
        (event,) = until("an event", lambda: on_node(local_cluster, "node-1", "RuleSetNotApplied"), within=20)
        assert "the agent needs the capability NET_ADMIN" in event["message"]
        assert "kubectl apply -f manifests/51-agent.yaml" in event["message"]
        assert agent.running()
        assert applied(local_cluster) == ("False", "KernelUnavailable")
        await_table(policed.cluster.prober, table, within=0)
    finally:
        capabilities["add"] = granted
        agent.restart()
        agent.await_ready()
    until("applied", lambda: applied(local_cluster) == ("True", "Applied"), within=20)
    until("told", lambda: on_node(local_cluster, "node-1", "NodeRecovered"), within=20)


def applied(cluster: LocalCluster) -> tuple[str, str]:
    """(status, reason) of the condition of node-1."""
    found = cluster.api.get("nodewall.io/v1alpha1", "NodeRuleSet", "node-1").get("status", {}).get("conditions", [])
    return next(((each["status"], each["reason"]) for each in found if each["type"] == "Applied"), ("", ""))
