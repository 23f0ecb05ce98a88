"""Somebody's cluster, found by a kubeconfig: the same cases with pods that its kubelets run.

kubectl does all that depends on how one logs in there: `kubectl proxy` answers the plain client of the harness, and
`kubectl exec` runs the probe worker inside each pod. Nodes, the host outside and the choice of addresses are not ours,
so cases that need those are left out (see `conftest`).

E2E_IMAGE names the image of the pods; all it needs is python3 and sleep.
"""

import http.client
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e2e import binaries, probe_worker
from e2e.api import Api, Object
from e2e.cluster import ContainerPort, Pod, pod_object, reference, with_addresses
from e2e.command import run
from e2e.probe import Prober
from e2e.waiting import until

LASTING_NAMESPACES = ("default",)
_IMAGE = os.environ.get("E2E_IMAGE", "python:3.13-alpine")
_SLOW = 180.0  # seconds; an image may have to be pulled first


@dataclass(slots=True)
class RemoteCluster:
    """Fulfils `cluster.Cluster` on a cluster that was there before us."""

    kubeconfig: str
    program: Path
    proxy: "subprocess.Popen[str]"
    api: Api
    nodes: Sequence[str]
    prober: Prober = field(init=False)
    is_local: bool = False

    def __post_init__(self) -> None:
        self.prober = Prober(self._worker_argv)

    @classmethod
    def start(cls, kubeconfig: str) -> "RemoteCluster":
        """Connect and find at least two nodes that pods may be put on."""
        program = binaries.provide((binaries.KUBECTL,), print)["kubectl"]
        proxy = subprocess.Popen(
            [str(program), f"--kubeconfig={kubeconfig}", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True
        )
        assert proxy.stdout is not None
        # The line is: Starting to serve on 127.0.0.1:43217
        port = int(proxy.stdout.readline().rpartition(":")[2])
        api = Api(lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=30))
        cluster = cls(kubeconfig, program, proxy, api, [])
        try:
            cluster.nodes = _nodes_for_pods(api)
        except BaseException:
            cluster.end()
            raise
        return cluster

    def end(self) -> None:
        """Disconnect; scenes have removed what they made."""
        self.prober.close()
        self.api.close()
        self.proxy.terminate()
        self.proxy.wait(10)
        assert self.proxy.stdout is not None
        self.proxy.stdout.close()

    def kubectl(self, *args: str, given: str | None = None) -> str:
        """Run kubectl as whoever the kubeconfig says."""
        return run([str(self.program), f"--kubeconfig={self.kubeconfig}", *args], given=given)

    def add_namespace(self, name: str, labels: Mapping[str, str] = {}) -> None:
        """Make a namespace and wait for its default ServiceAccount."""
        namespace = reference("Namespace", name) | {"metadata": {"name": name, "labels": dict(labels)}}
        self.api.ensure(namespace)
        if name in LASTING_NAMESPACES and labels:
            self.api.patch(namespace, {"metadata": {"labels": dict(labels)}})
        until("default ServiceAccount", lambda: self.api.find("v1", "ServiceAccount", "default", name), within=30)

    def remove_namespace(self, name: str) -> None:
        """Remove a namespace; a lasting one stays (its pods and policies have gone one by one)."""
        if name in LASTING_NAMESPACES:
            return
        self.api.delete(reference("Namespace", name))
        until(f"namespace {name} gone", lambda: not self.api.find("v1", "Namespace", name), within=_SLOW)

    def add_pod(
        self,
        namespace: str,
        name: str,
        node: str,
        labels: Mapping[str, str] = {},
        ports: Iterable[ContainerPort] = (),
    ) -> Pod:
        """Make a pod and wait until it is ready."""
        pod = Pod(namespace, name, node, (), dict(labels))
        container = {"command": ["sleep", "infinity"]}
        self.api.create(pod_object(pod, _IMAGE, ports, container=container))
        return until(f"pod {pod.key} ready", lambda: self._when_ready(pod), within=_SLOW, every=0.5)

    def remove_pod(self, pod: Pod) -> None:
        """Remove a pod and wait until its object is gone."""
        self.prober.forget(pod.endpoint.place)
        self.api.delete(pod.reference, grace=0)
        until(f"pod {pod.key} gone", lambda: not self.api.find("v1", "Pod", pod.name, pod.namespace), within=_SLOW)

    def _when_ready(self, pod: Pod) -> Pod | None:
        status = self.api.get("v1", "Pod", pod.name, pod.namespace).get("status", {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
        if conditions.get("Ready") != "True":
            return None
        return with_addresses(pod, [each["ip"] for each in status["podIPs"]])

    def _worker_argv(self, place: str) -> list[str]:
        namespace, _, name = place.removeprefix("pod:").partition("/")
        source = Path(probe_worker.__file__).read_text()
        kubectl = [str(self.program), f"--kubeconfig={self.kubeconfig}", "exec", "-i", f"--namespace={namespace}", name]
        return [*kubectl, "--", "python3", "-I", "-S", "-c", source]


def _nodes_for_pods(api: Api) -> list[str]:
    nodes = [node["metadata"]["name"] for node in api.list("v1", "Node") if _takes_pods(node)]
    if len(nodes) < 2:
        raise LookupError(f"two nodes that take pods are needed, there are {len(nodes)}")
    return nodes


def _takes_pods(node: Object) -> bool:
    spec = node["spec"]
    keeps_out = any(taint["effect"] in ("NoSchedule", "NoExecute") for taint in spec.get("taints", ()))
    return not keeps_out and not spec.get("unschedulable", False)
