"""What cannot be seen from packets alone: how a table says it."""

from ipaddress import ip_address
from itertools import product
from typing import Any

import pytest

from nodewall.model.policy import Action, Direction, IpProtocol, PortRange, Protocol, Tier
from nodewall.model.ruleset import Endpoint, Match, NodeRuleSet, Rule, RuleClass
from nodewall.render import NewPodPolicy, Settings, Table, render, replace
from nodewall.render.expressions import CONTINUE
from nodewall.render.table import EVERYTHING_ELSE
from tests.render.rulesets import EVERYTHING, IDLE4, SETTINGS, WEB4, WEB6, block, tcp

BASES = {"forward", "forward6", "input", "input6", "spoofed"}
WEB = Endpoint("a", "b", (WEB4, WEB6), "c")


def _rules(table: Table, chain: str) -> list[list[Any]]:
    commands = [command["add"] for command in replace(table).json()["nftables"] if "add" in command]
    return [c["rule"]["expr"] for c in commands if "rule" in c and c["rule"]["chain"] == chain]


def _judging(match: Match, endpoint: Endpoint = WEB) -> Table:
    judged = RuleClass("c", Direction.INGRESS, (Rule("r", Tier.ADMIN, Action.DENY, match),))
    return render(NodeRuleSet("n", classes=(judged,), endpoints=(endpoint,)))


def test_both_base_chains_hang_just_before_filter_and_accept() -> None:
    chains = [c["add"]["chain"] for c in replace(render(EVERYTHING)).json()["nftables"] if "chain" in c.get("add", ())]
    hooks = [(c["hook"], c["type"], c["prio"], c["policy"]) for c in chains if "hook" in c]
    assert hooks == [("forward", "filter", -5, "accept"), ("input", "filter", -5, "accept")]


def test_reject_is_a_reset_for_tcp_and_port_unreachable_for_the_rest() -> None:
    """admin-prohibited would leave an IPv4 UDP client waiting."""
    assert _rules(render(EVERYTHING), "refuse") == [
        [{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": 6}}, {"reject": {"type": "tcp reset"}}],
        [{"reject": {"type": "icmpx", "expr": "port-unreachable"}}],
    ]


def test_a_log_and_its_verdict_are_two_rules() -> None:
    """In one rule a packet over the limit would go on."""
    for chain in ("drop_deny-lab_10_20", "reject_no-sctp_5_5", "accept_tools_1_2", "isolate_iso_10_20"):
        *_, record, end = _rules(render(EVERYTHING), chain)
        assert [next(iter(statement)) for statement in record] == ["limit", "log"]
        assert next(iter(end[0])) == "counter"
        assert len(end) == 2


def test_no_condition_on_ports_ever_looks_at_a_port() -> None:
    for match in (
        Match(any_peer=True, ports=(PortRange(Protocol.TCP),)),
        Match(any_peer=True, ports=(PortRange(Protocol.TCP), tcp(80), PortRange(Protocol.UDP), IpProtocol(47))),
        Match(any_peer=True, any_port=True),
    ):
        assert "dport" not in str(_rules(_judging(match), "in4_c"))


def test_one_cidr_and_one_port_need_no_set() -> None:
    table = _judging(Match(blocks=(block("192.0.2.0/24"),), ports=(tcp(80),)))
    assert {held.name for held in table.sets} == {"local4", "local6", "self4", "self6"}
    assert len(_rules(table, "in4_c")) == 1
    assert _rules(table, "in6_c") == []


def test_a_whole_family_is_no_condition() -> None:
    """However it is put together; of the other family it says nothing."""
    table = _judging(Match(blocks=(block("0.0.0.0/1"), block("128.0.0.0/1")), any_port=True))
    assert _rules(table, "in4_c") == [[{"counter": "r_r"}, {"drop": None}]]
    assert _rules(table, "in6_c") == []


def test_overlapping_blocks_are_one_disjoint_set() -> None:
    """Which is named by its content, whatever words made it."""
    one = _judging(Match(blocks=(block("10.0.0.0/8", "10.1.0.0/16"), block("10.1.2.0/24")), any_port=True))
    same = _judging(Match(blocks=(block("10.1.2.0/24"), block("10.0.0.0/8", "10.1.0.0/16")), any_port=True))
    (spans,) = (held for held in one.sets if held.name.startswith("n4_"))
    assert [str(element) for element in spans.elements] == ["10.0.0.0/16", "10.1.2.0/24", "10.2.0.0-10.255.255.255"]
    assert one == same


def test_a_class_has_chains_in_the_families_of_its_pods() -> None:
    only4 = _judging(Match(any_peer=True, any_port=True), Endpoint("a", "b", (IDLE4,), "c"))
    assert {chain.name for chain in only4.chains} == {*BASES, "in4_c"}


@pytest.mark.parametrize("chosen", SETTINGS.values(), ids=SETTINGS)
def test_the_maps_list_every_pod(chosen: Settings) -> None:
    """Whoever is not listed is a stranger to the guard, so one that no rule judges is listed as well."""
    maps = {each.name: dict(each.elements) for each in render(EVERYTHING, chosen).maps}
    for prefix, family in product(("egress", "ingress", "host"), (4, 6)):
        listed = {one for pod in EVERYTHING.endpoints for one in pod.addresses if ip_address(one).version == family}
        ways = maps[f"{prefix}{family}"]
        assert ways.keys() - {EVERYTHING_ELSE} == listed
        assert (EVERYTHING_ELSE in ways) == bool(chosen.guard and chosen.guard.policy is not NewPodPolicy.ALLOW)
    assert maps["ingress4"][IDLE4] == CONTINUE


def test_a_class_without_local_pods_is_not_drawn() -> None:
    assert not any("unused" in chain.name for chain in render(EVERYTHING).chains)


def test_keep_touches_no_mark() -> None:
    assert "mark" not in str(replace(render(EVERYTHING)).json())
    assert "mark" in str(replace(render(EVERYTHING, SETTINGS["strict"])).json())


def test_names_of_the_table_and_the_log_group_are_settings() -> None:
    commands = str(replace(render(EVERYTHING, Settings(table="other", nflog_group=9, snaplen=10))).json())
    assert "nodewall" not in commands.replace("nodewall.io", "")
    assert "'group': 9, 'snaplen': 10" in commands
