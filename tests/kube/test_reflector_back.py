"""A server that is back for one is back for all: nobody waits out a back-off that began while it was gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from nodewall.kube.errors import ApiError
from nodewall.kube.http import Session, Timeouts, connect
from nodewall.kube.reflector import Change, Identity, Reflector
from nodewall.kube.resource import NODES, PODS, Collection
from tests.kube.fake_api import FakeApi, Fault, Garble, Refuse, pod
from tests.kube.mirroring import ALL_PODS, QUICK, Labels, Mirrored, QuickClock, Recorder, until, watching

AT_ONCE = replace(QUICK, away=0.0)
"""Whoever is served is the first for a while."""
NODES_ALONE = Collection(NODES)


class Patient(QuickClock):
    """No sleep ends by itself."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.Event().wait()


@asynccontextmanager
async def sleeper(api: FakeApi, timeouts: Timeouts = AT_ONCE) -> AsyncIterator[tuple[Session, Mirrored]]:
    """A reflector that would not try again of its own accord, and the session that it shares."""
    async with connect(api.credentials(), timeouts=timeouts) as session:
        changes: list[Change[Identity, Labels]] = []
        seen, clock = Recorder(), Patient()
        reflector = Reflector(session, ALL_PODS, changes.append, seen, clock=clock)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(reflector.run())
            yield session, Mirrored(reflector, changes, seen, clock)
            task.cancel()


async def test_what_another_request_found_wakes_who_found_nobody() -> None:
    async with FakeApi() as api, sleeper(api) as (session, mirror):
        await watching(api, mirror)
        await api.refuse_connections()
        await until(lambda: mirror.clock.slept)
        api.put(PODS, pod("a"))
        await api.listen()
        await session.version_of(NODES_ALONE)
        await until(lambda: mirror.names == {"a"})
        assert len(mirror.seen.failures) == 1


@pytest.mark.parametrize("fault", [Refuse(500), Refuse(429), Garble()])
async def test_who_was_answered_waits_as_long_as_it_has_to(fault: Fault) -> None:
    async with FakeApi() as api:
        api.fail("list", fault)
        async with sleeper(api) as (session, mirror):
            await until(lambda: mirror.clock.slept)
            asked = len(api.requests)
            await session.version_of(NODES_ALONE)
            await settled()
            assert len(api.requests) == asked + 1


async def test_a_refusal_is_no_return() -> None:
    async with FakeApi() as api, connect(api.credentials(), timeouts=AT_ONCE) as session:
        back = session.back
        api.fail("list", Refuse(503))
        with pytest.raises(ApiError):
            await session.version_of(NODES_ALONE)
        assert not back.is_set()
        await session.version_of(NODES_ALONE)
        assert back.is_set()
        assert not session.back.is_set()


async def test_a_server_that_serves_others_all_the_time_is_not_back() -> None:
    """Else two that are refused their watches would wake each other by their lists."""
    async with FakeApi() as api, connect(api.credentials(), timeouts=QUICK) as session:
        back = session.back
        for _ in range(3):
            await session.version_of(NODES_ALONE)
        assert not back.is_set()


async def settled() -> None:
    """Whatever was woken has had many turns."""
    for _ in range(100):
        await asyncio.sleep(0)
