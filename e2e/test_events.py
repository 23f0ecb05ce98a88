"""Events on nodes: what an agent finds reaches people who look at the node."""

from e2e import netns
from e2e.api import Object
from e2e.cluster import Scene
from e2e.command import run
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
