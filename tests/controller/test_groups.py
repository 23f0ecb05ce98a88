"""Groups that many nodes share: what is written of them, in which order, and what never is."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import msgspec
import pytest

from nodewall.api import peergroup
from nodewall.api.peergroup import REVISION
from nodewall.api.ruleset import digest_of
from nodewall.compile.settings import Settings
from nodewall.controller.groups import SWEPT, Groups, GroupsLateError, PublishedPart
from nodewall.controller.limiter import MOST as HANDS
from nodewall.controller.rulesets import read_group
from nodewall.kube.errors import Call, UnreachableError
from nodewall.kube.resource import NETWORK_POLICIES, NODES, PEER_GROUPS, PODS
from nodewall.model.address import Address
from nodewall.model.ruleset import AddressGroup, GroupPart, SharedGroup
from tests.controller.running import node, pod, rule_sets, running, until
from tests.kube.fake_api import FakeApi, Object, Refuse
from tests.kube.mirroring import QuickClock

SHARED = Settings(share_above=1)


def letting_in(name: str = "open", **peers: str) -> Object:
    """Each pod in "shop" lets in the pods of the shop with these labels."""
    rule = {"from": [{"podSelector": {"matchLabels": peers}}]}
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"podSelector": {}, "ingress": [rule]}}


def furnish(api: FakeApi, nodes: int = 3) -> None:
    """A pod on each node, and a policy that lets all of them in everywhere."""
    for number in range(nodes):
        api.put(NODES, node(f"n{number}"))
        api.put(PODS, pod(f"p{number}", f"10.0.{number}.1", on=f"n{number}"))
    api.put(NETWORK_POLICIES, letting_in())


@asynccontextmanager
async def at_work(api: FakeApi, settings: Settings = SHARED) -> AsyncIterator[None]:
    """A controller that has written everything."""
    async with running(api, settings):
        await until("rule sets", lambda: rule_sets(api).keys() >= {name for _, name in api.objects(NODES)})
        await until("whole", lambda: not settings.share_above or is_whole(api))
        yield


def groups(api: FakeApi) -> dict[str, Object]:
    return {name: found for (_, name), found in api.objects(PEER_GROUPS).items()}


def is_whole(api: FakeApi) -> bool:
    """Whether everything that is named is there, and the revision told."""
    found = groups(api)
    if REVISION not in found:
        return False
    told = found[REVISION]["spec"]["revision"]
    return all(_has(api, each, told) for each in rule_sets(api).values())


def _has(api: FakeApi, rule_set: Object, told: int) -> bool:
    named = rule_set["spec"].get("sharedGroups", [])
    names = [peergroup.name((each["name"], each["parts"], index)) for each in named for index in range(each["parts"])]
    return bool(named) and rule_set["spec"]["groupsRevision"] <= told and all(name in groups(api) for name in names)


def members(api: FakeApi) -> set[str]:
    return {member for found in groups(api).values() for member in found["spec"]["members"]}


def written(api: FakeApi, since: int = 0) -> list[str]:
    """Names of the objects of ours that were written or deleted, in this order.

    What is not there yet is applied after the patch of it was refused: that is one.
    """
    asked = [seen for seen in api.requests[since:] if seen.verb in {"patch", "create", "delete"}]
    applied = [seen.path for seen in asked if "apply-patch" in seen.headers.get("Content-Type", "")]
    changes = []
    for seen in asked:
        if "json-patch" in seen.headers.get("Content-Type", "") and seen.path in applied:
            applied.remove(seen.path)
        else:
            changes.append(seen)
    ours = [seen.path.split("v1alpha1/")[1] for seen in changes if "noderulesets/" in seen.path or "peerg" in seen.path]
    return [each.split("/")[1] for each in ours if not each.endswith("/status")]


async def test_groups_are_written_before_the_revision_and_that_before_who_names_them() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with at_work(api):
            order = written(api)
            (group,) = {each["name"] for found in rule_sets(api).values() for each in found["spec"]["sharedGroups"]}
            assert order[:2] == [f"{group}-1-0", REVISION]
            assert sorted(order[2:]) == ["n0", "n1", "n2"]
            assert members(api) == {"10.0.0.1", "10.0.1.1", "10.0.2.1"}
            assert all(found["spec"]["digest"] == digest_of(found["spec"]) for found in groups(api).values())
            assert all(found["spec"]["addressGroups"] == [] for found in rule_sets(api).values())


@pytest.mark.parametrize("nodes", [3, 30])
async def test_a_pod_that_joins_is_written_once_and_not_once_per_node(nodes: int) -> None:
    async with FakeApi() as api:
        furnish(api, nodes)
        async with at_work(api):
            before = len(api.requests)
            api.put(PODS, pod("new", "10.9.9.9", on="n1"))
            await until("joined", lambda: "10.9.9.9" in members(api) and len(written(api, before)) >= 3)
            await asyncio.sleep(0.4)
            (part,) = {name for name in groups(api) if name != REVISION}
            assert sorted(written(api, before)) == sorted([part, REVISION, "n1"])


async def test_small_clusters_have_no_such_objects() -> None:
    async with FakeApi() as api:
        furnish(api, 2)
        async with running(api, Settings(share_above=50)):
            await until("rule sets", lambda: len(rule_sets(api)) == 2)
            await asyncio.sleep(0.4)
            assert groups(api) == {}
            assert all("sharedGroups" not in found["spec"] for found in rule_sets(api).values())


async def test_a_controller_that_starts_anew_writes_nothing() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with at_work(api):
            pass
        before = len(api.requests)
        async with at_work(api):
            await asyncio.sleep(0.6)
            assert written(api, before) == []


async def test_what_somebody_else_changes_is_undone() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with at_work(api):
            (part,) = {name for name in groups(api) if name != REVISION}
            good = members(api)
            body = groups(api)[part]
            spec = {**body["spec"], "members": ["10.6.6.6"]}
            spec["digest"] = digest_of(spec)
            api.put(PEER_GROUPS, {**body, "spec": spec})
            await until("undone", lambda: members(api) == good)
            api.remove(PEER_GROUPS, part)
            await until("there again", lambda: part in groups(api) and members(api) == good)
            api.remove(PEER_GROUPS, REVISION)
            await until("told again", lambda: is_whole(api))
            told = groups(api)[REVISION]
            api.put(PEER_GROUPS, {**told, "spec": {**told["spec"], "revision": 1 << 60}})
            await until("counted as before", lambda: groups(api)[REVISION]["spec"]["revision"] < 1 << 20)


async def test_a_revision_that_was_begun_by_another_controller_is_ended() -> None:
    """It wrote a part and died: the nodes have to be told one that is beyond it."""
    async with FakeApi() as api:
        furnish(api)
        async with at_work(api):
            pass
        (part,) = {name for name in groups(api) if name != REVISION}
        body = groups(api)[part]
        spec = {**body["spec"], "revision": 90}
        spec["digest"] = digest_of(spec)
        api.put(PEER_GROUPS, {**body, "spec": spec})
        async with running(api, SHARED):
            await until("told", lambda: groups(api)[REVISION]["spec"]["revision"] > 90)


async def test_rule_sets_wait_while_their_groups_cannot_be_written() -> None:
    async with FakeApi() as api:
        furnish(api)
        api.fail("patch", Refuse(500, "no"), times=10_000, resource=PEER_GROUPS)
        async with running(api, SHARED):
            await until("tried", lambda: len([seen for seen in api.requests if "peergroups" in seen.path]) > 5)
            assert rule_sets(api) == {}
            api.heal()
            await until("written", lambda: len(rule_sets(api)) == 3 and is_whole(api))


async def test_who_waits_for_groups_that_cannot_be_written_holds_up_nobody_else() -> None:
    """The right to may be missing: more rule sets wait than are written at a time."""
    async with FakeApi() as api:
        furnish(api, 3 * HANDS)
        api.put(NODES, node("lone"))
        api.put(NETWORK_POLICIES, {**letting_in(), "metadata": {"name": "open", "namespace": "apart"}})
        api.fail("patch", Refuse(403, "no"), times=100_000, resource=PEER_GROUPS)
        async with running(api, SHARED):
            for number in range(4):
                api.put(PODS, pod(f"lone{number}", f"10.8.0.{number}", on="lone", namespace="apart"))
                await until("written", lambda: f"10.8.0.{number}" in str(rule_sets(api).get("lone")), within=1.0)  # noqa: B023
            assert rule_sets(api).keys() == {"lone"}, "the others wait"


async def test_a_cluster_that_shrinks_needs_them_no_more() -> None:
    async with FakeApi() as api:
        furnish(api, 4)
        async with at_work(api, Settings(share_above=3)):
            for number in (3, 2, 1):
                api.remove(PODS, f"p{number}", "shop")
            await until("held by the rule set", lambda: "sharedGroups" not in rule_sets(api)["n0"]["spec"])
            assert rule_sets(api)["n0"]["spec"]["addressGroups"][0]["addresses"] == ["10.0.0.1"]


# -- alone, with a clock and an API that the test plays


class Sped:
    """Each look at it is a minute later."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 60.0
        return self.now

    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0.001)

    def chance(self) -> float:
        return 0.5


@dataclass
class Api:
    """Keeps what is there."""

    there: dict[str, bytes] = field(default_factory=dict)
    ages: dict[str, float] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    watched: Groups | None = None
    """Who hears of a write by the watch before it is answered."""
    writing: Callable[[], None] = lambda: None
    answering: Callable[[], None] = lambda: None
    removing: Callable[[], None] = lambda: None
    generations: Counter[str] = field(default_factory=Counter)

    async def write(self, name: str, spec: bytes, age: float) -> tuple[str, int]:
        await asyncio.sleep(0)
        self.writing()
        if name in self.failing:
            raise UnreachableError(Call("patch", name), "no answer")
        self.there[name] = spec
        self.ages[name] = age
        self.order.append(name)
        self.generations[name] += 1
        if self.watched:
            body = {"metadata": {"name": name, "uid": f"uid-{name}", "generation": self.generations[name]}}
            self.watched.saw(*read_group(msgspec.Raw(msgspec.json.encode(body | {"spec": msgspec.Raw(spec)}))))
        self.answering()
        return f"uid-{name}", self.generations[name]

    async def remove(self, name: str, uid: str) -> None:
        assert uid == f"uid-{name}"
        del self.there[name]
        self.order.append(f"-{name}")
        self.removing()


@dataclass(frozen=True)
class Named:
    revision: int = 0
    groups: frozenset[SharedGroup] = frozenset()


def part(*addresses: str, group: str = "g1", parts: int = 1, index: int = 0) -> GroupPart:
    return GroupPart(AddressGroup(group, "all", tuple(map(Address, addresses))), parts, index)


@asynccontextmanager
async def alone(
    api: Api,
    holders: Mapping[str, Named],
    clock: QuickClock | Sped | None = None,
    *,
    leads: Callable[[], bool] = lambda: True,
) -> AsyncIterator[Groups]:
    found = Groups(api, leads, clock or QuickClock())
    task = asyncio.create_task(found.run(holders, lambda _revision, _spread: None))
    try:
        yield found
    finally:
        assert not task.done(), task
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def at_last(groups: Groups) -> int:
    """The revision, however often they could not be written until now."""
    while True:
        with suppress(GroupsLateError):
            return await groups.settled()
        await asyncio.sleep(0.002)


async def test_the_revision_is_told_when_all_parts_are_written_and_not_before() -> None:
    api = Api()
    async with alone(api, {}) as found:
        api.failing = {"g1-2-1"}
        found.want(part("10.0.0.1", parts=2, index=0))
        found.want(part("10.0.0.2", parts=2, index=1))
        found.wanted({"g1": 2})
        await until("half of it", lambda: "g1-2-0" in api.there)
        await asyncio.sleep(0.05)
        assert REVISION not in api.there
        with pytest.raises(GroupsLateError):
            await found.settled()
        api.failing = set()
        assert await at_last(found) == found.revision > 0
        assert api.order[-2:] == ["g1-2-1", REVISION]
        assert msgspec.json.decode(api.there[REVISION])["revision"] == found.revision


async def test_a_part_is_as_old_as_its_first_change_that_is_not_written() -> None:
    api = Api()
    async with alone(api, {}) as found:
        for number, fails in ((1, set[str]()), (2, {"g1-1-0"}), (3, set())):
            api.failing, begun = fails, time.monotonic()
            found.want(part(f"10.0.0.{number}"))
            await asyncio.sleep(0.05)
            found.want(part(f"10.0.{number}.1"))
            found.wanted({"g1": 1})
            await asyncio.sleep(0.01)
            api.failing = set()
            await at_last(found)
            assert 0.05 <= api.ages["g1-1-0"] <= time.monotonic() - begun


async def test_who_stood_by_does_not_count_what_another_has_written() -> None:
    api, ours = Api(), [False]
    async with alone(api, {}, leads=lambda: ours[0]) as found:
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        found.saw("g1-1-0", PublishedPart("uid", peergroup.encode_part(part("10.0.0.1"), 1)[0], 1, 1))
        await asyncio.sleep(0.3)
        found.want(part("10.0.0.2"))
        found.wanted({"g1": 1})
        ours[0] = True
        found.take_over()
        await until("written", lambda: "g1-1-0" in api.there)
        assert api.ages["g1-1-0"] < 0.2


async def test_what_came_meanwhile_is_in_the_next_round() -> None:
    api = Api()
    async with alone(api, {}) as found:
        for number in range(20):
            found.want(part(f"10.0.0.{number}"))
            found.wanted({"g1": 1})
            await asyncio.sleep(0)
        await found.settled()
        assert b"10.0.0.19" in api.there["g1-1-0"]
        assert len(api.order) < 20, "rounds take what there is"


async def test_half_a_batch_is_in_no_round() -> None:
    """A batch with very many parts is told with pauses, in which a round may begin."""
    api = Api()
    async with alone(api, {}) as found:
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        await found.settled()
        found.want(part())
        found.take_over()
        await asyncio.sleep(0.05)
        found.want(part("10.0.0.1", group="g2"))
        found.wanted({"g1": 1, "g2": 1})
        await found.settled()
        assert api.order[2:] == ["g1-1-0", "g2-1-0", REVISION], "at no time in neither"


async def test_what_comes_during_a_round_is_in_the_next_as_a_whole() -> None:
    api, names = Api(), [f"g{number}" for number in range(40)]

    def move() -> None:
        """From the last group, which waits for a hand, to the first, which is written."""
        if api.order == ["g0-1-0"]:
            found.want(part("10.0.0.1", group="g0"))
            found.want(part(group="g39"))
            found.wanted(dict.fromkeys(names, 1))

    async with alone(api, {}) as found:
        for name in names:
            found.want(part(*(["10.0.0.1"] if name == "g39" else []), group=name))
        found.wanted(dict.fromkeys(names, 1))
        api.writing = move
        await until("told", lambda: REVISION in api.there)
        assert b"10.0.0.1" in api.there["g39-1-0"] + api.there["g0-1-0"]
        await found.settled()
        assert (b"10.0.0.1" in api.there["g0-1-0"], b"10.0.0.1" in api.there["g39-1-0"]) == (True, False)


async def test_an_unchanged_part_is_not_written_and_no_revision_told() -> None:
    api = Api()
    async with alone(api, {}) as found:
        for _ in range(3):
            found.want(part("10.0.0.1"))
            found.wanted({"g1": 1})
            await found.settled()
        assert api.order == ["g1-1-0", REVISION]


async def test_without_the_lease_nothing_is_written() -> None:
    api = Api()
    async with alone(api, {}, leads=lambda: False) as found:
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        found.take_over()
        await asyncio.sleep(0.05)
        assert api.order == []


async def test_a_group_goes_when_no_rule_set_names_it() -> None:
    api, holders = Api(), {"n1": Named(1, frozenset({SharedGroup("g1", 1)}))}
    async with alone(api, holders, Sped()) as found:
        api.watched = found
        found.want(part("10.0.0.1"))
        found.want(part("10.0.0.1", group="g2"))
        found.wanted({"g1": 1, "g2": 1})
        await found.settled()
        found.wanted({"g2": 1})
        await asyncio.sleep(0.1)
        assert "g1-1-0" in api.there, "a node's rule set still names it"
        holders["n1"] = Named()
        await until("removed", lambda: "g1-1-0" not in api.there)
        assert {"g2-1-0", REVISION} == api.there.keys()
        found.wanted({})
        await until("as simple as before", lambda: not api.there)


async def test_a_part_that_was_chosen_to_be_too_large_holds_up_nobody_else() -> None:
    api = Api()
    async with alone(api, {}) as found:
        many = [f"fd00:1111:2222:3333:4444:5555:{number >> 16:x}:{number & 65535:x}" for number in range(9000)]
        found.want(part(*many))
        found.want(part("10.0.0.1", group="g2"))
        found.wanted({"g1": 1, "g2": 1})
        await found.settled()
        assert api.there.keys() == {"g2-1-0", REVISION}


async def test_a_late_sight_of_an_own_write_is_no_news() -> None:
    api = Api()
    async with alone(api, {}) as found:
        for number in range(2):
            found.want(part(f"10.0.0.{number}"))
            found.wanted({"g1": 1})
            await found.settled()
        before = list(api.order)
        digest, _ = peergroup.encode_part(part("10.0.0.0"), 1)
        found.saw("g1-1-0", PublishedPart("uid-g1-1-0", digest, 1, 0))
        await asyncio.sleep(0.05)
        assert api.order == before


async def test_a_restored_backup_is_undone_however_fast_the_watch_was() -> None:
    """The watch may bring a write before its answer comes; what is older after that was not written before it."""
    api = Api()
    async with alone(api, {}) as found:
        api.watched = found
        for number in range(2):
            found.want(part(f"10.0.0.{number}"))
            found.wanted({"g1": 1})
            await found.settled()
        digest, _ = peergroup.encode_part(part("10.0.0.0"), 1)
        found.saw("g1-1-0", PublishedPart("uid-g1-1-0", digest, 1, 1))
        found.saw(REVISION, PublishedPart(f"uid-{REVISION}", peergroup.encode_revision(1, 0)[0], 1, 1))
        await until("written again", lambda: api.order[4:] == ["g1-1-0", REVISION])


@pytest.mark.parametrize("name", ["g1-1-0", "g9-1-0"])
async def test_what_the_last_leader_wrote_late_is_told_beyond(name: str) -> None:
    """Nothing in it is wrong, so it is not written again; but no node goes on while a part is ahead."""
    api = Api()
    async with alone(api, {}) as found:
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        await found.settled()
        ahead = found.revision + 5
        digest, _ = peergroup.encode_part(part("10.0.0.1"), ahead)
        found.saw(name, PublishedPart(f"uid-{name}", digest, ahead, 9))
        await until("told", lambda: msgspec.json.decode(api.there[REVISION])["revision"] > ahead)
        assert api.order == ["g1-1-0", REVISION, REVISION]


async def test_what_comes_late_while_another_is_told_is_told_beyond_too() -> None:
    api = Api()
    async with alone(api, {}) as found:
        api.writing = lambda: found.saw("g9-1-0", PublishedPart("uid", "", 20, 1))
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        await until("told", lambda: REVISION in api.there and msgspec.json.decode(api.there[REVISION])["revision"] > 20)


async def test_who_leads_again_states_the_revision_of_now() -> None:
    """A rule set with an older one could be put together with groups of before it."""
    api = Api()
    async with alone(api, {}) as found:
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        assert await found.settled() < 50
        found.saw("g1-1-0", PublishedPart("uid", peergroup.encode_part(part("10.0.0.1"), 50)[0], 50, 9))
        found.saw(REVISION, PublishedPart("uid", peergroup.encode_revision(50, 0)[0], 50, 9))
        found.take_over()
        assert await found.settled() >= 50


async def test_who_stood_by_tells_nothing_that_is_told() -> None:
    api, ours = Api(), [False]
    async with alone(api, {}, leads=lambda: ours[0]) as found:
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        found.saw("g1-1-0", PublishedPart("uid", peergroup.encode_part(part("10.0.0.1"), 7)[0], 7, 1))
        found.saw(REVISION, PublishedPart("uid", peergroup.encode_revision(7, 0)[0], 7, 1))
        ours[0] = True
        found.take_over()
        assert await found.settled() == 7
        assert api.order == []


async def test_the_revision_that_another_has_told_is_ours_to_keep() -> None:
    api = Api()
    async with alone(api, {}) as found:
        found.saw("g1-1-0", PublishedPart("uid", peergroup.encode_part(part("10.0.0.1"), 7)[0], 7, 1))
        found.saw(REVISION, PublishedPart("uid", peergroup.encode_revision(7, 0)[0], 7, 1))
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        await found.settled()
        assert api.order == []
        found.saw(REVISION, None)
        await until("told again", lambda: api.order == [REVISION])


async def test_what_may_have_been_written_is_written_again_although_what_was_before_it_is_wanted_now() -> None:
    """The failure said nothing of whether it was done, and the watch is late."""
    api = Api()
    async with alone(api, {}) as found:
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        await found.settled()
        api.failing = {"g1-1-0"}
        found.want(part("10.0.0.2"))
        found.wanted({"g1": 1})
        with pytest.raises(GroupsLateError):
            await found.settled()
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        api.failing = set()
        await at_last(found)
        assert api.order == ["g1-1-0", REVISION, "g1-1-0", REVISION]


@pytest.mark.parametrize("name", ["g1-1-0", REVISION])
async def test_what_somebody_edits_before_our_write_is_answered_is_undone(name: str) -> None:
    api = Api()
    async with alone(api, {}) as found:
        api.watched = found
        edited = PublishedPart(f"uid-{name}", "", 1, 2)
        api.answering = lambda: (
            found.saw(name, edited) if api.order[-1] == name and api.order.count(name) == 1 else None
        )
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        await until("written again", lambda: api.order.count(name) == 2)


async def test_a_write_that_the_watch_never_brings_is_done_again() -> None:
    """It was answered, and then a backup was restored: what is listed is older, and what is not there is no news."""
    api = Api()
    async with alone(api, {}, Sped()) as found:
        found.want(part("10.0.0.1"))
        found.want(part("10.0.0.2", group="g2"))
        found.wanted({"g1": 1, "g2": 1})
        await found.settled()
        del api.order[:]
        api.watched = found
        found.saw("g1-1-0", PublishedPart("uid-g1-1-0", "", 0, 0))
        await until("written again", lambda: {"g1-1-0", "g2-1-0", REVISION} <= set(api.order))
        del api.order[:]
        await asyncio.sleep(0.05)
        assert api.order == [], "and seen"


async def test_what_somebody_removes_before_we_do_ends_nothing() -> None:
    api = Api()
    async with alone(api, {}, Sped()) as found:
        api.watched = found
        found.want(part("10.0.0.1"))
        found.want(part("10.0.0.2", group="g2"))
        found.wanted({"g1": 1, "g2": 1})
        await found.settled()
        api.removing = lambda: found.saw("g2-1-0", None)
        found.wanted({})
        await until("ours is removed", lambda: "g1-1-0" not in api.there)
        await asyncio.sleep(0.05)


async def test_a_part_that_nobody_reads_goes_although_its_group_is_named() -> None:
    holders = {"n1": Named(1, frozenset({SharedGroup("g1", 1)}))}
    api = Api({"g1-1-7": b"", "copy": b""})
    async with alone(api, holders, Sped()) as found:
        api.watched = found
        for name in api.there:
            found.saw(name, PublishedPart(f"uid-{name}", "", 1, 1))
        found.want(part("10.0.0.1"))
        found.wanted({"g1": 1})
        await until("removed", lambda: api.there.keys() == {"g1-1-0", REVISION})


async def test_very_many_parts_that_nobody_names_hold_up_no_round() -> None:
    api = Api()
    async with alone(api, {}, Sped()) as found:
        api.watched = found
        for index in range(512):
            found.want(part(parts=512, index=index))
        found.wanted({"g1": 512})
        await found.settled()
        del api.order[:]

        def join() -> None:
            if len(api.order) == 1:
                found.want(part("10.0.0.1", group="g2"))
                found.wanted({"g2": 1})

        api.removing = join
        found.wanted({})
        await until("written", lambda: "g2-1-0" in api.order)
        assert api.order.index("g2-1-0") <= SWEPT


async def test_rule_sets_are_told_over_which_time_reports_are_spread() -> None:
    """One second per twenty nodes: a small cluster hears at once, and a large one is not flooded by its own nodes."""
    for nodes, seconds in ((3, None), (1000, 50)):
        api = Api()
        async with alone(api, {f"n{number}": Named() for number in range(nodes)}) as found:
            found.want(part("10.0.0.1"))
            found.wanted({"g1": 1})
            await found.settled()
            assert msgspec.json.decode(api.there[REVISION]).get("reportWithin") == seconds
