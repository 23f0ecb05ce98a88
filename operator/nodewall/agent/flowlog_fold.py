"""Which records are written, and what is said about those that are not. Decides and does no I/O; times are arguments.

``Fold`` makes one entry of equal records within a window: a client that retries is one line with a count. It holds no
more than ``capacity`` entries, whatever a flood brings.

``Tally`` holds hits of rules (counters in the kernel) against the records that came of them: the difference was
suppressed, by the rate limit or by a loss on the way.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from nodewall.agent.flowlog_packet import Packet
from nodewall.model.ruleset import NodeRuleSet

Seconds = float

WINDOW: Seconds = 1.0
CAPACITY = 2048


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it came: the prefix that its rule gave it, and the packet. ``in_force`` is the rule set that the
    table was made of when it was read; ``time`` is seconds since 1970.
    """

    prefix: str
    packet: Packet
    to_node: bool
    time: float
    in_force: NodeRuleSet


@dataclass(frozen=True, slots=True)
class Entry:
    """What becomes one line. ``seen`` is the first of ``count`` equal records."""

    seen: Seen
    count: int


_Key = tuple[str, bool, Packet]


@dataclass(slots=True)
class _Open:
    seen: Seen
    since: Seconds
    count: int = 1


class Fold:
    """Records of the last ``window``."""

    def __init__(self, window: Seconds = WINDOW, capacity: int = CAPACITY) -> None:
        self._window, self._capacity = window, capacity
        self._open: OrderedDict[_Key, _Open] = OrderedDict()  # the oldest first

    def __len__(self) -> int:
        return len(self._open)

    def take(self, seen: Seen, now: Seconds) -> bool:
        """Take in one record. False: there is no room, and it is lost."""
        key = _key(seen)
        known = self._open.get(key)
        if known:
            known.count += 1
        elif len(self._open) < self._capacity:
            self._open[key] = _Open(seen, now)
        else:
            return False
        return True

    def due(self, now: Seconds) -> list[Entry]:
        """Entries whose window is over; they are forgotten."""
        return self._release(lambda each: now - each.since >= self._window)

    def all(self) -> list[Entry]:
        """Every entry, at the end; they are forgotten."""
        return self._release(lambda _: True)

    def _release(self, ripe: Callable[[_Open], bool]) -> list[Entry]:
        found: list[Entry] = []
        while self._open:
            key, oldest = next(iter(self._open.items()))
            if not ripe(oldest):
                break
            del self._open[key]
            found.append(Entry(oldest.seen, oldest.count))
        return found


def _key(seen: Seen) -> _Key:
    """Who wants what of whom, and what a rule said to it. Each attempt has another source port, so that is left out."""
    packet = seen.packet
    anonymous = Packet(
        packet.source,
        packet.destination,
        packet.protocol,
        -1,
        packet.destination_port,
        packet.icmp_type,
        packet.icmp_code,
    )
    return seen.prefix, seen.to_node, anonymous


Hits = Mapping[str, int]
"""Packets by rule id, as the kernel counts them; a table that is replaced begins at 0 again."""


class Tally:
    """Suppressed records by rule.

    Records are underway for a moment after the hit that caused them was counted, so the hits of one reading are only
    believed at the next: nothing is called suppressed that is merely late. What a rule hit between the last reading
    and a replaced table is unknown, so what is said is a lower bound.
    """

    def __init__(self, known: Hits | None = None) -> None:
        self._known = dict(known or {})
        self._begun = known is not None
        self._fresh: Counter[str] = Counter()
        self._owed: Counter[str] = Counter()

    def accounted(self, logged: Collection[str]) -> dict[str, int]:
        """Of the last reading what has been recorded or told of. Who begins with this counts from there."""
        return {rule: self._known.get(rule, 0) - self._fresh.get(rule, 0) - self._owed.get(rule, 0) for rule in logged}

    @property
    def settled(self) -> bool:
        """Whether another reading would tell nothing new, as long as nothing happens."""
        return not self._fresh and not any(owed > 0 for owed in self._owed.values())

    def recorded(self, rule: str, count: int = 1) -> None:
        """So many records of this rule came."""
        self._owed[rule] -= count

    def lost(self, rule: str, count: int) -> None:
        """So many records that had come were not written after all."""
        self._owed[rule] += count

    def read(self, hits: Hits, logged: Collection[str]) -> None:
        """Take in a reading of all counters; ``logged`` are the rules that write records."""
        if not self._begun:
            self._owed.clear()  # of hits that are in this reading already
        self._owed.update(self._fresh)
        self._fresh = Counter({rule: new for rule in logged if (new := self._new(rule, hits))})
        for rule in [rule for rule, owed in self._owed.items() if not owed or (owed < 0 and rule not in hits)]:
            del self._owed[rule]
        self._known, self._begun = dict(hits), True

    def take(self, rule: str) -> int:
        """How many to say were suppressed; they are said with this."""
        owed = self._owed.get(rule, 0)
        if owed <= 0:
            return 0
        del self._owed[rule]
        return owed

    def owing(self) -> list[str]:
        """Rules that have something suppressed, sorted."""
        return sorted(rule for rule, owed in self._owed.items() if owed > 0)

    def _new(self, rule: str, hits: Hits) -> int:
        found, before = hits.get(rule, 0), self._known.get(rule)
        if before is None:
            return found if self._begun else 0
        if found < before:
            self._owed[rule] = max(self._owed[rule], 0)
            return found
        return found - before
