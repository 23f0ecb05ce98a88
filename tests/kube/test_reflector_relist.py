"""A list replaces the store: what it does not contain is gone, and until it is complete nothing is."""

from dataclasses import replace

import pytest

from nodewall.kube.reflector import Change, Pace
from nodewall.kube.resource import PODS
from tests.kube.fake_api import GONE_IN_STREAM, FakeApi, Fault, Refuse, Say, pod
from tests.kube.mirroring import ALL_PODS, Mirrored, mirrored, until, watching

EXPIRED: dict[str, Fault] = {
    "in the stream": Say(GONE_IN_STREAM + b"\n", close=True),
    "as HTTP 410": Refuse(410, "too old resource version", "Expired"),
    "as a version too large": Refuse(504, "Too large resource version: 900, current: 100", "Timeout"),
}


async def miss_a_delete(api: FakeApi, mirror: Mirrored, expiry: Fault) -> None:
    """While no watch is open, b goes and c comes; then the version has expired."""
    await watching(api, mirror)
    api.fail("watch", expiry)
    api.drop_watches()
    api.remove(PODS, "b", "default")
    api.put(PODS, pod("c"))


@pytest.mark.parametrize("expiry", EXPIRED.values(), ids=EXPIRED.keys())
async def test_an_object_deleted_in_the_gap_is_dropped_and_told(expiry: Fault) -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a"))
        api.put(PODS, pod("b"))
        async with mirrored(api) as mirror:
            await miss_a_delete(api, mirror, expiry)
            await until(lambda: mirror.names == {"a", "c"})
            assert Change(("default", "b"), (), None) in mirror.changes
            assert len(api.asked("list")) >= 2
            assert len(mirror.changes) == 4  # a, b and c came, b went; a was not told again


async def test_a_list_that_fails_leaves_the_store_as_it_was() -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a"))
        api.put(PODS, pod("b"))
        async with mirrored(api) as mirror:
            await watching(api, mirror)
            api.fail("list", Refuse(500), times=-1)
            await miss_a_delete(api, mirror, EXPIRED["as HTTP 410"])
            await until(lambda: len(mirror.seen.failures) > 5)
            assert mirror.names == {"a", "b"}
            assert mirror.reflector.synced.is_set()
            api.heal()
            await until(lambda: mirror.names == {"a", "c"})


async def test_nothing_is_dropped_before_the_last_page() -> None:
    async with FakeApi() as api:
        for name in "abcdef":
            api.put(PODS, pod(name))
        async with mirrored(api, pace=Pace(page_size=2)) as mirror:
            await watching(api, mirror)
            api.remove(PODS, "a", "default")
            await until(lambda: "a" not in mirror.names)
            api.fail("watch", Refuse(410))
            api.drop_watches()
            api.remove(PODS, "b", "default")
            api.put(PODS, pod("f", app="new"))
            await until(lambda: mirror.names == {"c", "d", "e", "f"})
            last = mirror.changes[-2:]
            assert last == [
                Change(("default", "f"), (), (("app", "new"),)),  # on the second page
                Change(("default", "b"), (), None),
            ]


async def test_a_continue_token_that_expired_restarts_the_list() -> None:
    async with FakeApi() as api:
        for name in "abcd":
            api.put(PODS, pod(name))
        seen_at_expiry: list[int] = []

        async def expire_once(kept: int) -> None:
            if not seen_at_expiry:
                seen_at_expiry.append(kept)
                api.remove(PODS, "a", "default")  # was on the first page
                api.compact()

        async with mirrored(api, replace(ALL_PODS, after_page=expire_once), pace=Pace(page_size=2)) as mirror:
            await until(mirror.reflector.synced.is_set)
            assert seen_at_expiry == [2]
            assert mirror.names == {"b", "c", "d"}
            assert mirror.seen.failures == []


async def test_a_list_that_never_ends_is_given_up_and_tried_again_later() -> None:
    async with FakeApi() as api:
        for name in "abcd":
            api.put(PODS, pod(name))

        async def always_expire(kept: int) -> None:
            if len(api.asked("list")) < 9:
                api.compact()

        async with mirrored(api, replace(ALL_PODS, after_page=always_expire), pace=Pace(page_size=2)) as mirror:
            await until(mirror.reflector.synced.is_set)
            assert len(mirror.seen.failures) == 1
            assert mirror.names == {"a", "b", "c", "d"}


async def test_a_long_watch_ends_in_a_list_once_the_last_one_is_old() -> None:
    async with FakeApi() as api, mirrored(api, pace=Pace(watch=1.0, relist=0.0)) as mirror:
        await until(lambda: len(mirror.seen.lists) == 2)
        assert mirror.seen.failures == []
