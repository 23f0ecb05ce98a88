"""The judge itself: it says passed, rejected and dropped when that is so, and never for lack of patience."""

import json
from collections.abc import Mapping, Sequence

import pytest

from tests.kernel.checker import Checker, Outcome
from tests.kernel.packets import ICMP, ICMPV6, SCTP, TCP, UDP, Packet

pytestmark = pytest.mark.kernel

POD4, POD6, OTHER4, OTHER6 = "10.0.1.10", "fd00:1::a", "10.0.1.11", "fd00:1::b"
OWN4, OWN6 = "192.0.2.1", "fd00:f::1"
WORLD4, WORLD6 = "203.0.113.7", "2001:db8::7"
PAIRS = (
    (POD4, OTHER4),
    (POD6, OTHER6),
    (POD4, POD4),
    (POD6, POD6),
    (POD4, WORLD4),
    (WORLD6, POD6),
    (WORLD4, "198.51.100.9"),
    (POD4, OWN4),
    (POD6, OWN6),
    (OWN4, POD4),
    (OWN6, POD6),
    (WORLD6, OWN6),
)


def _every_kind() -> list[Packet]:
    kinds = [(proto, port) for proto in (TCP, UDP, SCTP) for port in (1, 80, 65535)]
    packets = [Packet(source, destination, *kind) for source, destination in PAIRS for kind in kinds]
    for source, destination in PAIRS:
        icmp, echo = (ICMPV6, 128) if ":" in source else (ICMP, 8)
        packets += [Packet(source, destination, icmp, icmp_type=echo), Packet(source, destination, 47)]
    return packets


def _table(hooks: Mapping[str, Sequence[object]]) -> object:
    """A table that does the same to every packet of a hook, save what the checker itself needs."""
    table = {"family": "inet", "name": "nodewall"}
    commands: list[object] = [{"add": {"table": table}}, {"delete": {"table": table}}, {"add": {"table": table}}]
    for hook, end in hooks.items():
        chain = {"family": "inet", "table": "nodewall", "name": hook, "type": "filter", "hook": hook, "prio": 0}
        sentinel = {
            "match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "198.18.255.1"}
        }
        rule = {"family": "inet", "table": "nodewall", "chain": hook}
        commands += [
            {"add": {"chain": {**chain, "policy": "accept"}}},
            {"add": {"rule": {**rule, "expr": [sentinel, {"accept": None}]}}},
            {"add": {"rule": {**rule, "expr": end}}},
        ]
    return {"nftables": commands}


def _arranged(checker: Checker, hooks: Mapping[str, Sequence[object]]) -> Checker:
    checker.load(_table(hooks))
    checker.arrange([(POD4, POD6), (OTHER4, OTHER6)], [OWN4, OWN6])
    return checker


def test_everything_passes_where_nothing_is_denied(checker: Checker) -> None:
    packets = _every_kind()
    outcomes = _arranged(checker, {}).outcomes(packets)
    assert [
        str(packet) for packet, outcome in zip(packets, outcomes, strict=True) if outcome is not Outcome.PASSED
    ] == []


@pytest.mark.parametrize("hook", ["forward", "input", "output"])
def test_what_a_hook_drops_is_dropped_and_nothing_else(checker: Checker, hook: str) -> None:
    packets = _every_kind()
    verdicts = _arranged(checker, {hook: [{"drop": None}]}).verdicts(packets)
    assert {_hook(packet) for packet, passed in zip(packets, verdicts, strict=True) if not passed} == {hook}
    assert {_hook(packet) for packet, passed in zip(packets, verdicts, strict=True) if passed} == {
        "forward",
        "input",
        "output",
    } - {hook}


def _hook(packet: Packet) -> str:
    own = (OWN4, OWN6)
    return "output" if packet.source in own else "input" if packet.destination in own else "forward"


@pytest.mark.parametrize(("source", "destination"), [(POD4, WORLD4), (POD6, WORLD6), (POD4, OWN4), (POD6, OWN6)])
def test_a_rejected_sender_is_seen_to_be_told(checker: Checker, source: str, destination: str) -> None:
    reset: list[object] = [
        {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": 6}},
        {"reject": {"type": "tcp reset"}},
    ]
    unreachable: list[object] = [{"reject": {"type": "icmpx", "expr": "port-unreachable"}}]
    packets = [Packet(source, destination, TCP, 80), Packet(source, destination, UDP, 80)]
    for end, expected in (
        (reset, Outcome.REJECTED),
        (unreachable, Outcome.REJECTED),
        ([{"drop": None}], Outcome.DROPPED),
    ):
        outcomes = _arranged(checker, {"forward": end, "input": end}).outcomes(packets)
        assert outcomes[0] is expected, json.dumps(end)
        assert outcomes[1] is (Outcome.PASSED if end is reset else expected)


def test_ten_thousand_packets_are_all_accounted_for(checker: Checker) -> None:
    """With none lost on the way, however many are sent at once."""
    packets = [Packet(POD4, WORLD4, TCP, port) for port in range(1, 10001)]
    assert all(_arranged(checker, {}).verdicts(packets))


def test_a_connection_is_new_in_every_call_and_lives_within_send(checker: Checker) -> None:
    """The answer to a remembered packet is established; verdicts() never sees it as one."""
    established = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established"]}}
    from_world = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": WORLD4}}
    _arranged(checker, {"forward": [from_world, {"match": {**established["match"], "op": "!="}}, {"drop": None}]})
    ask = Packet(POD4, WORLD4, UDP, sport=5000, dport=53)
    answer = Packet(WORLD4, POD4, UDP, sport=53, dport=5000)
    checker.forget_connections()
    assert [outcome.value for outcome in checker.send([ask, answer])] == ["passed", "passed"]
    assert checker.verdicts([answer]) == [False]


def test_packets_without_ports_are_never_each_others_answers(checker: Checker) -> None:
    """One connection per pair of addresses, so both directions in one call must not share it."""
    new = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "established"}}
    _arranged(checker, {"forward": [new, {"drop": None}]})
    assert (
        checker.verdicts([Packet(POD4, OTHER4, 47), Packet(OTHER4, POD4, 47), Packet(POD4, OTHER4, 47)]) == [True] * 3
    )
