# ruff: noqa: ARG002 - an observer is told more than a test asks about
"""A reflector under test: running, watched, and in a hurry."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import msgspec

from nodewall.kube.errors import ApiError
from nodewall.kube.http import Timeouts, connect
from nodewall.kube.reflector import Change, Identity, Pace, Reflector, View
from nodewall.kube.resource import PODS, Collection
from tests.kube.fake_api import FakeApi, pod

Labels = tuple[tuple[str, str], ...]

DEFAULT_PACE = Pace()
BIG = Pace(page_size=1)
"""Two objects are a collection too big to be listed when in doubt."""
QUICK = Timeouts(connect=2.0, request=5.0, silence=10.0, watch_grace=5.0)
HASTY = replace(QUICK, silence=0.3)
"""Takes a third of a second without a byte for death."""


class QuickClock:
    """Sleeps are written down and end soon; chance is seeded; time is real."""

    def __init__(self, seed: int = 1) -> None:
        self.slept: list[float] = []
        self._random = random.Random(seed)  # noqa: S311 - the same each time

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(min(seconds, 0.005))

    def chance(self) -> float:
        return self._random.random()


@dataclass
class Recorder:
    """An observer that keeps everything."""

    lists: list[int] = field(default_factory=list)
    absences: int = 0
    resumes: int = 0
    failures: list[ApiError] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    refusals: list[tuple[Identity, Exception]] = field(default_factory=list)

    def listed(self, collection: Collection, objects: int) -> None:
        self.lists.append(objects)

    def absent(self, collection: Collection) -> None:
        self.absences += 1

    def resumed(self, collection: Collection) -> None:
        self.resumes += 1

    def failed(self, collection: Collection, error: ApiError, delay: float) -> None:
        self.failures.append(error)
        self.delays.append(delay)

    def refused(self, collection: Collection, identity: Identity, error: Exception) -> None:
        self.refusals.append((identity, error))


@dataclass
class Mirrored:
    """What a test looks at."""

    reflector: Reflector[Identity, Labels]
    changes: list[Change[Identity, Labels]]
    seen: Recorder
    clock: QuickClock

    @property
    def names(self) -> set[str]:
        """Names of the objects in the store."""
        return {name for _, name in self.reflector.objects}


class Meta(msgspec.Struct):
    name: str
    namespace: str = ""
    labels: dict[str, str] = {}


class Item(msgspec.Struct):
    metadata: Meta


class PoisonError(Exception):
    """What nobody foresaw."""


def labels_of(raw: msgspec.Raw) -> tuple[Identity, Labels] | None:
    """The projection: an object's labels. The label ``poison`` breaks it, ``boring`` keeps nothing."""
    meta = msgspec.json.decode(raw, type=Item).metadata
    if "poison" in meta.labels:
        raise PoisonError(meta.name)
    if "boring" in meta.labels:
        return None
    return (meta.namespace, meta.name), tuple(sorted(meta.labels.items()))


ALL_PODS: View[Identity, Labels] = View(Collection(PODS), labels_of)


@asynccontextmanager
async def mirrored(
    api: FakeApi,
    view: View[Identity, Labels] = ALL_PODS,
    *,
    pace: Pace = DEFAULT_PACE,
    clock: QuickClock | None = None,
    timeouts: Timeouts = QUICK,
) -> AsyncIterator[Mirrored]:
    """A reflector that runs against ``api``."""
    changes: list[Change[Identity, Labels]] = []
    recorder, clock = Recorder(), clock or QuickClock()
    async with connect(api.credentials(), timeouts=timeouts) as session:
        reflector = Reflector(session, view, changes.append, recorder, pace=pace, clock=clock)
        task = asyncio.create_task(reflector.run())
        try:
            yield Mirrored(reflector, changes, recorder, clock)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for the condition; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


def crowd(api: FakeApi) -> None:
    """Pods x and y: a ``BIG`` collection."""
    for name in "xy":
        api.put(PODS, pod(name))


async def appears(mirror: Mirrored, name: str) -> None:
    """Wait until an object of this name is in the store."""
    await until(lambda: name in mirror.names)


async def watching(api: FakeApi, mirror: Mirrored) -> None:
    """Wait until the first list is in and the watch is open."""
    await until(lambda: mirror.reflector.synced.is_set() and api.watching(PODS) == 1)
