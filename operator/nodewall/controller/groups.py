"""Groups that many nodes share, as PeerGroup objects: what has to be written, and writing it. docs/adr/0007 says why.

Changes are written in rounds. The parts that changed come first, under a new revision; when all of them are written,
one small object tells the revision. A node follows the collection in the order of the writes and takes groups over
only when that object says so, so it goes from one state that really was to the next, never through half of one.

A rule set that names shared groups is written after the round with everything that it was compiled from, and states
its revision. Of a group that no rule set names any more the parts are removed a while later.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, Protocol

from nodewall.api import peergroup
from nodewall.api.peergroup import LARGEST_REVISION, REVISION
from nodewall.controller.limiter import MOST
from nodewall.kube.clock import Clock, backoff, heard
from nodewall.kube.errors import ApiError
from nodewall.model.errors import NodewallError
from nodewall.model.ruleset import GroupPart, SharedGroup

log = logging.getLogger(__name__)

PART_LIMIT = 256 * 1024
"""Bytes of a part. Only members that were chosen to fall into one part get there; the last good one stays then."""

PAUSE = 0.25
"""Seconds from one round to the next: each is sent to every node."""

SWEEP = 30.0
"""Seconds between two looks for groups that no rule set names any more. What two in a row have found is removed."""

SWEPT = 64
"""Parts that one look removes: rounds wait for it."""

PATIENCE = 2.0
"""Seconds that a rule set waits for its groups before it lets others be written first: it holds one of few hands. When
the groups cannot be written, because the right to is missing for one, it does not wait at all.
"""

REPORTS = 20
"""Per second, of all nodes, that they have taken a new revision over: the kubelets of 1,000 nodes renew 100 leases."""


@dataclass(frozen=True, slots=True)
class PublishedPart:
    """A PeerGroup as the API has it. ``digest`` is that of the spec that is really there, "" when it states another.

    ``generation`` grows with each change of the spec.
    """

    uid: str
    digest: str
    revision: int
    generation: int = 0


class Holder(Protocol):
    """A NodeRuleSet as the API has it."""

    @property
    def revision(self) -> int:
        """Of the groups that it was written for."""
        ...

    @property
    def groups(self) -> frozenset[SharedGroup]:
        """The groups that it names."""
        ...


class GroupApi(Protocol):
    """The way to the API server. Failures are ``nodewall.kube.errors.ApiError``."""

    async def write(self, name: str, spec: bytes, age: float) -> tuple[str, int]:
        """Make this the object, for a change that is ``age`` seconds old; returns its uid and its generation."""
        ...

    async def remove(self, name: str, uid: str) -> None:
        """Delete this very object; one that is gone is fine."""
        ...


Told = Callable[[int, float], None]
"""A new revision is there for the nodes, and their reports are spread over so many seconds."""


class GroupsLateError(NodewallError):
    """The groups that a rule set names are not written yet: it is tried again."""


class Groups:
    """``saw`` is called by the mirror, ``want`` and ``wanted`` by who compiles; ``run`` does the rest.

    While ``leads`` says no, nothing is written.
    """

    def __init__(self, api: GroupApi, leads: Callable[[], bool], clock: Clock) -> None:
        self._api, self._leads, self._clock = api, leads, clock
        self._there: dict[str, PublishedPart] = {}
        self._parts: dict[str, GroupPart] = {}
        self._coming: dict[str, GroupPart] = {}  # of a batch that is not told to its end
        self._dirty: dict[str, None] = {}
        self._since: dict[str, float] = {}  # when the first change came that is not written yet
        self._ours: dict[str, tuple[str, int]] = {}
        self._awaited: dict[str, tuple[str, int]] = {}  # (uid, generation) written, and not seen yet
        self._unsure: set[str] = set()  # whether their last write was done is not known
        self._unwanted: set[str] = set()
        self._unseen: dict[str, tuple[str, int]] = {}  # of ``_awaited``, at the last sweep
        self._newest = 0  # revision that was ever used
        self._untold = False  # parts are newer than the revision that the nodes know, or somebody else changed it
        self._compare = True  # with everything that is there
        self._taken = self._done = 0  # how often the compiled groups changed, and up to where they are written
        self._news, self._turned = asyncio.Event(), asyncio.Event()
        self._stuck = False  # the last round failed
        self.revision = 0
        """The newest one whose parts are all written."""

    @property
    def known(self) -> int:
        """The largest revision that may be somewhere."""
        return self._newest

    # -- what is told

    def saw(self, name: str, published: PublishedPart | None) -> None:
        """The API has this object now, or none. What no write of ours explains is undone."""
        awaited = self._awaited.get(name)
        if published and awaited and published.uid == awaited[0] and published.generation < awaited[1]:
            return  # older than what has been written, and answered, already
        self._awaited.pop(name, None)
        if not self._leads():
            self._since.pop(name, None)  # who leads has written it
        if published is None:
            self._there.pop(name, None)
        else:
            self._there[name] = published
        said = (published.digest, published.revision) if published else None
        if published and published.revision <= LARGEST_REVISION:
            self._newest = max(self._newest, published.revision)
            if published.revision > self.revision and self._ours.get(name) != said:
                self._untold = True  # who led before has written it late: no node goes on while a part is ahead
                self._news.set()
        if name in self._ours and self._ours[name] != said:
            self._untold |= name == REVISION
            self._dirty[name] = None
            self._news.set()

    def want(self, part: GroupPart) -> None:
        """The part is this from now on. ``wanted`` has to follow."""
        name = peergroup.name(part.key)
        self._coming[name] = part
        self._since.setdefault(name, self._clock.monotonic())

    def wanted(self, layouts: Mapping[str, int]) -> None:
        """All changes of a batch are told; these groups, in so many parts, are shared now, and no others."""
        self._parts.update(self._coming)
        self._dirty.update(dict.fromkeys(self._coming))
        self._coming.clear()
        gone = [name for name, each in self._parts.items() if layouts.get(each.content.name) != each.parts]
        for name in gone:
            del self._parts[name]
            self._since.pop(name, None)
        if self._done == self._taken and not self._dirty:
            self._done += 1  # nothing to write, so nobody has to wait for it
        self._taken += 1
        self._news.set()

    def take_over(self) -> None:
        """From now on it is for us to write: everything is compared with what is there."""
        self._compare = True
        self._taken += bool(self._taken)  # whoever asks for the revision waits for that, or for the first batch
        self._news.set()

    # -- who waits

    async def settled(self) -> int:
        """The revision that has everything in it that was told so far, once it is written.

        :raises GroupsLateError: that takes long, or the last round failed.
        """
        ticket = self._taken
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self._done < ticket and not self._stuck:
                    await self._turned.wait()
        if self._done < ticket:
            raise GroupsLateError("the PeerGroups that it names are not written yet")
        return self.revision

    # -- rounds

    async def run(self, holders: Mapping[str, Holder], told: Told) -> NoReturn:
        """Until cancelled. ``holders`` are the NodeRuleSets that there are, by node."""
        failures, sweep_at = 0, self._clock.monotonic() + SWEEP
        while True:
            await heard(self._news, sweep_at - self._clock.monotonic())
            try:
                if self._leads() and self._taken:
                    await self._round(holders, told)
                    self._stuck = False
                    if self._clock.monotonic() >= sweep_at:
                        await self._sweep(holders)
                failures = 0
            except ApiError as error:
                failures += 1
                self._stuck = True
                self._turn()
                delay = backoff(failures, self._clock.chance(), error.retry_after)
                log.warning("a PeerGroup cannot be written: %s", error, extra={"fields": {"next_try_seconds": delay}})
                self._news.set()
                await self._clock.sleep(delay)
            if self._clock.monotonic() >= sweep_at:
                sweep_at = self._clock.monotonic() + SWEEP

    async def _round(self, holders: Mapping[str, Holder], told: Told) -> None:
        if self._compare:
            self._begin(holders)
        if not self._dirty and not self._untold:
            self._finish(self._taken)
            return
        ticket, names, revision = self._taken, [*self._dirty], self._newest + 1
        self._dirty.clear()
        await self._together(names, [partial(self._bring, name, self._parts.get(name), revision) for name in names])
        if self._untold:
            await self._tell(revision, len(holders) // REPORTS)
            told(revision, len(holders) // REPORTS)
        self._finish(ticket)
        await self._clock.sleep(PAUSE)

    def _begin(self, holders: Mapping[str, Holder]) -> None:
        """Nobody knows what another controller has begun."""
        told = self._there.get(REVISION)
        self.revision = 0
        if told and told.digest and told.revision <= LARGEST_REVISION:
            self.revision = told.revision
            self._ours[REVISION] = (told.digest, told.revision)  # from now on ours to keep
        named = max((each.revision for each in holders.values() if each.revision <= LARGEST_REVISION), default=0)
        self._newest = max(self._newest, named) + 1  # which a write of it may have that is still under way
        there = (each.revision for each in self._there.values() if each.revision <= LARGEST_REVISION)
        self._untold = max((named, *there)) > self.revision
        self._dirty.update(dict.fromkeys(self._parts))
        self._compare = False

    def _finish(self, ticket: int) -> None:
        self._done = max(self._done, ticket)
        self._turn()

    def _turn(self) -> None:
        """Who waits looks again."""
        self._turned.set()
        self._turned = asyncio.Event()

    async def _together(self, names: list[str], works: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """All of them; what failed is dirty again, and the first failure is raised."""
        hands = asyncio.Semaphore(MOST)  # hundreds at once would be before everybody else

        async def one(work: Callable[[], Awaitable[None]]) -> None:
            async with hands:
                await work()

        ends = await asyncio.gather(*map(one, works), return_exceptions=True)
        failures = [(name, end) for name, end in zip(names, ends, strict=True) if end is not None]
        self._dirty.update({name: None for name, _ in failures})
        if failures:
            raise failures[0][1]

    async def _bring(self, name: str, part: GroupPart | None, revision: int) -> None:
        """Make one part what it ought to be as the round begins; nothing is written where it is."""
        there = self._there.get(name)
        if part is None:
            return
        if there and name not in self._unsure and peergroup.encode_part(part, there.revision)[0] == there.digest:
            self._ours[name] = (there.digest, there.revision)
            self._since.pop(name, None)
            return
        digest, spec = peergroup.encode_part(part, revision)
        if len(spec) > PART_LIMIT:
            fields = {"group": part.content.name, "selector": part.content.description, "bytes": len(spec)}
            log.error("a PeerGroup is too large, and its last members stay", extra={"fields": fields})
            return
        await self._write(name, digest, spec, revision)
        self._untold = True

    async def _tell(self, revision: int, spread: int) -> None:
        digest, spec = peergroup.encode_revision(revision, spread)
        await self._write(REVISION, digest, spec, revision)
        self.revision, there = revision, self._there[REVISION]
        self._untold = self._newest > revision or (there.digest, there.revision) != (digest, revision)
        if self._untold:
            self._news.set()  # what came meanwhile is ahead of this one, or somebody has written over it

    async def _write(self, name: str, digest: str, spec: bytes, revision: int) -> None:
        self._newest = max(self._newest, revision)
        self._ours[name] = (digest, revision)
        now = self._clock.monotonic()
        since = self._since.pop(name, now)
        try:
            uid, generation = await self._api.write(name, spec, now - since)
        except BaseException:
            self._untold = True
            self._unsure.add(name)
            self._since[name] = since
            raise
        self._unsure.discard(name)
        seen = self._there.get(name)
        if seen and seen.uid == uid and seen.generation >= generation:
            return  # The watch was faster. After that what is older is no late news: a restored backup looks like it.
        self._awaited[name] = uid, generation
        self._there[name] = PublishedPart(uid, digest, revision, generation)

    # -- what nobody names any more, and what is lost

    def _look_for_lost(self) -> None:
        """A write was answered, and the watch never brought it: a backup was restored just then. It is done again."""
        for name, written in self._unseen.items():
            if self._awaited.get(name) == written:
                del self._awaited[name]
                if name not in self._parts and name != REVISION:
                    continue  # nobody wants it: it is there under this uid, or not at all, and is removed by it
                self._there.pop(name, None)
                self._dirty[name] = None
                self._untold |= name == REVISION
                self._news.set()
        self._unseen = dict(self._awaited)

    async def _sweep(self, holders: Mapping[str, Holder]) -> None:
        self._look_for_lost()
        groups = {group for each in holders.values() for group in each.groups}
        named = {name for each in groups for name in peergroup.names(each)}
        parts = self._there.keys() - {REVISION}
        found = parts - self._parts.keys() - named
        if found == parts and REVISION in self._there and not named:
            found.add(REVISION)  # as simple as it was before anything was shared
        gone, self._unwanted = found & self._unwanted, found
        for name in sorted(gone)[:SWEPT]:
            there = self._there.get(name)
            if there is None or name in self._parts:
                continue  # meanwhile
            self._ours.pop(name, None)
            await self._api.remove(name, there.uid)
            self._there.pop(name, None)
