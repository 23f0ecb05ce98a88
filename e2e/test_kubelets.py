"""Pods that a user makes with kubectl in the cluster of `make cluster` run, answer, and go."""

from collections.abc import Iterator

import pytest

from e2e.api import Object
from e2e.cluster import Scene
from e2e.kubelets import Kubelets
from e2e.local import LocalCluster
from e2e.probe import tcp
from e2e.table import Table


def pod(name: str, **spec: object) -> Object:
    ports = [{"containerPort": 80}, {"containerPort": 99, "protocol": "SCTP"}]
    fields = {"containers": [{"name": "main", "image": "none", "ports": ports}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "made"}, "spec": fields}


@pytest.fixture
def kubelets(scene: Scene, local_cluster: LocalCluster) -> Iterator[Kubelets]:
    scene.namespace("made")
    kubelets = Kubelets(local_cluster)
    yield kubelets
    for obj in local_cluster.api.list("v1", "Pod", "made"):
        local_cluster.api.delete(obj, grace=0)
    kubelets.step()


def test_a_pod_is_scheduled_connected_and_answers(kubelets: Kubelets, local_cluster: LocalCluster) -> None:
    for name in ("a", "b", "c"):
        local_cluster.api.create(pod(name))
    local_cluster.api.create(pod("host", hostNetwork=True))
    kubelets.step()
    nodes = {name: local_cluster.api.get("v1", "Pod", name, "made")["spec"]["nodeName"] for name in "abc"}
    assert sorted(nodes.values()) == ["node-1", "node-1", "node-2"]
    assert local_cluster.api.get("v1", "Pod", "a", "made")["status"]["phase"] == "Running"
    table = Table.of((each.endpoint for each, _ in local_cluster.wires.values()), [tcp(80)])
    observed = local_cluster.prober.measure(table.probes(), serve=False)
    assert {each.verdict for each in observed.values()} == {"open"}
    assert len(observed) == 12


def test_another_process_knows_them(kubelets: Kubelets, local_cluster: LocalCluster) -> None:
    local_cluster.api.create(pod("a"))
    kubelets.step()
    attached = LocalCluster.attach(local_cluster.control_plane)
    assert attached.wires == local_cluster.wires
    assert attached.nodes == local_cluster.nodes
    assert attached.datapath == local_cluster.datapath


def test_a_deleted_pod_goes_with_its_network(kubelets: Kubelets, local_cluster: LocalCluster) -> None:
    created = local_cluster.api.create(pod("a"))
    kubelets.step()
    namespace = local_cluster.wires["made/a"][1].namespace
    local_cluster.api.delete(created)
    assert "deletionTimestamp" in local_cluster.api.get("v1", "Pod", "a", "made")["metadata"]
    kubelets.step()
    assert local_cluster.api.find("v1", "Pod", "a", "made") is None
    assert namespace not in local_cluster.topology.instance.namespaces()


def test_a_pod_of_the_same_name_is_another_pod(kubelets: Kubelets, local_cluster: LocalCluster) -> None:
    created = local_cluster.api.create(pod("a", nodeName="node-2"))
    kubelets.step()
    before = local_cluster.wires["made/a"][0]
    local_cluster.api.delete(created, grace=0)
    local_cluster.api.create(pod("a", nodeName="node-1"))
    kubelets.step()
    after = local_cluster.wires["made/a"][0]
    assert (before.node, after.node) == ("node-2", "node-1")
