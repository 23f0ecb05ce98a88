"""How many writes at a time the API server is given: as many as it answers quickly, and none while it asks for a rest.

It grows by one when as many writes as it allows went well, and is halved when the server throttles, fails, does not
answer, or takes long: whoever shares the server with us feels that too. A Retry-After stops all of them, not only the
one that it was said to. `Limiter` decides and has no I/O; `Limited` is a `Writer` that goes through it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from nodewall.controller.fence import FencedError, Writer
from nodewall.kube.clock import LONGEST_WISH, Clock
from nodewall.kube.errors import ApiError, ServerError, ThrottledError, UnreachableError
from nodewall.kube.http import Target
from nodewall.kube.wire import ObjectMeta

MOST = 16
"""Writes at a time. More only queue up in the API server."""

SLOW_SECONDS = 1.0
"""A write that takes longer. At rest they take 5 to 50 milliseconds."""

_STRAIN = (ThrottledError, ServerError, UnreachableError)
"""What a server says, or does not say, that has too much to do."""


class Limiter:
    """``hands`` writes at a time, and none before ``rest``. Instants are seconds of a monotonic clock."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._limit = float(most)
        self._cut_at = float("-inf")
        self.rest = float("-inf")

    def hands(self, now: float) -> int:
        """How many writes may be under way."""
        return 0 if now < self.rest else int(self._limit)

    def ended(self, began: float, now: float, error: Exception | None = None) -> None:
        """A write that began then has ended."""
        if isinstance(error, ThrottledError) and error.retry_after:
            self.rest = max(self.rest, now + min(error.retry_after, LONGEST_WISH))
        if isinstance(error, _STRAIN) or now - began > SLOW_SECONDS:
            self._cut(began, now)
        elif error is None:
            self._limit = min(self._limit + 1 / self._limit, float(self._most))

    def _cut(self, began: float, now: float) -> None:
        """Once for all those that were under way together: what began before the last cut has been paid for."""
        if began >= self._cut_at:
            self._limit, self._cut_at = max(self._limit / 2, 1.0), now


class Limited:
    """``Writer`` that waits for its turn. ``changed`` is told of the number of hands after each write."""

    def __init__(self, writer: Writer, limiter: Limiter, clock: Clock, changed: Callable[[int], None]) -> None:
        self._writer, self._limiter, self._clock, self._changed = writer, limiter, clock, changed
        self._busy = 0
        self._freed = asyncio.Event()

    async def apply(self, target: Target, body: object, manager: str, *, force: bool = True) -> ObjectMeta:
        """See ``Writer``."""
        async with self._hand():
            return await self._writer.apply(target, body, manager, force=force)

    async def overwrite(self, target: Target, body: Mapping[str, Any], manager: str) -> ObjectMeta:
        """See ``Writer``."""
        async with self._hand():
            return await self._writer.overwrite(target, body, manager)

    async def merge_patch(self, target: Target, body: object, manager: str) -> ObjectMeta:
        """See ``Writer``."""
        async with self._hand():
            return await self._writer.merge_patch(target, body, manager)

    async def delete(self, target: Target, uid: str = "") -> None:
        """See ``Writer``."""
        async with self._hand():
            await self._writer.delete(target, uid)

    @asynccontextmanager
    async def _hand(self) -> AsyncIterator[None]:
        """Hold one for a write; how that ends tells how the server is."""
        began = await self._turn()
        try:
            yield
        except BaseException as error:
            self._over(began, error)
            raise
        self._over(began, None)

    async def _turn(self) -> float:
        while (now := self._clock.monotonic()) < self._limiter.rest or self._busy >= self._limiter.hands(now):
            if now < self._limiter.rest:
                await self._clock.sleep(self._limiter.rest - now)
            else:
                self._freed.clear()
                await self._freed.wait()
        self._busy += 1
        return now

    def _over(self, began: float, error: BaseException | None) -> None:
        self._busy -= 1
        # What was let go of, or never sent, says nothing about the server; a refusal says that it is well.
        telling = error is None or (isinstance(error, ApiError) and not isinstance(error, FencedError))
        now = self._clock.monotonic()
        if telling:
            self._limiter.ended(began, now, error if isinstance(error, Exception) else None)
        self._changed(self._limiter.hands(now))
        self._freed.set()
