"""How long a change takes from the controller's ears to this node's kernel.

The controller notes on each object when the change happened that it was written for; here the clock is read again once
the table holds it. The two clocks are those of two machines, so what they disagree by is in the figure. Objects are the
node's own NodeRuleSet and the PeerGroups that it names, of which a new version counts when an older one was in force.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from nodewall.agent.decide import Target
from nodewall.agent.wall import Wall
from nodewall.api import shallow
from nodewall.api.ruleset import CHANGED_AT

Observe = Callable[[float], None]
"""Takes seconds."""

MOST = 1000
"""Changes remembered while none is applied; what comes then is not measured."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a PeerGroup that is in force."""

    source: bytes
    name: str
    changed_at: float | None


class Programming:
    """Changes that were seen and are not in the kernel yet. One from before this process began is not measured: then it
    would be our absence that is.
    """

    def __init__(self, observe: Observe, wall: Wall) -> None:
        self._observe, self._wall = observe, wall
        self._began = wall()
        self._uid = ""
        self._pending: dict[int, float] = {}
        self._done = 0
        self._parts: dict[int, _Part] = {}  # by the identity of their source

    def saw(self, uid: str, generation: int, source: bytes) -> None:
        """The API has this object now; again with each status of the same generation."""
        if uid != self._uid:
            self._uid, self._done = uid, 0
            self._pending.clear()
        changed_at = _changed_at(source)
        if changed_at is None or changed_at < self._began or generation <= self._done or len(self._pending) >= MOST:
            return
        self._pending.setdefault(generation, changed_at)

    def applied(self, target: Target) -> None:
        """The table holds this one, and so everything that was asked for before it."""
        if target.ruleset.uid != self._uid or not target.ruleset.source:
            return  # of another life, or a step on the way
        self._done = max(self._done, target.ruleset.generation)
        for generation in [each for each in self._pending if each <= self._done]:
            self._tell(self._pending.pop(generation))
        self._take_parts(target.ruleset.parts)

    def _take_parts(self, sources: Sequence[bytes]) -> None:
        """Those in force now. One that had another time before is a new version; others are of a group new here."""
        known, before = self._parts, {part.name: part.changed_at for part in self._parts.values()}
        parts = [known.get(id(source)) or _part(source) for source in sources]
        self._parts = {id(part.source): part for part in parts}
        for part in parts:
            at = part.changed_at
            if at is not None and at >= self._began and at != before.get(part.name, at):
                self._tell(at)

    def _tell(self, changed_at: float) -> None:
        self._observe(max(self._wall() - changed_at, 0.0))


class _Meta(msgspec.Struct):
    name: str = ""
    annotations: dict[str, str] = {}


class _Object(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


_decode = msgspec.json.Decoder(_Object).decode


def _part(source: bytes) -> _Part:
    return _Part(source, _meta(source).name, _changed_at(source))


def _changed_at(source: bytes) -> float | None:
    """Seconds since 1970; None where the object does not say, or not in a way that can be read."""
    try:
        return datetime.fromisoformat(_meta(source).annotations.get(CHANGED_AT, "")).timestamp()
    except ValueError:
        return None


def _meta(source: bytes) -> _Meta:
    try:
        return shallow.read(_decode, source).metadata
    except msgspec.DecodeError:
        return _Meta()
