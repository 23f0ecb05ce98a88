"""Nodes, pods and policies that exist in the API server only, as `clusters` shapes them."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from e2e.api import Api, Object
from e2e.cluster import reference
from nodewall.model.cluster import ClusterState, Pod
from nodewall.model.labels import Selector
from nodewall.model.policy import AllowRule, NamespaceNames, NetworkPolicy, PodPeer, PortRange

HANDS = 12
"""Requests at a time."""


def settle(api: Api, state: ClusterState) -> None:
    """Create all of it."""
    _all(api.ensure, (_namespace(name, dict(each.labels)) for name, each in state.namespaces.items()))
    _all(api.ensure, (_account(name) for name in state.namespaces))
    _all(api.ensure, ({**reference("Node", name), "spec": {}} for name in state.nodes))
    _all(partial(_settle_pod, api), state.pods.values())
    _all(api.create, map(network_policy, state.network_policies.values()))


def _all(work: Callable[..., object], items: Iterable[object]) -> None:
    with ThreadPoolExecutor(max_workers=HANDS) as several:
        list(several.map(work, items))


def _settle_pod(api: Api, pod: Pod) -> None:
    create_pod(api, pod)
    readdress(api, pod, pod.addresses[0])


def create_pod(api: Api, pod: Pod) -> None:
    """On its node, but without an address yet."""
    metadata = {"name": pod.name, "namespace": pod.namespace, "labels": dict(pod.labels)}
    container = {"name": "main", "image": "none"}
    spec = {"nodeName": pod.node, "containers": [container], "terminationGracePeriodSeconds": 0}
    api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def readdress(api: Api, pod: Pod, address: str) -> None:
    """The pod runs and has this address now."""
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    api.patch(reference("Pod", pod.name, pod.namespace), {"status": status}, subresource="status")


def _namespace(name: str, labels: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _account(namespace: str) -> Object:
    return reference("ServiceAccount", "default", namespace)


def network_policy(policy: NetworkPolicy) -> Object:
    spec = {"podSelector": _selector(policy.pods), "ingress": [_rule(rule) for rule in policy.ingress or ()]}
    head = reference("NetworkPolicy", policy.name, policy.namespace, "networking.k8s.io/v1")
    return {**head, "spec": {**spec, "policyTypes": ["Ingress"]}}


def _rule(rule: AllowRule) -> Object:
    peers = [_peer(peer) for peer in rule.peers if isinstance(peer, PodPeer)] if isinstance(rule.peers, tuple) else []
    ports = rule.ports if isinstance(rule.ports, tuple) else ()
    wanted = [{"port": port.first, "protocol": str(port.protocol)} for port in ports if isinstance(port, PortRange)]
    return {"from": peers, **({"ports": wanted} if wanted else {})}


def _peer(peer: PodPeer) -> Object:
    """The namespaces of `clusters` are either the policy's own or by label."""
    pods = {"podSelector": _selector(peer.pods)}
    if isinstance(peer.namespaces, NamespaceNames):
        return pods
    assert isinstance(peer.namespaces, Selector)
    return {**pods, "namespaceSelector": _selector(peer.namespaces)}


def _selector(selector: Selector) -> Object:
    labels = {each.key: each.values[0] for each in selector.requirements}
    return {"matchLabels": labels} if labels else {}
