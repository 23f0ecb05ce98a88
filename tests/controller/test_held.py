"""An object says why it is older than what its policies ask for, for as long as it is so: the agent has applied it, and
its own report would look as if all were well.
"""

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from random import Random

import pytest

from nodewall.api.ruleset import HELD
from nodewall.compile.changes import Change, Input
from nodewall.compile.stepwise import at_once
from nodewall.controller.filling import filling
from nodewall.controller.groups import Groups
from nodewall.controller.loop import BULK_RATE, HANDS, Loop
from nodewall.controller.publish import Encoded, Likeness, Published, Publisher
from nodewall.controller.quarantine import HeldError, Quarantine
from nodewall.kube.errors import Call, UnreachableError
from nodewall.kube.resource import EVENTS, NETWORK_POLICIES, NODE_RULE_SETS, PODS
from nodewall.model.address import Address, IpBlock
from nodewall.model.cluster import Node
from nodewall.model.policy import Action, Direction, Kind, Tier
from nodewall.model.ruleset import AddressGroup, Isolation, Match, NodeRuleSet, Rule, RuleClass, RuleRef
from tests.controller.running import (
    endpoint,
    events,
    furnish,
    is_isolated,
    listed,
    pod,
    report,
    rule_sets,
    running,
    until,
    writes,
)
from tests.controller.test_late_news import NODE, rule_set
from tests.controller.test_loop import Ahead, Api, Compiler, Unused, Watcher, encoding, stage
from tests.controller.test_publishing import api_with_much, much
from tests.kube.fake_api import FakeApi, Refuse
from tests.kube.mirroring import QuickClock

__all__ = ["api_with_much"]

N1 = "/apis/nodewall.io/v1alpha1/noderulesets/n1"


def held(api: FakeApi, name: str) -> str | None:
    """What `kubectl get noderulesets` says of the node beside the agent's words."""
    why: str | None = rule_sets(api)[name]["metadata"]["annotations"].get(HELD)
    return why


async def test_an_object_says_that_it_is_held_and_why_until_it_is_not(api_with_much: FakeApi) -> None:
    api = api_with_much
    await until("it says so", lambda: held(api, "n1") == "RuleSetTooLarge")
    assert held(api, "n2") is None
    api.remove(NETWORK_POLICIES, "much", "shop")
    await until("no more", lambda: held(api, "n1") is None)
    assert is_isolated(api, "n1", "web")


async def test_what_is_held_for_the_same_reason_is_not_told_again(
    api_with_much: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    api = api_with_much
    await until("it says so", lambda: held(api, "n1") == "RuleSetTooLarge")
    before = writes(api).count(N1)
    for number in range(3):
        caplog.clear()
        api.put(PODS, pod("more", f"10.0.0.{number + 2}"))
        await until("it was tried", lambda: "is the limit" in caplog.text)
    assert writes(api).count(N1) == before


async def test_who_begins_takes_back_what_does_not_hold_any_more() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(NETWORK_POLICIES, much())
            await until("it says so", lambda: held(api, "n1") == "RuleSetTooLarge")
        found = rule_sets(api)["n1"]["spec"]
        api.remove(NETWORK_POLICIES, "much", "shop")
        async with running(api):
            await until("taken back", lambda: held(api, "n1") is None)
        assert rule_sets(api)["n1"]["spec"] == found


@pytest.mark.parametrize("status", [403, 409, 422, 500])
async def test_what_is_refused_is_tried_again(api_with_much: FakeApi, status: int) -> None:
    api = api_with_much
    await until("it says so", lambda: held(api, "n1") == "RuleSetTooLarge")
    api.fail("patch", Refuse(status), times=3, resource=NODE_RULE_SETS)
    api.remove(NETWORK_POLICIES, "much", "shop")
    api.put(PODS, pod("new", "10.0.0.2"))
    await until("all is well", lambda: held(api, "n1") is None and endpoint(api, "n1", "new"))


async def test_what_others_write_there_is_undone(api_with_much: FakeApi) -> None:
    api = api_with_much
    await until("it says so", lambda: held(api, "n1") == "RuleSetTooLarge")
    for node, words in (("n1", ""), ("n1", "all is well"), ("n2", "RuleSetTooLarge")):
        found = rule_sets(api)[node]
        said = {**found["metadata"]["annotations"], HELD: words}
        api.put(NODE_RULE_SETS, found | {"metadata": found["metadata"] | {"annotations": said}})
        await until("undone", lambda: (held(api, "n1"), held(api, "n2")) == ("RuleSetTooLarge", None))
    assert not {reason for reason, _ in events(api)} & {"RuleSetRepaired"}


async def test_a_node_that_is_held_from_the_start_is_nobodys_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    def assembling(_: Quarantine, node: str) -> Generator[None, None, NodeRuleSet]:
        yield
        raise HeldError(node, (Input.NETWORK_POLICY, ("shop", "closed")))

    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            pass
        monkeypatch.setattr(Quarantine, "assembling", assembling)
        async with running(api):
            await until("said", lambda: held(api, "n1") == held(api, "n2") == "RuleSetHeld")
            for node in ("n1", "n2"):
                report(api, node)
            await until("told", lambda: {("RuleSetHeld", "n1"), ("RuleSetHeld", "n2")} <= set(events(api)))
        assert "RuleSetRepaired" not in {reason for reason, _ in events(api)}


async def test_very_many_are_told_at_the_pace_of_what_is_not_urgent() -> None:
    """As rule sets that an upgrade changes are: the API server has other things to do."""
    names = [f"n{number}" for number in range(40)]
    compiler, api, clock = Compiler(content=dict.fromkeys(names, "")), Told(), Ahead()
    publisher = Publisher(api, encoding, lambda: True, Groups(Unused(), lambda: True, clock), clock)
    loop = Loop(compiler, publisher, Watcher(), clock)
    for name in names:
        publisher.saw(name, Published("uid", "", "u1", held="RuleSetTooLarge"))
    loop.feed([Change(Input.NODE, name, Node(name, uid="u1")) for name in names])
    began = clock.monotonic()
    task = asyncio.create_task(loop.run(api.listed))
    await until("all are told", lambda: len(api.told) == len(names))
    task.cancel()
    assert set(api.told) == {(name, "") for name in names}
    assert clock.monotonic() - began >= (len(names) - HANDS) / BULK_RATE


async def test_of_a_node_that_is_gone_nothing_is_told() -> None:
    """Its object is removed, and the watch has not said so yet."""
    async with stage("n1") as here:
        here.publisher.saw("n1", Published("uid", "", "u1", held="RuleSetTooLarge"))
        here.loop.feed([Change(Input.NODE, "n1", None)])
        await until("removed", lambda: here.api.written == [("n1", "removed")])
        for _ in range(50):  # what comes of it comes at once
            await asyncio.sleep(0)
        assert here.watcher.failed_nodes == []


class Told(Api):
    """Takes nothing but these."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []
        self.listed = asyncio.Event()
        self.listed.set()

    async def hold(self, name: str, why: str) -> None:
        self.told.append((name, why))


# --- whatever comes when ----------------------------------------------------------------------------------------------


@dataclass
class Server:
    """One object; what becomes of it is seen late, but in order. Every other answer is lost, where ``loses``."""

    random: Random
    loses: bool
    there: Published = field(default_factory=lambda: Published("uid", "old", "u1", generation=1))
    unseen: list[Published] = field(default_factory=list)

    async def write(self, node: Node, wanted: Encoded, age: float) -> Published:  # noqa: ARG002
        await self._pause()
        grown = self.there.generation + (wanted.digest != self.there.content)
        self._become(replace(self.there, content=wanted.digest, owner=node.uid, generation=grown))
        await self._pause()
        return Published("uid", wanted.digest, node.uid, generation=grown)

    async def hold(self, name: str, why: str) -> None:
        await self._pause()
        self._become(replace(self.there, held=why))
        await self._pause()
        if self.loses and self.random.random() < 0.5:
            raise UnreachableError(Call("patch", name), "the answer is lost")

    async def remove(self, name: str, uid: str) -> None:
        raise AssertionError((name, uid))

    def report(self) -> None:
        self._become(replace(self.there, applied=str(self.random.random())))

    def _become(self, new: Published) -> None:
        if new != self.there:
            self.there = new
            self.unseen.append(new)

    async def _pause(self) -> None:
        for _ in range(self.random.randrange(3)):
            await asyncio.sleep(0)


async def _bring(publisher: Publisher, step: str) -> None:
    """As the loop does: until it works."""
    while True:
        try:
            if step in "ab":
                await publisher.publish(NODE, rule_set(step))
            await publisher.hold("n1", "" if step in "ab" else step)
        except UnreachableError:
            continue
        return


async def _life(seed: int, *, loses: bool) -> tuple[str, str]:
    """(what the object says in the end, what it ought to)."""
    random = Random(seed)  # noqa: S311 - it decides what comes when
    server = Server(random, loses)
    publisher = Publisher(server, encoding, lambda: True, Groups(Unused(), lambda: True, QuickClock()), QuickClock())
    publisher.saw("n1", server.there)
    steps = [random.choice(["a", "b", "RuleSetTooLarge", "RuleSetHeld"]) for _ in range(6)]
    ahead = list(steps)
    working: asyncio.Task[None] | None = None
    stirred = False
    while ahead or working or server.unseen or stirred:
        if working is None and ahead:
            working = asyncio.create_task(_bring(publisher, ahead.pop(0)))
        elif working is None and stirred:
            stirred = False
            working = asyncio.create_task(_bring(publisher, steps[-1]))
        if server.unseen and random.random() < 0.3:
            stirred |= publisher.saw("n1", server.unseen.pop(0)) is not Likeness.AS_PUBLISHED
        if random.random() < 0.1 and ahead:
            server.report()
        await asyncio.sleep(0)
        if working and working.done():
            working.result()
            working = None
    return server.there.held, "" if steps[-1] in "ab" else steps[-1]


@pytest.mark.parametrize("loses", [False, True], ids=["", "answers are lost"])
async def test_in_the_end_it_says_what_is_so(loses: bool) -> None:
    ends = {seed: await _life(seed, loses=loses) for seed in range(400)}
    assert {seed: end for seed, end in ends.items() if end[0] != end[1]} == {}


# --- what fills it ----------------------------------------------------------------------------------------------------


async def test_what_fills_it_is_told(api_with_much: FakeApi) -> None:
    api = api_with_much
    await until("told", lambda: ("RuleSetTooLarge", "n1") in events(api))
    (told,) = [each["message"] for each in api.objects(EVENTS).values() if each["reason"] == "RuleSetTooLarge"]
    assert "is the limit: the last one stays; most of it is NetworkPolicy shop/much (99 %)" in told


def told(*classes: RuleClass, rules: Sequence[RuleRef] = (), groups: Sequence[AddressGroup] = ()) -> str:
    return at_once(filling(NodeRuleSet("n1", tuple(groups), (), classes, rules=tuple(rules))))


def judging(name: str, rule: str, blocks: int) -> RuleClass:
    match = Match(blocks=tuple(IpBlock(ip_network(f"11.0.{number}.0/24")) for number in range(blocks)))
    return RuleClass(name, Direction.INGRESS, (Rule(rule, Tier.NETWORK_POLICY, Action.ACCEPT, match),))


def ref(rule: str, namespace: str, name: str) -> RuleRef:
    return RuleRef(rule, Kind.NETWORK_POLICY, namespace, name, Direction.INGRESS, "ingress[0]")


def test_the_largest_come_first() -> None:
    refs = [ref("r1", "shop", "small"), ref("r2", "shop", "large"), ref("r3", "other", "none")]
    group = AddressGroup("g", "pods {} in namespaces {}", tuple(Address(f"10.0.0.{n}") for n in range(200)))
    said = told(judging("a", "r1", 30), judging("b", "r2", 200), judging("c", "r3", 0), rules=refs, groups=[group])
    assert said.startswith("NetworkPolicy shop/large (")
    assert "), the addresses of pods {} in namespaces {} (" in said
    assert "NetworkPolicy shop/small (" in said
    assert "none" not in said


def test_where_no_policy_stands_out_the_namespace_does() -> None:
    refs = [ref(f"r{number}", "crowd", f"p{number}") for number in range(100)] + [ref("s", "shop", "one")]
    classes = [judging(f"c{number}", f"r{number}", 1) for number in range(100)]
    assert told(*classes, rules=refs).startswith("policies of namespace crowd (9")


def test_isolation_counts_too() -> None:
    """By itself it can be more than there is room for."""
    names = tuple(f"shop/{'long' * 15}-{number}" for number in range(8))
    isolated = [RuleClass(f"c{n}", Direction.INGRESS, isolation=Isolation("i", names, 8)) for n in range(20)]
    assert told(*isolated, judging("b", "r", 1), rules=[ref("r", "other", "innocent")]).startswith(
        "policies of namespace shop (9"
    )


def test_groups_of_one_description_are_two() -> None:
    addresses = tuple(Address(f"10.0.0.{n}") for n in range(100))
    said = told(groups=[AddressGroup(name, "cut...", addresses) for name in ("g1", "g2")])
    assert said == "the addresses of cut... (50 %), the addresses of cut... (50 %)"


def test_of_an_empty_one_nothing_is_told() -> None:
    assert told() == ""


def test_it_is_made_in_small_steps() -> None:
    many = [judging(f"c{number}", "r", 3) for number in range(50)]
    assert len(list(filling(NodeRuleSet("n1", classes=tuple(many))))) >= 50
