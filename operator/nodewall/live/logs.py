"""``nodewall logs``: the verdict records of all agents, from the logs of their pods."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec

from nodewall.api import shallow
from nodewall.evaluate import AddressParty, party_of_address
from nodewall.evaluate.packet import canonical
from nodewall.kube.errors import ApiError, NotFoundError
from nodewall.kube.http import Session, Target
from nodewall.kube.resource import PODS, Collection
from nodewall.live.cluster import read_who
from nodewall.live.records import Filter, Record, read, text
from nodewall.model.cluster import ClusterState
from nodewall.model.errors import BadInputError

log = logging.getLogger(__name__)

SYSTEM = "nodewall-system"
AGENTS = "app.kubernetes.io/name=nodewall,app.kubernetes.io/component=agent"
LOOK_AGAIN = 5.0
"""Seconds between two looks for agents that came, or whose log ended."""
_REMEMBERED = 4096
_REFRESH = 10.0


@dataclass(frozen=True, slots=True)
class Wish:
    """``since``: seconds back, None for all that the logs hold. ``raw``: the record's JSON as it is, not text."""

    wanted: Filter = field(default_factory=Filter)
    since: int | None = None
    follow: bool = False
    node: str = ""
    raw: bool = False
    coloured: bool = False
    namespace: str = SYSTEM


Print = Callable[[str], None]
"""Takes one line without its end, at once."""


@dataclass(frozen=True, slots=True)
class Agent:
    pod: str
    node: str
    container: str


class _Meta(msgspec.Struct):
    name: str = ""


class _Container(msgspec.Struct):
    name: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    containers: list[_Container] = []


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decode = msgspec.json.Decoder(_Pod).decode


async def agents(session: Session, wish: Wish) -> list[Agent]:
    """Raises BadInputError: there are none."""
    place = Collection(PODS, wish.namespace, label_selector=AGENTS)
    raw = [item async for page in session.pages(place) for item in page.items]
    pods = [shallow.read(_decode, item) for item in raw]
    found = [Agent(pod.metadata.name, pod.spec.node_name, _main(pod)) for pod in pods if pod.spec.node_name]
    if not found:
        raise BadInputError("there is no agent; is nodewall installed, and in this namespace?", subject=wish.namespace)
    chosen = [each for each in found if wish.node in ("", each.node)]
    if not chosen:
        raise BadInputError("there is no agent on this node", subject=wish.node)
    return sorted(chosen, key=lambda each: each.node)


def _main(pod: _Pod) -> str:
    """The agent's container, also beside those that somebody has injected."""
    names = [each.name for each in pod.spec.containers]
    return "agent" if "agent" in names else names[0] if names else ""


async def show(session: Session, wish: Wish, put: Print) -> None:
    """Print the records in the order of time; with ``follow`` as they come, until cancelled."""
    shown = _Shown(session, wish, put)
    if wish.follow:
        await _Following(session, wish, shown).run()
    found = [pair for agent in await agents(session, wish) async for pair in _records(session, wish, agent)]
    await shown.all(sorted(found, key=lambda pair: str(pair[0].get("time", ""))))


async def _records(
    session: Session, wish: Wish, agent: Agent, since: int | None = None
) -> AsyncGenerator[tuple[Record, bytes], None]:
    """(record, its line) of one agent's log."""
    back = wish.since if since is None else since
    query = {"container": agent.container} | ({"follow": "true"} if wish.follow else {})
    query |= {"sinceSeconds": str(back)} if back else {}
    target = Target(PODS, agent.pod, wish.namespace, "log")
    async with aclosing(session.lines(target, query, follow=wish.follow)) as lines:
        async for line in lines:
            record = read(line)
            if record and wish.wanted.wants(record):
                yield record, line


class _Shown:
    """Prints records, with names for addresses that the agent could not know."""

    def __init__(self, session: Session, wish: Wish, put: Print) -> None:
        self._session, self._wish, self._put = session, wish, put
        self._state: ClusterState | None = None
        self._read_at = float("-inf")
        self._owners: dict[str, str] = {}

    async def all(self, found: Iterable[tuple[Record, bytes]]) -> None:
        for record, line in found:
            await self.one(record, line)

    async def one(self, record: Record, line: bytes) -> None:
        if self._wish.raw:
            self._put(line.decode("ascii", "backslashreplace"))
            return
        await self._learn(record)
        self._put(text(record, lambda address: self._owners.get(address, ""), coloured=self._wish.coloured))

    async def _learn(self, record: Record) -> None:
        """Whose the addresses are. Who may not read pods, or meets trouble, sees addresses."""
        found = record.get("IP")
        ends = [str(found.get(side)) for side in ("source", "destination")] if isinstance(found, dict) else []
        unknown = [each for each in ends if not self._owners.get(each)]
        if unknown and time.monotonic() - self._read_at > _REFRESH:
            self._read_at = time.monotonic()
            self._owners.clear()
            try:
                self._state = await read_who(self._session)
            except ApiError as error:
                log.debug("names of addresses cannot be had", extra={"fields": {"error": str(error)}})
        for each in unknown:
            self._owners[each] = _owner(self._state, each) if self._state else ""


def _owner(state: ClusterState, address: str) -> str:
    try:
        party = party_of_address(state, canonical(address))
    except BadInputError:
        return ""
    return "" if isinstance(party, AddressParty) else str(party).removeprefix("pod ")


class _Following:
    """One reader per agent; an agent that comes gets one, and a log that ends is taken up where it ended."""

    def __init__(self, session: Session, wish: Wish, shown: _Shown) -> None:
        self._session, self._wish, self._shown = session, wish, shown
        self._seen: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._known: set[bytes] = set()
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._ended: dict[str, float] = {}

    async def run(self) -> NoReturn:
        """Raises BadInputError or ApiError when there is nothing to follow at first; later that only takes longer."""
        found = await agents(self._session, self._wish)
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._keep_reading(tasks, found)
        except BaseExceptionGroup as several:
            if several.subgroup(BrokenPipeError):
                raise BrokenPipeError from None  # whoever read us has enough
            raise
        raise AssertionError("a task without end has ended")

    async def _keep_reading(self, tasks: asyncio.TaskGroup, found: list[Agent]) -> NoReturn:
        while True:
            for agent in found:
                reader = self._readers.get(agent.pod)
                if reader is None or reader.done():
                    self._readers[agent.pod] = tasks.create_task(self._read(agent))
            await asyncio.sleep(LOOK_AGAIN)
            found = await self._agents_now()

    async def _agents_now(self) -> list[Agent]:
        try:
            return await agents(self._session, self._wish)
        except (ApiError, BadInputError) as error:
            log.warning("%s", error)
            return []

    async def _read(self, agent: Agent) -> None:
        """Until the log ends, for whatever reason; the next look takes it up where it ended."""
        ended = self._ended.get(agent.pod)
        back = None if ended is None else int(time.monotonic() - ended) + 2
        try:
            async with aclosing(_records(self._session, self._wish, agent, back)) as found:
                async for record, line in found:
                    if self._new(line):
                        await self._shown.one(record, line)
        except NotFoundError:
            pass  # the pod is gone; another one may come
        except ApiError as error:
            log.warning("%s", error)
        finally:
            self._ended[agent.pod] = time.monotonic()

    def _new(self, line: bytes) -> bool:
        """Lines of the last seconds come again when a log is taken up."""
        if line in self._known:
            return False
        if len(self._seen) == _REMEMBERED:
            self._known.discard(self._seen[0])
        self._seen.append(line)
        self._known.add(line)
        return True
