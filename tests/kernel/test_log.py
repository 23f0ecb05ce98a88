"""Records in the kernel's log: one for what a rule decides, with its id, never more than its rate, and never a lie."""

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from nodewall.model.address import Address
from nodewall.model.policy import Action, DenyWith, Direction, PortRange, Protocol, Tier
from nodewall.model.ruleset import Audit, Isolation, Match, NodeRuleSet, Rule, RuleClass, RuleLog
from nodewall.render import Settings
from tests.kernel import nft
from tests.kernel.checker import Checker
from tests.kernel.nflog import Group, Record, group
from tests.kernel.packets import Packet, ends
from tests.kernel.scenes import DROPPED, FAMILIES, OTHER, OWN, PASSED, POD, REJECTED, WORLD, programmed, ruleset
from tests.render.rulesets import ANYTHING

pytestmark = pytest.mark.kernel

MANY, FEW = RuleLog(1000, 1000), RuleLog(1, 5)
SETTINGS = Settings(nflog_group=77)


SENTINEL = "sentinel"


@pytest.fixture(scope="module")
def log(checker: Checker) -> Iterator[Group]:
    """Records of the checker's node; a table of the test's own records the checker's last packet, which ends each
    lot.
    """
    own = {"family": "inet", "table": "closer"}
    last = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "198.18.255.1"}}
    chain = {**own, "name": "c", "type": "filter", "hook": "forward", "prio": 100, "policy": "accept"}
    rule = {**own, "chain": "c", "expr": [last, {"log": {"prefix": SENTINEL, "group": 77}}]}
    table = {"table": {"family": "inet", "name": "closer"}}
    checker.load({"nftables": [{"add": table}, {"add": {"chain": chain}}, {"add": {"rule": rule}}]})
    try:
        with group(checker.router.name, 77) as made:
            yield made
    finally:
        checker.load({"nftables": [{"delete": table}]})


def _tcp(port: int) -> Match:
    return Match(any_peer=True, ports=(PortRange(Protocol.TCP, port, port),))


def _records(checker: Checker, log: Group, packets: list[Packet]) -> list[Record]:
    checker.forget_connections()
    checker.send(packets)
    return log.records(until=SENTINEL)


def _ids(records: list[Record]) -> Counter[str]:
    return Counter(record.prefix for record in records)


RULES = (
    Rule("deny", Tier.ADMIN, Action.DENY, _tcp(1), log=MANY),
    Rule("reject", Tier.ADMIN, Action.DENY, _tcp(2), DenyWith.REJECT, log=MANY),
    Rule("pass", Tier.ADMIN, Action.PASS, _tcp(3)),
    Rule("accept", Tier.NAMESPACE, Action.ACCEPT, _tcp(4), log=MANY),
    Rule("silent-deny", Tier.NAMESPACE, Action.DENY, _tcp(5)),
    Rule("silent-accept", Tier.NAMESPACE, Action.ACCEPT, _tcp(6)),
    Rule("policy", Tier.NETWORK_POLICY, Action.ACCEPT, _tcp(7), log=MANY),
)
AUDITS = (
    Audit(
        (
            Rule("would-one", Tier.ADMIN, Action.DENY, _tcp(4), log=MANY),
            Rule("would-rest", Tier.ADMIN, Action.DENY, ANYTHING, log=MANY),
        )
    ),
    Audit((Rule("would-silent", Tier.ADMIN, Action.DENY, ANYTHING),)),
)


def _judged(direction: Direction) -> NodeRuleSet:
    isolation = Isolation("isolation", ("a/b",), 1, MANY)
    one = RuleClass("c", direction, RULES, isolation, AUDITS)
    return ruleset(ingress=one) if direction is Direction.INGRESS else ruleset(egress=one)


def _ends(direction: Direction, i: int) -> tuple[Address, Address]:
    return (WORLD[i], POD[i]) if direction is Direction.INGRESS else (POD[i], WORLD[i])


# port: (outcome, what the rules on record say they did, and their ids)
EXPECTED = {
    1: (DROPPED, {"deny:deny", "would-deny:would-rest"}),
    2: (REJECTED, {"deny:reject", "would-deny:would-rest"}),
    3: (DROPPED, {"deny:isolation", "would-deny:would-rest"}),
    4: (PASSED, {"accept:accept", "would-deny:would-one"}),
    5: (DROPPED, {"would-deny:would-rest"}),
    6: (PASSED, {"would-deny:would-rest"}),
    7: (PASSED, {"accept:policy", "would-deny:would-rest"}),
    8: (DROPPED, {"deny:isolation", "would-deny:would-rest"}),
}


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("i", FAMILIES)
def test_each_verdict_is_on_record_with_the_rule_that_made_it(
    checker: Checker, log: Group, direction: Direction, i: int
) -> None:
    programmed(checker, _judged(direction), SETTINGS)
    for port, (outcome, ids) in EXPECTED.items():
        packet = Packet(*_ends(direction, i), dport=port)
        assert checker.outcomes([packet]) == [outcome]
        log.records(until=SENTINEL)
        assert _ids(_records(checker, log, [packet])) == Counter(ids), port


@pytest.mark.parametrize("i", FAMILIES)
def test_a_record_holds_the_packet(checker: Checker, log: Group, i: int) -> None:
    programmed(checker, _judged(Direction.INGRESS), Settings(nflog_group=77, snaplen=60))
    records = _records(checker, log, [Packet(WORLD[i], POD[i], dport=1, sport=4711)])
    for record in records:
        assert ends(record.packet) == (ip_address(WORLD[i]).packed, ip_address(POD[i]).packed)
        assert len(record.packet) == (52, 60)[i]


def test_only_the_first_packet_of_an_accepted_connection_is_on_record(checker: Checker, log: Group) -> None:
    programmed(checker, _judged(Direction.INGRESS), SETTINGS)
    ask = Packet(WORLD[0], POD[0], dport=4, sport=5000)
    answer = Packet(POD[0], WORLD[0], dport=5000, sport=4, flags=0x12)
    assert _ids(_records(checker, log, [ask, answer, answer])) == Counter(
        {"accept:accept": 1, "would-deny:would-one": 1}
    )


@pytest.mark.parametrize(
    "rule",
    [
        Rule("many", Tier.ADMIN, Action.DENY, ANYTHING, log=FEW),
        Rule("many", Tier.ADMIN, Action.DENY, ANYTHING, DenyWith.REJECT, FEW),
        Rule("many", Tier.ADMIN, Action.ACCEPT, ANYTHING, log=FEW),
    ],
    ids=["deny", "reject", "accept"],
)
def test_the_rate_caps_records_and_no_verdict(checker: Checker, log: Group, rule: Rule) -> None:
    """One limit per rule, whatever the family or pod; the counter still counts every hit."""
    both = RuleClass("c", Direction.INGRESS, (rule,))
    programmed(checker, ruleset(ingress=both), SETTINGS)
    packets = [Packet(WORLD[i], POD[i], dport=port) for port in range(1, 61) for i in FAMILIES]
    checker.forget_connections()
    passed = [outcome is PASSED for outcome in checker.send(packets)]
    records = log.records(until=SENTINEL)
    assert passed == [rule.action is Action.ACCEPT] * 120
    assert FEW.burst <= len(records) <= FEW.burst + 3
    assert nft.counters(checker.router.name)["r_many"] == 120


def test_isolation_caps_too(checker: Checker, log: Group) -> None:
    closed = RuleClass("c", Direction.INGRESS, (), Isolation("many", ("a/b",), 1, FEW))
    programmed(checker, ruleset(ingress=closed), SETTINGS)
    packets = [Packet(WORLD[i], POD[i], dport=port) for port in range(1, 61) for i in FAMILIES]
    checker.forget_connections()
    assert checker.send(packets) == [DROPPED] * 120
    assert FEW.burst <= len(log.records(until=SENTINEL)) <= FEW.burst + 3


@pytest.mark.parametrize("i", FAMILIES)
def test_what_is_denied_towards_the_own_node_is_on_record(checker: Checker, log: Group, i: int) -> None:
    """And would-be verdicts are; isolation, which never denies it, is not."""
    programmed(checker, _judged(Direction.EGRESS), SETTINGS)
    packets = [Packet(POD[i], OWN[i], dport=port) for port in (1, 8)]
    assert _ids(_records(checker, log, packets)) == Counter({"deny:deny": 1, "would-deny:would-rest": 2})


@pytest.mark.parametrize("i", FAMILIES)
def test_audit_changes_no_verdict(checker: Checker, log: Group, i: int) -> None:
    audited = RuleClass("c", Direction.INGRESS, (), None, AUDITS)
    programmed(checker, ruleset(ingress=audited), SETTINGS)
    packet = Packet(OTHER[i], POD[i], dport=4)
    assert _ids(_records(checker, log, [packet])) == Counter({"would-deny:would-one": 1})
    assert checker.outcomes([packet]) == [PASSED]
    log.records(until=SENTINEL)
    assert nft.counters(checker.router.name)["r_would-silent"] == 2


@pytest.mark.parametrize("i", FAMILIES)
def test_an_audit_speaks_towards_the_own_node_where_nothing_is_enforced(checker: Checker, log: Group, i: int) -> None:
    programmed(checker, ruleset(egress=RuleClass("c", Direction.EGRESS, (), None, AUDITS)), SETTINGS)
    packet = Packet(POD[i], OWN[i], dport=4)
    assert _ids(_records(checker, log, [packet])) == Counter({"would-deny:would-one": 1})
