"""A storm over shared groups: what writes them (``Groups``) and what follows them on a node (``Shelf``), with a store
between whose watches bring everything at a pace of their own. Time and chance are the seed's.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from zlib import crc32

import msgspec

from nodewall.agent.grouping import Item, Known, Shelf, project
from nodewall.api.ruleset import canonical
from nodewall.controller.fence import FencedError
from nodewall.controller.groups import SWEEP, Groups, Holder
from nodewall.controller.rulesets import read_group
from nodewall.kube.errors import Call, UnreachableError
from nodewall.kube.reflector import Change
from nodewall.model.address import Address
from nodewall.model.ruleset import AddressGroup, GroupPart

NOBODY: Mapping[str, Holder] = {}
NAMES = ("g0", "g1", "g2")


@dataclass(frozen=True, slots=True)
class Content:
    """What a group has in it, and in how many parts it is laid out."""

    members: frozenset[str]
    parts: int = 1

    def split(self, name: str) -> Iterator[GroupPart]:
        """Each member is always in the same part: one that joins changes one."""
        for index in range(self.parts):
            mine = sorted(Address(each) for each in self.members if crc32(each.encode()) & (self.parts - 1) == index)
            yield GroupPart(AddressGroup(name, "all", tuple(mine)), self.parts, index)


State = Mapping[str, Content]
"""All groups at one moment."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in etcd."""

    uid: str
    generation: int
    spec: bytes


Heard = Callable[[str, msgspec.Raw | None], None]


class Store:
    """etcd and its watches. A backup that is restored counts generations that were used already."""

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.watches: list[Watch] = []
        self._uids = 0

    def put(self, name: str, spec: bytes) -> Stored:
        """As an apply does it: what changes nothing is no new generation."""
        before = self.objects.get(name)
        if before is None:
            self._uids += 1
            before = Stored(f"uid-{self._uids}", 0, b"")
        self.objects[name] = replace(before, generation=before.generation + (before.spec != spec), spec=spec)
        self._tell(name)
        return self.objects[name]

    def drop(self, name: str, uid: str | None = None) -> None:
        """None: whichever it is."""
        if name in self.objects and uid in {None, self.objects[name].uid}:
            del self.objects[name]
            self._tell(name)

    def restore(self, backup: Mapping[str, Stored]) -> None:
        """The API server comes up anew with it, so everybody lists."""
        self.objects = dict(backup)
        for watch in self.watches:
            watch.relist()

    def body(self, name: str) -> msgspec.Raw:
        """The object as it is sent."""
        found = self.objects[name]
        meta = {"name": name, "uid": found.uid, "generation": found.generation}
        return msgspec.Raw(msgspec.json.encode({"metadata": meta, "spec": msgspec.Raw(found.spec)}))

    def _tell(self, name: str) -> None:
        body = self.body(name) if name in self.objects else None
        for watch in self.watches:
            watch.send(name, body)


class Watch:
    """Brings one change at a time, in the order of the writes."""

    def __init__(self, store: Store, heard: Heard) -> None:
        self._store, self._heard = store, heard
        self._known: set[str] = set()
        self._coming: deque[Callable[[], None]] = deque()
        self.relist()

    def send(self, name: str, body: msgspec.Raw | None) -> None:
        """Behind all that is under way."""
        self._coming.append(partial(self._bring, name, body))

    def relist(self) -> None:
        """What is under way is lost; what is gone is noticed at the end of the list."""
        names = sorted(self._store.objects)
        self._coming = deque(partial(self._bring, name, self._store.body(name)) for name in names)
        self._coming.append(partial(self._forget, frozenset(names)))

    def step(self) -> bool:
        """Whether there was anything."""
        if self._coming:
            self._coming.popleft()()
            return True
        return False

    def end(self) -> None:
        """Everything that is under way."""
        while self.step():
            pass

    def _bring(self, name: str, body: msgspec.Raw | None) -> None:
        if body is None and name not in self._known:
            return
        (self._known.discard if body is None else self._known.add)(name)
        self._heard(name, body)

    def _forget(self, listed: frozenset[str]) -> None:
        for name in sorted(self._known - listed):
            self._bring(name, None)


class Node:
    """Follows the groups as an agent does, and keeps all that it was ever told to enforce."""

    def __init__(self, store: Store) -> None:
        self.told: list[Known] = []
        self._items: dict[str, Item] = {}
        self._shelf = Shelf(self.told.append)
        self.watch = Watch(store, self._heard)
        store.watches.append(self.watch)

    def _heard(self, name: str, body: msgspec.Raw | None) -> None:
        before, now = self._items.pop(name, None), project(body)[1] if body is not None else None
        if now is not None:
            self._items[name] = now
        if before != now:
            self._shelf.changed(Change(name, before, now))


class StillClock:
    """Time passes when somebody sleeps, and when the storm says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def chance(self) -> float:
        return 0.5


class Controller:
    """One process. It answers for nothing until it leads."""

    def __init__(self, store: Store, chance: random.Random, *, fenced: bool) -> None:
        self.leads, self.failing = True, 0.0
        self._store, self._chance, self._fenced = store, chance, fenced
        self.clock = StillClock()
        self.groups = Groups(self, lambda: self.leads, self.clock)
        self.watch = Watch(store, self._heard)
        self.watch.end()
        store.watches.append(self.watch)
        self.task = asyncio.create_task(self.groups.run(NOBODY, lambda _revision, _spread: None))

    def _heard(self, name: str, body: msgspec.Raw | None) -> None:
        self.groups.saw(*((name, None) if body is None else read_group(body)))

    async def tell(self, state: State, names: Sequence[str], rest: Callable[[], Awaitable[None]]) -> None:
        """A batch: what these groups are now. With pauses, as there are when it is large."""
        for part in [part for name in names for part in state[name].split(name)]:
            self.groups.want(part)
            await rest()
        self.groups.wanted({name: content.parts for name, content in state.items()})

    async def write(self, name: str, spec: bytes, _age: float) -> tuple[str, int]:
        """``GroupApi``. A failure says nothing of whether it was done."""
        await self._pause()
        if self._fenced and not self.leads:
            raise FencedError(Call("patch", name), "another controller writes")
        self._fail(name)
        written = self._store.put(name, spec)
        self._fail(name)
        await self._pause()
        return written.uid, written.generation

    async def remove(self, name: str, uid: str) -> None:
        """``GroupApi``."""
        await asyncio.sleep(0)
        self._store.drop(name, uid)

    async def stop(self) -> None:
        """It has not ended by itself: nothing that the API does is the end of a controller."""
        assert not self.task.done(), self.task
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    def _fail(self, name: str) -> None:
        if self._chance.random() < self.failing:
            raise UnreachableError(Call("patch", name), "no answer")

    async def _pause(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)


class Storm:
    """Each operation is one thing that happens; what else is under way goes on for a while after it."""

    def __init__(self, seed: int, *, fenced: bool) -> None:
        """``fenced``: no write of a controller lands after another one leads."""
        self.chance, self._fenced = random.Random(seed), fenced  # noqa: S311 - said again by its seed
        self.store = Store()
        self.node = Node(self.store)
        self._backup: Mapping[str, Stored] = {}
        self.states: list[State] = [
            {
                name: Content(frozenset(f"10.0.{number}.{host}" for host in range(4)))
                for number, name in enumerate(NAMES)
            }
        ]
        self.controllers: list[Controller] = []

    @property
    def leader(self) -> Controller:
        """Others stand by."""
        return self.controllers[-1]

    @property
    def wanted(self) -> State:
        """As it is now."""
        return self.states[-1]

    async def rest(self, turns: int) -> None:
        """So many turns of the loop. A watch brings something in every other one."""
        for _ in range(turns):
            await asyncio.sleep(0)
            for watch in self.store.watches:
                if self.chance.random() < 0.5:
                    watch.step()

    # -- what our own side does

    async def lead(self) -> None:
        """Another controller leads; the one before is still there for a while."""
        for each in self.controllers:
            each.leads = False
        self.controllers.append(Controller(self.store, self.chance, fenced=self._fenced))
        await self.leader.tell(self.wanted, NAMES, self._no_rest)
        self.leader.groups.take_over()
        for each in self.controllers[:-2]:
            self.store.watches.remove(each.watch)
            await each.stop()
        del self.controllers[:-2]

    async def join(self) -> None:
        """Or leave."""
        name = self.chance.choice(NAMES)
        who = frozenset([f"10.1.{self.chance.randrange(3)}.{self.chance.randrange(9)}"])
        await self._become({name: replace(self.wanted[name], members=self.wanted[name].members ^ who)})

    async def move(self) -> None:
        """From one group to another: it is in one of them at every moment."""
        source, target = self.chance.sample(NAMES, 2)
        who = frozenset([self.chance.choice(sorted(self.wanted[source].members) or ["10.9.9.9"])])
        left = replace(self.wanted[source], members=self.wanted[source].members - who)
        entered = replace(self.wanted[target], members=self.wanted[target].members | who)
        await self._become({source: left, target: entered})

    async def lay_out(self) -> None:
        """In more parts, or fewer."""
        name = self.chance.choice(NAMES)
        await self._become({name: replace(self.wanted[name], parts=self.chance.choice([1, 2, 4]))})

    async def _become(self, change: State) -> None:
        self.states.append({**self.wanted, **change})
        for each in self.controllers:
            await each.tell(self.wanted, [*change], self._some_rest)

    async def _some_rest(self) -> None:
        if self.chance.random() < 0.2:
            await self.rest(self.chance.choice([1, 5, 60]))

    @staticmethod
    async def _no_rest() -> None:
        return

    # -- what happens to it

    async def fail(self) -> None:
        """From now on, or no longer."""
        self.leader.failing = self.chance.choice([0.0, 0.3])

    async def save(self) -> None:
        """A backup, in whichever state everything is."""
        self._backup = dict(self.store.objects)

    async def restore(self) -> None:
        """That backup."""
        if self._backup:
            self.store.restore(self._backup)

    async def relist(self) -> None:
        """The node's watch breaks."""
        self.node.watch.relist()

    async def remove(self) -> None:
        """Somebody does."""
        self.store.drop(self._any())

    async def edit(self) -> None:
        """Somebody does, one field."""
        name = self._any()
        if name not in self.store.objects:
            return
        spec = msgspec.json.decode(self.store.objects[name].spec)
        revision = self.chance.choice([0, spec["revision"] + 3, 1 << 54])
        changes = ({"members": ["10.6.6.6"]}, {"revision": revision}, {"group": "gx"}, {"part": 3})
        self.store.put(name, canonical({**spec, **self.chance.choice(changes)}))

    async def copy(self) -> None:
        """Somebody does, under another name."""
        name = self._any()
        if name in self.store.objects:
            self.store.put(self.chance.choice(["z", "a", f"{name}-x"]), self.store.objects[name].spec)

    def _any(self) -> str:
        return self.chance.choice([*self.store.objects] or ["none"])

    # -- the end

    async def calm(self) -> None:
        """A while without anything."""
        await self.rest(200)

    async def clear_up(self) -> None:
        """The API works, and it is long enough that what nobody wants is removed and what is lost is written."""
        for each in self.controllers:
            each.failing = 0.0
        for _ in range(5):
            for each in self.controllers:
                each.clock.now += SWEEP + 1
                await each.tell(self.wanted, (), self._no_rest)
            await self.rest(400)
        for watch in self.store.watches:
            watch.end()

    async def stop(self) -> None:
        """Everything."""
        for each in self.controllers:
            await each.stop()
