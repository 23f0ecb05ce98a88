"""Watches over the table in the kernel, and tells the loop when it may not be ours any more.

The announcements of ``drift`` name who changed what. Where they cannot be had, or were lost in a flood, the table is
compared with what it was when all was well: a listing, taken in a quiet moment after each change of ours and at no
other time. Without such a listing the table is simply replaced, which is always right and only costs more.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import NoReturn, Protocol

from nodewall.agent import decide
from nodewall.agent.kernel import KernelError
from nodewall.agent.loop import Inbox
from nodewall.kube.clock import Clock

log = logging.getLogger(__name__)

QUIET = 3.0
"""Seconds after our last transaction until the table is listed for later."""
POLL = 0.5
UNKNOWN = "somebody unknown"


class Watched(Protocol):
    """The kernel, as far as it is watched."""

    @property
    def commits(self) -> int:
        """Transactions of ours."""
        ...

    async def fingerprint(self) -> str:
        """A hash of what is in our table."""
        ...

    async def generation(self) -> int:
        """The kernel's count of transactions."""
        ...


Listen = Callable[[Callable[[str], None], Callable[[], None]], AbstractContextManager[object]]
"""Begins to listen: tells the first who changed our table, the second that announcements were lost. Raises OSError."""


class Sentinel:
    """See the module. ``applied`` is to be called after each transaction of ours."""

    def __init__(self, kernel: Watched, inbox: Inbox, clock: Clock, listen: Listen) -> None:
        self._kernel, self._inbox, self._clock, self._listen = kernel, inbox, clock, listen
        self._good = ""
        self._changes = asyncio.Event()
        self._doubt = asyncio.Event()

    def applied(self, _target: object) -> None:
        self._good = ""
        self._changes.set()

    async def run(self) -> NoReturn:
        """Until cancelled."""
        try:
            with self._listen(self._changed, self._doubt.set):
                await self._stand_guard(self._remember(), self._resolve())
        except OSError as error:
            fields = {"error": str(error)}
            log.warning("changes of nftables are not announced, so they are polled", extra={"fields": fields})
            await self._stand_guard(self._remember(), self._resolve(), self._poll())
        raise AssertionError("tasks without end have ended")

    async def _stand_guard(self, *duties: Coroutine[None, None, NoReturn]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for duty in duties:
                tasks.create_task(duty)

    def _changed(self, who: str) -> None:
        log.warning("the table was changed by %s", who)
        self._inbox.tell(lambda state, now: decide.drifted(state, who, now))

    async def _remember(self) -> NoReturn:
        """Take a listing when nothing of ours has changed for a while."""
        while True:
            await self._changes.wait()
            self._changes.clear()
            await self._clock.sleep(QUIET)
            if not self._changes.is_set() and not self._doubt.is_set():
                await self._take_listing()

    async def _take_listing(self) -> None:
        commits = self._kernel.commits
        with contextlib.suppress(KernelError):
            found = await self._kernel.fingerprint()
            if commits == self._kernel.commits and not self._doubt.is_set():
                self._good = found

    async def _resolve(self) -> NoReturn:
        """Answer each doubt: nothing, a repair, or a replace for safety's sake."""
        while True:
            await self._doubt.wait()
            good, commits = self._good, self._kernel.commits
            self._doubt.clear()
            if not good:
                log.warning("announcements of nftables were lost, so the table is replaced")
                self._inbox.tell(lambda state, _now: decide.uncertain(state))
            elif await self._differs(good) and commits == self._kernel.commits:
                self._changed(UNKNOWN)
            await self._clock.sleep(POLL)

    async def _differs(self, good: str) -> bool:
        try:
            return await self._kernel.fingerprint() != good
        except KernelError:
            return True

    async def _poll(self) -> NoReturn:
        """Without announcements: a transaction that is not ours may have been to our table."""
        known = await self._strangers()
        while True:
            await self._clock.sleep(POLL)
            found = await self._strangers()
            if found != known:
                self._doubt.set()
            known = found

    async def _strangers(self) -> int:
        """The kernel's count of transactions without ours; -1 when it cannot be read."""
        try:
            return await self._kernel.generation() - self._kernel.commits
        except KernelError:
            return -1
