"""Hits by policy: what the kernel counted, under the names of the rule set in force."""

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from e2e import netns
from nodewall import cli
from nodewall.agent import top
from nodewall.agent.flowlog_lines import Names
from nodewall.agent.saved import Saved
from nodewall.api.ruleset import document
from nodewall.model.errors import BadInputError
from nodewall.model.policy import Action
from tests.agent.rulesets import content
from tests.flowlog.rulesets import RULESET
from tests.kernel import nft

NAMES = Names(RULESET)
PACKETS = {"admin": 5, "out": 7, "own": 0, "plain": 3, "iso": 2, "try-deny": 4, "try-pass": 1, "gone": 9}


def test_policies_by_their_hits() -> None:
    found = top.ranked(PACKETS, NAMES, by_rule=False)
    assert [(each.packets, each.policy) for each in found[:3]] == [
        (9, "-"),
        (7, "ClusterExtendedNetworkPolicy floor"),
        (5, "ClusterExtendedNetworkPolicy guards"),
    ]
    trial = next(each for each in found if each.policy.endswith("trial"))
    assert (trial.packets, trial.verdicts) == (5, {"would-deny": 4, "would-pass": 1})


def test_isolation_is_a_hit_of_each_policy_that_isolates() -> None:
    found = top.ranked({"iso": 2}, NAMES, by_rule=False)
    assert [each.policy for each in found] == [f"NetworkPolicy shop/p{number}" for number in range(8)]
    assert {each.packets for each in found} == {2}


def test_rules_each_on_a_line() -> None:
    text = top.text(top.ranked(PACKETS, NAMES, by_rule=True), by_rule=True)
    lines = text.splitlines()
    assert lines[0].split() == ["PACKETS", "POLICY", "RULE", "VERDICTS"]
    assert any(
        line.split()[:2] == ["5", "ClusterExtendedNetworkPolicy"] and "ingress no-strangers" in line for line in lines
    )
    assert len(lines) == 1 + len(PACKETS) + 7
    assert all(line.isprintable() for line in lines)


def test_a_pass_is_no_accept() -> None:
    (ingress, egress) = RULESET.classes
    rules = tuple(replace(rule, action=Action.PASS) for rule in egress.rules)
    names = Names(replace(RULESET, classes=(ingress, replace(egress, rules=rules))))
    assert top.ranked({"out": 1}, names, by_rule=False)[0].verdicts == {"pass": 1}


def test_a_rule_without_a_name_is_its_place() -> None:
    rules = {each.rule for each in top.ranked(PACKETS, NAMES, by_rule=True)}
    assert {"ingress[0]", "ingress no-strangers"} <= rules
    assert not {each for each in rules if each.startswith("ingress ingress")}


def test_a_rule_set_without_rules() -> None:
    assert top.text([], by_rule=False) == "no rule here counts\n"


@pytest.mark.kernel
def test_without_a_table_it_says_so_and_not_that_nothing_was_hit(tmp_path: Path) -> None:
    Saved(tmp_path).store(msgspec.json.encode(document(content())))
    place = f"nw-top-{os.getpid()}"
    netns.add(place)
    try:
        with pytest.raises(BadInputError, match="there is no table nodewall in this kernel"):
            netns.inside(place, lambda: top.read(tmp_path, by_rule=False))
        nft.load_text(place, "table inet nodewall { counter r_r1 { packets 3 bytes 4; }; }")
        (hits,) = netns.inside(place, lambda: top.read(tmp_path, by_rule=False))
        assert hits.packets == 3
    finally:
        netns.delete(place)


def test_elsewhere_than_on_a_node_it_says_where_it_belongs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["top", "--state-directory", str(tmp_path)]) == 2
    assert "`top` runs in the agent's pod" in capsys.readouterr().err
