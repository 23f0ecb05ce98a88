"""Nothing is written but by the one who leads: the last look at the clock before each write."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from nodewall.kube.errors import ApiError, Call
from nodewall.kube.http import Target
from nodewall.kube.wire import ObjectMeta

Remaining = Callable[[], float]
"""Seconds for which this process may still write; none, or fewer: it may not. Any thread may ask."""


class Writer(Protocol):
    """The writing half of ``kube.http.Session``."""

    async def apply(self, target: Target, body: object, manager: str, *, force: bool = True) -> ObjectMeta:
        """See ``Session``."""
        ...

    async def overwrite(self, target: Target, body: Mapping[str, Any], manager: str) -> ObjectMeta:
        """See ``Session``."""
        ...

    async def merge_patch(self, target: Target, body: object, manager: str) -> ObjectMeta:
        """See ``Session``."""
        ...

    async def delete(self, target: Target, uid: str = "") -> None:
        """See ``Session``."""
        ...


class FencedError(ApiError):
    """Another controller may be writing by now. Whether a write that was under way was done is unknown."""


class Fenced:
    """``Writer`` that writes while the lease holds, and lets go of what is under way when it ends."""

    def __init__(self, writer: Writer, remaining: Remaining) -> None:
        self._writer, self._remaining = writer, remaining

    async def apply(self, target: Target, body: object, manager: str, *, force: bool = True) -> ObjectMeta:
        """See ``Writer``. Raises FencedError too."""
        async with self._held(Call("patch", str(target))):
            return await self._writer.apply(target, body, manager, force=force)

    async def overwrite(self, target: Target, body: Mapping[str, Any], manager: str) -> ObjectMeta:
        """See ``Writer``. Raises FencedError too."""
        async with self._held(Call("patch", str(target))):
            return await self._writer.overwrite(target, body, manager)

    async def merge_patch(self, target: Target, body: object, manager: str) -> ObjectMeta:
        """See ``Writer``. Raises FencedError too."""
        async with self._held(Call("patch", str(target))):
            return await self._writer.merge_patch(target, body, manager)

    async def delete(self, target: Target, uid: str = "") -> None:
        """See ``Writer``. Raises FencedError too."""
        async with self._held(Call("delete", str(target))):
            await self._writer.delete(target, uid)

    @asynccontextmanager
    async def _held(self, call: Call) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._checked(call)):
                yield
        except TimeoutError:
            raise FencedError(call, "the lease ended while it was under way") from None

    def _checked(self, call: Call) -> float | None:
        """Seconds for the write; None without a limit."""
        remaining = self._remaining()
        if remaining <= 0:
            raise FencedError(call, "another controller writes")
        return None if remaining == float("inf") else remaining
