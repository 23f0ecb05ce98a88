"""Tenants: who reaches namespace nsa, and whom it reaches; and a namespace that only one network outside reaches."""

import pytest

from e2e.cluster import Scene
from e2e.local import LocalCluster
from e2e.policies import EGRESS, INGRESS, deny, egress, ingress, labels, network_policy, port
from e2e.probe import tcp, udp
from e2e.table import Table, await_table

PORTS = (tcp(6379), tcp(80), udp(6379))


@pytest.fixture
def tenants(policed: Scene) -> Scene:
    """nsa, nsb (app=nsb) and nsc, with pods on both nodes; two of nsa on the first."""
    for namespace, marks in (("nsa", {"app": "nsa"}), ("nsb", {"app": "nsb"}), ("nsc", {})):
        policed.namespace(namespace, **marks)
        policed.pod(f"{namespace}/near", node=0)
        policed.pod(f"{namespace}/far", node=1)
    policed.pod("nsa/second", node=0)
    return policed


def everything(scene: Scene) -> Table:
    return Table.of(scene.endpoints(), PORTS)


def test_members_reach_each_other_and_nobody_else_reaches_them(tenants: Scene) -> None:
    tenants.apply(ingress("nsa", "members", {"from": [{"podSelector": {}}]}))
    table = everything(tenants).closed(target="nsa/*").opened(source="nsa/*", target="nsa/*")
    await_table(tenants.cluster.prober, table)


def test_nobody_reaches_them(tenants: Scene) -> None:
    tenants.apply(deny("nsa", INGRESS))
    await_table(tenants.cluster.prober, everything(tenants).closed(target="nsa/*"))


def test_only_one_port_from_one_other_namespace(tenants: Scene) -> None:
    rule = {"from": [{"namespaceSelector": labels(app="nsb")}], "ports": port(6379)}
    tenants.apply(ingress("nsa", "from-nsb", rule))
    table = everything(tenants).closed(target="nsa/*").opened(source="nsb/*", target="nsa/*", port=tcp(6379))
    await_table(tenants.cluster.prober, table)


def test_they_only_reach_one_network_outside(tenants: Scene, local_cluster: LocalCluster) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "14.215.0.0/16"}}], "ports": port(5978)}
    tenants.apply(egress("nsa", "to-outside", rule))
    await_table(tenants.cluster.prober, everything(tenants).closed(source="nsa/*"))
    inside, outside = (local_cluster.external_endpoint(address) for address in ("14.215.0.9", "14.216.0.9"))
    sources = tenants.endpoints("nsa/near", "nsa/far")
    table = Table.of(sources, [tcp(5978), tcp(80)], targets=[inside, outside], families=[4])
    await_table(local_cluster.prober, table.closed().opened(target=inside.name, port=tcp(5978)))


def test_only_one_network_outside_reaches_a_namespace(policed: Scene, local_cluster: LocalCluster) -> None:
    policed.namespace("default")
    policed.namespace("other")
    pods = [policed.pod("default/near", node=0), policed.pod("default/far", node=1), policed.pod("other/pod", node=0)]
    rule = {"from": [{"ipBlock": {"cidr": "14.215.0.0/16"}}], "ports": port(80)}
    policed.apply(network_policy("default", "outside", {"policyTypes": [INGRESS], "ingress": [rule]}))
    inside, outside = (local_cluster.external_endpoint(address) for address in ("14.215.0.9", "14.216.0.9"))
    targets = policed.endpoints("default/near", "default/far")
    table = Table.of([inside, outside], [tcp(80), tcp(81)], targets=targets, families=[4])
    await_table(local_cluster.prober, table.closed().opened(source=inside.name, port=tcp(80)))
    among = Table.of([pod.endpoint for pod in pods], [tcp(80)], targets=targets)
    await_table(local_cluster.prober, among.closed())


def test_deny_all_egress_holds_towards_other_nodes_and_outside(tenants: Scene, local_cluster: LocalCluster) -> None:
    tenants.apply(deny("nsa", EGRESS))
    elsewhere = [local_cluster.node_endpoint("node-2"), local_cluster.external_endpoint("203.0.113.7")]
    table = Table.of(tenants.endpoints("nsa/near"), [tcp(80)], targets=elsewhere, families=[4])
    await_table(local_cluster.prober, table.closed())
    own = Table.of(tenants.endpoints("nsa/near"), [tcp(80)], targets=[local_cluster.node_endpoint("node-1")])
    await_table(local_cluster.prober, own)
