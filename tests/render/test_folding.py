"""Many NetworkPolicy rules become lookups; nothing that they say is lost."""

from dataclasses import replace as changed

import pytest

from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, NumericPort, PortRange, Protocol, Tier
from nodewall.model.ruleset import AddressGroup, Endpoint, Isolation, Match, NodeRuleSet, Rule, RuleClass, RuleLog
from nodewall.render import Settings, Table, diff, render
from tests.render.rulesets import WEB4, block, tcp


def _allow(ident: str, match: Match, log: RuleLog | None = None) -> Rule:
    return Rule(ident, Tier.NETWORK_POLICY, Action.ACCEPT, match, log=log)


def _group(number: int, members: int = 2) -> AddressGroup:
    return AddressGroup(f"g{number}", "", tuple(Address(f"10.{number}.0.{n}") for n in range(1, members + 1)))


def _ruleset(rules: tuple[Rule, ...], groups: tuple[AddressGroup, ...]) -> NodeRuleSet:
    judged = RuleClass("c", Direction.INGRESS, rules, Isolation("i", ("a/b",), 1))
    return NodeRuleSet("n", groups, (), (judged,), (Endpoint("a", "b", (WEB4,), "c"),))


def _many(count: int, *ports: NumericPort) -> NodeRuleSet:
    rules = tuple(_allow(f"r{n}", Match(groups=(f"g{n}",), any_port=not ports, ports=ports)) for n in range(count))
    return _ruleset(rules, tuple(map(_group, range(count))))


def _map(table: Table, name: str) -> dict[str, str]:
    (found,) = (held for held in table.maps if held.name == name)
    return {str(key): str(verdict) for key, verdict in found.elements}


def _rules(table: Table) -> list[str]:
    (chain,) = (chain for chain in table.chains if chain.name == "in4_c")
    return [" ".join(map(str, rule.statements)) for rule in chain.rules]


@pytest.mark.parametrize("count", [17, 100, 500])
def test_the_walk_does_not_grow_with_the_policies(count: int) -> None:
    assert _rules(render(_many(count, tcp(80)))) == [
        "ip saddr . meta l4proto . th dport vmap @in4_c_pairs",
        "goto isolate_i",
    ]
    assert _rules(render(_many(count))) == ["ip saddr vmap @in4_c_peers", "goto isolate_i"]


def test_few_stay_rules() -> None:
    table = render(_many(16, tcp(80)))
    assert len(_rules(table)) == 17
    assert not any("pairs" in held.name for held in table.maps)


def test_every_key_leads_to_the_rule_it_came_from() -> None:
    rules = (
        _allow("one", Match(groups=("g1",), ports=(tcp(80), PortRange(Protocol.UDP, 53, 53)))),
        _allow("two", Match(groups=("g1", "g2"), any_port=True)),
        _allow("three", Match(any_peer=True, ports=(tcp(443),))),
        _allow("four", Match(groups=("g1",), ports=(tcp(80),))),
    )
    table = render(_ruleset(rules, (_group(1), _group(2, 1))), Settings(fold_from=0))
    assert _map(table, "in4_c_pairs") == {
        f"10.1.0.{n} . {port}": "goto accept_one" for n in (1, 2) for port in ("tcp . 80", "udp . 53")
    }
    assert _map(table, "in4_c_peers") == dict.fromkeys(("10.1.0.1", "10.1.0.2", "10.2.0.1"), "goto accept_two")
    assert _map(table, "in4_c_ports") == {"tcp . 443": "goto accept_three"}
    assert not any(held.name.startswith("g4_") for held in table.sets)


def test_what_has_no_single_key_stays_a_rule() -> None:
    match = Match(groups=("g1", "g2"), blocks=(block("192.0.2.0/24"),), ports=(tcp(80), tcp(90, 99)))
    everyone = Match(any_peer=True, ports=(tcp(1), PortRange(Protocol.SCTP)))
    rules = (_allow("r", match), _allow("e", everyone), _allow("all", Match(any_peer=True, any_port=True)))
    table = render(_ruleset(rules, (_group(1, 1), _group(2, 3))), Settings(fold_from=0, fold_limit=2))
    (ports,) = (held.name for held in table.sets if held.name.startswith("p_"))
    assert _rules(table) == [
        "ip saddr . meta l4proto . th dport vmap @in4_c_pairs",
        "meta l4proto . th dport vmap @in4_c_ports",
        f'ip saddr 192.0.2.0/24 meta l4proto . th dport @{ports} counter name "r_r" return',
        f'ip saddr @g4_g2 meta l4proto . th dport @{ports} counter name "r_r" return',
        'ip saddr @g4_g1 tcp dport 90-99 counter name "r_r" return',
        'meta l4proto sctp counter name "r_e" return',
        'counter name "r_all" return',
        "goto isolate_i",
    ]


def test_the_smallest_groups_are_folded_first_and_the_limit_holds() -> None:
    rules = tuple(_allow(f"r{n}", Match(groups=(f"g{n}",), ports=(tcp(80), tcp(81)))) for n in range(1, 6))
    table = render(_ruleset(rules, tuple(_group(n, n) for n in range(1, 6))), Settings(fold_from=0, fold_limit=13))
    assert len(_map(table, "in4_c_pairs")) == 12
    assert {held.name for held in table.sets if held.name.startswith("g4_")} == {"g4_g4", "g4_g5"}


def test_hits_are_counted_and_recorded_by_rule() -> None:
    rules = (
        _allow("one", Match(groups=("g1",), any_port=True)),
        _allow("two", Match(groups=("g2",), any_port=True), RuleLog(1, 2)),
    )
    table = render(_ruleset(rules, (_group(1), _group(2))), Settings(fold_from=0))
    chains = {c.name: [" ".join(map(str, rule.statements)) for rule in c.rules] for c in table.chains}
    assert chains["accept_one"] == ['counter name "r_one" return']
    assert chains["accept_two_1_2"][0].startswith('limit rate 1/second burst 2 packets log prefix "accept:two"')


@pytest.mark.parametrize("size", [10, 1000])
def test_a_peer_more_is_one_element_of_the_map(size: int) -> None:
    before = _many(20)
    old = changed(before, groups=(_group(0, 1), *before.groups[1:-1], AddressGroup("g19", "", _large(size))))
    new = changed(old, groups=(_group(0, 2), *old.groups[1:]))
    found = diff(render(old), render(new, None, render(old)))
    assert found is not None
    assert found.operations == 1


def _large(size: int) -> tuple[Address, ...]:
    return tuple(Address(f"10.200.{n >> 8}.{n & 255}") for n in range(size))


def test_admin_rules_keep_their_order() -> None:
    """They are no union: nothing of an ordered tier is ever folded."""
    ordered = tuple(changed(rule, tier=Tier.ADMIN) for rule in _many(50).classes[0].rules)
    base = _many(50)
    table = render(changed(base, classes=(changed(base.classes[0], rules=ordered),)))
    assert _rules(table)[:2] == [f'ip saddr @g4_g{n} counter name "r_r{n}" return' for n in (0, 1)]
    assert len(_rules(table)) == 51


def test_a_group_that_grows_beyond_the_limit_leaves_the_map() -> None:
    """Whatever was drawn before, although the class is as it was."""
    rules = tuple(_allow(f"r{n}", Match(groups=(f"g{n}",), any_port=True)) for n in range(1, 4))
    drawn = Settings(fold_from=0, fold_limit=8)
    small, grown = (_ruleset(rules, (_group(1), _group(2), _group(3, size))) for size in (3, 5))
    before = render(small, drawn)
    assert len(_map(before, "in4_c_peers")) == 7
    assert render(grown, drawn, before) == render(grown, drawn)
    assert len(_map(render(grown, drawn, before), "in4_c_peers")) == 4
    assert render(small, drawn, render(grown, drawn)) == before


@pytest.mark.parametrize(("classes", "folded"), [(1, 8), (4, 8), (5, 4), (8, 4), (9, 2), (17, 1), (33, 0)])
def test_many_classes_share_what_a_table_may_hold(classes: int, folded: int) -> None:
    """Whoever may make pods and policies may make as many as he likes."""
    rules = tuple(_allow(f"r{n}", Match(groups=("g1",), ports=(tcp(n + 1),))) for n in range(8))
    named = [f"c{number}" for number in range(classes)]
    judged = tuple(RuleClass(name, Direction.INGRESS, rules, Isolation("i", ("a/b",), 1)) for name in named)
    pods = tuple(Endpoint("a", name, (Address(f"10.9.0.{n}"),), name) for n, name in enumerate(named))
    settings = Settings(fold_from=0, fold_limit=8, fold_total=64)
    table = render(NodeRuleSet("n", (_group(1, 1),), (), judged, pods), settings)
    pairs = {held.name: len(held.elements) for held in table.maps if held.name.endswith("_pairs")}
    assert pairs == ({f"in4_{name}_pairs": folded for name in named} if folded else {})
    assert len(_rules_of(table, "in4_c0")) == 8 - folded + bool(folded) + 1, "the others stay rules"


def _rules_of(table: Table, name: str) -> tuple[object, ...]:
    (chain,) = (chain for chain in table.chains if chain.name == name)
    return chain.rules
