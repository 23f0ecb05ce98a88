"""What a rule set holds: sorted, named by content, shared, and nothing that its pods do not need."""

import re
from dataclasses import fields

import pytest

from nodewall.compile import compile_all, compile_node
from nodewall.compile.names import content, name
from nodewall.model.cluster import ClusterState
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import ANY_PORT, NamespaceNames, PodPeer, PortName
from tests.compile.world import (
    PODS,
    SCTP,
    TCP,
    UDP,
    allow,
    at_ports,
    cluster,
    from_peers,
    labelled,
    pods_of,
    policy,
    ports,
)

B = labelled(pod="b")
MANY = cluster(
    policy("x/one", ingress=allow(from_peers(pods_of("y", B))), egress=allow(at_ports(PortName("http", TCP)))),
    policy("y/two", ingress=allow(from_peers(pods_of("y", B)), from_peers(pods_of("z")))),
    policy("z/three", labelled(pod="c"), ingress=allow(from_peers(PodPeer(labelled(ns="nobody"))))),
)


def test_rules_with_the_same_selector_share_one_group() -> None:
    ruleset = compile_all(MANY)["n1"]
    used = [name for judged in ruleset.classes for rule in judged.rules for name in rule.match.groups]
    assert len(used) == 3
    assert len(set(used)) == 2


def test_a_group_has_one_name_on_every_node_and_in_every_cluster() -> None:
    names = [{each.name for each in found.groups} for found in compile_all(MANY).values()]
    assert names[0] < names[1]
    alone = cluster(policy("x/other", ingress=allow(from_peers(pods_of("y", B)))), pods=PODS[:1])
    assert {each.name for each in compile_node(alone, "n1").groups} <= names[0]


def test_pods_with_the_same_rules_share_one_class() -> None:
    ruleset = compile_all(MANY)["n2"]
    classes = {f"{each.namespace}/{each.pod}": each.ingress for each in ruleset.endpoints}
    assert classes["x/b"] == classes["x/c"] != classes["y/b"] == classes["y/c"]
    assert classes["z/b"] == ""


def test_only_what_local_pods_need_is_there() -> None:
    for ruleset in compile_all(MANY).values():
        rules = [rule for judged in ruleset.classes for rule in judged.rules]
        assert {each.name for each in ruleset.groups} == {name for each in rules for name in each.match.groups}
        assert {each.name for each in ruleset.port_groups} == {
            name for each in rules for name in each.match.port_groups
        }
        assert {each.id for each in ruleset.rules} == {each.id for each in rules}
        endpoints = ruleset.endpoints
        assert {each.name for each in ruleset.classes} == {
            n for each in endpoints for n in (each.ingress, each.egress) if n
        }
    assert not any("nobody" in each.description for each in compile_all(MANY)["n1"].groups)
    assert any("nobody" in each.description for each in compile_all(MANY)["n2"].groups)


def test_everything_is_sorted() -> None:
    for ruleset in compile_all(MANY).values():
        for part in (ruleset.groups, ruleset.port_groups, ruleset.classes):
            names = [each.name for each in part]
            assert names == sorted(names)
        assert [each.id for each in ruleset.rules] == sorted(each.id for each in ruleset.rules)
        assert [(each.namespace, each.pod) for each in ruleset.endpoints] == sorted(
            (each.namespace, each.pod) for each in ruleset.endpoints
        )
        for group in ruleset.groups:
            assert list(group.addresses) == sorted(group.addresses)


def test_the_order_of_peers_and_ports_makes_no_difference() -> None:
    peers = [pods_of(name, labelled(pod=each)) for name in "xyz" for each in "abc"]
    wanted = [PortName("http", TCP), PortName("dns", UDP), PortName("sig", SCTP), ports(TCP, 9), ports(UDP, 9)]
    one, other = (
        cluster(policy(ingress=allow((tuple(peers[::step]), ANY_PORT)), egress=allow(at_ports(*wanted[::step]))))
        for step in (1, -1)
    )
    assert compile_all(one) == compile_all(other)


def test_names_are_prefixes_and_hex_digits_only() -> None:
    for ruleset in compile_all(MANY).values():
        for prefix, part in (("g", ruleset.groups), ("p", ruleset.port_groups), ("[ie]", ruleset.classes)):
            assert all(re.fullmatch(prefix + "[0-9a-f]{20}", each.name) for each in part)
        assert all(re.fullmatch("[0-9a-f]{10}", each.id) for each in ruleset.rules)


DIFFERENT = [
    (PodPeer(EVERYTHING), PodPeer(NamespaceNames(()))),
    (PodPeer(labelled(a="b,c")), PodPeer(labelled(a="b", c=""))),
    (PodPeer(NamespaceNames(("a", "b"))), PodPeer(NamespaceNames(("a,b",)))),
    (PodPeer(labelled(a="b")), PodPeer(EVERYTHING, labelled(a="b"))),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_selectors_have_different_names(one: PodPeer, other: PodPeer) -> None:
    assert name("g", one) != name("g", other)


def test_every_field_of_a_class_shapes_its_name() -> None:
    ruleset = compile_all(MANY)["n1"]
    for part in (ruleset.classes[0], ruleset.classes[0].rules[0], ruleset.classes[0].rules[0].match):
        assert len(content(part)) == len(fields(part)) + 1  # type: ignore[arg-type]


def test_one_node_alone_is_what_it_is_among_all() -> None:
    assert {name: compile_node(MANY, name) for name in MANY.nodes} == compile_all(MANY)


def test_a_class_without_effect_is_no_class() -> None:
    state = cluster(policy("x/p", labelled(pod="nobody"), ingress=allow(from_peers(pods_of("y")))))
    assert all(not found.classes for found in compile_all(state).values())


def test_an_empty_cluster_has_no_rule_sets() -> None:
    assert compile_all(ClusterState()) == {}
