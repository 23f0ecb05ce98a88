"""The same cases on somebody's cluster: tried on our own, entered by its kubeconfig like any other.

Only the last step is stood in for: no kubelet is here that would answer `kubectl exec`, so a script in front of kubectl
enters the pod's network namespace instead.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import binaries
from e2e.cluster import Scene
from e2e.kubelets import Kubelets
from e2e.local import LocalCluster
from e2e.probe import tcp, udp
from e2e.remote import RemoteCluster
from e2e.table import Table, await_table
from e2e.waiting import until

STAND_IN = """#!/bin/sh
if [ "$2" = exec ]; then
    namespace=${4#--namespace=} name=$5
    shift 6
    exec nsenter --net=/run/netns/PREFIXp-$namespace.$name -- "$@"
fi
exec KUBECTL "$@"
"""


@pytest.fixture
def remote(local_cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteCluster]:
    kubectl = local_cluster.control_plane.programs["kubectl"]
    prefix = local_cluster.topology.instance.name("")
    program = tmp_path / "kubectl"
    program.write_text(STAND_IN.replace("KUBECTL", str(kubectl)).replace("PREFIX", prefix))
    program.chmod(0o755)
    monkeypatch.setenv(binaries.KUBECTL.variable, str(program))
    remote = RemoteCluster.start(str(local_cluster.control_plane.kubeconfig))
    yield remote
    remote.end()


@pytest.fixture
def kubelets(local_cluster: LocalCluster) -> Iterator[Kubelets]:
    """The nodes run pods on their own while the test goes on, as they would elsewhere."""
    kubelets = Kubelets(local_cluster)
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.05):
            kubelets.step()

    thread = threading.Thread(target=run)
    thread.start()
    yield kubelets
    over.set()
    thread.join()
    kubelets.step()


@pytest.mark.usefixtures("kubelets")
def test_a_case_runs_there(remote: RemoteCluster, local_cluster: LocalCluster) -> None:
    assert list(remote.nodes) == list(local_cluster.nodes)
    with Scene(local_cluster) as outer:
        outer.namespace("far")
        with Scene(remote) as scene:
            pods = [scene.pod("far/a", node=0, app="a"), scene.pod("far/b", node=1)]
            assert remote.kubectl("get", "pods", "-n", "far", "-l", "app=a", "-o", "name") == "pod/a\n"
            assert [pod.addresses for pod in pods] == [local_cluster.wires[pod.key][0].addresses for pod in pods]
            await_table(remote.prober, Table.of(scene.endpoints(), [tcp(80), udp(53)]))
        assert remote.api.list("v1", "Pod", "far") == []
        until("their networks gone", lambda: not local_cluster.wires, within=10)


def test_a_cluster_with_one_node_is_refused(remote: RemoteCluster, local_cluster: LocalCluster) -> None:
    node = remote.api.get("v1", "Node", local_cluster.nodes[0])
    taint = {"key": "mine", "effect": "NoSchedule"}
    remote.api.patch(node, {"spec": {"taints": [taint]}})
    try:
        with pytest.raises(LookupError, match="two nodes that take pods are needed, there are 1"):
            RemoteCluster.start(remote.kubeconfig)
    finally:
        remote.api.patch(node, {"spec": {"taints": None}})
