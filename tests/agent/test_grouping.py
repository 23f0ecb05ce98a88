"""Groups that are held apart from the rule set: when they are taken over, and what happens until then."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodewall.agent import grouping
from nodewall.agent.decide import RESTORED_HOLD, RIPENING, Reason
from nodewall.agent.grouping import AwaitedError, Gathering, Item, Known, Shelf
from nodewall.agent.listen import Keeper
from nodewall.agent.loop import Inbox, Loop, Sighting, Times, Ways
from nodewall.agent.reading import reader, saved_reader, to_save
from nodewall.agent.report import MINOR, Reporter, conditions, status
from nodewall.agent.saved import Saved
from nodewall.agent.watch import Following, Watching
from nodewall.api import peergroup, ruleset
from nodewall.api.peergroup import REVISION
from nodewall.kube.errors import Call, ForbiddenError
from nodewall.kube.reflector import Change
from nodewall.kube.resource import PEER_GROUPS, Collection
from nodewall.model.address import Address
from nodewall.model.errors import BadInputError
from nodewall.model.policy import Action
from nodewall.model.ruleset import AddressGroup, GroupPart, Match, NodeRuleSet, PortGroup, SharedGroup
from nodewall.model.shared import merged, merged_again
from nodewall.telemetry import metrics
from nodewall.telemetry.metrics import Metrics
from tests.agent.rulesets import NODE, content
from tests.agent.test_loop import World
from tests.agent.test_report import Impatient, Server

COUNTS = Metrics(metrics.AGENT, "test")
WATCHING = Watching(Inbox(), COUNTS)
MEMBERS = ("10.0.2.1", "10.0.2.2", "10.0.2.3")


def part(index: int, *members: str, parts: int = 2) -> GroupPart:
    return GroupPart(AddressGroup("peers", "role=peer", tuple(map(Address, sorted(members)))), parts, index)


def item(made: GroupPart, revision: int = 1, generation: int = 1) -> Item:
    spec = peergroup.encode_part(made, revision)[1]
    body = peergroup.document(peergroup.name(made.key), spec)
    body["metadata"] |= {"uid": "u", "generation": generation}
    return grouping.project(msgspec.Raw(msgspec.json.encode(body)))[1]


def told(revision: int, within: int = 0) -> Item:
    body = peergroup.document(REVISION, peergroup.encode_revision(revision, within)[1])
    return grouping.project(msgspec.Raw(msgspec.json.encode(body)))[1]


def known(*items: Item, revision: int = 1, within: int = 0) -> Known:
    return grouping.known(revision, within, items)


def sharing(*, revision: int = 1, parts: int = 2) -> NodeRuleSet:
    """As ``content``, and its one group is elsewhere."""
    return replace(content(), groups=(), shared=(SharedGroup("peers", parts),), revision=revision)


def sighting(held: NodeRuleSet, generation: int = 1) -> Sighting:
    body = ruleset.document(held)
    body["metadata"] |= {"uid": "u1", "generation": generation}
    return Sighting("u1", generation, msgspec.json.encode(body))


class Shared(World):
    """A loop that reads rule sets and groups as they come from the API server."""

    def __init__(self) -> None:
        super().__init__()
        ways = Ways(reader(NODE), self.kernel, self.forget, self.reserve)
        self.loop = Loop(self.inbox, ways, self.listener, Times(self.clock, lambda: self.clock.now))

    async def given(self, *news: Sighting | Known) -> None:
        for each in news:
            (self.inbox.knows if isinstance(each, Known) else self.inbox.saw)(each)  # type: ignore[arg-type]
            await self.loop.turn()

    async def later(self, seconds: float) -> None:
        self.clock.now += seconds
        await self.loop.turn()

    def enforced(self) -> tuple[str, ...]:
        """The members that the kernel has."""
        target = self.loop.state.applied
        return target.ruleset.content.groups[0].addresses if target else ()


BOTH = (item(part(0, "10.0.2.1")), item(part(1, "10.0.2.2")))


# -- nothing but a state that really was


def shelf() -> tuple[Shelf, list[Known]]:
    seen: list[Known] = []
    return Shelf(seen.append), seen


def give(to: Shelf, items: Sequence[tuple[str, Item | None]], had: dict[str, Item]) -> None:
    for name, new in items:
        to.changed(Change(name, had.get(name), new))
        had.pop(name, None)
        if new:
            had[name] = new


def test_parts_count_when_their_revision_is_told_and_not_before() -> None:
    found, seen = shelf()
    had: dict[str, Item] = {}
    give(found, [("peers-2-0", BOTH[0]), ("peers-2-1", BOTH[1])], had)
    assert seen == []
    give(found, [(REVISION, told(1))], had)
    assert [each.revision for each in seen] == [1]
    give(found, [("peers-2-0", item(part(0), 2))], had)
    assert len(seen) == 1, "half of revision 2"
    give(found, [("peers-2-1", item(part(1, "10.0.2.2", "10.0.2.1"), 2)), (REVISION, told(2))], had)
    assert [each.revision for each in seen] == [1, 2]
    assert {each.head.revision for each in seen[-1].parts.values()} == {2}


def test_a_list_in_any_half_written_state_is_no_state() -> None:
    """Whatever was written when it was made: it counts when the revision that it began with is told."""
    new = [("peers-2-0", item(part(0), 2)), ("peers-2-1", item(part(1), 2))]
    for taken in (1, 2):
        for listed in itertools.permutations([*new[:taken], (REVISION, told(1))]):
            found, seen = shelf()
            had: dict[str, Item] = {}
            give(found, [each for each in listed if each[0] != REVISION], had)
            give(found, [(REVISION, told(1))], had)
            assert seen == []
            give(found, [(REVISION, told(2))], had)
            assert [each.revision for each in seen] == [2]


def test_a_backup_that_was_restored_is_taken_over_as_a_whole() -> None:
    """It is listed part by part, and each part is older than the revision that is known."""
    found, seen = shelf()
    had: dict[str, Item] = {}
    give(found, [("peers-2-0", item(part(0), 5)), ("peers-2-1", item(part(1), 5)), (REVISION, told(5))], had)
    del seen[:]
    give(found, [("peers-2-0", item(part(0), 3)), ("peers-2-1", item(part(1), 3))], had)
    assert seen == []
    give(found, [(REVISION, told(3))], had)
    assert [each.revision for each in seen] == [3]


def test_what_was_ahead_and_went_with_the_revision_is_forgotten() -> None:
    """The definition was removed and came back: whoever is ahead now is told by what is there now."""
    found, seen = shelf()
    had: dict[str, Item] = {}
    give(found, [("peers-2-0", item(part(0), 5)), (REVISION, told(5)), ("peers-2-1", item(part(1), 6))], had)
    give(found, [("peers-2-0", None), (REVISION, None), ("peers-2-1", None)], had)
    del seen[:]
    give(found, [("peers-2-0", item(part(0), 7)), (REVISION, told(7))], had)
    assert [each.revision for each in seen] == [7]


def test_a_part_that_was_edited_counts_when_it_is_written_again() -> None:
    """Another leader may have told this revision before, so that nothing more is told of it."""
    found, seen = shelf()
    had: dict[str, Item] = {}
    give(found, [("peers-2-0", item(part(0), 5)), ("peers-2-1", item(part(1), 5)), (REVISION, told(6))], had)
    del seen[:]
    give(found, [("peers-2-0", item(part(0), 0)), ("peers-2-1", item(part(1), 6))], had)
    assert seen == []
    give(found, [("peers-2-0", item(part(0), 6))], had)
    assert [each.revision for each in seen] == [6]


@pytest.mark.parametrize("revision", [1, 9])
def test_an_object_that_is_not_what_its_name_says_is_nothing(revision: int) -> None:
    """A copy of a part under another name stands in nobody's way, and for no part; nor does what nobody counted."""
    found, seen = shelf()
    had: dict[str, Item] = {}
    give(found, [("peers-2-0", BOTH[0]), ("peers-2-1", BOTH[1]), (REVISION, told(1))], had)
    give(found, [("revision-copy", told(9)), ("z-copy", item(part(1, "10.6.6.6"), revision))], had)
    give(found, [("peers-4-0", item(part(0, parts=4), 1 << 60))], had)
    give(found, [("peers-2-0", item(part(0), 2)), (REVISION, told(2))], had)
    assert seen[-1].revision == 2
    assert seen[-1].parts[("peers", 2, 1)] == BOTH[1]


# -- rule set and groups together


async def test_a_rule_set_waits_for_every_part_of_its_groups() -> None:
    world = Shared()
    await world.given(sighting(content(*MEMBERS)), sighting(sharing(), 2))
    assert world.inbox.needed.is_set()
    assert world.enforced() == MEMBERS, "the last good one"
    for incomplete in (known(), known(BOTH[0]), known(BOTH[1])):
        await world.given(incomplete)
        assert world.enforced() == MEMBERS
        applied, degraded = conditions(world.loop.state)
        assert (applied["status"], applied["reason"]) == ("False", Reason.GROUPS_AWAITED)
        assert "waits for group peers, part" in applied["message"]
        assert degraded["status"] == "False", "a moment's wait weakens nothing"
    await world.given(known(*BOTH))
    assert world.enforced() == ("10.0.2.1", "10.0.2.2")
    assert conditions(world.loop.state)[0]["status"] == "True"


async def test_a_rule_set_waits_for_groups_as_new_as_it_was_written_for() -> None:
    world = Shared()
    await world.given(sighting(content(*MEMBERS)), known(*BOTH, revision=6), sighting(sharing(revision=7), 2))
    assert world.enforced() == MEMBERS
    assert "revision 7 of the PeerGroups, 6 is there" in conditions(world.loop.state)[0]["message"]
    await world.given(known(*BOTH, revision=8))
    assert world.enforced() == ("10.0.2.1", "10.0.2.2")


async def test_a_new_node_without_groups_enforces_nothing_and_says_so() -> None:
    world = Shared()
    await world.given(sighting(sharing()))
    assert world.kernel.applied == []
    assert conditions(world.loop.state)[0]["status"] == "False"


async def test_members_change_by_elements_alone() -> None:
    world = Shared()
    await world.given(sighting(sharing()), known(*BOTH))
    await world.given(known(item(part(0, "10.0.2.1", "10.0.2.9"), 2), BOTH[1], revision=2))
    await world.later(RIPENING)
    assert world.enforced() == ("10.0.2.1", "10.0.2.2", "10.0.2.9")
    (command,) = world.kernel.applied[-1]["nftables"]
    assert command["add"]["element"]["elem"] == ["10.0.2.9"]
    assert world.listener.events == [("replace", 1), ("diff", 1)]


async def test_what_others_groups_do_is_no_work() -> None:
    world = Shared()
    await world.given(sighting(sharing()), known(*BOTH))
    other = item(GroupPart(AddressGroup("others", "x", (Address("10.9.9.9"),)), 1, 0), 2)
    await world.given(known(*BOTH, other, revision=2))
    assert len(world.kernel.applied) == 1
    assert world.loop.state.groups == 2, "and it is as new as that all the same"


async def test_a_part_that_was_tampered_with_is_not_taken() -> None:
    world = Shared()
    await world.given(sighting(sharing()), known(*BOTH))
    forged = replace(BOTH[0], source=BOTH[0].source.replace(b"10.0.2.1", b"10.6.6.6"), generation=2)
    await world.given(known(forged, BOTH[1], revision=2))
    assert world.enforced() == ("10.0.2.1", "10.0.2.2")
    applied, degraded = conditions(world.loop.state)
    assert (applied["status"], degraded["status"], degraded["reason"]) == ("False", "True", Reason.UNUSABLE)


async def test_a_part_that_vanishes_leaves_what_is_in_force() -> None:
    world = Shared()
    await world.given(sighting(sharing()), known(*BOTH), known(BOTH[1], revision=2))
    assert world.enforced() == ("10.0.2.1", "10.0.2.2")


async def test_older_members_are_held_like_an_older_rule_set() -> None:
    world = Shared()
    await world.given(sighting(sharing()), known(*BOTH, revision=9))
    await world.given(known(item(part(0), 3), BOTH[1], revision=3))
    assert world.enforced() == ("10.0.2.1", "10.0.2.2")
    world.clock.now += RESTORED_HOLD
    await world.loop.turn()
    assert world.enforced() == ("10.0.2.2",)


async def test_older_members_are_held_although_the_rule_set_says_what_it_said() -> None:
    """It was another one between the backup and now."""
    world = Shared()
    await world.given(sighting(sharing(), 5), known(*BOTH, revision=9))
    world.inbox.knows(known(item(part(0), 3), BOTH[1], revision=3))
    await world.given(sighting(sharing(), 3))
    assert world.enforced() == ("10.0.2.1", "10.0.2.2")
    world.clock.now += RESTORED_HOLD
    await world.loop.turn()
    assert world.enforced() == ("10.0.2.2",)


async def test_groups_that_come_before_the_rule_set_say_nothing() -> None:
    world = Shared()
    await world.given(known(*BOTH))
    assert world.loop.state.trouble is None


def test_only_the_part_that_changed_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    decode = peergroup.decode_part

    def counted(body: bytes) -> GroupPart:
        read.append(body)
        return decode(body)

    monkeypatch.setattr(peergroup, "decode_part", counted)
    gathering, held = Gathering(), reader(NODE)(sighting(sharing()).source)
    first = gathering.whole(held, known(*BOTH))
    again = gathering.whole(held, known(*BOTH, revision=2))
    assert len(read) == 2
    assert (first, first.groups, again.groups) == (again, 1, 2)
    assert again.content.groups[0] is first.content.groups[0], "so that nobody compares its members"
    changed = gathering.whole(held, known(BOTH[0], item(part(1), 3), revision=3))
    assert len(read) == 3
    assert changed != first
    assert changed.differs_in_members_only(first)


MEMBER = st.sampled_from([Address(f"10.0.0.{number}") for number in range(1, 6)])
CONTENTS = st.lists(st.lists(MEMBER, max_size=4), min_size=2, max_size=2)


@settings(max_examples=200, deadline=None)
@given(st.lists(CONTENTS, min_size=2, max_size=5), st.sampled_from(("one", "other")))
def test_what_is_put_together_again_is_what_is_put_together(steps: list[list[list[Address]]], said: str) -> None:
    """Members that two parts hold, or one twice, are there as often as before, whoever gives them up."""
    before = [GroupPart(AddressGroup("g", "one", tuple(each)), 2, index) for index, each in enumerate(steps[0])]
    made = merged(before)
    for old, new in pairwise(steps):
        after = [
            part if was == now else GroupPart(AddressGroup("g", said, tuple(now)), 2, part.part)
            for part, was, now in zip(before, old, new, strict=True)
        ]
        made = merged_again(made, before, after)
        assert made == merged(after)
        before = after


def test_parts_that_hold_two_kinds_are_refused_again() -> None:
    addresses, ports = AddressGroup("g", "", tuple(map(Address, MEMBERS))), PortGroup("g", "", ())
    before = [GroupPart(addresses, 2, 0), GroupPart(addresses, 2, 1)]
    with pytest.raises(BadInputError, match="addresses and destinations both"):
        merged_again(merged(before), before, [before[0], GroupPart(ports, 2, 1)])


def test_very_many_that_come_are_put_together_anew() -> None:
    before = [GroupPart(AddressGroup("g", "", ()), 1, 0)]
    many = tuple(Address(f"10.0.1.{number}") for number in range(200))
    after = [GroupPart(AddressGroup("g", "", many), 1, 0)]
    assert merged_again(merged(before), before, after) == merged(after)


def test_members_that_stay_stay_the_same_objects() -> None:
    """So that nobody has to compare them."""
    gathering, held = Gathering(), reader(NODE)(sighting(sharing()).source)
    first = gathering.whole(held, known(*BOTH)).content.groups[0]
    again = gathering.whole(held, known(BOTH[0], item(part(1, "10.0.2.2", "10.0.2.3"), 3), revision=3)).content.groups[
        0
    ]
    kept = {id(member) for member in first.addresses}
    assert [member for member in again.addresses if id(member) not in kept] == ["10.0.2.3"]


# -- on disk


def test_what_is_saved_has_its_groups_with_it() -> None:
    held = Gathering().whole(reader(NODE)(sighting(sharing(revision=1)).source), known(*BOTH))
    back = saved_reader(NODE)(to_save(held))
    assert (back, back.content) == (held, held.content)
    plain = reader(NODE)(sighting(content(*MEMBERS)).source)
    assert to_save(plain) == plain.source
    assert saved_reader(NODE)(to_save(plain)) == plain


def test_what_is_saved_may_be_nested_too_deep() -> None:
    """What was read in few calls may be too deep for who reads it in more of them."""
    deep = b'"metadata":{"managedFields":%s,' % (b"[" * 100_000 + b"]" * 100_000)
    plain = reader(NODE)(sighting(content(*MEMBERS)).source)
    for held in (plain, Gathering().whole(reader(NODE)(sighting(sharing(revision=1)).source), known(*BOTH))):
        source, *parts = (each.replace(b'"metadata":{', deep, 1) for each in (held.source, *held.parts))
        assert len(source) > 5000
        back = saved_reader(NODE)(to_save(replace(held, source=source, parts=tuple(parts))))
        assert back.content == held.content


@pytest.mark.parametrize("lost", [0, 1])
def test_what_is_saved_in_part_is_nothing(lost: int) -> None:
    held = Gathering().whole(reader(NODE)(sighting(sharing()).source), known(*BOTH))
    parts = tuple(each for index, each in enumerate(held.parts) if index != lost)
    with pytest.raises(AwaitedError):
        saved_reader(NODE)(to_save(replace(held, parts=parts)))
    with pytest.raises(BadInputError):
        saved_reader(NODE)(to_save(held)[:-20])


async def test_the_nodes_own_pods_are_saved_at_once_and_members_after_a_while(tmp_path: Path) -> None:
    """Who starts anew removes the connections of addresses whose pod is another than the file says."""
    saved = Saved(tmp_path)
    world, keeper = Shared(), Keeper(saved, Inbox(), Impatient())

    async def kept(*news: Sighting | Known) -> bytes:
        """What is on disk a moment after it was applied."""
        await world.given(*news)
        assert world.loop.state.applied
        keeper.keep(world.loop.state.applied)
        for _ in range(20):
            await asyncio.sleep(0.01)
        return saved.load() or b""

    task = asyncio.create_task(keeper.run())
    first = await kept(sighting(sharing()), known(*BOTH))
    assert await kept(known(item(part(0), 2), BOTH[1], revision=2)) == first
    changed = await kept(sighting(replace(sharing(), endpoints=()), 2))
    assert saved_reader(NODE)(changed).generation == 2
    task.cancel()


def test_what_is_saved_and_damaged_is_refused_in_words() -> None:
    """Whoever reads it back at the start goes on without it."""
    held = Gathering().whole(reader(NODE)(sighting(sharing()).source), known(*BOTH))
    for part in (b"{}", b"[]", b'{"metadata":{"name":"peers-2-0"},"spec":{"revision":"x"}}'):
        with pytest.raises(BadInputError):
            saved_reader(NODE)(to_save(replace(held, parts=(part, held.parts[1]))))


@pytest.mark.parametrize(("observer", "said"), [(Following(COUNTS), "PeerGroups"), (WATCHING, "NodeRuleSets")])
def test_what_may_not_be_watched_is_named(observer: Watching, said: str, caplog: pytest.LogCaptureFixture) -> None:
    observer.failed(Collection(PEER_GROUPS), ForbiddenError(Call("list", "x"), "no"), 1.0)
    assert f"does not let us watch {said};" in caplog.text


# -- what it reports, and when


async def test_a_member_is_no_new_rule_set_in_the_status() -> None:
    world = Shared()
    await world.given(sighting(sharing()), known(*BOTH))
    before = status(world.loop.state, [], "")
    world.clock.now += 100
    await world.given(known(item(part(0), 2), BOTH[1], revision=2))
    after = status(world.loop.state, [], "")
    assert {key for key in after if after[key] != before[key]} == MINOR
    assert (before["appliedGroups"], after["appliedGroups"]) == (1, 2)


@pytest.mark.parametrize(("within", "writes"), [(0, 2), (100, 1)])
async def test_that_members_are_in_force_is_told_in_time_and_not_by_all_at_once(within: int, writes: int) -> None:
    server, world, outcomes = Server(), Shared(), list[bool]()
    reporter = Reporter(server.patch, Impatient(), lambda: 0.0, outcomes.append)
    task = asyncio.create_task(reporter.run())
    reporter.remember("u1", b"{}")
    for news in (
        (sighting(sharing()), known(*BOTH, within=within)),
        (known(item(part(0), 2), BOTH[1], revision=2, within=within),),
    ):
        await world.given(*news)
        reporter.changed(world.loop.state)
        for _ in range(30):
            await asyncio.sleep(0)
    assert len(server.written) == writes
    task.cancel()


# -- what opens comes together with what closes


def denying(*held: str) -> NodeRuleSet:
    """A rule set that denies the shared group, and this one of its own, and accepts everybody else."""
    made = sharing()
    (judged,) = made.classes
    deny = replace(judged.rules[0], action=Action.DENY, match=Match(groups=("own", "peers"), any_port=True))
    own = AddressGroup("own", "own", tuple(map(Address, held)))
    return replace(made, groups=(own,), classes=(replace(judged, rules=(deny,), isolation=None),))


async def test_a_pod_that_leaves_one_denied_group_for_another_is_never_in_neither() -> None:
    """The first is shared and comes first, the second is in the rule set, which is written a moment later."""
    world = Shared()
    await world.given(sighting(denying()), known(*BOTH))
    moved = known(item(part(0), 2), BOTH[1], revision=2)
    await world.given(moved)
    await world.later(RIPENING / 2)
    assert len(world.kernel.applied) == 1
    await world.given(sighting(denying("10.0.2.1"), 2))
    assert len(world.kernel.applied) == 2, "both in one transaction"
    assert [group.addresses for group in _groups(world)] == [("10.0.2.1",), ("10.0.2.2",)]


async def test_what_only_closes_is_applied_at_once() -> None:
    world = Shared()
    await world.given(sighting(sharing()), known(*BOTH), known(item(part(0), 2), BOTH[1], revision=2))
    assert world.enforced() == ("10.0.2.2",), "it let one in, and does so no more"
    world = Shared()
    await world.given(sighting(denying()), known(*BOTH))
    await world.given(known(item(part(0, "10.0.2.1", "10.0.2.9"), 2), BOTH[1], revision=2))
    assert _groups(world)[1].addresses == ("10.0.2.1", "10.0.2.2", "10.0.2.9"), "one more is denied"


async def test_what_opens_does_not_come_in_place_of_what_is_held() -> None:
    """A backup is restored just then: nothing of before counts any more, and what was restored does after a while."""
    world = Shared()
    opened = known(item(part(0, "10.0.2.1", "10.0.2.9"), 9), BOTH[1], revision=9)
    await world.given(sighting(sharing()), known(*BOTH, revision=8), opened)
    await world.given(known(item(part(0), 3), BOTH[1], revision=3))
    await world.later(RIPENING)
    assert world.enforced() == ("10.0.2.1", "10.0.2.2")
    await world.later(RESTORED_HOLD)
    assert world.enforced() == ("10.0.2.2",)
    assert conditions(world.loop.state)[0]["status"] == "True"


async def test_what_opens_waits_no_longer_for_more_of_the_kind() -> None:
    world = Shared()
    await world.given(sighting(sharing()), known(*BOTH))
    for number in range(3):
        opened = ("10.0.2.1", *(f"10.0.3.{each}" for each in range(number + 1)))
        await world.given(known(item(part(0, *opened), 2 + number), BOTH[1], revision=2 + number))
        await world.later(RIPENING / 2)
    assert len(world.enforced()) == 4, "the first two came due while the third was waited for"
    await world.later(RIPENING)
    assert len(world.enforced()) == 5


def _groups(world: Shared) -> tuple[AddressGroup, ...]:
    target = world.loop.state.applied
    assert target
    return target.ruleset.content.groups
