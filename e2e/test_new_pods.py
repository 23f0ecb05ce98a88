"""A pod that starts: closed from its first packet where a policy selects it, else open once its node lists it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest

from e2e.api import Object
from e2e.cluster import Pod, Scene, pod_object
from e2e.local import IMAGE, LocalCluster
from e2e.policies import INGRESS, deny, ingress, labels
from e2e.probe import Probe, Verdict, tcp, udp
from e2e.waiting import until

QUICK, LONG = 8, 100
"""Pod starts."""
OPENS_SECONDS = 5.0
GLANCE = 0.05
"""Seconds that one look whether a pod has opened takes at most."""
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


@pytest.mark.parametrize("starts", [QUICK, pytest.param(LONG, marks=pytest.mark.soak)])
def test_nothing_leaks_into_new_pods_under_churn(starts: int, clients: Scene, local_cluster: LocalCluster) -> None:
    """Each takes over the addresses of the one before, and is asked before, while and after it becomes known."""
    asked = 0
    for number in range(starts):
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
    assert asked == starts * 3 * len(PORTS) * 2 * 2


def test_a_pod_that_no_policy_selects_opens_once_it_is_listed(clients: Scene, local_cluster: LocalCluster) -> None:
    with network_of(local_cluster, "y", "new") as pod:
        questions = probes(clients, pod)
        early = local_cluster.prober.measure(questions)
        assert {each.verdict for each in early.values()} == {Verdict.TIMEOUT}
        local_cluster.report_running(pod)
        until("listed", lambda: is_listed(local_cluster, pod), within=10)
        late = local_cluster.prober.measure(questions, answers_expected=questions)
        assert {each.verdict for each in late.values()} == {Verdict.OPEN}


@pytest.mark.parametrize("starts", [QUICK, pytest.param(LONG, marks=pytest.mark.soak)])
def test_an_allowed_peer_soon_gets_through(starts: int, clients: Scene, local_cluster: LocalCluster) -> None:
    """From the pod's address at the API server to the first answer in both families, near and far."""
    clients.apply(ingress("x", "friends", {"from": [{"namespaceSelector": name_of("y")}]}))
    took = []
    for number in range(starts):
        with network_of(local_cluster, "x", f"new-{number}") as pod:
            questions = probes(clients, pod)
            local_cluster.prober.serve(pod.endpoint, PORTS)
            begun = time.monotonic()
            local_cluster.report_running(pod)
            until("open", lambda q=questions: all_open(local_cluster, q), within=OPENS_SECONDS, every=0.001)  # type: ignore[misc]
            took.append(time.monotonic() - begun)
    print(f"{starts} pods opened within {median(took):.2f} s (median), {max(took):.2f} s (longest)")


def name_of(namespace: str) -> Object:
    return labels(**{"kubernetes.io/metadata.name": namespace})


def all_open(cluster: LocalCluster, questions: list[Probe]) -> bool:
    answers = cluster.prober.measure(questions, timeout=GLANCE)
    return {each.verdict for each in answers.values()} == {Verdict.OPEN}
