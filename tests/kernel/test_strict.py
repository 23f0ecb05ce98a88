"""Established connections after a change: kept, or judged again."""

from collections.abc import Sequence

import pytest

from nodewall.model.policy import Action, Direction, Tier
from nodewall.model.ruleset import Isolation, Match, NodeRuleSet, Rule, RuleClass
from nodewall.render import Settings, Strict, diff, render
from tests.kernel import nft
from tests.kernel.checker import Checker, Outcome
from tests.kernel.packets import ICMP, TCP, UDP, Packet, encode
from tests.kernel.scenes import DROPPED, FAMILIES, FRIEND, OWN, PASSED, POD, WORLD, programmed, ruleset

pytestmark = pytest.mark.kernel

OPEN = ruleset()
_FRIENDS = Rule("f", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=("friend",), any_port=True))
FRIENDS_ONLY = ruleset(egress=RuleClass("out", Direction.EGRESS, (_FRIENDS,), Isolation("o", ("a/b",), 1)))
_NOT_THE_NODE = Rule("n", Tier.ADMIN, Action.DENY, Match(any_peer=True, any_port=True))
NO_NODE = ruleset(egress=RuleClass("out", Direction.EGRESS, (_NOT_THE_NODE,)))
_MASKS = (0xFFF00000, 0xFF00)


def _pair(source: Sequence[str], destination: Sequence[str], i: int) -> tuple[Packet, Packet]:
    ask = Packet(source[i], destination[i], UDP, dport=53, sport=5000)
    return ask, Packet(destination[i], source[i], UDP, dport=5000, sport=53)


def _update(checker: Checker, old: tuple[NodeRuleSet, Settings], new: tuple[NodeRuleSet, Settings]) -> None:
    step = diff(render(*old), render(*new))
    assert step is not None
    checker.load(step.json())


def _strict(generation: int, mask: int = _MASKS[0]) -> Settings:
    return Settings(strict=Strict(generation, mask))


def _begin(checker: Checker, settings: Settings, *connections: tuple[Packet, Packet]) -> None:
    programmed(checker, OPEN, settings)
    checker.forget_connections()
    for ask, answer in connections:
        assert checker.send([ask, answer, ask]) == [PASSED] * 3


@pytest.mark.parametrize("i", FAMILIES)
def test_keep_lets_a_connection_go_on_after_its_rule_is_gone(checker: Checker, i: int) -> None:
    ask, answer = _pair(POD, WORLD, i)
    _begin(checker, Settings(), (ask, answer))
    _update(checker, (OPEN, Settings()), (FRIENDS_ONLY, Settings()))
    assert checker.send([ask, answer]) == [PASSED] * 2
    checker.forget_connections()
    assert checker.send([ask]) == [DROPPED]


@pytest.mark.parametrize("mask", _MASKS)
@pytest.mark.parametrize("i", FAMILIES)
def test_strict_judges_again_when_the_generation_changes(checker: Checker, i: int, mask: int) -> None:
    """What is denied now ends, what is still allowed goes on, over several generations."""
    denied, friendly = _pair(POD, WORLD, i), _pair(POD, FRIEND, i)
    _begin(checker, _strict(1, mask), denied, friendly)
    _update(checker, (OPEN, _strict(1, mask)), (FRIENDS_ONLY, _strict(2, mask)))
    assert checker.send([denied[0], *friendly]) == [DROPPED, PASSED, PASSED]
    _update(checker, (FRIENDS_ONLY, _strict(2, mask)), (FRIENDS_ONLY, _strict(3, mask)))
    assert checker.send([denied[0], *friendly, friendly[0]]) == [DROPPED, PASSED, PASSED, PASSED]


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("i", FAMILIES)
def test_strict_leaves_connections_alone_while_the_generation_stays(
    checker: Checker, i: int, direction: Direction
) -> None:
    """The agent decides what makes something stricter. Pods' connections carry the mark whoever began them."""
    closed = RuleClass("c", direction, (), Isolation("o", ("a/b",), 1))
    inward = direction is Direction.INGRESS
    ask, answer = _pair(WORLD, POD, i) if inward else _pair(POD, WORLD, i)
    _begin(checker, _strict(1), (ask, answer))
    _update(checker, (OPEN, _strict(1)), (ruleset(ingress=closed) if inward else ruleset(egress=closed), _strict(1)))
    assert checker.send([ask, answer]) == [PASSED] * 2


@pytest.mark.parametrize("i", FAMILIES)
def test_a_reused_pair_of_ports_gets_nothing_of_its_predecessor(checker: Checker, i: int) -> None:
    """A leftover entry of the earlier connection does not speak for the next one."""
    old = Packet(POD[i], WORLD[i], TCP, dport=80, sport=5000)
    programmed(checker, OPEN, _strict(1))
    checker.forget_connections()
    assert checker.send([old]) == [PASSED]
    _update(checker, (OPEN, _strict(1)), (FRIENDS_ONLY, _strict(2)))
    assert checker.send([old]) == [DROPPED]


@pytest.mark.parametrize("i", FAMILIES)
def test_connections_to_the_own_node_are_judged_again_too(checker: Checker, i: int) -> None:
    ask, answer = _pair(POD, OWN, i)
    _begin(checker, _strict(1), (ask, answer))
    _update(checker, (OPEN, _strict(1)), (NO_NODE, _strict(2)))
    assert checker.send([ask]) == [DROPPED]


@pytest.mark.parametrize("i", FAMILIES)
def test_the_nodes_own_connections_to_pods_go_on(checker: Checker, i: int) -> None:
    ask, answer = _pair(OWN, POD, i)
    _begin(checker, _strict(1), (ask, answer))
    _update(checker, (OPEN, _strict(1)), (NO_NODE, _strict(2)))
    assert checker.send([ask, answer]) == [PASSED] * 2


def test_errors_about_an_older_generation_pass(checker: Checker) -> None:
    """From either end: what they are about was accepted (semantics 49)."""
    ask, answer = _pair(WORLD, POD, 0)
    isolated = Isolation("o", ("a/b",), 1)
    closed = ruleset(RuleClass("in", Direction.INGRESS, (), isolated), RuleClass("out", Direction.EGRESS, (), isolated))
    _begin(checker, _strict(1), (ask, answer))
    _update(checker, (OPEN, _strict(1)), (closed, _strict(2)))
    errors = [
        Packet(one.destination, one.source, ICMP, icmp_type=3, icmp_code=3, body=encode(one, 1, one.sport))
        for one in (ask, answer)
    ]
    assert checker.send([*errors, ask]) == [PASSED, PASSED, DROPPED]


@pytest.mark.parametrize(
    ("settings", "marked"), [(Settings(), 0), (_strict(1), 1), (_strict(0xFFFFFF), 1)], ids=["keep", "strict", "wraps"]
)
def test_only_pods_connections_carry_a_mark_and_only_when_strict(
    checker: Checker, settings: Settings, marked: int
) -> None:
    """The mark is seen by a table behind ours; what is forwarded for others keeps its own."""
    programmed(checker, OPEN, settings)
    checker.load(_witness())
    try:
        pod, foreign, node = _pair(POD, WORLD, 0), _pair(FRIEND, WORLD, 0), _pair(WORLD, OWN, 0)
        checker.forget_connections()
        outcomes: list[Outcome] = checker.send([pod[0], foreign[0], node[0]])
        assert outcomes == [PASSED] * 3
        assert nft.counters(checker.router.name)["marked"] == marked
    finally:
        checker.load({"nftables": [{"delete": {"table": {"family": "inet", "name": "witness"}}}]})


def _witness() -> object:
    table = {"family": "inet", "table": "witness"}
    marked = {"match": {"op": "!=", "left": {"ct": {"key": "mark"}}, "right": 0}}
    chains = (("f", "forward"), ("i", "input"))
    return {
        "nftables": [
            {"add": {"table": {"family": "inet", "name": "witness"}}},
            {"add": {"counter": {**table, "name": "marked"}}},
            *(
                {
                    "add": {
                        "chain": {**table, "name": name, "type": "filter", "hook": hook, "prio": 10, "policy": "accept"}
                    }
                }
                for name, hook in chains
            ),
            *(
                {"add": {"rule": {**table, "chain": name, "expr": [marked, {"counter": "marked"}]}}}
                for name, _ in chains
            ),
        ]
    }
