"""Failures are repeated ever more slowly, as the server wishes, and never cost the state."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from nodewall.kube.errors import (
    ApiError,
    Call,
    ForbiddenError,
    ServerError,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)
from nodewall.kube.http import Page, Session
from nodewall.kube.reflector import Pace, Reflector
from nodewall.kube.resource import PODS, Collection
from tests.kube.fake_api import FakeApi, Garble, Refuse, pod
from tests.kube.mirroring import ALL_PODS, BIG, QuickClock, Recorder, appears, crowd, mirrored, until, watching


async def test_the_delay_doubles_to_half_a_minute() -> None:
    async with FakeApi() as api:
        api.fail("list", Refuse(500), times=9)
        async with mirrored(api) as mirror:
            await until(mirror.reflector.synced.is_set)
            delays = mirror.seen.delays
            assert len(delays) == 9
            for number, delay in enumerate(delays):
                full = min(0.5 * 2**number, 30)
                assert full / 2 <= delay <= full


async def test_a_pace_of_its_own_is_for_a_server_that_does_not_answer() -> None:
    async with FakeApi() as api, mirrored(api, pace=Pace(away=2.0)) as mirror:
        await watching(api, mirror)
        await api.refuse_connections()
        await until(lambda: len(mirror.seen.delays) > 9)
        assert min(mirror.seen.delays[4:]) >= 1.0
        assert max(mirror.seen.delays) <= 2.0
        api.fail("list", Refuse(500), times=9)
        await api.listen()
        await until(lambda: isinstance(mirror.seen.failures[-1], ServerError))
        await until(lambda: mirror.seen.delays[-1] >= 15.0)


async def test_a_server_that_is_not_ready_yet_is_asked_again_soon() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        await api.refuse_connections()
        await until(lambda: len(mirror.seen.delays) > 9)
        assert mirror.seen.delays[-1] >= 15.0
        api.fail("list", Refuse(429, "storage is (re)initializing"))
        await api.listen()
        await until(lambda: isinstance(mirror.seen.failures[-1], ThrottledError))
        assert 1.0 <= mirror.seen.delays[-1] <= 2.0


class Flapping:
    """A session whose every other request is answered, with a refusal."""

    def __init__(self) -> None:
        self.asked = 0

    async def pages(self, _collection: Collection, _size: int) -> AsyncIterator[Page]:
        self.asked += 1
        if self.asked:
            raise (UnreachableError if self.asked % 2 else ThrottledError)(Call("list", "pods"), "not now")
        yield Page([], "1", first=True)


async def test_a_server_that_answers_every_other_time_is_asked_ever_more_seldom() -> None:
    """It is not ready yet only once; else thousands of agents would ask an overloaded one every two seconds."""
    seen = Recorder()
    reflector = Reflector(cast(Session, Flapping()), ALL_PODS, lambda _: None, seen, clock=QuickClock())
    task = asyncio.create_task(reflector.run())
    await until(lambda: len(seen.delays) > 15)
    task.cancel()
    assert min(seen.delays[8:]) >= 15.0


async def test_after_news_the_delays_begin_anew() -> None:
    async with FakeApi() as api:
        crowd(api)
        api.fail("watch", Refuse(500), times=6)
        async with mirrored(api, pace=BIG) as mirror:
            await watching(api, mirror)
            assert mirror.seen.delays[-1] > 5
            api.put(PODS, pod("a"))
            await appears(mirror, "a")
            api.drop_watches(half=b"{")
            await until(lambda: len(mirror.seen.delays) == 7)
            assert mirror.seen.delays[-1] <= 0.5


async def test_retry_after_is_honoured() -> None:
    async with FakeApi() as api:
        api.fail("list", Refuse(429, headers={"Retry-After": "17"}))
        async with mirrored(api) as mirror:
            await until(mirror.reflector.synced.is_set)
            assert mirror.seen.delays == [17.0]
            assert isinstance(mirror.seen.failures[0], ThrottledError)


REFUSALS: dict[int, type[ApiError]] = {401: UnauthorizedError, 403: ForbiddenError, 503: ServerError}


@pytest.mark.parametrize("status", REFUSALS)
async def test_a_refused_list_is_not_an_empty_one(status: int) -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a"))
        api.fail("list", Refuse(status), times=-1)
        async with mirrored(api) as mirror:
            await until(lambda: len(mirror.seen.failures) > 2)
            assert not mirror.reflector.synced.is_set()
            assert type(mirror.seen.failures[0]) is REFUSALS[status]
            assert str(mirror.seen.failures[0]).startswith("list pods: ")
            api.heal()
            await until(lambda: mirror.names == {"a"})
            assert mirror.reflector.synced.is_set()


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_refused_watch_resumes_without_a_list(status: int) -> None:
    async with FakeApi() as api:
        crowd(api)
        api.fail("watch", Refuse(status), times=3)
        async with mirrored(api, pace=BIG) as mirror:
            await watching(api, mirror)
            api.put(PODS, pod("a"))
            await appears(mirror, "a")
            assert mirror.seen.lists == [2]
            assert len(mirror.seen.failures) == 3


async def test_a_list_cut_in_the_middle_is_asked_for_again() -> None:
    async with FakeApi() as api:
        for name in "abc":
            api.put(PODS, pod(name))
        api.fail("list", Garble())
        async with mirrored(api) as mirror:
            await until(mirror.reflector.synced.is_set)
            assert mirror.names == {"a", "b", "c"}
            assert len(mirror.seen.failures) == 1


async def test_a_list_without_a_version_is_none() -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a"))
        api.fail("list", Refuse(200, body=b'{"metadata":{},"items":[]}'))
        async with mirrored(api) as mirror:
            await until(mirror.reflector.synced.is_set)
            assert mirror.names == {"a"}
            assert "no resourceVersion" in str(mirror.seen.failures[0])


async def test_a_server_that_goes_away_and_returns() -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a"))
        async with mirrored(api) as mirror:
            await watching(api, mirror)
            await api.refuse_connections()
            await until(lambda: len(mirror.seen.failures) > 3)
            assert mirror.names == {"a"}
            api.remove(PODS, "a", "default")
            await api.listen()
            await until(lambda: mirror.names == set())
