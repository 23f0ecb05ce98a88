"""Explicit rules with real sockets: deny over allow, reject and drop, audit, order, nodes; and a truthful status."""

from typing import Any

import pytest

from e2e.api import Object
from e2e.cluster import ContainerPort, Scene, reference, set_labels
from e2e.local import LocalCluster
from e2e.policies import INGRESS, deny, ingress, labels
from e2e.probe import Verdict, tcp, udp
from e2e.table import Table, await_table
from e2e.waiting import until

VERSION = "nodewall.io/v1alpha1"
CLUSTER_KIND = (VERSION, "ClusterExtendedNetworkPolicy")
ANYBODY: list[Object] = [{"namespaces": {}}]


def cluster_policy(name: str, **spec: Any) -> Object:
    """About every pod of namespaces with tenant=x, in the Admin tier unless told otherwise."""
    common = {"tier": "Admin", "priority": 10, "subject": {"namespaces": labels(tenant="x")}}
    return {
        "apiVersion": VERSION,
        "kind": CLUSTER_KIND[1],
        "metadata": {"name": name},
        "spec": {**common, **spec},
    }


def rule(action: str, peers: list[Object], **more: Any) -> Object:
    return {"action": action, "from": peers, **more}


@pytest.fixture
def pods(policed: Scene) -> Scene:
    policed.namespace("x", tenant="x")
    policed.namespace("y", tenant="y")
    policed.pod("x/server", node=0, app="server", ports=[ContainerPort("http", 80)])
    policed.pod("x/near", node=0, app="client")
    policed.pod("y/near", node=0, app="client")
    policed.pod("y/far", node=1, app="client")
    return policed


def to_server(scene: Scene) -> Table:
    sources = scene.endpoints("x/near", "y/near", "y/far")
    return Table.of(sources, [tcp(80), tcp(81), udp(80)], targets=scene.endpoints("x/server"))


def test_deny_beats_a_network_policy_that_allows(pods: Scene) -> None:
    pods.apply(ingress("x", "open", {}), cluster_policy("no-y", ingress=[rule("Deny", [{"namespaceNames": ["y"]}])]))
    await_table(pods.cluster.prober, to_server(pods).closed(source="y/*"))


def test_accept_beats_default_deny_on_a_named_port(pods: Scene) -> None:
    named = [{"destinationNamedPort": "http"}]
    pods.apply(deny("x", INGRESS), cluster_policy("http", ingress=[rule("Accept", ANYBODY, protocols=named)]))
    await_table(pods.cluster.prober, to_server(pods).closed().opened(port=tcp(80)))


def test_pass_hands_over_and_baseline_yields(pods: Scene) -> None:
    pods.apply(
        cluster_policy("pass-y", ingress=[rule("Pass", [{"namespaceNames": ["y"]}]), rule("Deny", ANYBODY)]),
        cluster_policy("closed", tier="Baseline", ingress=[rule("Deny", ANYBODY)]),
    )
    await_table(pods.cluster.prober, to_server(pods).closed())
    pods.apply(ingress("x", "y-only", {"from": [{"namespaceSelector": labels(tenant="y")}]}, pods={"app": "server"}))
    await_table(pods.cluster.prober, to_server(pods).closed().opened(source="y/*"))


def test_a_rejected_client_fails_at_once_a_dropped_one_waits(pods: Scene) -> None:
    drop, reject = rule("Deny", [{"namespaceNames": ["x"]}]), rule("Deny", ANYBODY, denyWith="Reject")
    pods.apply(cluster_policy("mixed", ingress=[drop, reject]))
    table = to_server(pods).closed(source="x/*").closed(source="y/*", by=Verdict.REFUSED)
    await_table(pods.cluster.prober, table)


def test_audit_changes_nothing_until_it_is_enforced(pods: Scene) -> None:
    policy = cluster_policy("later", mode="Audit", ingress=[rule("Deny", ANYBODY)])
    pods.apply(policy)
    until("accepted", lambda: condition(pods, "later", "Programmed") == "True", within=15)
    await_table(pods.cluster.prober, to_server(pods))
    pods.apply(cluster_policy("later", mode="Enforce", ingress=[rule("Deny", ANYBODY)]))
    await_table(pods.cluster.prober, to_server(pods).closed())
    pods.apply(cluster_policy("later", mode="Disabled", ingress=[rule("Deny", ANYBODY)]))
    await_table(pods.cluster.prober, to_server(pods))


def test_a_node_label_moves_a_policy(pods: Scene, local_cluster: LocalCluster) -> None:
    node = reference("Node", local_cluster.nodes[0])
    pods.apply(cluster_policy("some-nodes", nodes=labels(guarded="yes"), ingress=[rule("Deny", ANYBODY)]))
    await_table(pods.cluster.prober, to_server(pods))
    set_labels(local_cluster, node, {"guarded": "yes"})
    try:
        await_table(pods.cluster.prober, to_server(pods).closed())
    finally:
        set_labels(local_cluster, node, {"guarded": None})
    await_table(pods.cluster.prober, to_server(pods))


def test_the_own_node_can_be_closed_by_explicit_rules_only(pods: Scene, local_cluster: LocalCluster) -> None:
    node = local_cluster.node_endpoint(local_cluster.nodes[0])
    table = Table.of(pods.endpoints("x/near"), [tcp(80), tcp(81)], targets=[node])
    pods.apply(deny("x", "Egress"))
    await_table(local_cluster.prober, table)
    number = [{"tcp": {"destinationPort": {"number": 80}}}]
    closed = {"action": "Deny", "to": [{"nodes": {}}], "protocols": number}
    pods.apply(cluster_policy("no-node", egress=[closed]))
    await_table(local_cluster.prober, table.closed(port=tcp(80)))


def test_the_namespaced_kind_is_judged_before_network_policies(pods: Scene) -> None:
    own = {
        "apiVersion": VERSION,
        "kind": "ExtendedNetworkPolicy",
        "metadata": {"name": "own", "namespace": "x"},
        "spec": {
            "priority": 5,
            "podSelector": labels(app="server"),
            "ingress": [rule("Deny", [{"pods": {"namespaceSelector": {}, "podSelector": labels(app="client")}}])],
        },
    }
    pods.apply(own, ingress("x", "open", {}))
    await_table(pods.cluster.prober, to_server(pods).closed())
    pods.apply(cluster_policy("first", ingress=[rule("Accept", [{"namespaceNames": ["y"]}])]))
    await_table(pods.cluster.prober, to_server(pods).closed(source="x/*"))


def test_the_status_says_whom_it_selects_and_where_it_is_in_force(pods: Scene) -> None:
    pods.apply(cluster_policy("told", ingress=[rule("Deny", ANYBODY)]))
    until("in force", lambda: condition(pods, "told", "Programmed") == "True", within=15)
    status = pods.cluster.api.get(*CLUSTER_KIND, "told")["status"]
    assert (status["selectedPods"], status["nodes"]) == (2, {"desired": 1, "programmed": 1})
    assert condition(pods, "told", "Accepted") == "True"
    nobody = cluster_policy("nobody", subject={"namespaces": labels(tenant="none")}, ingress=[rule("Deny", ANYBODY)])
    pods.apply(nobody)
    until("told", lambda: "selectedPods" in pods.cluster.api.get(*CLUSTER_KIND, "nobody").get("status", {}), within=15)
    assert pods.cluster.api.get(*CLUSTER_KIND, "nobody")["status"]["selectedPods"] == 0


def condition(scene: Scene, name: str, kind: str) -> str:
    """The status of a condition of this generation, or nothing."""
    obj = scene.cluster.api.get(*CLUSTER_KIND, name)
    found = (each for each in obj.get("status", {}).get("conditions", ()) if each["type"] == kind)
    return next((c["status"] for c in found if c.get("observedGeneration") == obj["metadata"]["generation"]), "")
