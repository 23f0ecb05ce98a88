"""Policies and pods that the engine has to carry while something else is measured."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from e2e.api import Object
from e2e.cluster import Pod, pod_object, reference
from e2e.local import IMAGE, LocalCluster
from e2e.waiting import until

NAMESPACES = 20
PODS = 10
"""In each namespace. Pods are on the nodes in turns, so each node has half of all policies."""
FIRST_HOST = 150
"""Number in the nodes' pod ranges from which on no real pod is."""


def load(cluster: LocalCluster, count: int) -> None:
    """Make them, and wait until the agents have them all in the kernel."""
    names = _names()
    for name in names:
        cluster.add_namespace(name, {"team": name})
    with ThreadPoolExecutor(max_workers=8) as several:
        list(several.map(lambda pod: _run(cluster, pod), pods(cluster)))
        list(several.map(cluster.api.create, policies(count)))
    until("the ballast is in force", lambda: _in_force(cluster, count), within=60, every=0.5)


def pods(cluster: LocalCluster) -> Iterator[Pod]:
    """The pods that ``load`` makes."""
    nodes = list(cluster.nodes)
    for number in range(PODS):
        for index, name in enumerate(_names()):
            labels = {"app": f"app-{number}"}
            node = nodes[number % len(nodes)]
            host = FIRST_HOST + number // len(nodes) * NAMESPACES + index
            subnet = cluster.topology.nodes[node].plan.pod_cidrs[0].rpartition(".")[0]
            yield Pod(name, f"pod-{number}", node, (f"{subnet}.{host}",), labels)


def _names() -> list[str]:
    return [f"ballast-{number:02}" for number in range(NAMESPACES)]


def _run(cluster: LocalCluster, pod: Pod) -> None:
    cluster.api.create(pod_object(pod, IMAGE, ()))
    cluster.report_running(pod)


def policies(count: int) -> Iterator[Object]:
    """So many that ``load`` makes."""
    for name in _names():
        for number in range(count // NAMESPACES):
            peer = {
                "namespaceSelector": {"matchLabels": {"team": name}},
                "podSelector": _app(number + 1 + number // PODS),
            }
            rule = {"from": [peer], "ports": [{"port": 8000 + number}]}
            spec = {"podSelector": _app(number), "ingress": [rule]}
            yield {**reference("NetworkPolicy", f"policy-{number}", name, "networking.k8s.io/v1"), "spec": spec}


def _app(number: int) -> Object:
    return {"matchLabels": {"app": f"app-{number % PODS}"}}


def _in_force(cluster: LocalCluster, count: int) -> bool:
    objects = cluster.api.list("nodewall.io/v1alpha1", "NodeRuleSet")
    named = {(ref["namespace"], ref["name"]) for each in objects for ref in each["spec"]["policies"]}
    applied = all(each["spec"]["digest"] == each.get("status", {}).get("appliedDigest") for each in objects)
    return applied and len(named) >= count
