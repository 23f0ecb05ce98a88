"""No compile keeps the event loop for more than 20 ms, however large the cluster: by a clock that counts.

The clock goes by what the compiler does and by nothing else: the machine and whoever else uses it do not matter. What
an operation costs was measured (1 to 5 microseconds; 20 to 100 for a class of a few rules), and is rounded up. Where
one object stands for much work, the clock goes by the functions that are called instead.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Any, Protocol, Self, cast

import pytest

from nodewall.api import ruleset
from nodewall.api.ruleset import encode_json, least_size
from nodewall.compile.changes import Change, Input
from nodewall.compile.incremental import Compiler
from nodewall.compile.stepwise import at_once
from nodewall.controller.groups import Groups
from nodewall.controller.publish import Encoded, OversizedError, Published, Publisher
from nodewall.controller.quarantine import Quarantine
from nodewall.controller.rulesets import encoding
from nodewall.kube.clock import Breath, Clock, in_turns
from nodewall.model.address import Address, IpBlock
from nodewall.model.cluster import LogWish, Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING, Labels, Operator, Requirement, Selector
from nodewall.model.policy import (
    SAME_NAMESPACE,
    Action,
    AllowRule,
    Direction,
    Kind,
    Mode,
    NetworkPolicy,
    PodPeer,
    PortName,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)
from nodewall.model.ruleset import Audit, Match, NodeRuleSet, Rule, RuleClass
from tests.controller.test_loop import Unused
from tests.controller.test_quarantine import Watcher

LIMIT = 0.020
OPERATION, CLASS, STEP, CALL = 10e-6, 200e-6, 1e-6, 0.5e-6
"""Seconds."""
NAMESPACES = 50


def cluster(pods: int) -> Iterator[Change]:
    """Every namespace hears all of the cluster."""
    yield from (Change(Input.NODE, f"n{number}", Node(f"n{number}")) for number in range(10))
    for number in range(NAMESPACES):
        name = f"ns{number}"
        yield Change(Input.NAMESPACE, name, Namespace(name))
        policy = NetworkPolicy(name, "wide", ingress=(AllowRule(0, (PodPeer(EVERYTHING),)),))
        yield Change(Input.NETWORK_POLICY, (name, "wide"), policy)
    for number in range(pods):
        yield pod(number)


def pod(number: int, net: int = 10) -> Change:
    namespace, name = f"ns{number % NAMESPACES}", f"p{number}"
    address = Address(f"{net}.0.{number >> 8}.{number & 255}")
    labels = Labels({"app": f"a{number % 4}"})
    return Change(
        Input.POD, (namespace, name), Pod(namespace, name, labels=labels, node=f"n{number % 10}", addresses=(address,))
    )


CHANGES: dict[str, Callable[[], Change]] = {
    "a policy about everybody": lambda: Change(
        Input.NETWORK_POLICY, ("ns0", "more"), NetworkPolicy("ns0", "more", ingress=(AllowRule(0, ()),))
    ),
    "a wide group anew": lambda: Change(Input.NETWORK_POLICY, ("ns0", "wide"), None),
    "a namespace's wish": lambda: Change(Input.NAMESPACE, "ns0", Namespace("ns0", log=LogWish.ALL)),
    "a pod": lambda: pod(7, net=11),
    "a node": lambda: Change(Input.NODE, "n0", None),
}


class Counted:
    """A clock that the work of one compiler moves."""

    def __init__(self) -> None:
        self.compiler = Compiler()
        self.steps = 0

    def monotonic(self) -> float:
        done = self.compiler.operations
        plain = done.selectors + done.fed + done.classified + done.groups + done.nodes
        return plain * OPERATION + done.classes * CLASS + self.steps * STEP

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)

    def chance(self) -> float:
        return 0.0


class Called:
    """A clock that moves with each function that this thread calls, Python's or C's."""

    def __init__(self) -> None:
        self.steps = self.calls = 0

    def __enter__(self) -> Self:
        self._before = sys.getprofile()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _count(self, _frame: object, event: str, _argument: object) -> None:
        self.calls += event in {"call", "c_call"}

    def monotonic(self) -> float:
        return self.calls * CALL

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)

    def chance(self) -> float:
        return 0.0


class Ticking(Clock, Protocol):
    steps: int


async def longest_stretch(clock: Ticking, quarantine: Quarantine, changes: list[Change]) -> float:
    """Of the loop, when the changes are taken in as it does it."""

    async def taken_in() -> None:
        breath = Breath(clock)
        for _ in quarantine.steps(changes):
            clock.steps += 1
            await breath.take()

    return await longest_beside(clock, taken_in())


async def longest_beside(clock: Clock, work: Awaitable[object]) -> float:
    """Seconds for which nobody else had a turn."""
    turns = [clock.monotonic()]

    async def others() -> None:
        while True:
            turns.append(clock.monotonic())
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    await work
    turns.append(clock.monotonic())
    task.cancel()
    return max(after - before for before, after in pairwise(turns))


@pytest.mark.parametrize("pods", [500, 5_000])
async def test_others_have_their_turn(pods: int) -> None:
    clock = Counted()
    quarantine = Quarantine(lambda: clock.compiler, Watcher(), clock)
    found = {"all of it": await longest_stretch(clock, quarantine, list(cluster(pods)))}
    total = clock.monotonic()
    for name, change in CHANGES.items():
        found[name] = await longest_stretch(clock, quarantine, [change()])
    assert {name: stretch for name, stretch in found.items() if stretch > LIMIT} == {}
    assert total > 5 * LIMIT * pods / 5_000, "there was something to interrupt"


POLICIES = 1_000


def crowded(number: int) -> Change:
    """A policy about every pod of its namespace, with a group that no other one has and a port that the pod names."""
    peer = PodPeer(SAME_NAMESPACE, Selector.of([Requirement("app", Operator.IN, (f"a{number}",))]))
    rules = (AllowRule(0, (peer,), (PortName("web"),)), AllowRule(1, (peer,)))
    return Change(
        Input.NETWORK_POLICY, ("ns0", f"p{number}"), NetworkPolicy("ns0", f"p{number}", ingress=rules, egress=rules)
    )


def audited(number: int) -> Change:
    policy = in_company(number, Mode.AUDIT)
    return Change(Input.TIER_POLICY, policy.ref, policy)


def in_company(number: int, mode: Mode, priority: Any = 1) -> TierPolicy:
    peer = PodPeer(EVERYTHING, Selector.of([Requirement("app", Operator.IN, (f"a{number}",))]))
    rule = TierRule(0, Action.DENY, (peer,))
    subject = Subject(EVERYTHING)
    return TierPolicy(Kind.CLUSTER_EXTENDED, "", f"p{number}", Tier.ADMIN, priority, subject, mode, ingress=(rule,))


@pytest.mark.parametrize("policy", [crowded, audited])
async def test_a_thousand_policies_about_one_pod_take_turns_too(policy: Callable[[int], Change]) -> None:
    here = [Change(Input.NODE, "n0", Node("n0")), Change(Input.NAMESPACE, "ns0", Namespace("ns0"))]
    some = pod(0)
    assert isinstance(some.new, Pod)
    steps = {
        "everything at once": [*here, *map(policy, range(POLICIES)), some],
        "its label": [replace(some, new=replace(some.new, labels=Labels({"app": "a1"})))],
        "a policy goes": [replace(policy(1), new=None)],
        "the pod goes": [replace(some, new=None)],
        "the pod comes": [some],
    }
    with Called() as clock:
        quarantine = Quarantine(Compiler, Watcher(), clock)
        found = {name: await longest_stretch(clock, quarantine, changes) for name, changes in steps.items()}
        total = clock.monotonic()
    assert {name: stretch for name, stretch in found.items() if stretch > LIMIT} == {}
    assert total > 10 * LIMIT, "there was something to interrupt"
    assert len(at_once(quarantine.assembling("n0")).rules) >= POLICIES - 1


async def test_what_they_say_is_assembled_in_turns() -> None:
    with Called() as clock:
        quarantine = Quarantine(Compiler, Watcher(), clock)
        start = [Change(Input.NODE, "n0", Node("n0")), Change(Input.NAMESPACE, "ns0", Namespace("ns0")), pod(0)]
        await longest_stretch(clock, quarantine, [*start, *map(crowded, range(POLICIES))])
        before = clock.monotonic()
        assert await longest_beside(clock, in_turns(quarantine.assembling("n0"), Breath(clock))) < LIMIT
        assert clock.monotonic() - before > LIMIT, "there was something to interrupt"


async def test_so_does_the_search_for_the_one_to_blame() -> None:
    """It fails only together with others: each has to be left out in turn."""
    policies = [in_company(number, Mode.ENFORCE) for number in range(500)]
    policies.append(in_company(500, Mode.ENFORCE, priority=cast("Any", object())))
    changes = [Change(Input.TIER_POLICY, each.ref, each) for each in policies]
    watcher = Watcher()
    with Called() as clock:
        quarantine = Quarantine(Compiler, watcher, clock)
        start = [Change(Input.NODE, "n0", Node("n0")), Change(Input.NAMESPACE, "ns0", Namespace("ns0")), pod(0)]
        assert await longest_stretch(clock, quarantine, [*start, *changes]) < LIMIT
    assert [each.thing for each in watcher.asides] == [(Input.TIER_POLICY, policies[-1].ref)]


BLOCKS = tuple(IpBlock(IPv4Network(f"10.{number}.0.0/16")) for number in range(8))


def large(number: int) -> NodeRuleSet:
    """Some 400 KB: one class of very many rules, and very many classes of one."""
    rules = [
        Rule(f"r{each}", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=(f"g{each}",), blocks=BLOCKS, any_port=True))
        for each in range(600)
    ]
    classes = [RuleClass(f"i{each}", Direction.INGRESS, (rule,)) for each, rule in enumerate(rules)]
    return NodeRuleSet(f"n{number}", classes=(RuleClass("i", Direction.INGRESS, tuple(rules)), *classes))


def of_many_blocks(number: int) -> NodeRuleSet:
    """As large, of few rules: what one tenant's lists of networks come to."""
    blocks = tuple(IpBlock(IPv4Network(f"11.{each >> 8}.{each & 255}.0/24")) for each in range(9_000))
    listing = Match(blocks=blocks, any_port=True)
    rules = [Rule(f"r{each}", Tier.NETWORK_POLICY, Action.ACCEPT, listing) for each in range(2)]
    return NodeRuleSet(f"n{number}", classes=(RuleClass("i", Direction.INGRESS, tuple(rules)),))


def of_a_long_audit(number: int) -> NodeRuleSet:
    rules = [Rule(f"a{each}", Tier.ADMIN, Action.DENY, Match(any_port=True)) for each in range(4_500)]
    return NodeRuleSet(f"n{number}", classes=(RuleClass("i", Direction.INGRESS, audits=(Audit(tuple(rules)),)),))


LARGE = (large, of_many_blocks, of_a_long_audit)


class Writes:
    """The API server."""

    def __init__(self) -> None:
        self.written: dict[str, Encoded] = {}

    async def write(self, node: Node, wanted: Encoded, age: float) -> Published:  # noqa: ARG002
        self.written[node.name] = wanted
        return Published("uid", wanted.digest)

    async def hold(self, name: str, why: str) -> None:
        raise AssertionError((name, why))

    async def remove(self, name: str, uid: str) -> None:
        raise AssertionError((name, uid))


@pytest.mark.parametrize("made", LARGE)
async def test_large_rule_sets_are_encoded_in_turns(made: Callable[[int], NodeRuleSet]) -> None:
    """Those of many nodes at once too."""
    rule_sets, api = [made(number) for number in range(8)], Writes()
    with Called() as clock:
        publisher = Publisher(api, encoding, lambda: True, Groups(Unused(), lambda: True, clock), clock)
        everything = (publisher.publish(Node(each.node), each) for each in rule_sets)
        assert await longest_beside(clock, asyncio.gather(*everything)) < LIMIT
        assert clock.monotonic() > 10 * LIMIT, "there was something to interrupt"
    assert api.written == {each.node: Encoded(*encode_json(each)) for each in rule_sets}
    assert min(len(each.spec) for each in api.written.values()) > 300_000


@pytest.mark.parametrize("made", LARGE)
def test_steps_change_no_byte(made: Callable[[int], NodeRuleSet], monkeypatch: pytest.MonkeyPatch) -> None:
    in_steps = encode_json(made(1))
    monkeypatch.setattr(ruleset, "_ENTRIES", 1 << 30)
    assert encode_json(made(1)) == in_steps


async def test_what_is_far_too_large_is_not_even_encoded() -> None:
    """Fifty policies of a tenant, each just small enough: it would be done again whenever something changes."""
    blocks = tuple(IpBlock(IPv4Network(f"11.{each >> 8}.{each & 255}.0/24")) for each in range(20_000))
    rules = [
        Rule(f"r{each}", Tier.NETWORK_POLICY, Action.ACCEPT, Match(blocks=blocks, any_port=True)) for each in range(50)
    ]
    crowded = NodeRuleSet("n1", classes=(RuleClass("i", Direction.INGRESS, tuple(rules)),))

    def never(_: NodeRuleSet) -> Generator[None, None, Encoded]:
        raise AssertionError("encoded")

    with Called() as clock:
        publisher = Publisher(Writes(), never, lambda: True, Groups(Unused(), lambda: True, clock), clock)

        async def refused() -> None:
            with pytest.raises(OversizedError, match=r"has at least 16000000 bytes, and 524288 is the limit"):
                await publisher.publish(Node("n1"), crowded)

        assert await longest_beside(clock, refused()) < LIMIT


def test_the_least_size_is_never_more_than_the_real_one() -> None:
    for each in (NodeRuleSet("n1"), *(made(1) for made in LARGE)):
        assert least_size(each) <= len(encode_json(each)[1])
    assert least_size(of_many_blocks(1)) > 200_000
