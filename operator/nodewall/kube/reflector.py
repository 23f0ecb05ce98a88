"""A mirror of one collection of the API: list, watch, and what to do when either fails.

The store is the truth that everything else is computed from, so its one promise is that it converges on what the server
has, whatever happens in between: what a list does not contain is gone (synthetic deletes, after the last page), a watch
resumes where it stopped, and whenever that cannot be trusted the collection is listed again. Until then the last state
stands: a store is never emptied because the server is in trouble. Only discovery, asked in so many words, may say that
a resource does not exist.

Two kinds of loss show no error at all, and are looked for:

- A dead connection: no byte for ``Timeouts.silence``. A quiet kind looks the same where the server sends no bookmarks
  for it (etcd tells it of progress every ten minutes unless set otherwise), so silence never makes the next try later.
- An etcd restored from a backup: a watch from our resourceVersion, which the server has not reached again, brings
  nothing until it has. A restart of the server comes with it, so after each watch that ended early the place is in
  doubt. A collection of one page is listed anew then, in one request. Before a bigger one resumes, the server is asked
  for its version, also in one. If that has caught up with ours already, nothing can tell; hence ``Pace.relist``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, NoReturn, Protocol, TypeVar

import msgspec

from nodewall.api import shallow
from nodewall.kube.clock import LAST_DELAY, Breath, Clock, SystemClock, backoff, sleep_unless
from nodewall.kube.errors import (
    ApiError,
    BadAnswerError,
    Call,
    ExpiredError,
    InvalidError,
    NotFoundError,
    SilentError,
    UnreachableError,
)
from nodewall.kube.http import PAGE_SIZE, Session
from nodewall.kube.resource import Collection
from nodewall.kube.wire import Decoder, WatchEvent, decode

K = TypeVar("K")
V = TypeVar("V")

Identity = tuple[str, str]
"""(namespace, name); the namespace of what has none is ""."""

Project = Callable[[msgspec.Raw], tuple[K, V] | None]
"""One object's JSON -> its key and what is kept of it; None to keep nothing.

The key must follow from namespace and name. Runs once per event: decodes the fields that it needs straight from the
text. May raise: see ``Observer.refused``."""


@dataclass(frozen=True, slots=True)
class Change(Generic[K, V]):
    """The projection of an object changed. ``old`` None: it is new; ``new`` None: it is gone."""

    key: K
    old: V | None
    new: V | None


class Observer(Protocol):
    """Who counts and logs. ``collection.resource.title`` is a fit label; an object's name is not."""

    def listed(self, collection: Collection, objects: int) -> None:
        """A list was mirrored; so many objects are kept."""
        ...

    def absent(self, collection: Collection) -> None:
        """Discovery says that the resource does not exist. Told at each try."""
        ...

    def resumed(self, collection: Collection) -> None:
        """A watch ended, as they do, and goes on."""
        ...

    def failed(self, collection: Collection, error: ApiError, delay: float) -> None:
        """A list or watch failed, and is tried again in ``delay`` seconds or less. The store keeps its last state."""
        ...

    def refused(self, collection: Collection, identity: Identity, error: Exception) -> None:
        """This object's projection raised, and what was kept of it before still is; or the callback for it raised."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. ``watch`` is asked of the server, and jittered by a fifth; ``away`` is the longest back-off while nobody
    answers, or not to the end.
    """

    watch: float = 300.0
    relist: float = 1800.0
    absent: float = 10.0
    away: float = LAST_DELAY
    page_size: int = PAGE_SIZE


async def _nothing(_kept: int) -> None:
    """No work between pages."""


@dataclass(frozen=True, slots=True)
class View(Generic[K, V]):
    """What to mirror, and what of it. ``after_page`` is awaited after each page, with the number of objects kept."""

    collection: Collection
    project: Project[K, V]
    after_page: Callable[[int], Awaitable[None]] = _nothing


# After these the place in the stream is worth nothing. A 404 has to be told from "no such resource", which a list does.
# An event that cannot be read would only be sent again.
START_OVER = (ExpiredError, NotFoundError, InvalidError, BadAnswerError)

SHORT_LIFE = 1.0
"""Seconds: a watch that the server ended sooner, and that brought nothing, counts as a failure."""


STARTING = 2
"""Failures at most that count of a server that was gone when it answers for the first time, though with an error: it is
not ready yet ("storage is (re)initializing"), and may be in a second or two. Once until something succeeds."""


class Reflector(Generic[K, V]):
    """Mirrors a collection into ``objects`` until ``run`` is cancelled. One event loop, one ``run``.

    ``on_change`` is called once the store has the change, in the order of the server. It must not block.
    """

    def __init__(
        self,
        session: Session,
        view: View[K, V],
        on_change: Callable[[Change[K, V]], None],
        observer: Observer,
        *,
        pace: Pace = Pace(),
        clock: Clock = SystemClock(),  # noqa: B008 - without state
    ) -> None:
        self._session, self._view, self._collection = session, view, view.collection
        self._on_change, self._observer, self._pace, self._clock = on_change, observer, pace, clock
        self._objects: dict[K, V] = {}
        self._keys: dict[Identity, K] = {}
        self._version = ""  # "" = list first
        self._doubt = False  # the server may not be where it was when the watch ended
        self._failures = 0  # in a row
        self._gone = False  # the last of them: nobody answered
        self._started = False  # one of them was the first answer of a server that was gone
        self._events = 0
        self._listed_at = float("-inf")
        self.objects: Mapping[K, V] = MappingProxyType(self._objects)
        self.synced = asyncio.Event()
        """Set once the whole collection has been mirrored, or is known not to exist. Never cleared."""
        self.absent = False
        """The resource does not exist on this server (its CRD is not installed)."""
        self.last_contact = float("-inf")
        """``Clock.monotonic`` of the last list, event, bookmark or discovery: for liveness."""

    async def run(self) -> NoReturn:
        """Mirror until cancelled. No failure of the server, of a projection or of the callback ends this."""
        while True:
            try:
                if self._version:
                    await self._follow()
                else:
                    await self._start_over()
            except ApiError as error:
                await self._recover(error)

    # -- the way to a version: list, or find that there is nothing to list

    async def _start_over(self) -> None:
        try:
            self._version = await self._mirror_list()
        except NotFoundError:
            if await self._session.serves(self._collection.resource):
                raise
            await self._mirror_absence()
            return
        self._touch()
        self._doubt, self.absent, self._listed_at = False, False, self._clock.monotonic()
        self.synced.set()
        self._observer.listed(self._collection, len(self._objects))

    async def _mirror_list(self) -> str:
        """Replace: everything listed is put, then everything not listed is dropped. Returns the list's version."""
        listed: set[Identity] = set()
        version = ""
        breath = Breath(self._clock)
        async with aclosing(self._session.pages(self._collection, self._pace.page_size)) as pages:
            async for page in pages:
                if page.first:
                    listed.clear()
                for item in page.items:
                    listed.add(self._put(item))
                    await breath.take()
                version = page.version
                self._touch()
                await self._view.after_page(len(self._objects))
        if not version:
            raise BadAnswerError(Call("list", self._collection.resource.title), "the list has no resourceVersion")
        await self._drop_all_but(listed)
        return version

    async def _mirror_absence(self) -> None:
        await self._drop_all_but(set())
        self._touch()
        self.absent = True
        self._succeed()
        self.synced.set()
        self._observer.absent(self._collection)
        await self._clock.sleep(self._pace.absent * (0.5 + self._clock.chance()))

    async def _drop_all_but(self, listed: set[Identity]) -> None:
        breath = Breath(self._clock)
        for identity in [identity for identity in self._keys if identity not in listed]:
            self._drop(identity)
            await breath.take()

    # -- following

    async def _follow(self) -> None:
        if self._doubt and await self._is_lost():
            self._version = ""
            return
        self._doubt = False
        started, before = self._clock.monotonic(), self._events
        seconds = round(self._pace.watch * (0.8 + 0.4 * self._clock.chance()))
        try:
            await self._watch(seconds)
        finally:
            if self._events != before:
                self._succeed()
        await self._resume(self._clock.monotonic() - started, seconds, fruitful=self._events != before)

    async def _is_lost(self) -> bool:
        """Whether our place in the stream cannot be trusted any more."""
        if len(self._keys) <= self._pace.page_size:
            return True
        return _is_older(await self._session.version_of(self._collection), self._version)

    async def _watch(self, seconds: int) -> None:
        breath = Breath(self._clock)
        async with aclosing(self._session.watch(self._collection, self._version, seconds)) as events:
            async for event in events:
                self._take(event)
                await breath.take()

    async def _resume(self, lived: float, seconds: float, *, fruitful: bool) -> None:
        """The server ended the watch. Near the time that we asked for, that means nothing."""
        self._doubt = lived < 0.9 * seconds
        if fruitful or lived >= SHORT_LIFE:
            self._succeed()
        else:
            self._failures, self._gone = self._failures + 1, False
        if self._clock.monotonic() - self._listed_at >= self._pace.relist:
            self._version = ""
        self._observer.resumed(self._collection)
        chance = self._clock.chance()
        await self._clock.sleep(backoff(self._failures, chance) if self._failures else 0.1 + 0.9 * chance)

    def _take(self, event: WatchEvent) -> None:
        call = Call("watch", self._collection.resource.title)
        meta = decode(Decoder.envelope, event.object, call).metadata
        if event.type in {"ADDED", "MODIFIED"}:
            self._put(event.object)
        elif event.type == "DELETED":
            self._drop((meta.namespace, meta.name))
        elif event.type != "BOOKMARK":
            raise BadAnswerError(call, f"unknown event type {event.type!r}")
        elif _is_older(meta.resourceVersion, self._version):
            raise ExpiredError(call, f"the server went back to version {meta.resourceVersion}")
        self._events += 1
        self._touch()
        # Forward only: some deletes carried the version of the object's last change.
        if meta.resourceVersion and not _is_older(meta.resourceVersion, self._version):
            self._version = meta.resourceVersion

    async def _recover(self, error: ApiError) -> None:
        if isinstance(error, START_OVER):
            self._version = ""
        self._doubt = True
        gone = isinstance(error, UnreachableError)
        if self._gone and not gone and not self._started:
            self._failures, self._started = min(self._failures, STARTING), True
        self._gone = gone
        # The server took the watch and has answered nothing wrong: the kind may only be quiet. See the module.
        self._failures = 1 if isinstance(error, SilentError) else self._failures + 1
        most = self._pace.away if gone else LAST_DELAY
        delay = backoff(self._failures, self._clock.chance(), error.retry_after, most)
        self._observer.failed(self._collection, error, delay)
        if isinstance(error, UnreachableError) and error.back:
            await sleep_unless(self._clock, delay, error.back)
        else:
            await self._clock.sleep(delay)

    def _succeed(self) -> None:
        """What fails from now on is the first that does."""
        self._failures, self._gone, self._started = 0, False, False

    def _touch(self) -> None:
        self.last_contact = self._clock.monotonic()

    # -- the store

    def _put(self, item: msgspec.Raw) -> Identity:
        """Take one object in. Its identity is returned whether its projection worked or not: it does exist."""
        meta = decode(Decoder.envelope, item, Call("list", self._collection.resource.title)).metadata
        identity = (meta.namespace, meta.name)
        try:
            projected = shallow.read(self._view.project, item)
        except Exception as error:  # noqa: BLE001 - one object that nobody foresaw must not stop all the others
            self._observer.refused(self._collection, identity, error)
            return identity
        if projected is None:
            self._drop(identity)
        else:
            self._set(identity, *projected)
        return identity

    def _set(self, identity: Identity, key: K, value: V) -> None:
        old = self._objects.get(key)
        # Mostly they are equal, and then one of them is enough: the key's texts are those of the value.
        self._keys[key if key == identity else identity] = key
        if old is not None and old == value:
            return
        self._objects[key] = value
        self._tell(identity, Change(key, old, value))

    def _drop(self, identity: Identity) -> None:
        if identity not in self._keys:
            return
        key = self._keys.pop(identity)
        self._tell(identity, Change(key, self._objects.pop(key), None))

    def _tell(self, identity: Identity, change: Change[K, V]) -> None:
        try:
            self._on_change(change)
        except Exception as error:  # noqa: BLE001 - the store is right already, and must go on being so
            self._observer.refused(self._collection, identity, error)


def _is_older(theirs: str, ours: str) -> bool:
    """Whether one resourceVersion is before another. They are decimal numbers; what is not one compares as equal."""
    return theirs.isdecimal() and ours.isdecimal() and int(theirs) < int(ours)
