"""Run the pods that real Deployments and DaemonSets make for the host network: their scheduler and their kubelets.

What `components.Installation` does by itself, the controllers of Kubernetes do here, so that `kubectl rollout status`,
a rolling update and a cascading deletion mean what they mean anywhere. A pod's init containers run one after the other;
its container is started again when it ends, without a back-off.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from e2e.api import ApiError, Object
from e2e.components import CHECKOUT, Component, Runtime, report
from e2e.local import LocalCluster
from e2e.manifests import Workload
from e2e.meanwhile import meanwhile

_EVERY = 0.1  # seconds


@dataclass(slots=True)
class HostPods:
    """The pods of the host network that run, by uid."""

    cluster: LocalCluster
    runtime: Runtime = CHECKOUT
    running: dict[str, Component] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Look again and again while the block runs; what went wrong is raised at its end. All are ended then."""
        try:
            with meanwhile(self._look, _EVERY):
                yield
        finally:
            self.end()

    def end(self) -> None:
        """End all of them; their objects stay."""
        for uid in list(self.running):
            self._end(uid)

    def _look(self) -> None:
        """Make what runs equal to what the API server lists."""
        listed = {obj["metadata"]["uid"]: obj for obj in self.cluster.api.list("v1", "Pod") if _is_ours(obj)}
        for uid in set(self.running) - set(listed):
            self._end(uid)
        for uid, obj in listed.items():
            try:
                self._care_for(uid, obj, listed)
            except ApiError as error:
                if error.status not in (404, 409):  # it went meanwhile, or was changed; the next look sees that
                    raise

    def _care_for(self, uid: str, obj: Object, listed: Mapping[str, Object]) -> None:
        if "deletionTimestamp" in obj["metadata"]:
            self._end(uid)
            self.cluster.api.delete(obj, grace=0)
        elif "nodeName" not in obj["spec"]:
            self._schedule(obj, listed)
        elif uid not in self.running:
            self._begin(uid, obj)
        elif not self.running[uid].running():
            self.running[uid].start()
        elif uid not in self.ready and self.running[uid].is_ready():
            report(self.cluster, obj, obj["spec"]["nodeName"], ready=True)
            self.ready.add(uid)

    def _begin(self, uid: str, obj: Object) -> None:
        node = obj["spec"]["nodeName"]
        pod = report(self.cluster, obj, node, ready=False)
        for container in obj["spec"].get("initContainers", ()):
            first = self._component(pod, node, container)
            first.start()
            if first.wait():
                return  # as a kubelet would: from the first one, with the next look
        self.running[uid] = self._component(pod, node, *obj["spec"]["containers"])
        self.running[uid].start()

    def _component(self, pod: Object, node: str, container: Object) -> Component:
        metadata = pod["metadata"]
        spec = {key: value for key, value in pod["spec"].items() if key != "initContainers"}
        alone = {**pod, "spec": {**spec, "containers": [container]}}
        workload = Workload("Pod", metadata["namespace"], metadata["name"], {"spec": spec})
        return Component(self.cluster, workload, node, alone, self.runtime)

    def _schedule(self, obj: Object, listed: Mapping[str, Object]) -> None:
        """Bind a pod to the node that its DaemonSet names, or to one without a pod like it; else it stays Pending."""
        taken = {other["spec"].get("nodeName") for other in listed.values() if _are_alike(obj, other)}
        free = [node for node in self.cluster.nodes if node not in taken]
        nodes = _named_nodes(obj["spec"]) or free
        if nodes:
            metadata = {key: obj["metadata"][key] for key in ("name", "namespace")}
            target = {"apiVersion": "v1", "kind": "Node", "name": nodes[0]}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
            self.cluster.api.post(obj, "binding", binding)

    def _end(self, uid: str) -> None:
        component = self.running.pop(uid, None)
        self.ready.discard(uid)
        if component and component.running():
            component.stop()


def _is_ours(pod: Object) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def _are_alike(one: Object, other: Object) -> bool:
    """What our Deployment's anti-affinity means."""
    return bool(one["metadata"].get("labels") == other["metadata"].get("labels"))


def _named_nodes(spec: Mapping[str, Any]) -> list[str]:
    """The nodes that a DaemonSet's controller has written into its pod."""
    required = (
        spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    )
    fields = [field for term in required.get("nodeSelectorTerms", ()) for field in term.get("matchFields", ())]
    return [name for field in fields if field["key"] == "metadata.name" for name in field["values"]]
