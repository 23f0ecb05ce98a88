"""A small cluster for the verbs that ask one: objects as an API server has them, and nodes that have applied them."""

from dataclasses import replace
from typing import Any

import msgspec

from nodewall.api import ruleset as codec
from nodewall.api.documents import Source, load, read
from nodewall.compile import Settings, compile_all
from nodewall.kube.resource import NODE_RULE_SETS, Resource
from nodewall.live.cluster import Cluster, NodeReport, report
from nodewall.model.cluster import ClusterState, LogWish
from nodewall.model.ruleset import NodeRuleSet
from tests.kube.fake_api import KINDS, FakeApi

NODES = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.1.0.0/24]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDRs: [10.2.0.0/24]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n3}, spec: {podCIDRs: [10.3.0.0/24]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: main}]}
status: {phase: Running, podIP: 10.1.0.5, podIPs: [{ip: 10.1.0.5}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n2, containers: [{name: main}]}
status: {phase: Running, podIP: 10.2.0.6, podIPs: [{ip: 10.2.0.6}]}
"""
POLICIES = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
---
apiVersion: nodewall.io/v1alpha1
kind: ClusterExtendedNetworkPolicy
metadata: {name: guards}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  egress: [{name: metadata, action: Deny, to: [{networks: [169.254.169.254/32]}]}]
"""
RESOURCES = {kind: resource for resource, kind in KINDS.items()}


def objects(*texts: str) -> list[dict[str, Any]]:
    return [one.value for text in texts for one in read(Source("test", text.encode()))]


def state(*texts: str) -> ClusterState:
    return load([Source("test", text.encode()) for text in texts]).state


def stored(
    content: NodeRuleSet, *, applied: str | None = None, says: str = "True", degraded: str = ""
) -> dict[str, Any]:
    """A NodeRuleSet object; its agent has applied it unless ``applied`` is the digest of another one."""
    document = codec.document(content)
    digest = document["spec"]["digest"] if applied is None else applied
    conditions = [
        {"type": "Applied", "status": says, "message": "the kernel refused it" if says == "False" else "in force"},
        {"type": "Degraded", "status": "True" if degraded else "False", "message": degraded or "healthy"},
    ]
    return document | {"status": {"appliedDigest": digest, "conditions": conditions}}


def reports(found: dict[str, NodeRuleSet], **other: NodeReport | None) -> dict[str, NodeReport]:
    """What the nodes have: all applied, but for the ones that are given (None: no object)."""
    whole = dict(report(msgspec.json.encode(stored(each))) for each in found.values()) | other
    return {node: each for node, each in whole.items() if each is not None}


def cluster(*texts: str, **other: NodeReport | None) -> Cluster:
    """Everything in force, but for what is given. The controller records more than we would think."""
    found = state(NODES, *texts)
    return Cluster(found, reports(compile_all(found, Settings(log_default=LogWish.ALL, log_rate=77)), **other))


def behind(node: str, *texts: str) -> NodeReport:
    """A node whose rule set is of another time: that of these texts."""
    return reports(compile_all(state(NODES, *texts)))[node]


def unapplied(node: str, *texts: str) -> NodeReport:
    """A node whose agent could not apply its rule set."""
    found = reports(compile_all(state(NODES, *texts)))[node]
    return replace(found, applied_digest="0", unapplied="the kernel refused it")


def fill(api: FakeApi, *texts: str) -> None:
    """Put the objects into a server."""
    for each in objects(*texts):
        api.put(
            RESOURCES[each["kind"]], {key: value for key, value in each.items() if key not in ("kind", "apiVersion")}
        )


def publish(api: FakeApi, found: dict[str, NodeRuleSet]) -> None:
    """As controller and agents do."""
    for content in found.values():
        api.put(NODE_RULE_SETS, stored(content))


POD: Resource = RESOURCES["Pod"]
