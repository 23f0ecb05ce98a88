"""One object that the compiler fails on must not be everybody's trouble: it is set aside, and all others go on.

No reader makes a value that the compiler cannot take, so a failure is a mistake in the program, and what the compiler
holds afterwards is worth nothing. So it is made again: from what it had taken in well, and the batch that it failed on
without the object that is to blame. What then holds in its place is never wider than what did:

- What was compiled of that object before stays in force.
- A policy without such a past (this process has just begun) is left out, and each node with a pod that it selects keeps
  the NodeRuleSet that it has, whatever else changes there, until the policy does.
- Any other object that comes after the start is left out: no rule was ever about it, and its node's guard closes a new
  pod. At the start nobody can tell what it meant, and every node keeps what it has.

It is tried again when it changes: not at once each time, for each failure costs a compile of the whole cluster.
"""

import asyncio
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, Protocol

from nodewall.compile.blame import PolicyError
from nodewall.compile.changes import Change, Dirty, Input, Key, Reason, Value
from nodewall.compile.node import selects
from nodewall.compile.selectors import matches, namespace_labels
from nodewall.kube.clock import Clock, backoff
from nodewall.model.cluster import Namespace, Node, Pod
from nodewall.model.errors import NodewallError
from nodewall.model.labels import Labels
from nodewall.model.policy import Kind, NetworkPolicy, PolicyRef, TierPolicy
from nodewall.model.ruleset import GroupPart, NodeRuleSet
from nodewall.telemetry.lines import clamp, one_line

PATIENCE = 64
"""Failures of one batch. With so many, what fails is not one object: the process ends, and each start costs more time
than the one before."""

SHARE = 0.1
"""Of the time, for compiling everything again because of one object."""

_ORDER = (
    Input.NAMESPACE,
    Input.NODE,
    Input.SERVICE,
    Input.SLICE,
    Input.POD,
    Input.NETWORK_POLICY,
    Input.TIER_POLICY,
)
"""Policies last: of a policy and a pod that fail together, the policy is to blame."""

KINDS = {
    Input.POD: "Pod",
    Input.NAMESPACE: "Namespace",
    Input.NODE: "Node",
    Input.SERVICE: "Service",
    Input.SLICE: "EndpointSlice",
    Input.NETWORK_POLICY: Kind.NETWORK_POLICY,
}
"""Of an object that is no tier policy: these say it themselves."""

LONGEST_ERROR = 300
"""Bytes of an error in a condition."""

Thing = tuple[Input, Key]
Steps = Generator[None, None, Dirty]


class Compiler(Protocol):
    """Keeps what it needs of the cluster, and compiles any node at any time."""

    def steps(self, changes: Iterable[Change]) -> Steps:
        """Take changes in, step by step; returns the nodes whose rule set may differ now. In between none is valid."""
        ...

    def assembling(self, node: str) -> Generator[None, None, NodeRuleSet]:
        """The rule set of a known Node; ``KeyError`` for any other. ``HeldError``: the last one has to stay. Until its
        end no changes may be taken in.
        """
        ...

    def parts(self) -> Iterator[GroupPart]:
        """The parts of shared groups that changed since this was asked last. Until its end nothing else is valid."""
        ...

    @property
    def shared(self) -> Mapping[str, int]:
        """In how many parts each shared group is."""
        ...


class Fallible(Compiler, Protocol):
    """See ``nodewall.compile.incremental``; after a failure it is thrown away."""

    @property
    def nodes(self) -> frozenset[str]:
        """The Nodes that have a rule set."""
        ...


class Instead(StrEnum):
    """What holds in place of an object that is set aside, in the words of a condition."""

    LAST = "what was compiled of it before stays in force"
    HELD = "it is left out, and the nodes of the pods that it selects keep the NodeRuleSets that they have"
    EVERYTHING_HELD = "it is left out, and every node keeps the NodeRuleSet that it has"
    LEFT_OUT = "it is left out"


@dataclass(frozen=True, slots=True)
class Aside:
    """An object that is set aside. ``value`` is what the compiler fails on; ``until``: not tried before, seconds."""

    thing: Thing
    value: Value
    error: str
    instead: Instead
    failures: int
    until: float

    def __str__(self) -> str:
        return f"the compiler fails on it ({self.error}): {self.instead}; it is tried again when it changes"


class HeldError(NodewallError):
    """The node's rule set would be one without an object that may be about its pods: the last one stays."""

    def __init__(self, node: str, thing: Thing) -> None:
        self.node, self.thing = node, thing
        super().__init__(f"node {node} keeps the NodeRuleSet that it has: the compiler fails on {named(thing)}")


class Watcher(Protocol):
    """Who counts, logs, and tells the authors. Must not block."""

    def set_aside(self, aside: Aside, error: Exception) -> None:
        """The compiler fails on this object."""
        ...

    def taken_back(self, thing: Thing) -> None:
        """It does not any more, or the object is gone."""
        ...

    def mended(self, error: Exception) -> None:
        """The compiler failed, and made again from the same objects it does not."""
        ...


class Quarantine:
    """The compiler as the loop knows it; ``make`` makes the one inside."""

    def __init__(self, make: Callable[[], Fallible], watcher: Watcher, clock: Clock) -> None:
        self._make, self._watcher, self._clock = make, watcher, clock
        self._compiler, self._sound, self._begun = make(), True, False
        self._good: dict[Input, dict[Key, Value]] = {kind: {} for kind in Input}
        self._at: Change | None = None
        self._aside: dict[Thing, Aside] = {}
        self._holding: dict[Thing, Aside] = {}
        self._held: set[str] = set()
        self._waiting: dict[Thing, Change] = {}
        self._woken = asyncio.Event()

    @property
    def aside(self) -> Mapping[Thing, Aside]:
        """What is set aside now."""
        return self._aside

    @property
    def held(self) -> frozenset[str]:
        """The nodes that keep an older rule set because of it."""
        return frozenset(self._held)

    def trouble(self, ref: PolicyRef) -> str:
        """Why a policy does not hold as it is written, in one line; "" when the compiler takes it."""
        found = self._aside.get(_policy(ref))
        return str(found) if found else ""

    # -- what waits because it failed a moment ago

    def admit(self, changes: Iterable[Change]) -> list[Change]:
        """Those that may be fed now; ``run`` feeds the others later, the newest of each object."""
        now, admitted = self._clock.monotonic(), []
        for change in changes:
            self._waiting.pop(_thing(change), None)
            if change.new is None or self._until(_thing(change)) <= now:
                admitted.append(change)
            else:
                self._waiting[_thing(change)] = change
                self._woken.set()
        return admitted

    async def run(self, feed: Callable[[Sequence[Change]], None]) -> NoReturn:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                await self._clock.sleep(max(min(map(self._until, self._waiting)) - self._clock.monotonic(), 0.0))
                now = self._clock.monotonic()
                due = [thing for thing in self._waiting if self._until(thing) <= now]
                feed([self._waiting.pop(thing) for thing in due])

    def _until(self, thing: Thing) -> float:
        found = self._aside.get(thing)
        return found.until if found else float("-inf")

    # -- the compiler that the loop sees

    def parts(self) -> Iterator[GroupPart]:
        """See ``Compiler``. From a new one all of them: what is as it was is not written again.

        None while every node keeps what it has: without what is left out they would lose members.
        """
        if any(each.instead is Instead.EVERYTHING_HELD for each in self._holding.values()):
            return iter(())
        return self._compiler.parts()

    @property
    def shared(self) -> Mapping[str, int]:
        """See ``Compiler``."""
        return self._compiler.shared

    def assembling(self, node: str) -> Generator[None, None, NodeRuleSet]:
        """See ``Compiler``. ``HeldError`` where the last one has to stay."""
        rule_set = yield from self._compiler.assembling(node)
        self._held.discard(node)
        for each in self._holding.values():
            if self._concerns(each, rule_set):
                self._held.add(node)
                raise HeldError(node, each.thing)
        return rule_set

    def steps(self, changes: Iterable[Change]) -> Steps:
        """See ``Compiler``. Raises what the compiler raises when no object can be made out that is to blame."""
        batch, held_by, began, failures = list(changes), set(self._holding), self._clock.monotonic(), 0
        dirty: dict[str, Reason] = {}
        parts, unexplained = [batch], None
        while parts:
            part, from_scratch = parts.pop(), not (self._sound and self._begun)
            try:
                dirty |= yield from self._attempt(part)
            except Exception as error:
                self._sound, failures = False, failures + 1
                if failures > PATIENCE:
                    raise
                unexplained = None if from_scratch else error
                parts += self._without_culprit(error, part, began) if from_scratch else [part]
            else:
                yield from self._accept(part)
                if unexplained is not None:
                    self._watcher.mended(unexplained)
                    unexplained = None
        self._begun = True
        return self._stirred(batch, held_by) | dirty

    def _attempt(self, part: Sequence[Change]) -> Steps:
        """On the compiler that is there, or on a new one together with all that was good."""
        if self._sound:
            return (yield from self._compiler.steps(self._noted(part)))
        self._compiler = self._make()
        dirty = yield from self._compiler.steps(self._noted(self._all_with(part)))
        self._sound = True
        # Each is compiled again, but nothing is urgent: most are as they were, and nothing is written for these.
        gone = {str(key) for key in self._good[Input.NODE]} - self._compiler.nodes
        return dict.fromkeys(dirty, Reason.CHANGED) | dict.fromkeys(gone, Reason.GONE)

    def _noted(self, changes: Iterable[Change]) -> Iterator[Change]:
        """The same; ``_at`` says which one the compiler has in hand."""
        for self._at in changes:
            yield self._at
        self._at = None

    def _all_with(self, part: Iterable[Change]) -> Iterator[Change]:
        newest = {_thing(change): change.new for change in part}
        for kind in _ORDER:
            fresh = {key: value for (each, key), value in newest.items() if each is kind}
            for key, value in (self._good[kind] | fresh).items():
                if value is not None:
                    yield Change(kind, key, value)

    def _accept(self, part: Iterable[Change]) -> Iterator[None]:
        for number, change in enumerate(part):
            if number % 256 == 0:
                yield
            if change.new is None:
                self._good[change.kind].pop(change.key, None)
            else:
                self._good[change.kind][change.key] = change.new
            if self._aside.pop(_thing(change), None):
                self._holding.pop(_thing(change), None)
                self._watcher.taken_back(_thing(change))

    # -- who is to blame

    def _without_culprit(self, error: Exception, part: list[Change], began: float) -> list[list[Change]]:
        """What to try next, the last one first. Raises ``error`` when nobody is left to suspect."""
        newest = {_thing(change): change.new for change in part}
        thing = self._suspect(error, newest)
        if thing is not None:
            self._set_aside(thing, error, newest, self._clock.monotonic() - began)
            return [[change for change in part if _thing(change) != thing]]
        if len(part) < 2:
            raise error
        half = len(part) // 2
        return [part[half:], part[:half]]

    def _suspect(self, error: Exception, newest: Mapping[Thing, Value | None]) -> Thing | None:
        if isinstance(error, PolicyError):
            found: Thing | None = _policy(error.ref)
        elif self._at is not None:
            found = _thing(self._at)
        else:
            found = next(iter(newest)) if len(newest) == 1 else None
        return found if found is not None and self._value(found, newest) is not None else None

    def _value(self, thing: Thing, newest: Mapping[Thing, Value | None]) -> Value | None:
        return newest[thing] if thing in newest else self._good[thing[0]].get(thing[1])

    def _set_aside(self, thing: Thing, error: Exception, newest: Mapping[Thing, Value | None], seconds: float) -> None:
        value, before = self._value(thing, newest), self._aside.get(thing)
        assert value is not None  # noqa: S101 - see _suspect; for the type checker
        kind, key = thing
        if thing not in newest:  # it went well until something else came
            del self._good[kind][key]
        instead = self._instead(thing, before)
        failures = before.failures + 1 if before else 1
        pause = max(backoff(failures, self._clock.chance()), seconds / SHARE)
        found = Aside(thing, value, _told(error), instead, failures, self._clock.monotonic() + pause)
        self._aside[thing] = found
        self._holding.pop(thing, None)
        if instead in {Instead.HELD, Instead.EVERYTHING_HELD}:
            self._holding[thing] = found
        self._watcher.set_aside(found, error)

    def _instead(self, thing: Thing, before: Aside | None) -> Instead:
        kind, key = thing
        if key in self._good[kind]:
            return Instead.LAST
        if kind in {Input.NETWORK_POLICY, Input.TIER_POLICY}:
            return Instead.HELD
        if before is not None and before.instead is Instead.EVERYTHING_HELD:
            return Instead.EVERYTHING_HELD
        return Instead.LEFT_OUT if self._begun else Instead.EVERYTHING_HELD

    # -- which nodes keep what they have

    def _stirred(self, batch: Iterable[Change], held_by: Collection[Thing]) -> dict[str, Reason]:
        """Held nodes that may be so no longer. A policy that is left out marks none of them by itself."""
        if self._held:
            self._held &= self._compiler.nodes
        moved = any(change.kind in {Input.NAMESPACE, Input.NODE} for change in batch)
        return dict.fromkeys(self._held, Reason.CHANGED) if moved or self._holding.keys() != held_by else {}

    def _concerns(self, aside: Aside, rule_set: NodeRuleSet) -> bool:
        if aside.instead is Instead.EVERYTHING_HELD:
            return True
        try:
            pods = (self._good[Input.POD][each.namespace, each.pod] for each in rule_set.endpoints)
            return any(self._selects(aside.value, pod) for pod in pods)
        except Exception:  # noqa: BLE001 - something is wrong with this policy, its subject perhaps
            return True

    def _selects(self, policy: Value, pod: Value) -> bool:
        assert isinstance(pod, Pod)  # noqa: S101 - by its kind; for the type checker
        if isinstance(policy, NetworkPolicy):
            return policy.namespace == pod.namespace and matches(policy.pods, pod.labels)
        assert isinstance(policy, TierPolicy)  # noqa: S101 - as above
        namespace, node = self._good[Input.NAMESPACE].get(pod.namespace), self._good[Input.NODE].get(pod.node)
        labels = namespace_labels(pod.namespace, namespace if isinstance(namespace, Namespace) else None)
        return selects(policy, pod, labels, node.labels if isinstance(node, Node) else Labels())


def named(thing: Thing) -> str:
    """The object in words."""
    kind, key = thing
    if isinstance(key, PolicyRef):
        return str(key)
    return f"{KINDS[kind]} {key if isinstance(key, str) else '/'.join(key)}"


def _thing(change: Change) -> Thing:
    return change.kind, change.key


def _policy(ref: PolicyRef) -> Thing:
    if ref.kind is Kind.NETWORK_POLICY:
        return Input.NETWORK_POLICY, (ref.namespace, ref.name)
    return Input.TIER_POLICY, ref


def policy_of(thing: Thing) -> PolicyRef | None:
    """The policy that it is; None for any other object."""
    kind, key = thing
    if isinstance(key, PolicyRef):
        return key
    return PolicyRef(Kind.NETWORK_POLICY, *key) if kind is Input.NETWORK_POLICY else None


def _told(error: Exception) -> str:
    """What really happened."""
    found = (isinstance(error, PolicyError) and error.__cause__) or error
    return clamp(one_line(f"{type(found).__name__}: {found}"), LONGEST_ERROR)
