"""Holds the Lease, in a thread with an event loop of its own: no compile, however long, keeps a renewal waiting.

Every request has a time limit, and what the process may do follows from a clock, not from an answer: ``remaining``
counts down whether or not this thread runs. Losing the lease ends nothing. The process goes on as a standby, which
knows everything and writes nothing.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from nodewall.controller.lease import Move, Sight, Terms, look, move, released, renewed, taken
from nodewall.controller.telling import advice
from nodewall.kube.clock import awaited
from nodewall.kube.errors import ApiError, ConflictError, NotFoundError
from nodewall.kube.lease import Lease

log = logging.getLogger(__name__)

NEVER = float("-inf")
NAME = "nodewall-controller"
"""Of the lease, and of the field manager that writes it."""

T = TypeVar("T")


class LeaseApi(Protocol):
    """The way to the API server. Failures are ``nodewall.kube.errors.ApiError``."""

    async def read(self) -> Lease | None:
        """None when there is none."""
        ...

    async def write(self, lease: Lease) -> Lease:
        """Create or replace; ``ConflictError`` when somebody wrote since."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[LeaseApi]]
"""Made and used in the thread: a session belongs to one event loop."""


def awake() -> float:
    """Seconds since boot, those included in which the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Candidate:
    """One candidate: ``step`` does what there is to do, ``release`` ends it.

    ``until``, ``tenure`` and ``trouble`` are read by other threads. A tenure ends when its time has run out, whether or
    not anybody noticed; what was left undone in between is for the next one.
    """

    def __init__(self, me: str, terms: Terms, api: LeaseApi, now: Callable[[], float] = awake) -> None:
        self._me, self._terms, self._api, self._now = me, terms, api, now
        self._sight: Sight | None = None
        self._held: Lease | None = None
        self.trouble = ""
        self.until = NEVER
        self.tenure = 0

    async def step(self) -> float:
        """Look, and take or renew what there is to. Returns the seconds until the next step."""
        try:
            async with asyncio.timeout(self._terms.request):
                await self._try()
        except (ApiError, TimeoutError) as error:
            self._say(error)
            return self._terms.poll
        self.trouble = ""
        return self._terms.renew if self._held else self._terms.poll

    async def release(self) -> None:
        """Let the next one take it at once. Nothing may be written any more."""
        self.until = NEVER
        held, self._held = self._held, None
        if held is not None:
            async with asyncio.timeout(self._terms.request):
                await self._api.write(released(held, datetime.now(UTC)))

    async def _try(self) -> None:
        if self._held is None:
            await self._stand(mine=False)
            return
        try:
            await self._write(renewed(self._held, self._terms, datetime.now(UTC)))
        except (ConflictError, NotFoundError):  # somebody wrote since, ourselves perhaps when an answer was lost
            self._held = None
            await self._stand(mine=self._now() < self.until)

    async def _stand(self, *, mine: bool) -> None:
        """Read it, and try to get it. ``mine``: nobody else can have it unless it says so."""
        lease = await self._api.read()
        now = self._now()
        self._sight = look(self._sight, lease, now)
        wanted = Move.TAKE if mine and lease is None else move(self._me, self._sight, self._terms, now)
        if wanted is Move.WAIT:
            self.until = NEVER
        elif lease is not None and wanted is Move.RENEW:
            await self._write(renewed(lease, self._terms, datetime.now(UTC)))
        else:
            await self._write(taken(self._me, lease, self._terms, datetime.now(UTC)))

    async def _write(self, lease: Lease) -> None:
        begun = self._now()
        self._held = await self._api.write(lease)
        if self._now() >= self.until:
            self.tenure += 1
        self.until = begun + self._terms.keep

    def _say(self, error: Exception) -> None:
        """Once per kind of trouble: this is tried every second."""
        text = advice(error) if isinstance(error, ApiError) else "no answer in time"
        if text != self.trouble:
            self.trouble = text
            log.warning("cannot have the lease that says who writes: %s", text)


class Election:
    """The thread. It lives while ``standing``; ``remaining`` may be asked at any time."""

    def __init__(self, me: str, connect: Connect, terms: Terms | None = None) -> None:
        self._me, self._connect, self._terms = me, connect, terms or Terms()
        self._candidate: Candidate | None = None
        self._told = (False, 0)
        self._stop: Callable[[], object] = lambda: None
        self._stopping = threading.Event()

    def remaining(self) -> float:
        """Seconds for which this process may still write. Any thread may ask."""
        return self._candidate.until - awake() if self._candidate else NEVER

    def missing(self) -> list[str]:
        """Why this process could not write if nobody else did; nothing while it leads, or knows who does."""
        if self._candidate is None:
            return ["nobody has asked for the lease yet"]
        trouble = self._candidate.trouble
        return [f"the lease cannot be had: {trouble}"] if trouble and self.remaining() <= 0 else []

    @asynccontextmanager
    async def standing(self, changed: Callable[[bool], None]) -> AsyncIterator[None]:
        """Be a candidate, and give the lease back at the end: who leaves this context must write no more.

        ``changed`` is told, in this event loop, whether we lead now; again of each new tenure, also when nobody else
        has led in between.
        """
        self._outer, self._changed = asyncio.get_running_loop(), changed
        self._ended: asyncio.Future[None] = self._outer.create_future()
        thread = threading.Thread(target=self._live, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._stop()
            await asyncio.to_thread(thread.join, 3 * self._terms.request)

    async def watch(self) -> None:
        """Returns never; raises what ended the thread, should anything."""
        await asyncio.shield(self._ended)

    def _live(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._campaign())
        except Exception as caught:  # noqa: BLE001 - it is raised in the thread that waits for this one
            error = caught
        self._tell(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        if self._ended.done() or self._stopping.is_set():
            return
        self._ended.set_exception(error or RuntimeError("the thread that holds the lease ended by itself"))

    async def _campaign(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: _told(loop, stop.set)
        async with self._connect() as api:
            candidate = self._candidate = Candidate(self._me, self._terms, api)
            while not (self._stopping.is_set() or stop.is_set()):
                pause = await candidate.step()
                self._announce(candidate)
                await awaited(stop, pause)
            try:
                await candidate.release()
            except (ApiError, TimeoutError) as error:
                log.warning("the lease could not be given back, and runs out by itself: %s", error)

    def _announce(self, candidate: Candidate) -> None:
        now = (candidate.until > awake(), candidate.tenure)
        if now != self._told:
            self._told = now
            self._tell(self._changed, now[0])

    def _tell(self, callback: Callable[[T], None], value: T) -> None:
        _told(self._outer, callback, value)


def _told(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *values: object) -> None:
    with contextlib.suppress(RuntimeError):  # that loop has ended before us
        loop.call_soon_threadsafe(callback, *values)
