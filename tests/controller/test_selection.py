"""Counts that are kept up to date equal counts from scratch; conflicts are found where there are some."""

import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.compile.node import selects
from nodewall.compile.selectors import namespace_labels
from nodewall.controller.selection import MOST_RIVALS, Selections, conflicts
from nodewall.controller.store import Store, StoredPolicy
from nodewall.model.cluster import Namespace, Node, Phase, Pod
from nodewall.model.labels import EVERYTHING, Labels, Operator, Requirement, Selector
from nodewall.model.policy import (
    ANYONE,
    NOBODY,
    Action,
    Kind,
    Mode,
    NamespaceNames,
    PolicyRef,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)

RULE = (TierRule(0, Action.DENY, ANYONE),)
RED = Selector.of([Requirement("color", Operator.IN, ("red",))])
NOT_RED = Selector.of([Requirement("color", Operator.NOT_IN, ("red",))])

BASE = TierPolicy(Kind.CLUSTER_EXTENDED, "", "m", Tier.ADMIN, 1, Subject(EVERYTHING, RED), ingress=RULE)

names = st.sampled_from(["a", "b"])
labels = st.sampled_from([Labels(), Labels({"color": "red"}), Labels({"color": "blue"})])
selectors = st.sampled_from([EVERYTHING, RED, NOT_RED])
pods = st.builds(
    Pod,
    namespace=names,
    name=st.sampled_from(["p", "q", "r"]),
    labels=labels,
    node=st.sampled_from(["", "a", "b"]),
    host_network=st.booleans(),
    phase=st.sampled_from(Phase),
)
subjects = st.builds(Subject, namespaces=selectors, pods=selectors)
wide = st.builds(
    TierPolicy,
    kind=st.just(Kind.CLUSTER_EXTENDED),
    namespace=st.just(""),
    name=names,
    tier=st.just(Tier.ADMIN),
    priority=st.just(1),
    subject=subjects | st.just(NOBODY),
    nodes=st.none() | selectors,
    ingress=st.just(RULE),
)


def local(namespace: str, name: str, selected: Selector) -> TierPolicy:
    subject = Subject(NamespaceNames((namespace,)), selected)
    return TierPolicy(Kind.EXTENDED, namespace, name, Tier.NAMESPACE, 1, subject, ingress=RULE)


policies = wide | st.builds(local, names, names, selectors)
steps = st.lists(
    pods
    | policies
    | st.tuples(st.sampled_from(["pod gone", "policy gone"]), st.integers(0, 5))
    | st.builds(Namespace, names, labels=labels)
    | st.builds(Node, names, labels=labels),
    max_size=30,
)


class World:
    """A store and the selections that follow it, as the mirrors feed them."""

    def __init__(self) -> None:
        self.store = Store()
        self.selections = Selections(self.store)

    def step(self, value: object) -> None:
        match value:
            case Pod():
                self.put_pod(value.key, value)
            case TierPolicy():
                self.store.policy(value.ref, StoredPolicy(value.ref, "u", 1, value), 0.0)
                self.selections.policy(value.ref, value)
            case Namespace():
                self.store.namespace(value.name, value, 0.0)
                self.selections.namespace()
            case Node():
                self.store.node(value.name, value)
                self.selections.node()
            case ("pod gone", int(index)) if self.store.state.pods:
                self.put_pod(sorted(self.store.state.pods)[index % len(self.store.state.pods)], None)
            case ("policy gone", int(index)) if self.store.policies:
                ref = sorted(self.store.policies)[index % len(self.store.policies)]
                self.store.policy(ref, None, 0.0)
                self.selections.policy(ref, None)

    def put_pod(self, key: tuple[str, str], pod: Pod | None) -> None:
        old = self.store.state.pods.get(key)
        self.store.pod(key, pod)
        self.selections.pod(old, pod)

    def from_scratch(self, policy: TierPolicy) -> Counter[str]:
        state = self.store.state
        return Counter(
            pod.node
            for pod in state.pods.values()
            if pod.node and not pod.host_network and pod.phase is not Phase.FINISHED
            if not policy.namespace or policy.namespace == pod.namespace
            if selects(
                policy,
                pod,
                namespace_labels(pod.namespace, state.namespaces.get(pod.namespace)),
                state.nodes[pod.node].labels if pod.node in state.nodes else Labels(),
            )
        )


@given(steps)
def test_counts_kept_equal_counts_from_scratch(taken: list[object]) -> None:
    world = World()
    for value in taken:
        world.step(value)
        for ref in world.store.policies:  # one that outlives its object has nobody to be counted for
            policy = world.store.state.tier_policies[ref]
            assert dict(world.selections.by_node(ref)) == dict(world.from_scratch(policy))


def test_a_policy_that_is_gone_selects_nothing() -> None:
    assert World().selections.by_node(PolicyRef(Kind.EXTENDED, "a", "x")) == {}


def test_labels_of_namespaces_and_nodes_are_followed() -> None:
    world = World()
    by_namespace = replace(BASE, name="s", subject=Subject(RED))
    by_node = replace(BASE, name="n", subject=Subject(EVERYTHING), nodes=RED)
    for value in (Namespace("a"), Node("a"), Pod("a", "p", node="a"), by_namespace, by_node):
        world.step(value)
    assert [world.selections.by_node(each.ref) for each in (by_namespace, by_node)] == [{}, {}]
    for value in (Namespace("a", labels=Labels({"color": "red"})), Node("a", labels=Labels({"color": "red"}))):
        world.step(value)
    assert [world.selections.by_node(each.ref) for each in (by_namespace, by_node)] == [{"a": 1}, {"a": 1}]


@pytest.fixture
def twins() -> Store:
    """Two pods that differ in nothing but the node: a red one and a blue one."""
    store = Store()
    for name, color in (("a", "red"), ("b", "blue")):
        store.node(name, Node(name, labels=Labels({"color": color})))
        pod = Pod("ns", name, node=name)
        store.pod(pod.key, pod)
    return store


@pytest.mark.parametrize(("nodes", "counted"), [(None, {"a": 1, "b": 1}), (RED, {"a": 1}), (NOT_RED, {"b": 1})])
def test_equal_pods_on_different_nodes_are_told_apart(
    twins: Store, nodes: Selector | None, counted: dict[str, int]
) -> None:
    policy = replace(BASE, subject=Subject(EVERYTHING), nodes=nodes)
    selections = Selections(twins)
    selections.policy(policy.ref, policy)
    assert selections.by_node(policy.ref) == counted


@pytest.mark.parametrize("nodes", [RED, NOT_RED])
def test_conflicts_of_equal_pods_on_different_nodes(twins: Store, nodes: Selector) -> None:
    everywhere = replace(BASE, subject=Subject(EVERYTHING))
    there = replace(everywhere, name="n", nodes=nodes)
    assert conflicts([everywhere, there], twins) == {there.ref: (everywhere.ref,)}


# -- conflicts


@pytest.fixture
def store() -> Store:
    """A red pod on node a in namespace a, a blue one on node b in namespace b."""
    store = Store()
    for name, color in (("a", "red"), ("b", "blue")):
        store.node(name, Node(name, labels=Labels({"color": color})))
        store.namespace(name, Namespace(name), 0.0)
        pod = Pod(name, "p", labels=Labels({"color": color}), node=name)
        store.pod(pod.key, pod)
    return store


@pytest.mark.parametrize(
    ("other", "loser"),
    [
        (replace(BASE, name="n"), "n"),
        (replace(BASE, name="a"), "m"),
        (replace(BASE, kind=Kind.CLUSTER, name="a"), "a"),
        (replace(BASE, name="n", subject=Subject(EVERYTHING)), "n"),
        (replace(BASE, name="n", subject=Subject(EVERYTHING, NOT_RED)), ""),
        (replace(BASE, name="n", subject=Subject(NamespaceNames(("b",)))), ""),
        (replace(BASE, name="n", subject=NOBODY), ""),
        (replace(BASE, name="n", ingress=(), egress=RULE), ""),
        (replace(BASE, name="n", egress=RULE), "n"),
        (replace(BASE, name="n", mode=Mode.AUDIT), ""),
        (replace(BASE, name="n", nodes=RED), "n"),
        (replace(BASE, name="n", nodes=NOT_RED), ""),
    ],
)
def test_conflicts(store: Store, other: TierPolicy, loser: str) -> None:
    winner = {"": "", "m": other.name}.get(loser, "m")
    found = conflicts([BASE, other], store)
    assert {ref.name: [each.name for each in rivals] for ref, rivals in found.items()} == (
        {loser: [winner]} if loser else {}
    )


def test_namespaced_policies_meet_only_at_home(store: Store) -> None:
    here, too, there = local("a", "x", EVERYTHING), local("a", "y", EVERYTHING), local("b", "x", EVERYTHING)
    assert conflicts([here, there], store) == {}
    assert conflicts([here, too, there], store) == {too.ref: (here.ref,)}


def test_each_pair_is_found_though_their_pods_differ(store: Store) -> None:
    red = [replace(BASE, name=name) for name in ("r1", "r2")]
    blue = [replace(BASE, name=name, subject=Subject(EVERYTHING, NOT_RED)) for name in ("b1", "b2")]
    assert conflicts([*red, *blue], store) == {red[1].ref: (red[0].ref,), blue[1].ref: (blue[0].ref,)}


def test_of_a_thousand_of_equal_priority_the_first_are_told(store: Store) -> None:
    everybody = [local("a", f"x{number:03}", EVERYTHING) for number in range(1_000)]
    began = time.process_time()
    found = conflicts(everybody, store)
    assert time.process_time() - began < 0.5, "seconds, in which nobody's change is written"
    first = tuple(each.ref for each in everybody[:MOST_RIVALS])
    assert found == {each.ref: first[:number] for number, each in enumerate(everybody) if number}
