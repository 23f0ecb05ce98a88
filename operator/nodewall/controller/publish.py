"""One NodeRuleSet object per node: what has to be done with it (pure), and doing it.

The content of an object decides, not the digest that it states: whoever edits one by hand leaves the digest as it
was, and is noticed. Writing puts our spec in the place of whatever is there.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, TypeVar

from nodewall.api.bulk import MOST_BYTES
from nodewall.api.ruleset import least_size
from nodewall.controller.filling import filling
from nodewall.controller.groups import Groups
from nodewall.kube.clock import Breath, Clock, in_turns
from nodewall.model.cluster import Node
from nodewall.model.errors import NodewallError
from nodewall.model.ruleset import NodeRuleSet, SharedGroup

log = logging.getLogger(__name__)

T = TypeVar("T")

MANAGER = "nodewall-controller"
SIZE_LIMIT = MOST_BYTES
"""Bytes of a spec. A bigger one would still fit into etcd, and cost the API server a quarter of a second per write."""

ENCODING_BUDGET = 0.005
"""Seconds at a stretch: the next rule set may be compiled in the same turn of the loop."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What an agent says of its node, in the words of its report; ``status`` is True, False or Unknown."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Published:
    """A NodeRuleSet as the API has it. ``content`` is the digest of the spec that is really there.

    ``owner`` is the uid of the Node that it names as its owner. ``applied`` is the digest that the node's agent
    reports, ``conditions`` what else it says. ``generation`` grows with each change of the spec; 0 where it is unknown.
    ``groups`` are the shared groups that it names, as of ``revision`` at least;
    ``applied_groups`` is the revision that the agent reports. ``held`` is why it is older than what its policies ask
    for, as it says itself; "" while it does not.
    """

    uid: str
    content: str
    owner: str = ""
    applied: str = ""
    conditions: tuple[Condition, ...] = ()
    generation: int = 0
    revision: int = 0
    groups: frozenset[SharedGroup] = frozenset()
    applied_groups: int = 0
    held: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A rule set as it is written: ``spec`` is JSON and states ``digest``."""

    digest: str
    spec: bytes


class Step(StrEnum):
    """What to do with a node's object."""

    LEAVE = "leave"
    WRITE = "write"
    REMOVE = "remove"
    REFUSE = "refuse"
    """Too large: the last good one stays."""
    STAND_BY = "stand by"
    """It is for another controller to write."""


def next_step(node: Node, wanted: Encoded, there: Published | None) -> Step:
    """``wanted`` is the node's rule set; ``there`` is its object, None when there is none."""
    if there is not None and there.content == wanted.digest and there.owner == node.uid:
        return Step.LEAVE
    return Step.REFUSE if len(wanted.spec) > SIZE_LIMIT else Step.WRITE


def _is_older(published: Published | None, written: Published | None) -> bool:
    if published is None or written is None:
        return False
    return published.uid == written.uid and published.generation < written.generation


class RuleSetApi(Protocol):
    """The way to the API server. Failures are ``nodewall.kube.errors.ApiError``."""

    async def write(self, node: Node, wanted: Encoded, age: float) -> Published:
        """Make this the node's object; returns it as it is now (``applied`` unknown). The change that asked for it is
        ``age`` seconds old.
        """
        ...

    async def hold(self, name: str, why: str) -> None:
        """Let an object say why it is older than what its policies ask for; "": that it is not. One that is gone is
        fine.
        """
        ...

    async def remove(self, name: str, uid: str) -> None:
        """Delete this very object; one that is gone is fine."""
        ...


class Likeness(StrEnum):
    """What an event says of a node's object."""

    AS_PUBLISHED = "as published"
    FOREIGN = "somebody else made it what it is, or removed it"
    MISLEADING = "it does not say of why it is held what it ought to"


class OversizedError(NodewallError):
    """The rule set is larger than an object may be; the last good one stays."""

    def __init__(self, node: str, size: int, full_of: str = "", *, counted: bool = True) -> None:
        """``counted``: it has so many bytes; else at least so many."""
        self.node, self.size = node, size
        super().__init__(
            f"the rule set of node {node} has {'' if counted else 'at least '}{size} bytes, "
            f"and {SIZE_LIMIT} is the limit: the last one stays"
            f"{'; most of it is ' if full_of else ''}{full_of}"
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What was done. ``digest`` is what the node ought to have now, "" for one that is gone."""

    step: Step
    digest: str = ""


Encoding = Callable[[NodeRuleSet], Generator[None, None, Encoded]]
"""In small steps: half a megabyte of JSON is too much work for one."""


class Publisher:
    """Brings rule sets to the API. ``published`` mirrors what is there, and is kept by its reflector (``saw``).

    While ``leads`` says no, everything is done but the writing, and what others write is theirs to answer for.
    """

    def __init__(
        self, api: RuleSetApi, encoding: Encoding, leads: Callable[[], bool], groups: Groups, clock: Clock
    ) -> None:
        self._api, self._encoding, self._leads, self._clock = api, encoding, leads, clock
        self._encodes = asyncio.Lock()
        self.groups = groups
        self._published: dict[str, Published] = {}
        self._wanted: dict[str, tuple[str, str]] = {}
        self._holding: dict[str, str] = {}  # what each object ought to say of that
        # What was written and has not come from the watch yet. After that, an older one is no late news: a restored
        # backup looks like it.
        self._awaited: dict[str, Published] = {}

    @property
    def published(self) -> Mapping[str, Published]:
        """By node."""
        return self._published

    def saw(self, name: str, published: Published | None) -> Likeness:
        """The API has this object now, or none.

        A report of an agent may come from the watch when our next write has been answered already. What it reports on
        is older than that write, and says nothing about it.
        """
        if _is_older(published, self._awaited.get(name)):
            return Likeness.AS_PUBLISHED
        self._awaited.pop(name, None)
        if published is None:
            self._published.pop(name, None)
        else:
            self._published[name] = published
        if not self._leads():
            return Likeness.AS_PUBLISHED
        if self._wanted.get(name) != (published and (published.content, published.owner)):
            return Likeness.FOREIGN
        misleads = published is not None and published.held != self._holding.get(name, published.held)
        return Likeness.MISLEADING if misleads else Likeness.AS_PUBLISHED

    async def publish(self, node: Node, rule_set: NodeRuleSet, age: float = 0.0) -> Result:
        """Make the node's object this rule set; the first change that asked for it is ``age`` seconds old.

        :raises OversizedError: it is too large. :raises GroupsLateError: its groups are not written yet.
        :raises ApiError: see ``RuleSetApi``.
        """
        if (size := least_size(rule_set)) > SIZE_LIMIT:
            raise OversizedError(node.name, size, await self._in_turns(filling(rule_set)), counted=False)
        wanted = await self._encode(self._as_written(rule_set, self._published.get(node.name)))
        there = self._published.get(node.name)  # as it is after the pauses
        step = next_step(node, wanted, there)
        if step is Step.REFUSE:
            raise OversizedError(node.name, len(wanted.spec), await self._in_turns(filling(rule_set)))
        if not self._leads():
            self._wanted.pop(node.name, None)
            return Result(Step.STAND_BY, wanted.digest)
        if step is Step.WRITE and _shares(rule_set):
            rule_set = replace(rule_set, revision=await self.groups.settled())
            wanted = await self._encode(rule_set)
        self._wanted[node.name] = (wanted.digest, node.uid)
        if step is Step.WRITE:
            written = await self._api.write(node, wanted, age)
            self._note(node.name, replace(written, revision=rule_set.revision, groups=_named(rule_set)))
        return Result(step, wanted.digest)

    async def hold(self, node: str, why: str) -> bool:
        """The node keeps what it has, for a reason that its object is to say; "": it does not.

        Returns whether that was written. Nothing is where the mirror says so already, which may be late: see ``saw``.

        :raises ApiError: see ``RuleSetApi``.
        """
        there = self._published.get(node)
        if there is None or not self._leads():
            return False
        self._holding[node] = why
        self._wanted.setdefault(node, (there.content, there.owner))  # who keeps it from the start never publishes it
        if there.held == why:
            return False
        await self._api.hold(node, why)
        latest = self._published.get(node)
        if latest is not None and latest.uid == there.uid:
            self._published[node] = replace(latest, held=why)
        return True

    async def _encode(self, rule_set: NodeRuleSet) -> Encoded:
        """One at a time, or the pauses of one would be the work of many others."""
        async with self._encodes:
            return await self._in_turns(self._encoding(rule_set))

    async def _in_turns(self, steps: Generator[None, None, T]) -> T:
        return await in_turns(steps, Breath(self._clock, ENCODING_BUDGET))

    def _as_written(self, rule_set: NodeRuleSet, there: Published | None) -> NodeRuleSet:
        """With the revision that the object states: a newer one alone is no reason to write it."""
        known = there is not None and there.revision <= self.groups.known
        return replace(rule_set, revision=there.revision) if there and known and _shares(rule_set) else rule_set

    def _note(self, name: str, written: Published) -> None:
        """The watch may have been faster than the answer, and brought what came after it as well."""
        seen = self._published.get(name)
        if seen is not None and seen.uid == written.uid:
            written = replace(written, held=seen.held)  # which a write leaves as it is
        if seen is None or seen.uid != written.uid or _is_older(seen, written):
            self._awaited[name] = written
        if not _is_older(written, seen):
            self._published[name] = written

    async def remove(self, name: str) -> Result:
        """There is no such node any more: neither may there be its object. :raises ApiError: see ``RuleSetApi``."""
        self._wanted.pop(name, None)
        self._holding.pop(name, None)
        there = self._published.get(name)
        if not self._leads():
            return Result(Step.STAND_BY)
        if there is None:
            return Result(Step.LEAVE)
        await self._api.remove(name, there.uid)
        return Result(Step.REMOVE)


def _shares(rule_set: NodeRuleSet) -> bool:
    return bool(rule_set.shared or rule_set.shared_ports)


def _named(rule_set: NodeRuleSet) -> frozenset[SharedGroup]:
    return frozenset((*rule_set.shared, *rule_set.shared_ports))
