"""A cluster as the cases see it: namespaces, pods, an API to apply policies with, and somebody who measures.

`Cluster` is all that a case may use; `local.LocalCluster` fulfils it with network namespaces on this machine,
`remote.RemoteCluster` with any cluster that a kubeconfig leads to.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from e2e.api import Api, Object
from e2e.probe import Endpoint, Prober


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A named port of a pod."""

    name: str
    number: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that runs; `addresses` are IPv4 before IPv6, one or both."""

    namespace: str
    name: str
    node: str
    addresses: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """NAMESPACE/NAME, its name in tables."""
        return f"{self.namespace}/{self.name}"

    @property
    def endpoint(self) -> Endpoint:
        """It as somebody who asks and answers."""
        return Endpoint(self.key, self.addresses, f"pod:{self.key}")

    @property
    def reference(self) -> Object:
        """An object that addresses it at the API server."""
        return reference("Pod", self.name, self.namespace)


class Cluster(Protocol):
    """What every case can rely on."""

    @property
    def api(self) -> Api:
        """The administrator's client."""

    @property
    def prober(self) -> Prober:
        """Measures between endpoints."""

    @property
    def nodes(self) -> Sequence[str]:
        """The names of the nodes that pods may be put on; at least two."""

    @property
    def is_local(self) -> bool:
        """Whether nodes, the host outside and the choice of addresses are ours too (`LocalCluster`)."""

    def kubectl(self, *args: str, given: str | None = None) -> str:
        """Run kubectl as the administrator and return what it prints."""

    def add_namespace(self, name: str, labels: Mapping[str, str] = {}) -> None:
        """Make a namespace in which pods can be made; one that exists gets exactly these labels."""

    def remove_namespace(self, name: str) -> None:
        """Remove a namespace with all its pods and objects; it is gone when this returns."""

    def add_pod(
        self,
        namespace: str,
        name: str,
        node: str,
        labels: Mapping[str, str] = {},
        ports: Iterable[ContainerPort] = (),
    ) -> Pod:
        """Make a pod that runs and has its addresses when this returns."""

    def remove_pod(self, pod: Pod) -> None:
        """Remove a pod at once; its object and its network are gone when this returns."""


def reference(kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> Object:
    """An object with just what addresses it."""
    metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def set_labels(cluster: Cluster, obj: Object, changes: Mapping[str, str | None]) -> None:
    """Change labels of an object; None removes one."""
    cluster.api.patch(obj, {"metadata": {"labels": dict(changes)}})


class Scene:
    """What one case makes, taken away at its end: namespaces with everything in them, pods, and other objects.

    ::

        with Scene(cluster) as scene:
            scene.namespace("shop", team="a")
            web = scene.pod("shop/web", node=0, app="web")
            scene.apply(policy)
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.pods: dict[str, Pod] = {}
        self._namespaces: list[str] = []
        self._objects: list[Object] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def namespace(self, name: str, **labels: str) -> None:
        """Make a namespace; `default` exists in every cluster and is only emptied at the end."""
        self.cluster.add_namespace(name, labels)
        self._namespaces.append(name)

    def pod(self, key: str, *, node: int = 0, ports: Iterable[ContainerPort] = (), **labels: str) -> Pod:
        """Make the pod NAMESPACE/NAME on the node of this index."""
        namespace, _, name = key.partition("/")
        self.pods[key] = self.cluster.add_pod(namespace, name, self.cluster.nodes[node], labels, ports)
        return self.pods[key]

    def apply(self, *objects: Object) -> None:
        """Apply objects; they go at the end, cluster-wide ones too."""
        for obj in objects:
            self.cluster.api.apply(obj)
            self._objects.append(obj)

    def delete(self, obj: Object) -> None:
        """Delete an object now."""
        self.cluster.api.delete(obj)

    def relabel(self, key: str, **changes: str | None) -> None:
        """Change labels of the pod NAMESPACE/NAME, or of a namespace when there is no slash; None removes one."""
        namespace, slash, name = key.partition("/")
        obj = reference("Pod", name, namespace) if slash else reference("Namespace", namespace)
        set_labels(self.cluster, obj, changes)

    def remove_pod(self, key: str) -> None:
        """Remove a pod now."""
        self.cluster.remove_pod(self.pods.pop(key))

    def endpoints(self, *keys: str) -> list[Endpoint]:
        """These pods, or all, as those who ask and answer."""
        return [self.pods[key].endpoint for key in keys or self.pods]

    def clear(self) -> None:
        """Take everything away, policies first: a pod that is about to go needs no new rules."""
        for obj in reversed(self._objects):
            self.cluster.api.delete(obj)
        # The kernel takes its time for each link that goes, but not much more for several.
        with ThreadPoolExecutor(max_workers=8) as several:
            list(several.map(self.remove_pod, list(self.pods)))
        for name in self._namespaces:
            self.cluster.remove_namespace(name)
        self._objects.clear()
        self._namespaces.clear()


def pod_object(pod: Pod, image: str, ports: Iterable[ContainerPort], **spec: Any) -> Object:
    """The Pod to create: one container, put on its node without a scheduler."""
    container = {
        "name": "main",
        "image": image,
        "ports": [{"name": p.name, "containerPort": p.number, "protocol": p.protocol} for p in ports],
    }
    metadata = {"name": pod.name, "namespace": pod.namespace, "labels": dict(pod.labels)}
    extra = spec.pop("container", {})
    fields = {"nodeName": pod.node, "containers": [container | extra], "terminationGracePeriodSeconds": 0, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": fields}


def with_addresses(pod: Pod, addresses: Iterable[str]) -> Pod:
    """The pod once its addresses are known."""
    return replace(pod, addresses=tuple(addresses))
