"""Run the pods that users make with kubectl in the cluster that `make cluster` leaves running.

One process does for all nodes what scheduler, kubelets and CNI plugin would: it puts a pod on a node, gives it a
network namespace with its addresses, reports it running, answers on its containers' ports, and takes it away again.
Images are not run. It looks at the list of pods several times a second, because a list cannot miss anything.
"""

import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from e2e.api import ApiError, Object
from e2e.cluster import Pod, with_addresses
from e2e.controlplane import ControlPlane
from e2e.instance import Instance
from e2e.local import LocalCluster
from e2e.probe import Port

_EVERY = 0.3  # seconds
_FINISHED = ("Succeeded", "Failed")


@dataclass(slots=True)
class Kubelets:
    """The pods of one cluster, by uid, with what they were when they got their network."""

    cluster: LocalCluster
    running: dict[str, Pod] = field(default_factory=dict)

    def step(self) -> None:
        """Make what runs equal to what the API server lists."""
        listed = {obj["metadata"]["uid"]: obj for obj in self.cluster.api.list("v1", "Pod") if _is_ours(obj)}
        for uid in set(self.running) - set(listed):
            self._end(uid)
        for uid, obj in listed.items():
            if "deletionTimestamp" in obj["metadata"]:
                self._finish(uid, obj)
            elif uid not in self.running:
                self._begin(uid, obj, listed)

    def _begin(self, uid: str, obj: Object, listed: dict[str, Object]) -> None:
        metadata = obj["metadata"]
        node = obj["spec"].get("nodeName") or self._schedule(obj, listed)
        pod = Pod(metadata["namespace"], metadata["name"], node, (), metadata.get("labels", {}))
        known = self.cluster.wires.get(pod.key)
        if known is None:
            pod = self.cluster.wire(pod)
            self.cluster.report_running(pod)
        else:
            pod = with_addresses(pod, known[0].addresses)
        self.running[uid] = pod
        self.cluster.prober.serve(pod.endpoint, declared_ports(obj))

    def _schedule(self, obj: Object, listed: dict[str, Object]) -> str:
        """Bind a pod to the node with the fewest pods; nothing but that is looked at."""
        load = Counter(each["spec"].get("nodeName") for each in listed.values())
        node = min(self.cluster.nodes, key=lambda name: (load[name], name))
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        metadata = {"name": obj["metadata"]["name"], "namespace": obj["metadata"]["namespace"]}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
        self.cluster.api.post({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}, "binding", binding)
        obj["spec"]["nodeName"] = node
        return node

    def _finish(self, uid: str, obj: Object) -> None:
        """A pod that is asked to go goes at once."""
        self._end(uid)
        self.cluster.api.delete(obj, grace=0)

    def _end(self, uid: str) -> None:
        pod = self.running.pop(uid, None)
        if pod:
            self.cluster.unwire(pod)


def declared_ports(pod: Object) -> list[Port]:
    """The TCP and UDP ports that a pod's containers declare."""
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports", ()))
    named = (Port(port.get("protocol", "TCP").lower(), port["containerPort"]) for port in ports)
    return sorted({port for port in named if port.protocol in ("tcp", "udp")})


def main(instance: Instance) -> None:
    """Run until ended; what goes wrong with one look is said and tried again with the next."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    kubelets = Kubelets(LocalCluster.attach(ControlPlane.attach(instance)))
    while True:
        try:
            kubelets.step()
        except (ApiError, OSError) as error:
            print(error, flush=True)
        time.sleep(_EVERY)


def _is_ours(pod: Object) -> bool:
    """Pods of the host network are components, which have a process and no network of their own."""
    finished = pod.get("status", {}).get("phase") in _FINISHED
    return not pod["spec"].get("hostNetwork", False) and not finished
