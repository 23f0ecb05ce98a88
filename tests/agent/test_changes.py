"""What a change means for connections that live, one row per change."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from ipaddress import ip_network

import pytest

from nodewall.agent.changes import departed, handed_on, looser, stricter, without
from nodewall.model.address import Address, IpBlock
from nodewall.model.policy import Action, Direction, PortRange, Protocol, Tier
from nodewall.model.ruleset import (
    AddressGroup,
    Endpoint,
    Isolation,
    Match,
    NodeRuleSet,
    PortGroup,
    PortMember,
    Rule,
    RuleClass,
    RuleLog,
)
from tests.render.test_proportion import Calls

STRANGER = Address("192.0.2.1")
ADMIN, POLICY = Tier.ADMIN, Tier.NETWORK_POLICY


def group(name: str, *addresses: str) -> AddressGroup:
    return AddressGroup(name, "", tuple(map(Address, addresses)))


def ports(name: str, *members: tuple[str, int]) -> PortGroup:
    return PortGroup(name, "", tuple(PortMember(Address(address), Protocol.TCP, port) for address, port in members))


DENY = Rule("r1", ADMIN, Action.DENY, Match(groups=("bad",), any_port=True))
ALLOW = Rule("r2", POLICY, Action.ACCEPT, Match(groups=("good",), any_port=True))
NAMED = Rule("r3", POLICY, Action.ACCEPT, Match(port_groups=("http",)))
ISOLATION = Isolation("i1", ("shop/web",), 1)
CLASS = RuleClass("web", Direction.INGRESS, (DENY, ALLOW, NAMED), ISOLATION)
POD = Endpoint("shop", "web-1", (Address("10.0.1.1"),), ingress="web")
OLD = NodeRuleSet(
    "n1",
    groups=(group("bad", "10.0.9.1"), group("good", "10.0.2.1"), group("idle", "10.0.3.1")),
    port_groups=(ports("http", ("10.0.4.1", 80)),),
    classes=(CLASS,),
    endpoints=(POD,),
)


def with_groups(**members: tuple[str, ...]) -> NodeRuleSet:
    return replace(OLD, groups=tuple(group(each.name, *members.get(each.name, each.addresses)) for each in OLD.groups))


def with_class(**changes: object) -> NodeRuleSet:
    return replace(OLD, classes=(replace(CLASS, **changes),))  # type: ignore[arg-type]


NARROW = replace(ALLOW, match=Match(groups=("good",), ports=(PortRange(Protocol.TCP, 80, 80),)))
BLOCK = Rule("r4", POLICY, Action.ACCEPT, Match(blocks=(IpBlock(ip_network("10.0.0.0/8")),), any_port=True))
OTHER = Endpoint("shop", "web-2", (Address("10.0.1.2"),), ingress="web")

ROWS = {
    "nothing": (OLD, False),
    "a peer comes": (with_groups(good=("10.0.2.1", "10.0.2.2")), False),
    "a peer goes": (with_groups(good=()), True),
    "a peer is another one": (with_groups(good=("10.0.2.2",)), True),
    "somebody more is denied": (with_groups(bad=("10.0.9.1", "10.0.9.2")), True),
    "somebody less is denied": (with_groups(bad=()), True),
    "a group that no rule uses loses a member": (with_groups(idle=()), False),
    "a named port comes": (replace(OLD, port_groups=(ports("http", ("10.0.4.1", 80), ("10.0.4.2", 80)),)), False),
    "a named port goes": (replace(OLD, port_groups=(ports("http"),)), True),
    "a rule goes": (with_class(rules=(DENY, ALLOW)), True),
    "a rule comes": (with_class(rules=(DENY, ALLOW, NAMED, BLOCK)), True),
    "a rule is narrower": (with_class(rules=(DENY, NARROW, NAMED)), True),
    "the order is another": (with_class(rules=(ALLOW, DENY, NAMED)), True),
    "isolation ends": (with_class(isolation=None), True),
    "only the log is another": (with_class(rules=(DENY, replace(ALLOW, log=RuleLog(1, 1)), NAMED)), False),
    "a pod comes": (replace(OLD, endpoints=(POD, OTHER)), False),
    "a pod goes": (replace(OLD, endpoints=()), False),
    "a pod is selected by another class": (
        replace(OLD, endpoints=(replace(POD, ingress="db"),), classes=(CLASS, replace(CLASS, name="db"))),
        True,
    ),
    "a pod is selected in the other direction": (
        replace(
            OLD,
            endpoints=(replace(POD, egress="out"),),
            classes=(CLASS, RuleClass("out", Direction.EGRESS, (), ISOLATION)),
        ),
        True,
    ),
    "a class that no staying pod is in": (
        replace(OLD, classes=(CLASS, replace(CLASS, name="db", rules=()))),
        False,
    ),
    "a pod has another address": (replace(OLD, endpoints=(replace(POD, addresses=(Address("10.0.1.9"),)),)), False),
}


@pytest.mark.parametrize(("new", "expected"), ROWS.values(), ids=ROWS)
def test_stricter(new: NodeRuleSet, expected: bool) -> None:
    assert stricter(OLD, new) is expected


@pytest.mark.parametrize(("new", "expected"), ROWS.values(), ids=ROWS)
def test_what_is_equal_need_not_be_the_same_object(new: NodeRuleSet, expected: bool) -> None:
    """As after a restart: what was saved is compared with what comes."""
    assert stricter(deepcopy(OLD), new) is expected
    assert looser(deepcopy(OLD), new) is looser(OLD, new)
    assert departed(deepcopy(OLD), new) == departed(OLD, new)


LOOSER = {
    "a peer comes": (with_groups(good=("10.0.2.1", "10.0.2.2")), True),
    "a peer goes": (with_groups(good=()), False),
    "a peer is another one": (with_groups(good=("10.0.2.2",)), True),
    "somebody more is denied": (with_groups(bad=("10.0.9.1", "10.0.9.2")), False),
    "somebody less is denied": (with_groups(bad=()), True),
    "a group that no rule uses gains a member": (with_groups(idle=("10.0.3.1", "10.0.3.2")), False),
    "a named port comes": (replace(OLD, port_groups=(ports("http", ("10.0.4.1", 80), ("10.0.4.2", 80)),)), True),
    "a named port goes": (replace(OLD, port_groups=(ports("http"),)), False),
}


@pytest.mark.parametrize(("new", "expected"), LOOSER.values(), ids=LOOSER)
def test_looser(new: NodeRuleSet, expected: bool) -> None:
    assert looser(OLD, new) is expected


class Hashed(str):
    """Asking for its hash calls a function."""

    __slots__ = ()

    def __hash__(self) -> int:
        return super().__hash__()


@pytest.mark.parametrize("question", [stricter, looser])
def test_a_member_more_is_found_without_looking_at_each(question: Callable[[NodeRuleSet, NodeRuleSet], bool]) -> None:
    """Counted in calls: one for each member would show, and so would a set of them."""
    calls = []
    for size in (100, 10_000):
        members = tuple(Hashed(f"10.{number >> 8}.{number & 255}.1") for number in range(size))
        old = with_groups(good=members)
        group = replace(
            old.groups[1], addresses=(*old.groups[1].addresses[:50], STRANGER, *old.groups[1].addresses[50:])
        )
        new = replace(old, groups=(old.groups[0], group, old.groups[2]))
        with Calls() as counted:
            question(old, new)
        calls.append(counted.number)
    assert calls[0] == calls[1]


def test_a_pod_that_is_selected_for_the_first_time_is_judged_anew() -> None:
    unselected = replace(OLD, endpoints=(replace(POD, ingress=""),))
    assert stricter(unselected, OLD)


@pytest.mark.parametrize("direction", Direction)
def test_a_pod_that_moves_between_classes_that_stay_is_judged_anew(direction: Direction) -> None:
    """Its own rules are others now, though no class has changed."""
    classes = tuple(RuleClass(name, direction, rules, ISOLATION) for name, rules in (("one", (ALLOW,)), ("two", ())))
    ends = [Endpoint("shop", "web-1", POD.addresses, **{direction.value.lower(): name}) for name in ("one", "two")]
    old, new = (replace(OLD, classes=classes, endpoints=(end, replace(OTHER, ingress=""))) for end in ends)
    assert stricter(old, new)


def owned(*pairs: tuple[str, tuple[str, ...]]) -> NodeRuleSet:
    return NodeRuleSet("n1", endpoints=tuple(Endpoint("shop", pod, tuple(map(Address, each))) for pod, each in pairs))


BOTH = owned(("a", ("10.0.1.1", "fd00::1")), ("b", ("10.0.1.2",)))
MOVES = {
    "nobody moves": (BOTH, set(), set()),
    "one goes": (owned(("a", ("10.0.1.1", "fd00::1"))), {"10.0.1.2"}, set()),
    "a family goes": (owned(("a", ("10.0.1.1",)), ("b", ("10.0.1.2",))), {"fd00::1"}, set()),
    "one is handed on": (
        owned(("c", ("10.0.1.2",)), ("a", ("10.0.1.1", "fd00::1"))),
        {"10.0.1.2"},
        {"10.0.1.2"},
    ),
    "two swap": (
        owned(("a", ("10.0.1.2", "fd00::1")), ("b", ("10.0.1.1",))),
        {"10.0.1.1", "10.0.1.2"},
        {"10.0.1.1", "10.0.1.2"},
    ),
    "one comes": (owned(("a", ("10.0.1.1", "fd00::1")), ("b", ("10.0.1.2",)), ("c", ("10.0.1.3",))), set(), set()),
}


@pytest.mark.parametrize(("new", "gone", "moved"), MOVES.values(), ids=MOVES)
def test_addresses_that_change_hands(new: NodeRuleSet, gone: set[str], moved: set[str]) -> None:
    assert departed(BOTH, new) == gone
    assert handed_on(BOTH, new) == moved


def test_without_addresses_a_pod_is_not_listed() -> None:
    left = without(BOTH, frozenset({Address("10.0.1.1"), Address("10.0.1.2")}))
    assert left == owned(("a", ("fd00::1",)))
