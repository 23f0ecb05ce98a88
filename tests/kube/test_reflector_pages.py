"""A big collection comes in pages, and mirroring it leaves the loop to others."""

import asyncio
from collections import Counter
from dataclasses import replace

import msgspec

from nodewall.kube.reflector import Identity, Pace
from nodewall.kube.resource import PODS
from tests.kube.fake_api import FakeApi, Refuse, pod
from tests.kube.mirroring import ALL_PODS, Labels, QuickClock, labels_of, mirrored, until, watching


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


class HandClock(QuickClock):
    """Time passes only when somebody says so."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


async def test_a_slow_projection_of_a_page_does_not_hold_the_loop() -> None:
    """200 objects of 2 ms are 400 ms; nobody else may wait for more than 20."""
    clock, turn, turns = HandClock(), 0, []

    def slow(raw: msgspec.Raw) -> tuple[Identity, Labels] | None:
        clock.now += 0.002
        turns.append(turn)
        return labels_of(raw)

    async with FakeApi() as api:
        for number in range(200):
            api.put(PODS, pod(f"p{number}"))
        async with mirrored(api, replace(ALL_PODS, project=slow), clock=clock) as mirror:
            while not mirror.reflector.synced.is_set():
                turn += 1
                await asyncio.sleep(0)
    assert len(turns) == 200
    assert max(Counter(turns).values()) * 2 <= 20


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
