"""Which pods a selector means, as subject and as peer (semantics 14-20)."""

from dataclasses import replace

import pytest

from nodewall.compile import compile_all
from nodewall.model.cluster import Namespace
from nodewall.model.labels import EVERYTHING, Labels, Operator
from nodewall.model.policy import NetworkPolicy, Peer, PodPeer
from tests.compile.verdicts import allowed
from tests.compile.world import (
    NAMESPACES,
    PODS,
    allow,
    block,
    cluster,
    from_peers,
    labelled,
    pod,
    pods_of,
    policy,
    where,
)


def only(*peers: Peer, subject: object = EVERYTHING) -> NetworkPolicy:
    return policy("x/only", subject, ingress=allow(from_peers(*peers)))  # type: ignore[arg-type]


A = labelled(pod="a")
IN_Y = labelled(ns="y")
BY_NAME = labelled(**{"kubernetes.io/metadata.name": "y"})
NOT_A = where("pod", Operator.NOT_IN, "a")
NO_TIER = where("tier", Operator.DOES_NOT_EXIST)
TIER_NOT_GOLD = where("tier", Operator.NOT_IN, "gold")
TIERED = where("tier", Operator.EXISTS)

CASES = [
    ("14: an empty podSelector is every pod of the namespace", [only()], "y/a -> x/c:80/TCP", False),
    ("14: and of no other", [only()], "x/a -> y/c:80/TCP", True),
    ("14: a pod that is not selected stays open", [only(subject=A)], "y/a -> x/b:80/TCP", True),
    ("14: the selected one does not", [only(subject=A)], "y/a -> x/a:80/TCP", False),
    ("15: podSelector {} is the policy's namespace", [only(pods_of("x"))], "x/b -> x/a:80/TCP", True),
    ("15: and none beyond", [only(pods_of("x"))], "y/b -> x/a:80/TCP", False),
    ("15: namespaceSelector {} is all pods", [only(PodPeer(EVERYTHING))], "z/b -> x/a:80/TCP", True),
    ("15: never an external address", [only(PodPeer(EVERYTHING))], "203.0.113.7 -> x/a:80/TCP", False),
    ("15: no peers at all match nobody", [only()], "x/b -> x/a:80/TCP", False),
    ("16: both selectors of one peer: AND", [only(PodPeer(IN_Y, A))], "y/a -> x/c:80/TCP", True),
    ("16: the namespace alone is not enough", [only(PodPeer(IN_Y, A))], "y/b -> x/c:80/TCP", False),
    ("16: the pod alone is not enough", [only(PodPeer(IN_Y, A))], "z/a -> x/c:80/TCP", False),
    ("16: two peers: OR, by namespace", [only(PodPeer(IN_Y), pods_of("x", A))], "y/b -> x/c:80/TCP", True),
    ("16: two peers: OR, by pod", [only(PodPeer(IN_Y), pods_of("x", A))], "x/a -> x/c:80/TCP", True),
    ("16: two peers: neither", [only(PodPeer(IN_Y), pods_of("x", A))], "x/b -> x/c:80/TCP", False),
    ("17: equally labelled elsewhere is not meant", [only(pods_of("x", A))], "y/a -> x/c:80/TCP", False),
    ("18: NotIn matches another value", [only(PodPeer(EVERYTHING, NOT_A))], "y/b -> x/c:80/TCP", True),
    ("18: NotIn does not match the value", [only(PodPeer(EVERYTHING, NOT_A))], "y/a -> x/c:80/TCP", False),
    ("18: NotIn matches without the key", [only(PodPeer(EVERYTHING, TIER_NOT_GOLD))], "y/b -> x/c:80/TCP", True),
    ("18: DoesNotExist matches without the key", [only(PodPeer(EVERYTHING, NO_TIER))], "y/b -> x/c:80/TCP", True),
    ("18: Exists does not", [only(PodPeer(EVERYTHING, TIERED))], "y/b -> x/c:80/TCP", False),
    (
        "18: all requirements AND",
        [only(PodPeer(EVERYTHING, labelled(pod="a", tier="gold")))],
        "y/a -> x/c:80/TCP",
        False,
    ),
    ("18: namespaces too", [only(PodPeer(where("ns", Operator.NOT_IN, "y")))], "y/a -> x/c:80/TCP", False),
    ("18: and the others match", [only(PodPeer(where("ns", Operator.NOT_IN, "y")))], "z/a -> x/c:80/TCP", True),
    ("19: metadata.name selects a namespace", [only(PodPeer(BY_NAME))], "y/a -> x/c:80/TCP", True),
    ("19: only that one", [only(PodPeer(BY_NAME))], "z/a -> x/c:80/TCP", False),
]


@pytest.mark.parametrize(
    ("policies", "packet", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_verdict(policies: list[NetworkPolicy], packet: str, expected: bool) -> None:
    assert allowed(cluster(*policies), packet) is expected


def test_19_pod_labels_never_pass_for_namespace_labels() -> None:
    impostor = replace(pod("z/a", ["10.1.3.1"]), labels=Labels({"ns": "y", "kubernetes.io/metadata.name": "y"}))
    state = cluster(only(PodPeer(IN_Y), PodPeer(BY_NAME)), pods=[*PODS[:3], impostor])
    assert not allowed(state, "z/a -> x/a:80/TCP")


def test_19_a_namespace_that_was_not_seen_yet_has_its_name_label() -> None:
    state = cluster(only(PodPeer(BY_NAME)), namespaces=())
    assert allowed(state, "y/a -> x/a:80/TCP")
    assert not allowed(state, "z/a -> x/a:80/TCP")


@pytest.mark.parametrize(
    ("who", "change"),
    [("x/a", "subject"), ("y/a", "peer"), ("y", "namespace")],
    ids=["subject", "peer", "namespace"],
)
def test_20_a_label_change_changes_the_verdict(who: str, change: str) -> None:
    peer = PodPeer(labelled(open="yes"), A) if change == "namespace" else PodPeer(EVERYTHING, labelled(open="yes"))
    wanted = only(peer, subject=labelled(guarded="yes") if change == "subject" else A)
    before = cluster(wanted)
    relabelled = Labels({"pod": "a", "open": "yes", "guarded": "yes"})
    pods = [replace(each, labels=relabelled) if f"{each.namespace}/{each.name}" == who else each for each in PODS]
    namespaces = [Namespace(each.name, Labels({"open": "yes"})) if each.name == who else each for each in NAMESPACES]
    after = cluster(wanted, pods=pods, namespaces=namespaces)
    assert allowed(before, "y/a -> x/a:80/TCP") is not allowed(after, "y/a -> x/a:80/TCP")


def test_57_a_selector_without_pods_gives_an_empty_group_and_no_other_match() -> None:
    nobody = only(PodPeer(EVERYTHING, labelled(pod="nobody")), subject=A)
    ruleset = compile_all(cluster(nobody))["n1"]
    (group,) = ruleset.groups
    assert group.addresses == ()
    (judged,) = ruleset.classes
    (rule,) = judged.rules
    assert rule.match.groups == (group.name,)
    assert not rule.match.any_peer


def test_selectors_and_blocks_of_one_rule_or() -> None:
    state = cluster(only(pods_of("y"), block("203.0.113.0/24")))
    assert allowed(state, "y/a -> x/a:80/TCP")
    assert allowed(state, "203.0.113.7 -> x/a:80/TCP")
    assert not allowed(state, "z/a -> x/a:80/TCP")
