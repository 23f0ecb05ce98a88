"""What is in force, when it is not simply what the API has."""

import time
from dataclasses import replace

import pytest

from nodewall.compile.changes import Change, Input
from nodewall.controller.store import FAREWELL_SECONDS, Store, StoredPolicy
from nodewall.model.cluster import Namespace, Pod
from nodewall.model.labels import Labels, Operator, Requirement, Selector
from nodewall.model.policy import NOBODY, Kind, NetworkPolicy, PolicyRef, Subject, Tier, TierPolicy

WEB = Selector.of([Requirement("app", Operator.IN, ("web",))])
OPEN = Pod("shop", "p1", labels=Labels({"app": "web"}))


def network_policy(*, pods: Selector = WEB, uid: str = "u1", broken: bool = False, generation: int = 1) -> StoredPolicy:
    value = NetworkPolicy("shop", "np", pods=pods, ingress=())
    return StoredPolicy(value.ref, uid, generation, value, subject_broken=broken)


def tier_policy(*, broken: bool = False) -> StoredPolicy:
    subject = NOBODY if broken else Subject(namespaces=Selector(), pods=WEB)
    value = TierPolicy(Kind.CLUSTER_EXTENDED, "", "guard", Tier.ADMIN, 1, subject)
    return StoredPolicy(value.ref, "u1", 1, value, subject_broken=broken)


def in_force(store: Store) -> list[NetworkPolicy]:
    return list(store.state.network_policies.values())


@pytest.fixture
def store() -> Store:
    """The namespace "shop" with one pod and one policy."""
    store = Store()
    store.namespace("shop", Namespace("shop"), 0.0)
    store.pod(OPEN.key, OPEN)
    store.policy(network_policy().ref, network_policy(), 0.0)
    return store


REF = network_policy().ref
GOING = Namespace("shop", terminating=True)


def test_a_change_names_the_collection_the_key_and_the_value() -> None:
    store = Store()
    assert store.pod(OPEN.key, OPEN) == [Change(Input.POD, ("shop", "p1"), OPEN)]
    assert store.state.pods[("shop", "p1")] == OPEN


def test_the_same_again_is_no_change(store: Store) -> None:
    assert store.pod(OPEN.key, OPEN) == []
    assert store.policy(REF, network_policy(generation=2), 0.0) == []
    assert store.policies[REF].generation == 2


def test_what_was_not_there_is_no_change_when_it_goes() -> None:
    assert Store().pod(("a", "b"), None) == []


def test_each_kind_has_its_place(store: Store) -> None:
    tier = tier_policy()
    (change,) = store.policy(tier.ref, tier, 0.0)
    assert change.kind is Input.TIER_POLICY
    assert store.state.tier_policies == {tier.ref: tier.value}
    assert set(store.state.network_policies) == {("shop", "np")}


# -- a broken subject


def test_a_broken_subject_leaves_the_last_accepted_in_force(store: Store) -> None:
    assert store.policy(REF, network_policy(pods=Selector(), broken=True), 0.0) == []
    assert in_force(store)[0].pods == WEB
    assert store.keeps_last_accepted(REF)


def test_a_broken_subject_without_a_past_acts_as_it_says() -> None:
    store = Store()
    store.policy(REF, network_policy(pods=Selector(), broken=True), 0.0)
    assert in_force(store)[0].pods == Selector()
    assert not store.keeps_last_accepted(REF)


def test_another_object_of_the_name_has_no_past(store: Store) -> None:
    store.policy(REF, network_policy(pods=Selector(), broken=True, uid="u2"), 0.0)
    assert in_force(store)[0].pods == Selector()


def test_a_mended_subject_counts_again(store: Store) -> None:
    store.policy(REF, network_policy(broken=True), 0.0)
    store.policy(REF, network_policy(pods=Selector()), 0.0)
    assert in_force(store)[0].pods == Selector()
    assert not store.keeps_last_accepted(REF)


def test_deletion_ends_the_past_too(store: Store) -> None:
    store.policy(REF, None, 0.0)
    store.policy(REF, network_policy(pods=Selector(), broken=True), 0.0)
    assert in_force(store)[0].pods == Selector()


# -- a namespace that is going (semantics 41)


def test_a_deleted_policy_opens_at_once_while_its_namespace_lives(store: Store) -> None:
    (change,) = store.policy(REF, None, 0.0)
    assert change.new is None
    assert in_force(store) == []


def test_a_policy_outlives_its_end_while_its_namespace_is_going(store: Store) -> None:
    store.namespace("shop", GOING, 0.0)
    assert store.policy(REF, None, 1.0) == []
    assert len(in_force(store)) == 1
    assert REF not in store.policies


def test_it_ends_with_the_last_pod(store: Store) -> None:
    second = Pod("shop", "p2")
    store.pod(second.key, second)
    store.namespace("shop", GOING, 0.0)
    store.policy(REF, None, 1.0)
    store.pod(OPEN.key, None)
    assert len(in_force(store)) == 1
    store.namespace("shop", None, 2.0)
    assert len(in_force(store)) == 1
    changes = store.pod(second.key, None)
    assert [change.kind for change in changes] == [Input.POD, Input.NETWORK_POLICY]
    assert in_force(store) == []


def test_it_ends_at_once_without_pods(store: Store) -> None:
    store.pod(OPEN.key, None)
    store.namespace("shop", GOING, 0.0)
    store.policy(REF, None, 1.0)
    assert in_force(store) == []


def test_it_comes_back_when_the_end_of_the_namespace_is_seen_late(store: Store) -> None:
    store.policy(REF, None, 0.0)
    (_, change) = store.namespace("shop", GOING, 0.1)
    assert change.new == network_policy().value
    store.pod(OPEN.key, None)
    assert in_force(store) == []


def test_many_that_end_together_cost_their_number() -> None:
    store = Store()
    refs = [PolicyRef(Kind.NETWORK_POLICY, "shop", f"p{number}") for number in range(20_000)]
    for ref in refs:
        store.policy(ref, replace(network_policy(), ref=ref), 0.0)
    began = time.process_time()
    for ref in refs:
        store.policy(ref, None, 1.0)
    assert time.process_time() - began < 1, "seconds; looking through all of them each time takes four"


def test_it_does_not_come_back_long_after(store: Store) -> None:
    store.policy(REF, None, 0.0)
    store.namespace("shop", GOING, FAREWELL_SECONDS + 1)
    assert in_force(store) == []


def test_a_policy_made_again_is_not_confused_with_the_old_one(store: Store) -> None:
    store.policy(REF, None, 0.0)
    store.policy(REF, network_policy(pods=Selector(), uid="u2"), 0.1)
    store.namespace("shop", GOING, 0.2)
    assert in_force(store)[0].pods == Selector()


def test_a_namespace_that_lives_again_lets_go(store: Store) -> None:
    store.namespace("shop", GOING, 0.0)
    store.policy(REF, None, 0.0)
    store.namespace("shop", Namespace("shop"), 1.0)
    assert in_force(store) == []


def test_other_namespaces_hold_nothing(store: Store) -> None:
    store.namespace("other", Namespace("other", terminating=True), 0.0)
    store.policy(REF, None, 0.0)
    assert in_force(store) == []


def test_a_cluster_policy_ends_at_once(store: Store) -> None:
    tier = tier_policy()
    store.policy(tier.ref, tier, 0.0)
    store.policy(tier.ref, None, 0.0)
    assert not store.state.tier_policies


def test_a_namespaced_tier_policy_is_held_like_a_network_policy(store: Store) -> None:
    ref = PolicyRef(Kind.EXTENDED, "shop", "x")
    value = TierPolicy(Kind.EXTENDED, "shop", "x", Tier.NAMESPACE, 1, Subject(Selector()))
    store.policy(ref, StoredPolicy(ref, "u", 1, value), 0.0)
    store.namespace("shop", GOING, 0.0)
    store.policy(ref, None, 0.0)
    assert store.state.tier_policies == {ref: value}
