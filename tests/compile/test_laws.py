"""Laws that hold for every cluster: bytes do not depend on order, allows only add, namespaces do not meddle."""

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nodewall.compile import compile_all
from nodewall.model.cluster import ClusterState
from nodewall.model.policy import AllowRule, Direction, NetworkPolicy
from tests.compile.generate import clusters, network_policies, packets, peers, port_sets
from tests.compile.verdicts import decisions


@settings(max_examples=50, deadline=None)
@given(clusters(), st.randoms(use_true_random=False))
def test_the_order_of_objects_never_changes_a_byte(state: ClusterState, chance: Random) -> None:
    def turned(name: str) -> dict[Any, Any]:
        items = list(getattr(state, name).items())
        return dict(chance.sample(items, len(items)))

    other = ClusterState(**{name: turned(name) for name in ClusterState.__dataclass_fields__})
    assert repr(compile_all(other)) == repr(compile_all(state))


@settings(max_examples=50, deadline=None)
@given(clusters(), peers(), port_sets(), st.sampled_from(Direction), st.data())
def test_an_allow_rule_in_an_isolated_direction_never_denies_more(
    state: ClusterState, who: object, ports: object, direction: Direction, data: st.DataObject
) -> None:
    isolating = [each for each in state.network_policies.values() if each.rules(direction) is not None]
    if not isolating:
        return
    widened = _with_rule(data.draw(st.sampled_from(isolating)), direction, AllowRule(99, who, ports))  # type: ignore[arg-type]
    policies = {**state.network_policies, (widened.namespace, widened.name): widened}
    before, after = compile_all(state), compile_all(replace(state, network_policies=policies))
    for packet in data.draw(packets(state)):
        pairs = zip(decisions(before, packet), decisions(after, packet), strict=True)
        assert all(allowed_later or not allowed_now for allowed_now, allowed_later in pairs)


def _with_rule(policy: NetworkPolicy, direction: Direction, rule: AllowRule) -> NetworkPolicy:
    more = (*(policy.rules(direction) or ()), rule)
    return replace(policy, ingress=more) if direction is Direction.INGRESS else replace(policy, egress=more)


@settings(max_examples=50, deadline=None)
@given(clusters(), network_policies("x"))
def test_a_policy_of_one_namespace_never_changes_the_classes_of_another(
    state: ClusterState, added: NetworkPolicy
) -> None:
    policies = {**state.network_policies, (added.namespace, added.name): added}
    before, after = compile_all(state), compile_all(replace(state, network_policies=policies))
    for name, ruleset in before.items():
        others = [each for each in ruleset.endpoints if each.namespace != "x"]
        assert [each for each in after[name].endpoints if each.namespace != "x"] == others
        kept = {each for endpoint in others for each in (endpoint.ingress, endpoint.egress) if each}
        classes = {each.name: each for each in after[name].classes}
        assert all(classes[each.name] == each for each in ruleset.classes if each.name in kept)
