"""A pod that starts: closed from its first packet where a policy selects it, else open once its node lists it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.cluster import Pod, Scene, pod_object
from e2e.local import IMAGE, LocalCluster
from e2e.policies import INGRESS, deny
from e2e.probe import Probe, Verdict, tcp, udp
from e2e.waiting import until

STARTS = 8
PORTS = (tcp(80), udp(53))
RULE_SETS = ("nodewall.io/v1alpha1", "NodeRuleSet")


@pytest.fixture
def clients(policed: Scene) -> Scene:
    """x is closed, y is not; somebody asks from each node."""
    policed.namespace("x")
    policed.namespace("y")
    policed.pod("y/near", node=0)
    policed.pod("y/far", node=1)
    policed.apply(deny("x", INGRESS))
    return policed


@contextmanager
def network_of(cluster: LocalCluster, namespace: str, name: str) -> Iterator[Pod]:
    """A pod that can send and receive, and whose addresses nobody has told the API server yet."""
    bare = Pod(namespace, name, cluster.nodes[0], (), {})
    cluster.api.create(pod_object(bare, IMAGE, ()))
    pod = cluster.wire(bare)
    try:
        yield pod
    finally:
        cluster.remove_pod(pod)


def probes(scene: Scene, pod: Pod) -> list[Probe]:
    sources = scene.endpoints("y/near", "y/far")
    return [Probe(source, pod.endpoint, port, family) for source in sources for port in PORTS for family in (4, 6)]


def is_listed(cluster: LocalCluster, pod: Pod) -> bool:
    """Whether the node enforces a rule set that lists the pod."""
    obj = cluster.api.get(*RULE_SETS, pod.node)
    listed = {each["pod"]: each["addresses"] for each in obj["spec"]["endpoints"] if each["namespace"] == pod.namespace}
    applied = obj.get("status", {}).get("appliedDigest") == obj["spec"]["digest"]
    return applied and set(listed.get(pod.name, ())) == set(pod.addresses)


def test_nothing_leaks_into_new_pods_under_churn(clients: Scene, local_cluster: LocalCluster) -> None:
    """Each takes over the addresses of the one before, and is asked before, while and after it becomes known."""
    asked = 0
    for number in range(STARTS):
        with network_of(local_cluster, "x", f"new-{number}") as pod:
            questions = probes(clients, pod)
            before = local_cluster.prober.measure(questions)
            local_cluster.report_running(pod)
            meanwhile = local_cluster.prober.measure(questions)
            until("listed", lambda pod=pod: is_listed(local_cluster, pod), within=10)  # type: ignore[misc]
            after = local_cluster.prober.measure(questions)
        observed = [each.verdict for answers in (before, meanwhile, after) for each in answers.values()]
        asked += len(observed)
        assert set(observed) == {Verdict.TIMEOUT}, f"start {number}"
    assert asked == STARTS * 3 * len(PORTS) * 2 * 2


def test_a_pod_that_no_policy_selects_opens_once_it_is_listed(clients: Scene, local_cluster: LocalCluster) -> None:
    with network_of(local_cluster, "y", "new") as pod:
        questions = probes(clients, pod)
        early = local_cluster.prober.measure(questions)
        assert {each.verdict for each in early.values()} == {Verdict.TIMEOUT}
        local_cluster.report_running(pod)
        until("listed", lambda: is_listed(local_cluster, pod), within=10)
        late = local_cluster.prober.measure(questions, answers_expected=questions)
        assert {each.verdict for each in late.values()} == {Verdict.OPEN}
