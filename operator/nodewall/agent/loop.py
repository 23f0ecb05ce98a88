"""The agent's one loop: takes what came in, lets ``decide`` decide, carries it out.

Everything that changes the kernel's table goes through here, one transaction at a time. Inputs land in an ``Inbox`` in
which the newest NodeRuleSet replaces an older one that was not looked at yet: under a flood of changes the loop does as
much as it can and skips what is outdated.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from nodewall.agent import decide
from nodewall.agent.decide import Adopt, Apply, Finding, Kind, Observed, Reason, RuleSet, State, Step, Target
from nodewall.agent.grouping import AwaitedError, Gathering, Known
from nodewall.agent.kernel import KernelError, KernelUnavailableError
from nodewall.agent.setup import Setup
from nodewall.agent.wall import Wall, rfc3339
from nodewall.kube.clock import Clock, awaited
from nodewall.model.address import Address
from nodewall.model.errors import NodewallError

log = logging.getLogger(__name__)

HEARTBEAT = 5.0
"""Seconds: the loop turns at least this often, which is how it shows that it is alive."""

HANGS = 12 * HEARTBEAT
"""Seconds without a turn, outside of a transaction, after which the loop is taken for dead."""


class Firewall(Protocol):
    """The kernel, as far as the loop needs it."""

    async def apply(self, commands: Mapping[str, Any]) -> None:
        """Commit one transaction. Raises KernelError."""
        ...

    async def has_table(self) -> bool:
        """Whether our table exists."""
        ...


class Listener(Protocol):
    """Who reports, counts and saves. Called on the loop; must not block."""

    def changed(self, state: State) -> None:
        """The state is another one."""
        ...

    def applied(self, kind: Kind, target: Target, seconds: float) -> None:
        """A transaction was committed."""
        ...

    def adopted(self, target: Target) -> None:
        """A NodeRuleSet needed no transaction."""
        ...

    def refused(self, kind: Kind, finding: Finding, seconds: float) -> None:
        """The kernel refused a transaction, after so long."""
        ...


@dataclass(frozen=True, slots=True)
class Sighting:
    """One look at the NodeRuleSet in the API. Equal when nothing but status or metadata changed."""

    uid: str
    generation: int
    source: bytes = field(compare=False, repr=False)

    @property
    def observed(self) -> Observed:
        return Observed(self.uid, self.generation)


Read = Callable[[bytes], RuleSet]
"""A NodeRuleSet's JSON to a rule set of this node. Raises NodewallError when it cannot be used."""

Message = Callable[[State, float], State]
"""What came in, as a function of the state and the present time."""


class Inbox:
    """What came in since the loop looked last."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._sighting: Sighting | None = None
        self._looked = True
        self._news = asyncio.Event()
        self.known = Known()
        """The groups that are held apart, as they were last when they were whole."""
        self.needed = asyncio.Event()
        """Set when a rule set names such groups."""

    def saw(self, sighting: Sighting | None) -> None:
        """The NodeRuleSet is this now; None: there is none."""
        self._sighting, self._looked = sighting, False
        self._news.set()

    def knows(self, known: Known) -> None:
        """The groups that are held apart are these now."""
        self.known = known
        if self._sighting is not None:
            self._looked = False
            self._news.set()

    def tell(self, message: Message) -> None:
        self._messages.append(message)
        self._news.set()

    def take(self) -> tuple[list[Message], bool, Sighting | None]:
        """(messages, whether the sighting is new, the sighting)."""
        messages, new = self._messages, not self._looked
        self._messages, self._looked = [], True
        self._news.clear()
        return messages, new, self._sighting

    async def wait(self, seconds: float) -> None:
        """Until something comes in, ``seconds`` at most."""
        await awaited(self._news, seconds)


@dataclass(frozen=True, slots=True)
class Ways:
    """What the loop does by:

    read a NodeRuleSet, change the table, remove connections, remember a generation of them.
    """

    read: Read
    firewall: Firewall
    forget: Callable[[frozenset[Address]], Awaitable[None]]
    reserve: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Times:
    """What waits, and what tells people the time."""

    clock: Clock
    wall: Wall


class Loop:
    """Owns the state, the one mutable cell of the agent."""

    def __init__(self, inbox: Inbox, ways: Ways, listener: Listener, times: Times) -> None:
        self._inbox, self._ways, self._listener = inbox, ways, listener
        self._clock, self._wall = times.clock, times.wall
        self.state = State()
        self.turned_at = self._clock.monotonic()
        """When the loop turned last."""
        self._reserved: int | None = None
        self._read: tuple[bytes, RuleSet] | None = None
        self._gathering = Gathering()
        self.applying = False
        """A transaction is in the kernel, which may take long; meanwhile the loop does not turn."""

    async def run(self, setup: Setup, saved: RuleSet | None = None) -> NoReturn:
        """Until cancelled. ``saved`` is the last good rule set from disk."""
        self._set(decide.start(setup, await self._found(), saved))
        while True:
            await self.turn()
            await self._inbox.wait(self._patience())

    async def _found(self) -> bool:
        """Whether a table of an earlier run is there. In doubt yes: then it stays until a NodeRuleSet comes."""
        try:
            return await self._ways.firewall.has_table()
        except KernelError as error:
            log.warning("%s", error)
            return True

    async def turn(self) -> None:
        """Take in what came, then apply until there is nothing left to do now."""
        while True:
            self.turned_at = self._clock.monotonic()
            self._take_in()
            step = self._next_step()
            if step is None:
                return
            await self._carry_out(step)

    def _take_in(self) -> None:
        messages, new, sighting = self._inbox.take()
        now = self._clock.monotonic()
        state = self.state
        if new:
            state = self._look(state, sighting, now)
        for message in messages:
            state = message(state, now)
        self._set(decide.tick(state, now))

    def _look(self, state: State, sighting: Sighting | None, now: float) -> State:
        if sighting is None:
            return decide.absent(state)
        try:
            return decide.read(state, self._whole(sighting), now)
        except AwaitedError as error:
            return decide.awaiting(state, sighting.observed, str(error))
        except NodewallError as error:
            return decide.unusable(state, sighting.observed, str(error))
        except Exception as error:  # what nobody foresaw must leave the last good table in place, and be told
            log.exception("the NodeRuleSet cannot be read", extra={"fields": {"generation": sighting.generation}})
            return decide.unusable(state, sighting.observed, f"unexpected {type(error).__name__}: {error}")

    def _whole(self, sighting: Sighting) -> RuleSet:
        """The rule set with its groups. Most of the time only these have changed."""
        if self._read is None or self._read[0] is not sighting.source:
            self._read = sighting.source, self._ways.read(sighting.source)
        ruleset = self._read[1]
        if ruleset.content.shared or ruleset.content.shared_ports:
            self._inbox.needed.set()
        return self._gathering.whole(ruleset, self._inbox.known)

    def _next_step(self) -> Step | None:
        try:
            return decide.next_step(self.state, self._clock.monotonic())
        except NodewallError as error:
            self._set(decide.undrawable(self.state, str(error)))
        except Exception as error:  # as above
            log.exception("the NodeRuleSet cannot be drawn")
            self._set(decide.undrawable(self.state, f"unexpected {type(error).__name__}: {error}"))
        return self._next_step()

    async def _carry_out(self, step: Step) -> None:
        if isinstance(step, Apply) and not await self._apply(step):
            return
        if isinstance(step, Adopt):
            self._listener.adopted(step.target)
        self._set(decide.succeeded(self.state, step.target, rfc3339(self._wall())))
        if step.gone:
            await self._ways.forget(step.gone)

    async def _apply(self, step: Apply) -> bool:
        """Whether the kernel took it."""
        strict = step.target.settings.strict
        if strict and strict.generation != self._reserved:
            self._ways.reserve(strict.generation)
            self._reserved = strict.generation
        started = self._clock.monotonic()
        self.applying = True
        try:
            await self._ways.firewall.apply(step.transaction.json())
        except KernelError as error:
            finding = Finding(_reason(error), str(error))
            self._set(decide.failed(self.state, step, finding, self._clock.monotonic()))
            self._listener.refused(step.kind, finding, self._clock.monotonic() - started)
            return False
        finally:
            self.applying = False
        self._listener.applied(step.kind, step.target, self._clock.monotonic() - started)
        return True

    def problems(self) -> list[str]:
        """What a restart of the process would mend: progress has stopped although nothing is being waited for."""
        stood = self._clock.monotonic() - self.turned_at
        return [] if self.applying or stood < HANGS else [f"the loop has stood still for {stood:.0f} seconds"]

    def _patience(self) -> float:
        due = decide.wake_at(self.state)
        return HEARTBEAT if due is None else min(HEARTBEAT, due - self._clock.monotonic())

    def _set(self, state: State) -> None:
        if state == self.state:
            return
        self.state = state
        self._listener.changed(state)


def _reason(error: KernelError) -> Reason:
    return Reason.KERNEL_UNAVAILABLE if isinstance(error, KernelUnavailableError) else Reason.KERNEL_REFUSED
