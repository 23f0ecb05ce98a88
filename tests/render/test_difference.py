"""The transaction from one table to the next is as small as the change, and in the kernel's order."""

from dataclasses import replace as changed
from ipaddress import ip_network
from typing import Any

import pytest

from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, Tier
from nodewall.model.ruleset import AddressGroup, Endpoint, Isolation, Match, NodeRuleSet, Rule, RuleClass
from nodewall.render import Guard, Settings, Strict, Table, Transaction, diff, render, replace
from nodewall.render.table import EVERYTHING_ELSE
from tests.render.rulesets import EVERYTHING, SETTINGS, block, tcp


def _addresses(count: int) -> tuple[Address, ...]:
    return tuple(Address(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(1 << 16, (1 << 16) + count))


def _ruleset(count: int, peers: tuple[Address, ...] = (), pods: int = 1, port: int = 80) -> NodeRuleSet:
    """One group of ``count`` addresses and a few more, and ``pods`` pods of one class."""
    match = Match(groups=("g",), blocks=(block("192.0.2.0/24", "192.0.2.4/31"),), ports=(tcp(port),))
    web = RuleClass(
        "web", Direction.INGRESS, (Rule("r", Tier.NETWORK_POLICY, Action.ACCEPT, match),), Isolation("i", ("a/b",), 1)
    )
    endpoints = tuple(
        Endpoint("a", f"p{n}", (Address(f"10.0.0.{n}"), Address(f"fd00::{n:x}")), "web") for n in range(1, pods + 1)
    )
    return NodeRuleSet("n", (AddressGroup("g", "", (*_addresses(count), *peers)),), (), (web,), endpoints)


def _steps(old: NodeRuleSet, new: NodeRuleSet) -> Transaction:
    found = diff(render(old), render(new))
    assert found is not None
    return found


def _words(transaction: Transaction) -> list[tuple[str, str, str]]:
    """(verb, kind, name) of every command."""
    return [_word(command) for command in transaction.json()["nftables"]]


def _word(command: dict[str, Any]) -> tuple[str, str, str]:
    ((verb, what),) = command.items()
    ((kind, body),) = what.items()
    return verb, kind, body.get("chain") or body["name"]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_equal_tables_need_nothing(settings: Settings) -> None:
    assert diff(render(EVERYTHING, settings), render(EVERYTHING, settings)) is None


def test_words_for_people_are_no_difference() -> None:
    described = changed(EVERYTHING, groups=tuple(changed(g, description="other") for g in EVERYTHING.groups))
    assert diff(render(EVERYTHING), render(described)) is None


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_peer_more_or_less_is_one_element(size: int) -> None:
    without, with_one = _ruleset(size), _ruleset(size, (Address("172.16.0.1"),))
    more, less = _steps(without, with_one), _steps(with_one, without)
    assert (_words(more), more.operations) == ([("add", "element", "g4_g")], 1)
    assert (_words(less), less.operations) == ([("delete", "element", "g4_g")], 1)


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_pod_more_or_less_is_five_elements_of_each_family(size: int) -> None:
    """local, self and the three dispatch maps."""
    one, two = _ruleset(size), _ruleset(size, pods=2)
    more, less = _steps(one, two), _steps(two, one)
    assert more.operations == less.operations == 10
    assert {(verb, kind) for verb, kind, _ in _words(more)} == {("add", "element")}
    assert {(verb, kind) for verb, kind, _ in _words(less)} == {("delete", "element")}


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_changed_rule_is_its_chain(size: int) -> None:
    found = _steps(_ruleset(size), _ruleset(size, port=81))
    chains = [("flush", "chain", "in4_web"), *[("add", "rule", "in4_web")] * 3]
    assert _words(found) == [*chains, ("flush", "chain", "in6_web"), *[("add", "rule", "in6_web")] * 2]


def test_a_bump_of_the_generation_is_the_base_chains() -> None:
    old, new = (render(_ruleset(1000), Settings(strict=Strict(generation))) for generation in (1, 2))
    found = diff(old, new)
    assert found is not None
    assert {name for _, _, name in _words(found)} == {"forward", "forward6", "input", "input6"}


def test_a_cidr_list_is_swapped_by_name() -> None:
    """The new one is there before the rule that names it, the old one goes when no rule names it any more."""
    old, new = _ruleset(10), _ruleset(10)
    (rule,) = new.classes[0].rules
    blocks = (block("192.0.2.0/24", "192.0.2.8/31"),)
    web = changed(new.classes[0], rules=(changed(rule, match=changed(rule.match, blocks=blocks)),))
    words = _words(_steps(old, changed(new, classes=(web,))))
    kinds = [(verb, kind) for verb, kind, _ in words]
    assert kinds == [
        ("add", "set"),
        ("add", "element"),
        ("flush", "chain"),
        *[("add", "rule")] * 3,
        ("delete", "set"),
    ]
    assert words[0][2] != words[-1][2]


def test_an_address_that_changes_its_class_is_taken_out_first() -> None:
    """Otherwise the kernel sees one key with two verdicts."""
    base = _ruleset(1)
    moved = changed(
        base,
        classes=(base.classes[0], changed(base.classes[0], name="open", isolation=None)),
        endpoints=(changed(base.endpoints[0], ingress="open"),),
    )
    words = _words(_steps(base, moved))
    assert words.index(("delete", "element", "ingress4")) < words.index(("add", "element", "ingress4"))
    assert words.index(("add", "chain", "in4_open")) < words.index(("add", "element", "ingress4"))
    assert words.index(("delete", "element", "ingress4")) < words.index(("delete", "chain", "in4_web"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (render(EVERYTHING), render(EVERYTHING, Settings(table="other"))),
        (Table("nodewall"), render(EVERYTHING)),
    ],
)
def test_going_there_from_another_table_ends_there(old: Table, new: Table) -> None:
    found = diff(old, new)
    assert found is not None
    if old.name != new.name:
        assert found == replace(new)


def test_operations_count_elements_and_commands() -> None:
    table = render(EVERYTHING)
    rules = sum(len(chain.rules) for chain in table.chains)
    objects = len(table.counters) + len(table.chains) + len(table.holders)
    assert replace(table).operations == 3 + objects + rules + table.size


def test_the_scope_of_the_guard_may_change_alone() -> None:
    old = render(EVERYTHING, SETTINGS["guarded"])
    elsewhere = (ip_network("10.0.3.0/24"), *EVERYTHING.pod_cidrs[1:])
    new = render(changed(EVERYTHING, pod_cidrs=elsewhere), SETTINGS["guarded"])
    found = diff(old, new)
    assert found is not None
    assert {name for _, _, name in _words(found)} == {"unlisted_egress4", "unlisted_ingress4", "unlisted_host4"}


def test_the_guard_comes_and_goes_alone() -> None:
    """An element of each map, its chains and its counter: no base chain and no pod's element is touched."""
    unguarded, guarded = (render(EVERYTHING, Settings(guard=guard)) for guard in (None, Guard()))
    for old, new, verb in ((unguarded, guarded, "add"), (guarded, unguarded, "delete")):
        found = diff(old, new)
        assert found is not None
        moved = [command for command in found.commands if command.kind == "element"]
        assert [command.verb for command in moved] == [verb] * 6
        assert all(key == EVERYTHING_ELSE for command in moved for [key, _] in command.json()[verb]["element"]["elem"])
        assert not {name for _, _, name in _words(found)} & {"forward", "forward6", "input", "input6"}
