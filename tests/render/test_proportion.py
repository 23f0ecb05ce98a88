"""What a change costs to draw and to compare is what changed, not what there is. Counted in calls of functions,
Python's and C's.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Self

import pytest

from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, Kind, Tier
from nodewall.model.ruleset import AddressGroup, Endpoint, Isolation, Match, NodeRuleSet, Rule, RuleClass, RuleRef
from nodewall.render import Settings, Table, diff, render
from tests.render.rulesets import tcp

GROUPS_OF_A_CLASS = 10
BISECTED = 100
"""Calls that finding a place among thirty times as many things may take."""


class Calls:
    """How many functions this thread calls."""

    def __enter__(self) -> Self:
        self.number, self._before = 0, sys.getprofile()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _count(self, _frame: object, event: str, _argument: object) -> None:
        self.number += event in {"call", "c_call"}


def _address(net: int, number: int) -> Address:
    return Address(f"10.{net}.{number >> 8}.{number & 255}")


def _ruleset(classes: int) -> NodeRuleSet:
    """Every class has a pod of its own, and ten rules with a group each."""
    names = [f"c{number:04}" for number in range(classes)]
    groups = {name: [f"{name}x{number}" for number in range(GROUPS_OF_A_CLASS)] for name in names}
    return NodeRuleSet(
        "n1",
        groups=tuple(_group(group) for name in names for group in groups[name]),
        classes=tuple(_class(name, groups[name]) for name in names),
        endpoints=tuple(Endpoint("a", name, (_address(0, number),), name) for number, name in enumerate(names)),
        rules=tuple(_ref(group) for name in names for group in groups[name]),
    )


def _group(name: str) -> AddressGroup:
    return AddressGroup(name, "", tuple(_address(1, number) for number in range(1, 6)))


def _class(name: str, groups: list[str]) -> RuleClass:
    rules = (_rule(group) for group in groups)
    return RuleClass(name, Direction.INGRESS, tuple(rules), Isolation(f"i{name}", (f"a/{name}",), 1))


def _rule(group: str) -> Rule:
    return Rule(f"r{group}", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=(group,), ports=(tcp(80),)))


def _ref(group: str) -> RuleRef:
    return RuleRef(f"r{group}", Kind.NETWORK_POLICY, "a", group, Direction.INGRESS, "ingress[0]")


def _peer(before: NodeRuleSet) -> NodeRuleSet:
    first, *others = before.groups
    return replace(before, groups=(replace(first, addresses=(*first.addresses, _address(2, 0))), *others))


def _pod(before: NodeRuleSet) -> NodeRuleSet:
    joining = Endpoint("a", "b", (_address(2, 0),), before.classes[0].name)
    return replace(_peer(before), endpoints=(before.endpoints[0], joining, *before.endpoints[1:]))


def _policy(before: NodeRuleSet) -> NodeRuleSet:
    first, *others = before.classes
    added = replace(first, rules=(*first.rules, _rule("new")))
    refs = (*before.rules, _ref("new"))
    return replace(before, groups=(*before.groups, _group("new")), classes=(added, *others), rules=refs)


CHANGES: dict[str, tuple[Callable[[NodeRuleSet], NodeRuleSet], Settings, int]] = {
    "a peer": (_peer, Settings(), 0),
    "a pod": (_pod, Settings(), 0),
    "a policy": (_policy, Settings(), 10),
    "a peer, folded": (_peer, Settings(fold_from=0), 10),
    "a pod, folded": (_pod, Settings(fold_from=0), 20),
    "a policy, folded": (_policy, Settings(fold_from=0), 10),
}
"""Each with the calls that it may cost for each class that stays, with its pod, ten groups, ten rules and its chain."""


def _calls(old: NodeRuleSet, new: NodeRuleSet, settings: Settings) -> int:
    before = render(old, settings)
    with Calls() as calls:
        table = render(new, settings, before)
        assert diff(before, table)
    return calls.number


@pytest.mark.parametrize(("change", "settings", "more"), CHANGES.values(), ids=CHANGES)
def test_what_stays_costs_next_to_nothing(
    change: Callable[[NodeRuleSet], NodeRuleSet], settings: Settings, more: int
) -> None:
    small, large = (_ruleset(classes) for classes in (10, 300))
    here, there = (_calls(ruleset, change(ruleset), settings) for ruleset in (small, large))
    assert there - here <= more * (300 - 10) + BISECTED


def test_what_is_equal_but_not_the_same_is_found_to_be_equal() -> None:
    """As after a restart of whoever reads the rule set: everything is compared, and nothing drawn."""
    old, again = _ruleset(10), _ruleset(10)
    table = render(old)
    assert all(was is now for was, now in zip(table.sets, render(again, None, table).sets, strict=True))


def test_nothing_changed_is_the_same_table() -> None:
    ruleset = _ruleset(10)
    table = render(ruleset)
    assert _kept(table, render(ruleset, None, table))


def _kept(old: Table, new: Table) -> bool:
    return (new.counters, new.chains, new.sets, new.maps) == (old.counters, old.chains, old.sets, old.maps)
