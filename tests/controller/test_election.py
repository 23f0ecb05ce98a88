# ruff: noqa: ARG002 - a fake is told more than a test asks about
"""Candidates at one lease, with a clock that the test turns; then the thread, and the fence."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from nodewall.controller.election import NEVER, Candidate, Election, LeaseApi
from nodewall.controller.fence import Fenced, FencedError
from nodewall.controller.lease import Terms
from nodewall.kube.errors import Call, ConflictError, NotFoundError, UnreachableError
from nodewall.kube.http import Target, connect
from nodewall.kube.lease import ApiLease, Lease
from nodewall.kube.resource import LEASES, NODE_RULE_SETS
from nodewall.kube.wire import ObjectMeta
from tests.controller.running import until
from tests.kube.fake_api import FakeApi, Refuse

TERMS = Terms()
CALL = Call("update", "lease")


@dataclass
class World:
    """One lease, and the time. ``away``: the server does not answer. ``lost``: it writes, and its answer is lost."""

    now: float = 0.0
    lease: Lease | None = None
    away: bool = False
    lost: bool = False
    writes: int = 0
    versions: int = 0

    async def read(self) -> Lease | None:
        if self.away:
            raise UnreachableError(CALL, "no answer")
        return self.lease

    async def write(self, lease: Lease) -> Lease:
        if self.away:
            raise UnreachableError(CALL, "no answer")
        if self.lease is None and lease.version:
            raise NotFoundError(CALL, "gone", status=404)
        if lease.version != (self.lease.version if self.lease else ""):
            raise ConflictError(CALL, "modified", status=409)
        self.writes, self.versions = self.writes + 1, self.versions + 1
        self.lease = replace(lease, version=str(self.versions))
        if self.lost:
            raise UnreachableError(CALL, "the answer broke off")
        return self.lease

    def candidate(self, name: str) -> Candidate:
        return Candidate(name, TERMS, self, lambda: self.now)

    def leads(self, candidate: Candidate) -> bool:
        return candidate.until > self.now


async def steps(world: World, seconds: float, *candidates: Candidate) -> None:
    """Let time pass; each candidate does its steps when they are due, and never do two lead at once."""
    end = world.now + seconds
    due = dict.fromkeys(candidates, world.now)
    while world.now < end:
        for candidate in candidates:
            if due[candidate] <= world.now:
                due[candidate] = world.now + await candidate.step()
        assert sum(world.leads(each) for each in candidates) <= 1
        world.now += 0.1


async def test_the_first_leads_and_goes_on_leading() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 60, a, b)
    assert (world.leads(a), world.leads(b)) == (True, False)
    assert (a.tenure, b.tenure) == (1, 0)
    assert world.lease is not None
    assert (world.lease.holder, world.lease.transitions) == ("a", 0)
    assert world.writes <= 60 / TERMS.renew + 2


async def test_who_dies_is_followed_in_time() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 20, a, b)
    await steps(world, TERMS.duration - TERMS.renew - 0.5, b)
    assert not world.leads(b)
    await steps(world, 15 - TERMS.duration, b)
    assert world.leads(b)
    assert world.lease is not None
    assert (world.lease.holder, world.lease.transitions) == ("b", 1)


async def test_who_goes_is_followed_at_once() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 5, a, b)
    await a.release()
    assert (world.leads(a), a.until) == (False, NEVER)
    await steps(world, TERMS.poll + 0.1, b)
    assert world.leads(b)


async def test_who_never_held_it_releases_nothing() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 5, a, b)
    before = world.lease
    await b.release()
    assert world.lease == before


async def test_who_slept_through_its_time_leads_no_more() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 5, a, b)
    await steps(world, 15, b)
    assert not world.leads(a)
    await steps(world, 30, a, b)
    assert (world.leads(a), world.leads(b)) == (False, True)
    assert (a.tenure, b.tenure) == (1, 1)


async def test_a_tenure_that_ran_out_unnoticed_is_over_although_nobody_else_came() -> None:
    world = World()
    a = world.candidate("a")
    await steps(world, 5, a)
    world.now += TERMS.keep + 0.5
    assert not world.leads(a)
    await steps(world, 1, a)
    assert world.leads(a)
    assert a.tenure == 2


async def test_nobody_writes_while_the_lease_cannot_be_renewed_and_then_somebody_does() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 5, a, b)
    world.away = True
    await steps(world, TERMS.keep + 0.2, a, b)
    assert not world.leads(a)
    assert not world.leads(b)
    world.away = False
    await steps(world, 20, a, b)
    assert world.leads(a) != world.leads(b)


async def test_a_hiccup_ends_no_tenure() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 5, a, b)
    world.away = True
    await steps(world, 3, a, b)
    world.away = False
    await steps(world, 5, a, b)
    assert (world.leads(a), a.tenure) == (True, 1)


async def test_a_renewal_whose_answer_was_lost_is_recognised() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 5, a, b)
    world.lost = True
    await steps(world, 2.2, a, b)
    world.lost = False
    await steps(world, 5, a, b)
    assert (world.leads(a), a.tenure) == (True, 1)


async def test_a_lease_that_somebody_deletes_stays_with_its_holder() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 5, a, b)
    world.lease = None
    await steps(world, 30, a, b)
    assert (world.leads(a), a.tenure, b.tenure) == (True, 1, 0)


async def test_so_it_does_with_one_who_followed_another() -> None:
    world = World()
    a, b = world.candidate("a"), world.candidate("b")
    await steps(world, 5, a, b)
    await a.release()
    await steps(world, 5, b)
    world.lease = None
    await steps(world, 30, b, a)
    assert (world.leads(b), b.tenure, a.tenure) == (True, 1, 1)


# -- the thread


@dataclass
class Told:
    """What an election told."""

    leads: list[bool] = field(default_factory=list)


@asynccontextmanager
async def standing(api: FakeApi, name: str) -> AsyncIterator[tuple[Election, Told]]:
    @asynccontextmanager
    async def connected() -> AsyncIterator[ApiLease]:
        async with connect(api.credentials()) as session:
            yield ApiLease(session, "nodewall", "ns", "test")

    told, election = Told(), Election(name, connected, Terms(renew=0.05, poll=0.02))
    async with election.standing(told.leads.append):
        yield election, told


async def test_the_thread_leads_tells_and_gives_the_lease_back() -> None:
    async with FakeApi() as api, AsyncExitStack() as stack:
        async with standing(api, "a") as (a, told):
            await until("leading", lambda: told.leads == [True])
            assert 0 < a.remaining() <= Terms().keep
            b, other = await stack.enter_async_context(standing(api, "b"))
            await until("b looks", lambda: len(api.asked("get")) > 3)
            assert (b.remaining(), other.leads) == (NEVER, [])
        assert a.remaining() == NEVER
        await until("b follows", lambda: other.leads == [True], within=2)
        assert api.objects(LEASES)["ns", "nodewall"]["spec"]["holderIdentity"] == "b"


async def test_a_loop_that_is_busy_for_long_keeps_its_lease() -> None:
    """The API server is in a thread of its own here, as in life it is elsewhere."""
    async with api_elsewhere() as api, standing(api, "a") as (a, told):
        await until("leading", lambda: told.leads == [True])
        before = a.remaining()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
        assert a.remaining() > before - 0.5
        assert len(api.asked("update")) > 5


@asynccontextmanager
async def api_elsewhere() -> AsyncIterator[FakeApi]:
    started, ended, api = asyncio.Event(), asyncio.Event(), FakeApi()
    outer = asyncio.get_running_loop()
    inner: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def live() -> None:
        stop = asyncio.Event()
        inner.append((asyncio.get_running_loop(), stop))
        async with api:
            outer.call_soon_threadsafe(started.set)
            await stop.wait()
        outer.call_soon_threadsafe(ended.set)

    thread = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(live())))
    await started.wait()
    try:
        yield api
    finally:
        loop, stop = inner[0]
        loop.call_soon_threadsafe(stop.set)
        await ended.wait()
        await thread


async def test_what_ends_the_thread_is_not_hidden() -> None:
    def broken() -> AbstractAsyncContextManager[LeaseApi]:
        raise RuntimeError("nobody foresaw this")

    election = Election("a", broken)
    async with election.standing(lambda _: None):
        with pytest.raises(RuntimeError, match="nobody foresaw this"):
            await election.watch()
        assert election.remaining() == NEVER


async def test_a_lease_that_cannot_be_had_is_said_once_and_keeps_us_from_being_ready(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FakeApi() as api:
        api.fail("create", Refuse(403, "no", "Forbidden"), times=10_000, resource=LEASES)
        async with standing(api, "a") as (a, told):
            await until("tried", lambda: len(api.asked("create")) > 3)
            (said,) = a.missing()
            assert "kubectl apply -f manifests/ grants it" in said
            assert [each.getMessage() for each in caplog.records if "the lease" in each.getMessage()] == [
                said.replace("the lease cannot be had: ", "cannot have the lease that says who writes: ")
            ]
            assert told.leads == []
            api.heal()
            await until("leading", lambda: told.leads == [True])
            assert a.missing() == []


# -- the fence


@dataclass
class Writer:
    """Takes its time."""

    seconds: float = 0.0
    begun: int = 0
    done: int = 0

    async def apply(self, target: Target, body: object, manager: str, *, force: bool = True) -> ObjectMeta:
        await self.delete(target)
        return ObjectMeta()

    async def overwrite(self, target: Target, body: Mapping[str, Any], manager: str) -> ObjectMeta:
        return await self.apply(target, body, manager)

    async def merge_patch(self, target: Target, body: object, manager: str) -> ObjectMeta:
        return await self.apply(target, body, manager)

    async def delete(self, target: Target, uid: str = "") -> None:
        self.begun += 1
        await asyncio.sleep(self.seconds)
        self.done += 1


TARGET = Target(NODE_RULE_SETS, "n1")


@pytest.mark.parametrize(
    ("remaining", "seconds", "begun", "done"),
    [(float("inf"), 0.0, 1, 1), (5.0, 0.0, 1, 1), (0.0, 0.0, 0, 0), (NEVER, 0.0, 0, 0), (0.05, 5.0, 1, 0)],
)
async def test_a_write_needs_time_on_the_lease(remaining: float, seconds: float, begun: int, done: int) -> None:
    asked: dict[str, tuple[Any, ...]] = {
        "apply": ({}, "m"),
        "overwrite": ({}, "m"),
        "merge_patch": ({}, "m"),
        "delete": (),
    }
    for verb, content in asked.items():
        writer = Writer(seconds)
        fenced = Fenced(writer, lambda: remaining)
        try:
            await getattr(fenced, verb)(TARGET, *content)
            wrote = True
        except FencedError:
            wrote = False
        assert (writer.begun, writer.done, wrote) == (begun, done, bool(done))
