"""A table drawn after another one is the same table: what was drawn before only saves work."""

from dataclasses import replace as changed
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodewall.compile import compile_node
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState
from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import Endpoint, NodeRuleSet
from nodewall.render import Settings, Strict, Table, render
from tests.property.strategies import clusters
from tests.render.rulesets import EVERYTHING, SETTINGS, WEB4


@settings(max_examples=100, deadline=None)
@given(states=st.lists(clusters(), min_size=2, max_size=4), data=st.data())
def test_the_previous_table_changes_nothing(states: list[ClusterState], data: st.DataObject) -> None:
    previous: Table | None = None
    for state in states:
        chosen = data.draw(st.sampled_from(list(SETTINGS.values())))
        ruleset = compile_node(state, "n1")
        previous = render(ruleset, chosen, previous)
        assert previous == render(ruleset, chosen)


def _variants() -> dict[str, tuple[NodeRuleSet, Settings]]:
    """Each differs from EVERYTHING in one thing, which must be drawn anew though names stay the same."""
    e = EVERYTHING
    fewer = tuple(changed(group, addresses=group.addresses[:-1]) for group in e.groups)
    ports = tuple(changed(group, members=group.members[:1]) for group in e.port_groups)
    shorter = tuple(changed(one, rules=one.rules[1:]) for one in e.classes)
    renamed = tuple(changed(ref, name="renamed") for ref in e.rules)
    return {
        "groups": (changed(e, groups=fewer), Settings()),
        "port groups": (changed(e, port_groups=ports), Settings()),
        "classes": (changed(e, classes=shorter), Settings()),
        "policies": (changed(e, rules=renamed), Settings()),
        "endpoints": (changed(e, endpoints=e.endpoints[1:]), Settings()),
        "log group": (e, Settings(nflog_group=1)),
        "snaplen": (e, Settings(snaplen=1)),
        "strict": (e, SETTINGS["strict"]),
        "guard": (e, SETTINGS["guarded"]),
    }


@pytest.mark.parametrize("variant", _variants().values(), ids=_variants())
def test_one_change_is_never_missed(variant: tuple[NodeRuleSet, Settings]) -> None:
    old, anew = render(EVERYTHING), render(*variant)
    assert anew != old
    assert render(*variant, old) == anew
    assert render(EVERYTHING, None, anew) == old


def test_what_did_not_change_is_the_same_object() -> None:
    old = render(EVERYTHING)
    chains, sets = ({id(thing) for thing in things} for things in (old.chains, old.sets))
    new = render(changed(EVERYTHING, endpoints=EVERYTHING.endpoints[:2]), None, old)
    assert {c.name for c in new.chains if id(c) not in chains} == {"forward", "input", "spoofed"}
    assert {s.name for s in new.sets if id(s) not in sets} == {"local4", "local6", "self4", "self6"}


def _with_member(member: str) -> NodeRuleSet:
    first, *rest = EVERYTHING.groups
    return changed(EVERYTHING, groups=(changed(first, addresses=(Address(member),)), *rest))


def _with_endpoint(address: str, ingress: str = "") -> NodeRuleSet:
    return changed(EVERYTHING, endpoints=(Endpoint("x", "y", (Address(address),), ingress),))


@pytest.mark.parametrize(
    ("ruleset", "said"),
    [
        (changed(EVERYTHING, classes=()), "no Egress class is named 'out-isolated'"),
        (changed(EVERYTHING, groups=()), "no group is named 'front'"),
        (changed(EVERYTHING, port_groups=()), "no group is named 'dns'"),
        (changed(EVERYTHING, endpoints=(*EVERYTHING.endpoints, Endpoint("x", "y", (WEB4,)))), "two endpoints"),
        (_with_endpoint(WEB4, "out-open"), "no Ingress class is named 'out-open'"),
        (_with_endpoint("10.0.0.1; x"), "not an address"),
        (_with_member("example.com"), "not an address"),
        (_with_member("@g4_lab"), "not an address"),
        (_with_member("dead.beef"), "not an address"),
    ],
)
def test_a_rule_set_that_contradicts_itself_is_refused(ruleset: NodeRuleSet, said: str) -> None:
    """Nothing is left out silently: the agent keeps its last good table and says why."""
    with pytest.raises(BadInputError, match=said):
        render(ruleset)


@pytest.mark.parametrize("link", ["", "a" * 16, "eth*", "@set", 'a"b', "a b", "a/b", "é"])
def test_a_link_is_a_link(link: str) -> None:
    with pytest.raises(BadInputError, match="not a name of a link"):
        render(EVERYTHING, Settings(pod_links=(link,)))


@pytest.mark.parametrize("mask", [0, 1, 0x8000_0000, 0b101, 0x1_0000_0000, 0x1_8000_0000, -1])
def test_a_mark_mask_is_one_run_of_bits(mask: int) -> None:
    with pytest.raises(ValueError, match="one run of at least two bits"):
        Strict(1, mask)


@pytest.mark.parametrize("mask", [0xFFF00000, 0xFF00, 0b11, 0xFFFFFFFF])
def test_generations_follow_each_other_and_are_never_zero(mask: int) -> None:
    values = [Strict(generation, mask).value for generation in range(5)]
    assert all(value and value & ~mask == 0 for value in values)
    assert all(one != other for one, other in pairwise(values))
