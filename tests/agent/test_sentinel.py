"""What is done when announcements are lost or cannot be had."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from nodewall.agent.decide import State
from nodewall.agent.loop import Inbox
from nodewall.agent.sentinel import UNKNOWN, Sentinel
from nodewall.kube.clock import SystemClock
from tests.agent.rulesets import ruleset
from tests.agent.test_decide import NOW, in_force


class Hurried(SystemClock):
    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0.001)


class Table:
    """A kernel whose table is a word."""

    def __init__(self) -> None:
        self.commits, self.word, self.listings, self.count = 1, "good", 0, 7
        self.writing = False

    async def fingerprint(self) -> str:
        self.listings += 1
        self.commits += self.writing
        await asyncio.sleep(0)
        return self.word

    async def generation(self) -> int:
        return self.count


def news(inbox: Inbox) -> State:
    """What the loop would make of what it was told."""
    state = in_force(ruleset(1))
    for message in inbox.take()[0]:
        state = message(state, NOW)
    return state


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0.001)


class Post:
    """A sentinel on duty; the test makes the announcements. ``deaf``: there are none to be had."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.table, self.inbox, self.deaf = Table(), Inbox(), deaf
        self.changed: Callable[[str], None] = print
        self.missed: Callable[[], None] = print
        self.sentinel = Sentinel(self.table, self.inbox, Hurried(), self.listen)

    @contextmanager
    def listen(self, changed: Callable[[str], None], missed: Callable[[], None]) -> Iterator[None]:
        if self.deaf:
            raise PermissionError("no announcements")
        self.changed, self.missed = changed, missed
        yield

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.sentinel.run())
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()


async def test_a_change_that_was_announced_is_a_drift_at_once() -> None:
    async with Post() as post:
        post.changed("nft (pid 42)")
        drift = news(post.inbox).drift
        assert drift is not None
        assert drift.who == "nft (pid 42)"


async def test_lost_announcements_are_no_drift_when_nothing_changed() -> None:
    async with Post() as post:
        post.sentinel.applied(None)
        await settle()
        post.missed()
        await settle()
        assert news(post.inbox) == in_force(ruleset(1))
        assert post.table.listings == 2


async def test_lost_announcements_of_a_change_are_a_drift() -> None:
    async with Post() as post:
        post.sentinel.applied(None)
        await settle()
        post.table.word = "bad"
        post.missed()
        await settle()
        drift = news(post.inbox).drift
        assert drift is not None
        assert drift.who == UNKNOWN


async def test_without_a_listing_of_better_times_the_table_is_replaced() -> None:
    async with Post() as post:
        post.missed()
        await settle()
        state = news(post.inbox)
        assert state.suspect
        assert state.drift is None
        assert post.table.listings == 0


async def test_a_listing_during_which_we_wrote_is_worthless() -> None:
    async with Post() as post:
        post.table.writing = True
        post.sentinel.applied(None)
        await settle()
        post.missed()
        await settle()
        assert news(post.inbox).suspect


async def test_nothing_is_listed_while_nothing_happens() -> None:
    async with Post() as post:
        await settle()
        assert post.table.listings == 0
        assert not post.inbox.take()[0]


async def test_without_announcements_a_strangers_transaction_is_looked_into() -> None:
    async with Post(deaf=True) as post:
        post.sentinel.applied(None)
        await settle()
        post.table.count += 1  # to some other table
        await settle()
        assert news(post.inbox) == in_force(ruleset(1))
        post.table.count, post.table.word = post.table.count + 1, "bad"
        await settle()
        assert news(post.inbox).drift is not None


async def test_without_announcements_our_own_transactions_are_no_strangers() -> None:
    async with Post(deaf=True) as post:
        for _ in range(3):
            post.table.count, post.table.commits = post.table.count + 1, post.table.commits + 1
            await settle()
        assert post.table.listings == 0
        assert not post.inbox.take()[0]
