"""A big collection comes in pages, and mirroring it leaves the loop to others."""

import asyncio
import time
from dataclasses import replace

from nodewall.kube.reflector import Pace
from nodewall.kube.resource import PODS
from tests.kube.fake_api import FakeApi, Refuse, pod
from tests.kube.mirroring import ALL_PODS, labels_of, mirrored, until, watching


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


async def longest_hold(until_done: asyncio.Event) -> float:
    """Seconds that the loop was held at most, seen from another task."""
    longest, before = 0.0, time.monotonic()
    while not until_done.is_set():
        await asyncio.sleep(0)
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    return longest


async def test_a_slow_projection_of_a_page_does_not_hold_the_loop() -> None:
    """200 objects of 2 ms in one page are 400 ms; nobody else may wait for that long."""

    def slow(raw):  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + 0.002
        while time.monotonic() < deadline:
            pass
        return labels_of(raw)

    async with FakeApi() as api:
        for number in range(200):
            api.put(PODS, pod(f"p{number}"))
        async with mirrored(api, replace(ALL_PODS, project=slow)) as mirror:
            assert await longest_hold(mirror.reflector.synced) < 0.2
            assert len(mirror.names) == 200


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
