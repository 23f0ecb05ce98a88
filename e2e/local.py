"""The cluster on this machine: a real API server, and network namespaces where a kubelet and a CNI plugin would be.

What a kubelet would tell the API server about nodes and pods is told from here; what the namespace controller would do
is done here too unless a kube-controller-manager runs.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e2e import netns, podlogs, probe_worker
from e2e.addressing import EXTERNAL_ADDRESSES
from e2e.api import Api, Object
from e2e.cluster import ContainerPort, Pod, pod_object, reference, with_addresses
from e2e.controlplane import ADDRESS, ControlPlane, default_service_account
from e2e.probe import Endpoint, Prober
from e2e.python import isolated
from e2e.topology import DATAPATHS, Node, Topology, Wire
from e2e.waiting import until

_DATAPATH_LABEL = "e2e.nodewall.io/datapath"
IMAGE = "none"  # nothing pulls it: a pod here is its network namespace
LASTING_NAMESPACES = ("default",)

# What may be left in a namespace that goes; the namespace controller would find all kinds by discovery.
_CONTENT = (
    ("v1", "Pod"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("nodewall.io/v1alpha1", "ExtendedNetworkPolicy"),
    ("v1", "Service"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Event"),
    ("v1", "ServiceAccount"),
)


@dataclass(slots=True)
class LocalCluster:
    """Fulfils `cluster.Cluster`, and can do what only network namespaces of our own allow."""

    control_plane: ControlPlane
    topology: Topology
    prober: Prober = field(init=False)
    wires: dict[str, tuple[Pod, Wire]] = field(default_factory=dict)
    is_local: bool = True

    def __post_init__(self) -> None:
        self.prober = Prober(self._worker_argv)

    @classmethod
    def start(
        cls, control_plane: ControlPlane, datapath: str, nodes: Sequence[str] = ("node-1", "node-2")
    ) -> "LocalCluster":
        """Make the nodes of one cluster; `datapath` is routed or bridged."""
        topology = Topology(control_plane.instance, DATAPATHS[datapath])
        topology.start()
        cluster = cls(control_plane, topology)
        for name in nodes:
            cluster.add_node(name)
        return cluster

    @classmethod
    def attach(cls, control_plane: ControlPlane) -> "LocalCluster":
        """The cluster that another process made, as the API server and the network namespaces show it."""
        api = control_plane.api
        nodes = api.list("v1", "Node")
        datapath = nodes[0]["metadata"]["labels"][_DATAPATH_LABEL]
        cluster = cls(control_plane, Topology(control_plane.instance, DATAPATHS[datapath]))
        for node in nodes:
            cluster.topology.adopt_node(node["metadata"]["name"], int(node["spec"]["podCIDR"].split(".")[2]))
        for obj in api.list("v1", "Pod"):
            cluster._adopt(obj)
        return cluster

    def end(self) -> None:
        """Remove its pods and nodes, the objects included."""
        for pod, _ in list(self.wires.values()):
            self.remove_pod(pod)
        for name in self.nodes:
            self.remove_node(name)
        self.prober.close()
        self.topology.end()

    @property
    def api(self) -> Api:
        """The administrator's client."""
        return self.control_plane.api

    @property
    def nodes(self) -> Sequence[str]:
        """The names of its nodes."""
        return list(self.topology.nodes)

    @property
    def datapath(self) -> str:
        """routed or bridged."""
        return self.topology.datapath.name

    def kubectl(self, *args: str, given: str | None = None) -> str:
        """Run kubectl as the administrator."""
        return self.control_plane.kubectl(*args, given=given)

    def add_node(self, name: str, labels: Mapping[str, str] = {}) -> Node:
        """Make a node and its object."""
        node = self.topology.add_node(name)
        self.api.ensure(_node_object(node, {_DATAPATH_LABEL: self.datapath, **labels}))
        self.api.patch(reference("Node", name), _node_status(node), kind="strategic", subresource="status")
        # Admission marks every new node not-ready, and nothing here would take the mark away again.
        self.api.patch(reference("Node", name), {"spec": {"taints": None}})
        return node

    def remove_node(self, name: str) -> None:
        """Delete a node's object, then its namespace; its pods must be gone."""
        self.api.delete(reference("Node", name))
        self.prober.forget(f"node:{name}")
        self.topology.remove_node(name)
        shutil.rmtree(self.disk_of(name))

    def disk_of(self, node: str) -> Path:
        """The directory that stands for the disk of a node, where hostPath volumes are; it goes with the node."""
        return self.topology.instance.directory("nodes", node)

    def add_namespace(self, name: str, labels: Mapping[str, str] = {}) -> None:
        """Make a namespace with its default ServiceAccount."""
        namespace = reference("Namespace", name) | {"metadata": {"name": name, "labels": dict(labels)}}
        self.api.ensure(namespace)
        if name in LASTING_NAMESPACES and labels:
            self.api.patch(namespace, {"metadata": {"labels": dict(labels)}})
        self.api.ensure(default_service_account(name))

    def remove_namespace(self, name: str) -> None:
        """Remove a namespace with all it holds; a lasting one is only emptied and loses its labels."""
        for pod in [pod for pod, _ in self.wires.values() if pod.namespace == name]:
            self.remove_pod(pod)
        if name in LASTING_NAMESPACES:
            self._empty(name, keep=("ServiceAccount", "Service", "EndpointSlice"))
            self.api.replace(reference("Namespace", name))
            return
        namespace = reference("Namespace", name)
        self.api.delete(namespace)
        if not self.control_plane.with_controllers:
            self._empty(name)
            self._finalize(name)
        until(f"namespace {name} gone", lambda: not self.api.find("v1", "Namespace", name), within=30)

    def add_pod(
        self,
        namespace: str,
        name: str,
        node: str,
        labels: Mapping[str, str] = {},
        ports: Iterable[ContainerPort] = (),
        *,
        host: int | None = None,
    ) -> Pod:
        """Make a pod; `host` asks for that number in the node's ranges, to reuse the addresses of a former pod."""
        pod = Pod(namespace, name, node, (), dict(labels))
        self.api.create(pod_object(pod, IMAGE, ports))
        pod = self.wire(pod, host)
        self.report_running(pod)
        return pod

    def wire(self, pod: Pod, host: int | None = None) -> Pod:
        """Give a pod its network, as a CNI plugin does before the API server knows the addresses."""
        wire = self.topology.add_pod(pod.namespace, pod.name, pod.node, host)
        pod = with_addresses(pod, wire.addresses)
        self.wires[pod.key] = pod, wire
        return pod

    def report_running(self, pod: Pod) -> None:
        """Tell the API server the addresses of a pod, as its kubelet does."""
        self.report_phase(pod, "Running")

    def report_phase(self, pod: Pod, phase: str) -> None:
        """Tell the API server that a pod with its addresses is in this phase (Running, Succeeded, Failed)."""
        status = pod_status(pod.addresses, self.topology.nodes[pod.node], phase, ready=phase == "Running")
        self.api.patch(pod.reference, {"status": status}, kind="strategic", subresource="status")

    def remove_pod(self, pod: Pod) -> None:
        """Remove a pod's object at once, and its network; the addresses are free again."""
        self.api.delete(pod.reference, grace=0)
        self.unwire(pod)

    def unwire(self, pod: Pod) -> None:
        """Take a pod's network away; its object stays."""
        _, wire = self.wires.pop(pod.key)
        self.prober.forget(pod.endpoint.place)
        self.topology.remove_pod(pod.node, wire)

    def host_of(self, pod: Pod) -> int:
        """The pod's number in its node's ranges, for `add_pod(host=...)`."""
        return self.wires[pod.key][1].host

    def namespace_of(self, pod: Pod) -> str:
        """The name of the pod's network namespace."""
        return self.wires[pod.key][1].namespace

    def node_endpoint(self, name: str) -> Endpoint:
        """A process of the node itself, with the node's addresses."""
        return Endpoint(f"node/{name}", self.topology.nodes[name].plan.addresses, f"node:{name}")

    def external_endpoint(self, *addresses: str) -> Endpoint:
        """The host outside the cluster at one of its addresses, or one of each family (`EXTERNAL_ADDRESSES`)."""
        unknown = set(addresses) - set(EXTERNAL_ADDRESSES)
        if unknown:
            raise LookupError(f"the host outside has no address {', '.join(sorted(unknown))}")
        return Endpoint(f"external/{addresses[0]}", addresses, "external")

    def _adopt(self, obj: Object) -> None:
        """Know a pod that has its network already."""
        metadata, spec = obj["metadata"], obj["spec"]
        addresses = [each["ip"] for each in obj["status"].get("podIPs", ())]
        name = self.topology.instance.name(f"p-{metadata['namespace']}.{metadata['name']}")
        if len(addresses) != 2 or not netns.path(name).exists():
            return
        labels = metadata.get("labels", {})
        pod = Pod(metadata["namespace"], metadata["name"], spec["nodeName"], tuple(addresses), labels)
        wire = self.topology.adopt_pod(pod.namespace, pod.name, pod.node, (addresses[0], addresses[1]))
        self.wires[pod.key] = pod, wire

    def _worker_argv(self, place: str) -> list[str]:
        return [*netns.argv(self._namespace_of_place(place)), *isolated(probe_worker.__file__)]

    def _namespace_of_place(self, place: str) -> str:
        kind, _, name = place.partition(":")
        if kind == "pod":
            return self.wires[name][1].namespace
        return self.topology.nodes[name].namespace if kind == "node" else self.topology.external

    def _empty(self, namespace: str, keep: Sequence[str] = ()) -> None:
        for api_version, kind in _CONTENT:
            if kind in keep:
                continue
            try:
                path = self.api.resource(api_version, kind).path(namespace)
            except LookupError:
                continue  # its definition is not installed, so there are none
            query = {"gracePeriodSeconds": "0"} if kind == "Pod" else {}
            self.api.request("DELETE", path, query=query)

    def _finalize(self, name: str) -> None:
        obj = self.api.find("v1", "Namespace", name)
        if obj is not None:
            path = self.api.resource("v1", "Namespace").path(None, name, "finalize")
            self.api.request("PUT", path, obj | {"spec": {"finalizers": []}})


def _node_object(node: Node, labels: Mapping[str, str]) -> Object:
    all_labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", **labels}
    spec = {"podCIDR": node.plan.pod_cidrs[0], "podCIDRs": list(node.plan.pod_cidrs)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": all_labels}, "spec": spec}


def _node_status(node: Node) -> Object:
    addresses = [{"type": "InternalIP", "address": each} for each in node.plan.addresses]
    addresses.append({"type": "Hostname", "address": node.name})
    addresses.append({"type": "InternalDNS", "address": ADDRESS})  # where its pods' logs are, see `e2e.podlogs`
    capacity = {"cpu": "2", "memory": "4Gi", "pods": "200"}
    conditions = [{"type": "Ready", "status": "True", "reason": "Network", "message": "a network namespace"}]
    return {
        "status": {
            "addresses": addresses,
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": conditions,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": podlogs.PORT}},
        }
    }


def pod_status(addresses: Sequence[str], node: Node, phase: str = "Running", *, ready: bool) -> Object:
    """The status of a pod on a node; Pods of the host network have the addresses of the node."""
    return {
        "phase": phase,
        "podIP": addresses[0],
        "podIPs": [{"ip": each} for each in addresses],
        "hostIP": node.plan.addresses[0],
        "hostIPs": [{"ip": each} for each in node.plan.addresses],
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [_container_status(ready)],
    }


def _container_status(ready: bool) -> Object:
    required = {"name": "main", "image": IMAGE, "imageID": "", "restartCount": 0}
    return {**required, "ready": ready, "started": ready, "state": {"running": {}} if ready else {}}
