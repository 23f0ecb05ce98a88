"""A big collection comes in pages, and mirroring it leaves the loop to others."""

import asyncio
from dataclasses import replace

from nodewall.kube.reflector import Pace
from nodewall.kube.resource import PODS
from tests.kube.fake_api import FakeApi, Refuse, event, pod
from tests.kube.mirroring import ALL_PODS, Mirrored, QuickClock, mirrored, until, watching


async def test_a_list_is_asked_for_in_pages() -> None:
    async with FakeApi() as api:
        for number in range(25):
            api.put(PODS, pod(f"p{number:02}"))
        kept: list[int] = []

        async def count(number: int) -> None:
            kept.append(number)

        async with mirrored(api, replace(ALL_PODS, after_page=count), pace=Pace(page_size=10)) as mirror:
            await until(mirror.reflector.synced.is_set)
            assert len(mirror.names) == 25
            assert kept == [10, 20, 25]
            assert [seen.query["limit"] for seen in api.asked("list")] == ["10"] * 3


async def test_pages_of_five_hundred_by_default() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await until(mirror.reflector.synced.is_set)
        assert api.asked("list")[0].query["limit"] == "500"


class SlowClock(QuickClock):
    """Each look at it takes 2 ms, as if each object did."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 0.002
        return self.now


async def most_in_a_turn(mirror: Mirrored, changes: int) -> int:
    """How many changes came at most before another task had its turn, until there are so many in all."""
    most, before = 0, len(mirror.changes)
    while len(mirror.changes) < changes:
        await asyncio.sleep(0)
        most, before = max(most, len(mirror.changes) - before), len(mirror.changes)
    return most


async def test_the_loop_is_never_held_for_more_than_20_ms() -> None:
    """200 objects of 2 ms are 400 ms: listed, changed at once, and gone at once."""
    async with FakeApi() as api:
        for number in range(200):
            api.put(PODS, pod(f"p{number}"))
        async with mirrored(api, clock=SlowClock()) as mirror:
            assert 1 <= await most_in_a_turn(mirror, 200) <= 10
            await watching(api, mirror)
            api.say(b"".join(event("MODIFIED", pod(f"p{number}", v="2")) for number in range(200)))
            assert 1 <= await most_in_a_turn(mirror, 400) <= 10
            for number in range(200):
                api.objects(PODS).pop(("default", f"p{number}"))
            api.drop_watches()
            assert 1 <= await most_in_a_turn(mirror, 600) <= 10
            assert mirror.names == set()


async def test_everything_deleted_at_once() -> None:
    async with FakeApi() as api:
        for number in range(300):
            api.put(PODS, pod(f"p{number}"))
        async with mirrored(api) as mirror:
            await watching(api, mirror)
            api.fail("watch", Refuse(410))
            api.drop_watches()
            for number in range(300):
                api.remove(PODS, f"p{number}", "default")
            await until(lambda: not mirror.names)
            assert sum(change.new is None for change in mirror.changes) == 300
