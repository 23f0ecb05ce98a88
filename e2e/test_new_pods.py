"""A pod that starts: closed from its first packet where a policy selects it, else open once its node lists it."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

import pytest

from e2e import netns
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


def test_a_pod_that_nobody_knows_yet_borrows_no_address_of_a_pod_elsewhere(
    policed: Scene, local_cluster: LocalCluster
) -> None:
    """Its link is new, and the address is no local pod's: neither is on any list. Other pods were there before."""
    for each in ("x", "y"):
        policed.namespace(each)
    server, friend = policed.pod("x/server", node=0), policed.pod("y/friend", node=1)
    policed.apply(ingress("x", "friends", {"from": [{"namespaceSelector": name_of("y")}]}))
    place = {each.key: wire.namespace for each, wire in local_cluster.wires.values()}
    until("pods' links known", lambda: knows_links(local_cluster, server.node), within=10)
    with network_of(local_cluster, "y", "new") as pod:
        forger = local_cluster.wires[pod.key][1].namespace
        for mine, theirs in zip(server.addresses, friend.addresses, strict=True):
            netns.batch(forger, [f"address add {theirs} dev lo"])
            with netns.inside(place["x/server"], partial(datagrams, mine)) as received:
                sent = partial(say, place["y/friend"], theirs, mine)
                until("a friend", lambda sent=sent, ears=received: sent(b"friend") and hear(ears), within=10)  # type: ignore[misc]
                say(forger, theirs, mine, b"forged")
                sent(b"last")
                heard = [hear(received) for _ in range(3)]
                assert b"last" in heard
                assert b"forged" not in heard


def knows_links(cluster: LocalCluster, node: str) -> bool:
    """Whether the node's table says which links pods are behind."""
    asked = [*netns.argv(cluster.topology.nodes[node].namespace), "nft", "list", "set", "inet", "nodewall", "podlinks"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def datagrams(address: str) -> socket.socket:
    found = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    found.bind((address, 53))
    found.settimeout(0.3)
    return found


def say(place: str, source: str, target: str, what: bytes) -> bool:
    """One datagram from this network namespace, under that address."""

    def send() -> None:
        with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM) as ours:
            ours.bind((source, 0))
            ours.sendto(what, (target, 53))

    netns.inside(place, send)
    return True


def hear(received: socket.socket) -> bytes:
    try:
        return received.recv(64)
    except TimeoutError:
        return b""


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
