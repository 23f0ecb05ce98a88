"""Laws that need no second reading: they hold for every cluster, in the verdicts and in the bytes made of them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nodewall.api.ruleset import encode_json
from nodewall.compile import compile_all
from nodewall.evaluate import PodParty, party_of_address
from nodewall.model.cluster import ClusterState
from nodewall.model.policy import AllowRule, Direction, Kind, NetworkPolicy, TierPolicy
from nodewall.render import render
from nodewall.render import replace as whole
from tests.property.questions import allowed, flows
from tests.property.strategies import allow_rules, clusters, network_policies, tier_policies, traffics
from tests.truth.flows import Flow

T = TypeVar("T")
_LAW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def _written(state: ClusterState) -> dict[str, tuple[bytes, str]]:
    """What is published for each node, and what its kernel is told."""
    return {
        name: (encode_json(ruleset)[1], json.dumps(whole(render(ruleset)).json()))
        for name, ruleset in compile_all(state).items()
    }


def _shuffled(chance: Random, things: Iterable[T]) -> tuple[T, ...]:
    listed = list(things)
    return tuple(chance.sample(listed, len(listed)))


def _in_another_order(state: ClusterState, chance: Random) -> ClusterState:
    """The same objects, as another list would have brought them."""

    def turned(things: Mapping[Any, Any]) -> dict[Any, Any]:
        return dict(_shuffled(chance, things.items()))

    return ClusterState(
        pods=turned(
            {
                key: replace(pod, ports=_shuffled(chance, pod.ports), addresses=_shuffled(chance, pod.addresses))
                for key, pod in state.pods.items()
            }
        ),
        namespaces=turned(state.namespaces),
        nodes=turned(state.nodes),
        services=turned(state.services),
        slices=turned(
            {
                key: replace(piece, addresses=_shuffled(chance, piece.addresses), ports=_shuffled(chance, piece.ports))
                for key, piece in state.slices.items()
            }
        ),
        network_policies=turned(state.network_policies),
        tier_policies=turned(state.tier_policies),
    )


@_LAW
@given(clusters(), st.randoms(use_true_random=False))
def test_neither_time_nor_the_order_of_objects_changes_a_byte(state: ClusterState, chance: Random) -> None:
    written = _written(state)
    assert _written(state) == written
    assert _written(_in_another_order(state, chance)) == written


def test_another_process_writes_the_same_bytes() -> None:
    """Sets and dictionaries iterate differently in each process: a name or a list must not depend on it."""
    script = (
        "from hashlib import sha256\nfrom tests.property.test_laws import _written\n"
        "from tests.truth.cases import ALL\nfrom tests.truth.reading import state_of\n"
        "print(sha256(repr([_written(state_of(case)) for case in ALL]).encode()).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def _probed(state: ClusterState, data: st.DataObject) -> list[Flow]:
    return list(flows(state, data.draw(st.lists(traffics(state), min_size=1, max_size=4, unique=True))))


@_LAW
@given(clusters(), st.sampled_from(Direction), st.data())
def test_an_allow_rule_in_an_isolated_direction_never_denies_more(
    state: ClusterState, direction: Direction, data: st.DataObject
) -> None:
    isolating = [policy for policy in state.network_policies.values() if policy.rules(direction) is not None]
    assume(isolating)
    policy = data.draw(st.sampled_from(isolating))
    widened = _with(policy, direction, data.draw(allow_rules(policy.namespace, 99)))
    after = replace(state, network_policies={**state.network_policies, (policy.namespace, policy.name): widened})
    assert [flow for flow in _probed(state, data) if allowed(state, flow) and not allowed(after, flow)] == []


def _with(policy: NetworkPolicy, direction: Direction, rule: AllowRule) -> NetworkPolicy:
    rules = (*(policy.rules(direction) or ()), rule)
    return replace(policy, ingress=rules) if direction is Direction.INGRESS else replace(policy, egress=rules)


@_LAW
@given(clusters(), network_policies("more"), st.data())
def test_a_network_policy_of_one_namespace_changes_nothing_between_others(
    state: ClusterState, added: NetworkPolicy, data: st.DataObject
) -> None:
    after = replace(state, network_policies={**state.network_policies, (added.namespace, added.name): added})
    _same_between_others(state, after, added.namespace, data)


@_LAW
@given(clusters(), tier_policies("more", (Kind.EXTENDED,)), st.data())
def test_an_extended_policy_of_one_namespace_changes_nothing_between_others(
    state: ClusterState, added: TierPolicy, data: st.DataObject
) -> None:
    after = replace(state, tier_policies={**state.tier_policies, added.ref: added})
    _same_between_others(state, after, added.namespace, data)


def _same_between_others(before: ClusterState, after: ClusterState, namespace: str, data: st.DataObject) -> None:
    for flow in _probed(before, data):
        ends = (party_of_address(before, address) for address in (flow.source, flow.destination))
        if not any(isinstance(end, PodParty) and end.pod.namespace == namespace for end in ends):
            assert allowed(before, flow) == allowed(after, flow), flow


@_LAW
@given(clusters(), st.data())
def test_without_policies_everything_is_open(state: ClusterState, data: st.DataObject) -> None:
    bare = replace(state, network_policies={}, tier_policies={})
    assert all(allowed(bare, flow) for flow in _probed(bare, data))
    assert all(not ruleset.classes for ruleset in compile_all(bare).values())
