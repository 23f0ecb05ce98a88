"""What render makes is what the kernel takes: as JSON, as text, once and again, and as it lists it."""

import json
from dataclasses import replace as changed
from typing import Any

import pytest

from nodewall.model.policy import Action, Direction, Tier
from nodewall.model.ruleset import (
    AddressGroup,
    Endpoint,
    Isolation,
    Match,
    NodeRuleSet,
    Rule,
    RuleClass,
    RuleLog,
    RuleRef,
)
from nodewall.render import Settings, render, replace, text
from tests.kernel import nft
from tests.render.rulesets import EVERYTHING, NASTY, SETTINGS, WEB4, WEB6

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_json_loads_and_replaces_itself(empty: str, settings: Settings) -> None:
    commands = replace(render(EVERYTHING, settings)).json()
    nft.load(empty, commands)
    first = nft.listing(empty)
    nft.load(empty, commands)
    assert nft.listing(empty) == first


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_text_loads_as_the_same_table(empty: str, settings: Settings) -> None:
    table = render(EVERYTHING, settings)
    nft.load(empty, replace(table).json())
    first = nft.listing(empty)
    nft.load_text(empty, text(table))
    assert nft.listing(empty) == first


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_what_the_kernel_lists_can_be_applied_again(empty: str, settings: Settings) -> None:
    """So nothing was dropped or misread on the way in or out."""
    nft.load(empty, replace(render(EVERYTHING, settings)).json())
    first = nft.listing(empty)
    table = {"family": "inet", "name": "nodewall"}
    listed = _in_order([o for o in nft.listed(empty) if "metainfo" not in o])
    nft.load(empty, {"nftables": [{"delete": {"table": table}}, *({"add": o} for o in listed)]})
    assert nft.listing(empty) == first


def _in_order(objects: list[Any]) -> list[Any]:
    """libnftables lists maps before the chains that their elements name; it does not take them so."""
    kinds = ("table", "counter", "chain", "set", "map", "rule")
    return sorted(objects, key=lambda o: kinds.index(next(iter(o))))


def test_all_that_was_rendered_is_there(empty: str) -> None:
    """Counted, kind by kind: sets with all their elements, chains with all their rules."""
    table = render(EVERYTHING, SETTINGS["all"])
    nft.load(empty, replace(table).json())
    listed = nft.listed(empty)
    sets = {o["set"]["name"]: len(o["set"].get("elem", ())) for o in listed if "set" in o}
    maps = {o["map"]["name"]: len(o["map"].get("elem", ())) for o in listed if "map" in o}
    rules = [o["rule"]["chain"] for o in listed if "rule" in o]
    assert sets == {held.name: len(held.elements) for held in table.sets}
    assert maps == {held.name: len(held.elements) for held in table.maps}
    assert {c.name: len(c.rules) for c in table.chains} == {c.name: rules.count(c.name) for c in table.chains}
    assert {o["counter"]["name"] for o in listed if "counter" in o} == set(table.counters)


def _nasty() -> NodeRuleSet:
    """Strings where only a broken or hostile controller would put them."""
    rule = Rule(NASTY, Tier.ADMIN, Action.DENY, Match(groups=(NASTY,), any_port=True), log=RuleLog(0, 0))
    ingress = RuleClass(NASTY, Direction.INGRESS, (rule,), Isolation(NASTY * 9, (NASTY, NASTY), 2, RuleLog(1, 1)))
    return NodeRuleSet(
        node=NASTY,
        groups=(AddressGroup(NASTY, NASTY, (WEB4,)),),
        classes=(ingress,),
        endpoints=(Endpoint(NASTY, NASTY, (WEB4, WEB6), NASTY),),
        rules=(RuleRef(NASTY, EVERYTHING.rules[0].kind, NASTY, NASTY, Direction.INGRESS, NASTY),),
    )


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_string_becomes_syntax(empty: str, form: str) -> None:
    """Another table stays, only our own objects are there, and names are plain."""
    nft.load_text(empty, "table inet bystander { chain c { counter accept; }; }")
    table = render(_nasty())
    nft.load(empty, replace(table).json()) if form == "json" else nft.load_text(empty, text(table))
    listed = nft.listed(empty)
    assert {o["table"]["name"] for o in listed if "table" in o} == {"bystander", "nodewall"}
    assert {o["chain"]["name"] for o in listed if "chain" in o} == {"c"} | {chain.name for chain in table.chains}
    assert "flush" not in json.dumps([o for o in listed if "rule" not in o])
    prefixes = [s["log"]["prefix"] for o in listed if "rule" in o for s in o["rule"]["expr"] if "log" in s]
    assert prefixes
    assert max(map(len, prefixes)) == 127


def test_a_refused_table_leaves_the_old_one(empty: str) -> None:
    good = render(EVERYTHING)
    nft.load(empty, replace(good).json())
    before = nft.listing(empty)
    commands = replace(render(changed(EVERYTHING, endpoints=()))).json()
    commands["nftables"].append({"add": {"rule": {"family": "inet", "table": "nodewall", "chain": "none", "expr": []}}})
    with pytest.raises(Exception, match="No such file or directory"):
        nft.load(empty, commands)
    assert nft.listing(empty) == before
