"""Pods and their addresses (semantics 36-40)."""

import pytest

from nodewall.compile import compile_all
from nodewall.model.cluster import Phase, Pod
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import PodPeer
from nodewall.model.ruleset import NodeRuleSet
from tests.compile.verdicts import allowed
from tests.compile.world import PODS, allow, cluster, from_peers, labelled, pod, policy

ANY_POD = policy("x/any", labelled(pod="a"), ingress=allow(from_peers(PodPeer(EVERYTHING))))
X_A = pod("x/a", ["10.1.0.1"])


def compiled(*pods: Pod) -> NodeRuleSet:
    return compile_all(cluster(ANY_POD, pods=[X_A, *pods]))["n1"]


def peers(*pods: Pod) -> tuple[str, ...]:
    (group,) = compiled(*pods).groups
    return tuple(each for each in group.addresses if each != "10.1.0.1")


def endpoints(*pods: Pod) -> dict[str, tuple[str, ...]]:
    found = compiled(*pods).endpoints
    return {f"{each.namespace}/{each.pod}": each.addresses for each in found if each.pod != "a"}


OUTSIDERS = [
    ("36: on the host network", pod("x/h", ["192.0.2.1"], host_network=True)),
    ("37: finished", pod("x/f", ["10.1.0.9"], phase=Phase.FINISHED)),
    ("39: without an address", pod("x/n")),
]
MEMBERS = [
    ("running", pod("x/r", ["10.1.0.9"])),
    ("38: terminating but running", pod("x/t", ["10.1.0.9"], terminating=True)),
    ("39: pending with an address", pod("x/p", ["10.1.0.9"], phase=Phase.PENDING)),
]


@pytest.mark.parametrize("one", [case[1] for case in OUTSIDERS], ids=[case[0] for case in OUTSIDERS])
def test_neither_peer_nor_endpoint(one: Pod) -> None:
    assert peers(one) == ()
    assert endpoints(one) == {}


@pytest.mark.parametrize("one", [case[1] for case in MEMBERS], ids=[case[0] for case in MEMBERS])
def test_peer_and_endpoint(one: Pod) -> None:
    assert peers(one) == ("10.1.0.9",)
    assert list(endpoints(one).values()) == [("10.1.0.9",)]


@pytest.mark.parametrize("one", [case[1] for case in OUTSIDERS[:2]], ids=[case[0] for case in OUTSIDERS[:2]])
def test_not_a_subject(one: Pod) -> None:
    closed = policy("x/closed", labelled(pod=one.name), ingress=(), egress=())
    assert compile_all(cluster(closed, pods=[one]))["n1"].classes == ()


@pytest.mark.parametrize("one", [case[1] for case in MEMBERS], ids=[case[0] for case in MEMBERS])
def test_a_subject(one: Pod) -> None:
    closed = policy("x/closed", labelled(pod=one.name), ingress=(), egress=())
    ruleset = compile_all(cluster(closed, pods=[one]))["n1"]
    assert len(ruleset.classes) == 2
    (endpoint,) = ruleset.endpoints
    assert endpoint.ingress
    assert endpoint.egress


def test_39_every_address_of_both_families_counts() -> None:
    state = cluster(policy(ingress=()))
    assert not allowed(state, "y/a -> x/a:80/TCP")
    assert not allowed(state, "y/a -> x/a:80/TCP6")
    assert endpoints(pod("y/d", ["fd00::9", "10.1.0.9"])) == {"y/d": ("10.1.0.9", "fd00::9")}


RUNNING, PENDING, FINISHED = Phase.RUNNING, Phase.PENDING, Phase.FINISHED
CLAIMS = [
    ("40: running beats pending", ("old", PENDING, "2026-01-02", "2"), ("new", RUNNING, "2026-01-01", "1")),
    ("40: running beats finished", ("old", FINISHED, "2026-01-02", "2"), ("new", RUNNING, "2026-01-01", "1")),
    ("40: pending beats finished", ("old", FINISHED, "2026-01-02", "2"), ("new", PENDING, "2026-01-01", "1")),
    ("40: the newest of two running", ("old", RUNNING, "2026-01-01", "2"), ("new", RUNNING, "2026-01-02", "1")),
    ("40: then by uid", ("old", RUNNING, "2026-01-01", "1"), ("new", RUNNING, "2026-01-01", "2")),
]


@pytest.mark.parametrize(("loser", "winner"), [case[1:] for case in CLAIMS], ids=[case[0] for case in CLAIMS])
@pytest.mark.parametrize("turned", [False, True])
def test_one_address_has_one_owner(
    loser: tuple[str, Phase, str, str], winner: tuple[str, Phase, str, str], turned: bool
) -> None:
    claimants = [
        pod(f"x/{name}", ["10.1.0.9"], phase=phase, created=created, uid=uid)
        for name, phase, created, uid in (loser, winner)
    ]
    assert endpoints(*(claimants[::-1] if turned else claimants)) == {"x/new": ("10.1.0.9",)}


def test_40_the_loser_keeps_its_other_address() -> None:
    old = pod("x/old", ["10.1.0.9", "fd00::9"], created="2026-01-01")
    new = pod("x/new", ["10.1.0.9"], created="2026-01-02")
    assert endpoints(old, new) == {"x/new": ("10.1.0.9",), "x/old": ("fd00::9",)}


def test_40_an_address_means_its_owner_to_every_selector() -> None:
    old = pod("x/old", ["10.1.0.9"], created="2026-01-01")
    new = pod("x/new", ["10.1.0.9"], created="2026-01-02")
    from_old = policy("x/any", labelled(pod="a"), ingress=allow(from_peers(PodPeer(EVERYTHING, labelled(pod="old")))))
    assert not allowed(cluster(from_old, pods=[X_A, old, new]), "10.1.0.9 -> x/a:80/TCP")


def test_40_a_pod_of_another_node_takes_the_address_along() -> None:
    here = pod("x/here", ["10.1.0.9"], "n1", created="2026-01-01")
    there = pod("x/there", ["10.1.0.9"], "n2", created="2026-01-02")
    rulesets = compile_all(cluster(pods=[here, there]))
    assert rulesets["n1"].endpoints == ()
    assert [each.pod for each in rulesets["n2"].endpoints] == ["there"]


def test_every_local_pod_is_an_endpoint_selected_or_not() -> None:
    rulesets = compile_all(cluster(ANY_POD))
    local = {name: [f"{each.namespace}/{each.pod}" for each in found.endpoints] for name, found in rulesets.items()}
    assert local == {"n1": ["x/a", "y/a", "z/a"], "n2": ["x/b", "x/c", "y/b", "y/c", "z/b", "z/c"]}


def test_a_pod_that_is_not_scheduled_is_nobodys_endpoint() -> None:
    waiting = pod("x/w", ["10.1.0.9"], node="")
    assert all(not found.endpoints for found in compile_all(cluster(pods=[waiting])).values())


def test_every_node_has_a_rule_set() -> None:
    rulesets = compile_all(cluster(pods=PODS[:1]))
    assert sorted(rulesets) == ["n1", "n2"]
    assert [str(each) for each in rulesets["n2"].pod_cidrs] == ["10.2.0.0/16"]
