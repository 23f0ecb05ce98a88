"""A server that is back for one is back for all: nobody waits out a back-off that began while it was gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from nodewall.kube.clock import sleep_unless
from nodewall.kube.credentials import Credentials, FixedToken
from nodewall.kube.errors import ApiError, UnreachableError
from nodewall.kube.http import Session, Timeouts, connect
from nodewall.kube.reflector import Change, Identity, Reflector
from nodewall.kube.resource import NODES, PODS, Collection
from tests.kube.fake_api import FakeApi, Fault, Garble, Refuse, pod
from tests.kube.mirroring import ALL_PODS, QUICK, Labels, Mirrored, QuickClock, Recorder, until

AT_ONCE = replace(QUICK, away=0.0, request=0.3)
"""Whoever is served after a failure is the first for a while."""
SERVED, IN_VAIN = Collection(NODES), Collection(PODS)
EMPTY = b'{"metadata":{"resourceVersion":"1"},"items":[]}'


class Patient(QuickClock):
    """No sleep ends by itself."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.Event().wait()


@asynccontextmanager
async def sleeper(api: FakeApi) -> AsyncIterator[tuple[Session, Mirrored]]:
    """A reflector that would not try again of its own accord, and the session that it shares."""
    async with connect(api.credentials(), timeouts=AT_ONCE) as session:
        changes: list[Change[Identity, Labels]] = []
        seen, clock = Recorder(), Patient()
        reflector = Reflector(session, ALL_PODS, changes.append, seen, clock=clock)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(reflector.run())
            yield session, Mirrored(reflector, changes, seen, clock)
            task.cancel()


@asynccontextmanager
async def half_dead(timeouts: Timeouts = AT_ONCE) -> AsyncIterator[Session]:
    """A session with a server that lists nodes, and takes every other request without ever answering it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/nodes" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(EMPTY), EMPTY))
        else:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        credentials = Credentials(server=f"http://127.0.0.1:{port}", tls=None, token=FixedToken(""))
        async with connect(credentials, timeouts=timeouts) as session:
            yield session


async def unanswered(session: Session) -> asyncio.Event:
    """What somebody waits for whom nobody answered."""
    with pytest.raises(UnreachableError) as caught:
        await session.version_of(IN_VAIN)
    assert caught.value.back
    return caught.value.back


async def test_what_another_request_found_wakes_who_found_nobody() -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a"))
        await api.refuse_connections()
        async with sleeper(api) as (session, mirror):
            await until(lambda: mirror.clock.slept)
            await api.listen()
            await session.version_of(SERVED)
            await until(lambda: mirror.names == {"a"})
            assert len(mirror.seen.failures) == 1


@pytest.mark.parametrize("fault", [Refuse(500), Refuse(429), Garble()])
async def test_who_was_answered_waits_as_long_as_it_has_to(fault: Fault) -> None:
    async with FakeApi() as api:
        api.fail("list", fault)
        async with sleeper(api) as (session, mirror):
            await until(lambda: mirror.clock.slept)
            asked = len(api.requests)
            session.is_back()
            await settled()
            assert len(api.requests) == asked


async def test_a_refusal_is_no_return() -> None:
    async with FakeApi() as api, connect(api.credentials(), timeouts=AT_ONCE) as session:
        await api.refuse_connections()
        back = await unanswered(session)
        await api.listen()
        api.fail("list", Refuse(503))
        with pytest.raises(ApiError):
            await session.version_of(SERVED)
        assert not back.is_set()
        await session.version_of(SERVED)
        assert back.is_set()


async def test_a_server_that_serves_others_all_the_time_is_not_back() -> None:
    """Else two that are refused their watches would wake each other by their lists."""
    async with half_dead(replace(AT_ONCE, away=5.0)) as session:
        back = await unanswered(session)
        for _ in range(3):
            await session.version_of(SERVED)
        assert not back.is_set()


async def test_a_server_that_has_left_nobody_without_an_answer_was_not_gone() -> None:
    async with half_dead() as session:
        waiting = asyncio.create_task(unanswered(session))
        await asyncio.sleep(0)
        await session.version_of(SERVED)
        assert not (await waiting).is_set()


async def test_a_request_that_was_under_way_when_it_came_back_is_not_to_wait_either() -> None:
    async with half_dead() as session:
        await unanswered(session)
        waiting = asyncio.create_task(unanswered(session))
        await asyncio.sleep(0)
        await session.version_of(SERVED)
        assert (await waiting).is_set()


async def test_an_answer_that_breaks_off_was_one() -> None:
    async with FakeApi() as api, connect(api.credentials(), timeouts=AT_ONCE) as session:
        events = session.watch(Collection(PODS), "1", 10)
        first = asyncio.ensure_future(anext(events))
        await until(lambda: api.watching(PODS) == 1)
        api.drop_watches(half=b"{")
        with pytest.raises(UnreachableError) as caught:
            await first
        assert caught.value.back is None


class BrokenClock(QuickClock):
    async def sleep(self, seconds: float) -> None:
        raise ArithmeticError(seconds)


async def test_nothing_is_left_of_a_sleep_that_was_cut_short() -> None:
    event, before = asyncio.Event(), asyncio.all_tasks()
    sleeping = asyncio.create_task(sleep_unless(Patient(), 30.0, event))
    await settled()
    assert not sleeping.done()
    event.set()
    await asyncio.wait_for(sleeping, 5)
    await settled()
    assert asyncio.all_tasks() == before


async def test_what_goes_wrong_in_a_sleep_is_told() -> None:
    with pytest.raises(ArithmeticError):
        await sleep_unless(BrokenClock(), 30.0, asyncio.Event())


async def settled() -> None:
    """Whatever was woken has had many turns."""
    for _ in range(100):
        await asyncio.sleep(0)
