"""Time and chance as an argument, and how long to wait after failures."""

import asyncio
import random
import time
from collections.abc import Generator, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """What waits. Tests bring one whose sleeps end at once and whose chance is seeded."""

    def monotonic(self) -> float:
        """Seconds since some fixed instant; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def chance(self) -> float:
        """A random number, 0 <= n < 1."""
        ...


class SystemClock:
    """The real one."""

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        await asyncio.sleep(seconds)

    def chance(self) -> float:
        """See ``Clock``."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing


FIRST_DELAY = 0.5
LAST_DELAY = 30.0
LONGEST_WISH = 60.0
"""Seconds that a Retry-After is honoured up to: a proxy's "come back in an hour" must not blind us."""


def backoff(failures: int, chance: float, wish: float | None = None, most: float = LAST_DELAY) -> float:
    """Seconds to wait after so many failures in a row (1 or more): 0.5 doubling to ``most``, less up to half.

    Thousands of agents lose the same API server at the same instant: chance keeps them from coming back as one.
    A Retry-After only ever lengthens the wait.
    """
    steps = min(failures - 1, 10)  # beyond, the power only grows for nothing
    delay = min(FIRST_DELAY * 2.0**steps, most) * (1 - chance / 2)
    return max(delay, min(wish or 0.0, LONGEST_WISH))


class Breath:
    """Lets the loop run other tasks when one has held it for ``budget`` seconds: 500 items in a row are 100 ms."""

    def __init__(self, clock: Clock, budget: float = 0.01) -> None:
        self._clock, self._budget = clock, budget
        self._since = clock.monotonic()
        self.rested = 0.0
        """Seconds that the others have had so far."""

    def due(self) -> bool:
        """Whether it is time to ``take`` one. For very many very small items: a call less for each."""
        return self._clock.monotonic() - self._since >= self._budget

    async def take(self) -> None:
        """Call between items."""
        if not self.due():
            return
        before = self._clock.monotonic()
        await asyncio.sleep(0)
        self._since = self._clock.monotonic()
        self.rested += self._since - before


def soonest(clock: Clock, instants: Iterable[float | None]) -> float | None:
    """Seconds until the first of these; None: there is none."""
    at = min((each for each in instants if each is not None), default=None)
    return None if at is None else at - clock.monotonic()


async def awaited(event: asyncio.Event, seconds: float | None) -> bool:
    """Whether the event was set within so many seconds; None: however long that takes."""
    try:
        # Not wait_for: on Python 3.11 it swallows a cancellation that comes together with the event.
        async with asyncio.timeout(None if seconds is None else max(seconds, 0)):
            return await event.wait()
    except TimeoutError:
        return False


async def heard(event: asyncio.Event, seconds: float | None) -> None:
    """The same, and clear it."""
    if await awaited(event, seconds):
        event.clear()


async def sleep_unless(clock: Clock, seconds: float, event: asyncio.Event) -> None:
    """Sleep by this clock, but no longer than until the event is set."""
    waits = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(event.wait())]
    try:
        over, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in over:
            each.result()
    finally:
        for each in waits:
            each.cancel()


async def in_turns(steps: Generator[None, None, T], breath: Breath) -> T:
    """The result of work in small steps, between which others have their turn."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        if breath.due():
            await breath.take()
