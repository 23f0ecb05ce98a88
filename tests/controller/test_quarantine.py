# ruff: noqa: ARG002 - a fake is told more than a test asks about
"""What the compiler fails on is set aside; everything else goes on, and nothing becomes wider."""

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from nodewall.compile.changes import Change, Dirty, Input, Reason
from nodewall.compile.incremental import Compiler
from nodewall.compile.node import compile_all
from nodewall.compile.settings import Settings
from nodewall.compile.stepwise import at_once
from nodewall.controller.main import Controller, Listing
from nodewall.controller.quarantine import PATIENCE, Aside, HeldError, Instead, Quarantine, Thing
from nodewall.kube.http import connect
from nodewall.kube.resource import CLUSTER_EXTENDED_NETWORK_POLICIES, PODS
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState, Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING, Labels, Operator, Requirement, Selector
from nodewall.model.policy import (
    ANYONE,
    SAME_NAMESPACE,
    Action,
    AllowRule,
    Kind,
    NamespaceNames,
    NetworkPolicy,
    PodPeer,
    PolicyRef,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)
from nodewall.model.ruleset import AddressGroup, NodeRuleSet
from nodewall.telemetry import metrics
from nodewall.telemetry.events import Reporter
from nodewall.telemetry.metrics import Metrics
from tests.controller.running import events, furnish, rule_sets, until, writes
from tests.controller.running import pod as stored_pod
from tests.kube.fake_api import FakeApi
from tests.kube.mirroring import QuickClock

UNFORESEEN = cast("Any", object())
"""What no reader makes, in place of what nobody foresaw."""


class Hand:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def chance(self) -> float:
        return 0.0


@dataclass
class Watcher:
    asides: list[Aside] = field(default_factory=list)
    back: list[Thing] = field(default_factory=list)
    mendings: int = 0

    def set_aside(self, aside: Aside, error: Exception) -> None:
        self.asides.append(aside)

    def taken_back(self, thing: Thing) -> None:
        self.back.append(thing)

    def mended(self, error: Exception) -> None:
        self.mendings += 1


def allowing(name: str, *, namespace: str = "shop", broken: bool = False) -> NetworkPolicy:
    return NetworkPolicy(
        namespace, name, ingress=(AllowRule(0, (UNFORESEEN if broken else PodPeer(SAME_NAMESPACE, EVERYTHING),)),)
    )


def denying(name: str, namespace: str, *, broken: bool = False) -> TierPolicy:
    rule = TierRule(0, Action.DENY, (UNFORESEEN,) if broken else ANYONE)
    return TierPolicy(
        Kind.CLUSTER_EXTENDED, "", name, Tier.ADMIN, 1, Subject(NamespaceNames((namespace,))), ingress=(rule,)
    )


def change(value: Any) -> Change:
    match value:
        case Pod() | NetworkPolicy():
            kind = Input.POD if isinstance(value, Pod) else Input.NETWORK_POLICY
            return Change(kind, (value.namespace, value.name), value)
        case TierPolicy():
            return Change(Input.TIER_POLICY, value.ref, value)
        case Node():
            return Change(Input.NODE, value.name, value)
    assert isinstance(value, Namespace)
    return Change(Input.NAMESPACE, value.name, value)


def pod(name: str, node: str, namespace: str, last: int, **labels: str) -> Pod:
    return Pod(namespace, name, labels=Labels(labels), node=node, addresses=(Address(f"10.0.0.{last}"),))


CLUSTER = [
    *(Node(f"n{number}") for number in (1, 2)),
    *(Namespace(name) for name in ("shop", "bank")),
    pod("web", "n1", "shop", 1),
    pod("vault", "n2", "bank", 2),
]


@dataclass
class Stage:
    quarantine: Quarantine
    watcher: Watcher
    clock: Hand
    made: list[Compiler]

    def take(self, *values: Any) -> Dirty:
        return drive(self.quarantine.steps([each if isinstance(each, Change) else change(each) for each in values]))

    def there(self, node: str) -> NodeRuleSet | None:
        """None: it keeps the last one."""
        with suppress(HeldError):
            return at_once(self.quarantine.assembling(node))
        return None

    @property
    def asides(self) -> dict[Thing, Instead]:
        return {thing: each.instead for thing, each in self.quarantine.aside.items()}


def drive(steps: Generator[None, None, Dirty]) -> Dirty:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            dirty: Dirty = done.value
            return dirty


def stage(settings: Settings = Settings()) -> Stage:  # noqa: B008 - frozen
    made: list[Compiler] = []

    def make() -> Compiler:
        made.append(Compiler(settings))
        return made[-1]

    watcher, clock = Watcher(), Hand()
    return Stage(Quarantine(make, watcher, clock), watcher, clock, made)


def compiled(*values: Any) -> dict[str, NodeRuleSet]:
    """From scratch, by the plain compiler."""
    found: dict[Input, dict[Any, Any]] = {kind: {} for kind in Input}
    for each in map(change, values):
        found[each.kind][each.key] = each.new
    return compile_all(ClusterState(**{kind.value: found[kind] for kind in Input}))


def thing(policy: NetworkPolicy | TierPolicy) -> Thing:
    found = change(policy)
    return found.kind, found.key


def test_an_edit_that_fails_leaves_what_was_compiled_in_force_and_all_others_go_on() -> None:
    here = stage()
    here.take(*CLUSTER, allowing("a"))
    dirty = here.take(allowing("a", broken=True), denying("other", "bank"))
    assert here.asides == {thing(allowing("a")): Instead.LAST}
    wanted = compiled(*CLUSTER, allowing("a"), denying("other", "bank"))
    assert {name: here.there(name) for name in wanted} == wanted
    assert dirty == dict.fromkeys(("n1", "n2"), Reason.CHANGED)
    new = pod("new", "n1", "shop", 9)
    assert here.take(new) == {"n1": Reason.NEW_POD}
    wanted = compiled(*CLUSTER, new, allowing("a"), denying("other", "bank"))
    assert here.there("n1") == wanted["n1"]


@pytest.mark.parametrize("bad", [allowing("bad", broken=True), denying("bad", "shop", broken=True)])
def test_a_policy_without_a_past_holds_the_nodes_with_its_pods_and_no_other(bad: NetworkPolicy | TierPolicy) -> None:
    here = stage()
    here.take(*CLUSTER, bad)
    assert here.asides == {thing(bad): Instead.HELD}
    assert (here.there("n1"), here.there("n2")) == (None, compiled(*CLUSTER)["n2"])
    assert here.quarantine.held == {"n1"}
    # A node is held from the moment that it has such a pod, and until it has none.
    here.take(pod("web2", "n2", "shop", 3))
    assert here.there("n2") is None
    assert here.take(Change(Input.POD, ("shop", "web2"), None)) == {"n2": Reason.CHANGED}
    assert here.there("n2") == compiled(*CLUSTER)["n2"]


@pytest.mark.parametrize("mended", [denying("bad", "shop"), None])
def test_it_is_taken_when_it_changes_and_the_nodes_go_on(mended: TierPolicy | None) -> None:
    here = stage()
    bad = denying("bad", "shop", broken=True)
    here.take(*CLUSTER, bad)
    assert here.there("n1") is None
    dirty = here.take(Change(Input.TIER_POLICY, bad.ref, mended))
    assert dirty["n1"] == Reason.CHANGED
    assert (here.asides, here.watcher.back) == ({}, [thing(bad)])
    assert here.there("n1") == compiled(*CLUSTER, *([mended] if mended else []))["n1"]
    assert here.quarantine.held == set()
    assert len(here.made) == 2, "nothing is made again for what works"


def test_a_namespace_that_its_subject_no_longer_means_lets_the_node_go_on() -> None:
    here = stage()
    chosen = Namespace("shop", Labels({"tier": "gold"}))
    gold = Selector.of([Requirement("tier", Operator.IN, ("gold",))])
    bad = replace(denying("bad", "shop", broken=True), subject=Subject(gold))
    here.take(*CLUSTER, chosen, bad)
    assert here.there("n1") is None
    assert here.take(Namespace("shop")) == {"n1": Reason.CHANGED}
    assert here.there("n1") == compiled(*CLUSTER)["n1"]


def test_a_pod_brings_it_up_and_the_policy_is_to_blame() -> None:
    here = stage()
    rule = TierRule(0, Action.DENY, (PodPeer(SAME_NAMESPACE, UNFORESEEN),))
    bad = TierPolicy(Kind.CLUSTER_EXTENDED, "", "bad", Tier.ADMIN, 1, Subject(EVERYTHING), ingress=(rule,))
    here.take(*CLUSTER[:4], bad)
    assert here.asides == {}
    here.take(*CLUSTER[4:])
    assert here.asides == {thing(bad): Instead.HELD}
    here.take(Change(Input.TIER_POLICY, bad.ref, None))
    assert {name: here.there(name) for name in ("n1", "n2")} == compiled(*CLUSTER)


def test_a_pod_that_fails_after_the_start_is_left_out() -> None:
    here = stage()
    here.take(*CLUSTER, allowing("a"))
    bad = replace(pod("bad", "n1", "shop", 7), labels=UNFORESEEN)
    here.take(bad, pod("good", "n2", "shop", 8))
    assert here.asides == {(Input.POD, ("shop", "bad")): Instead.LEFT_OUT}
    wanted = compiled(*CLUSTER, allowing("a"), pod("good", "n2", "shop", 8))
    assert {name: here.there(name) for name in wanted} == wanted


def test_at_the_start_nobody_can_tell_what_it_meant_and_every_node_keeps_what_it_has() -> None:
    here = stage()
    bad = replace(pod("bad", "n1", "shop", 7), labels=UNFORESEEN)
    here.take(*CLUSTER, bad)
    assert (here.there("n1"), here.there("n2")) == (None, None)
    here.take(replace(bad, node="n2"))
    assert (here.there("n1"), here.there("n2")) == (None, None), "it fails again, and is no newcomer"
    here.take(Change(Input.POD, ("shop", "bad"), None))
    assert {name: here.there(name) for name in ("n1", "n2")} == compiled(*CLUSTER)


def test_what_every_node_keeps_is_its_shared_groups_too() -> None:
    """Without the object, whatever it is, they would lose members: those that a rule denies, for one."""
    here = stage(Settings(share_above=0))
    good = pod("web", "n1", "shop", 1)
    here.take(*CLUSTER[:4], replace(good, labels=UNFORESEEN), pod("other", "n1", "shop", 3), allowing("a"))
    assert here.there("n1") is None
    assert list(here.quarantine.parts()) == []
    here.take(good)
    (part,) = here.quarantine.parts()
    assert part.content == AddressGroup(
        part.content.name, part.content.description, (Address("10.0.0.1"), Address("10.0.0.3"))
    )


class Forgetful(Compiler):
    """Fails once, and on nothing in particular."""

    left = 1

    def steps(self, changes: Iterable[Change]) -> Generator[None, None, Dirty]:
        found = list(changes)
        if Forgetful.left and any(each.key == "n9" for each in found):
            Forgetful.left -= 1
            raise RuntimeError("lost count")
        return (yield from super().steps(found))


def test_a_compiler_that_works_again_when_made_again_blames_nobody() -> None:
    watcher = Watcher()
    quarantine = Quarantine(Forgetful, watcher, Hand())
    drive(quarantine.steps(map(change, CLUSTER)))
    dirty = drive(quarantine.steps([change(Node("n9")), Change(Input.NODE, "n2", None)]))
    assert (watcher.mendings, watcher.asides) == (1, [])
    assert dirty == {"n1": Reason.CHANGED, "n9": Reason.CHANGED, "n2": Reason.GONE}


class Picky(Compiler):
    """Fails when it has taken in everything, on what the test names, and does not say why."""

    bad: Callable[[Change], bool] = staticmethod(lambda _: False)

    def steps(self, changes: Iterable[Change]) -> Generator[None, None, Dirty]:
        found = list(changes)
        if any(map(type(self).bad, found)):
            raise RuntimeError("somewhere in here")
        return (yield from super().steps(found))


def test_an_object_that_nothing_points_at_is_found_by_halves() -> None:
    class Compiler(Picky):
        bad = staticmethod(lambda each: each.key == ("shop", "p5"))

    watcher = Watcher()
    quarantine = Quarantine(Compiler, watcher, Hand())
    pods = [pod(f"p{number}", "n1", "shop", 10 + number) for number in range(12)]
    drive(quarantine.steps(map(change, CLUSTER)))
    drive(quarantine.steps(map(change, pods)))
    assert [each.thing for each in watcher.asides] == [(Input.POD, ("shop", "p5"))]
    assert (
        at_once(quarantine.assembling("n1")) == compiled(*CLUSTER, *(each for each in pods if each.name != "p5"))["n1"]
    )


@pytest.mark.parametrize("nodes", [1, 2 * PATIENCE])
def test_a_compiler_that_fails_whatever_it_is_given_ends_it(nodes: int) -> None:
    class Broken(Compiler):
        def steps(self, changes: Iterable[Change]) -> Generator[None, None, Dirty]:
            raise RuntimeError("beyond repair")

    watcher = Watcher()
    quarantine = Quarantine(Broken, watcher, Hand())
    with pytest.raises(RuntimeError, match="beyond repair"):
        drive(quarantine.steps([change(Node(f"n{number}")) for number in range(nodes)]))
    assert len(watcher.asides) <= PATIENCE


async def test_an_object_that_fails_again_and_again_is_tried_less_and_less() -> None:
    here = stage()
    here.take(*CLUSTER)
    fed: list[Change] = []
    bad = change(denying("bad", "shop", broken=True))

    def feed(changes: Iterable[Change]) -> None:
        fed.extend(changes)
        here.take(*changes)

    task = asyncio.create_task(here.quarantine.run(feed))
    try:
        for number in range(1, 8):
            for each in here.quarantine.admit([bad, bad]):
                feed([each])
            await until("tried", lambda: len(fed) > number)  # noqa: B023 - awaited at once
    finally:
        task.cancel()
    assert here.clock.slept == sorted(here.clock.slept)
    assert here.clock.slept[0] >= 0.5
    assert max(here.clock.slept) == 30.0
    other = change(denying("other", "shop"))
    assert here.quarantine.admit([other, bad]) == [other]
    assert here.quarantine.admit([Change(bad.kind, bad.key, None)]), "to be rid of it is always in time"


# --- with everything around it ----------------------------------------------------------------------------------------


@dataclass
class Running:
    parts: Controller
    counters: Metrics

    def value(self, metric: str) -> float:
        lines = self.counters.exposition().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{metric} "))


async def test_the_condition_the_event_the_metric_and_the_log_say_so(caplog: pytest.LogCaptureFixture) -> None:
    counters, listing = Metrics(metrics.CONTROLLER, "test"), Listing()
    async with FakeApi() as api:
        furnish(api)
        body = {"metadata": {"name": "bad"}, "spec": SPEC}
        api.put(CLUSTER_EXTENDED_NETWORK_POLICIES, body)
        async with connect(api.credentials()) as session:
            reporter = Reporter("nodewall-controller", "test")
            parts = Controller(session, Settings(), counters, reporter, QuickClock(), lambda: float("inf"))
            parts.lead(True)
            here = Running(parts, counters)
            task = asyncio.create_task(parts.run(listing))
            try:
                await until("a rule set per node", lambda: len(rule_sets(api)) == 2)
                ref = PolicyRef(Kind.CLUSTER_EXTENDED, "", "bad")
                parts.changed([Change(Input.TIER_POLICY, ref, denying("bad", "shop", broken=True))])
                await until("said", lambda: conditions(api).get("Accepted") == ("False", "CompilerError"))
                await until("an Event", lambda: ("NotCompiled", "bad") in events(api))
                assert conditions(api)["Programmed"] == ("False", "CompilerError")
                assert "stays in force" in message(api, "Accepted")
                assert here.value("nodewall_controller_objects_set_aside") == 1
                record = next(each for each in caplog.records if "set aside" in each.getMessage())
                assert record.levelno == logging.ERROR
                assert record.exc_info is not None
                before = len(writes(api))
                api.put(PODS, stored_pod("db2", "10.0.1.2", on="n2"))
                await until("others go on", lambda: len(writes(api)) > before)
                parts.changed([Change(Input.TIER_POLICY, ref, denying("bad", "shop"))])
                await until("taken back", lambda: conditions(api).get("Accepted") == ("True", "Accepted"))
                assert here.value("nodewall_controller_objects_set_aside") == 0
                assert not task.done()
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


SPEC = {
    "tier": "Admin",
    "priority": 1,
    "subject": {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}},
    "ingress": [{"action": "Deny", "from": [{"networks": ["192.0.2.0/24"]}]}],
}


def conditions(api: FakeApi) -> dict[str, tuple[str, str]]:
    found = api.objects(CLUSTER_EXTENDED_NETWORK_POLICIES)["", "bad"].get("status", {}).get("conditions", [])
    return {each["type"]: (each["status"], each["reason"]) for each in found}


def message(api: FakeApi, kind: str) -> str:
    found = api.objects(CLUSTER_EXTENDED_NETWORK_POLICIES)["", "bad"]["status"]["conditions"]
    return str(next(each["message"] for each in found if each["type"] == kind))


class Asked(Compiler):
    """Counts how often somebody wants to know of all nodes."""

    times = 0

    @property
    def nodes(self) -> frozenset[str]:
        Asked.times += 1
        return super().nodes


def test_a_batch_that_goes_well_costs_nothing_that_grows_with_the_nodes() -> None:
    quarantine = Quarantine(Asked, Watcher(), Hand())
    drive(quarantine.steps(map(change, CLUSTER)))
    drive(quarantine.steps([change(pod("more", "n1", "shop", 9))]))
    assert Asked.times == 0
