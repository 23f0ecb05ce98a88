"""What to do next, and when: a queue of keys that waits for quiet, without a clock and without I/O.

A key that changes ten times in a row is worth one write. So a mark waits until the key has been quiet for a moment, but
never longer than a limit; an urgent one does not wait at all and overtakes the others. Where nothing was to do for a
key for some time, its next mark need not wait either: most changes are alone, and what follows one closely waits. A key
is only ever in one pair of hands: marks that come meanwhile are kept, and whoever takes the key next sees the newest
state. Instants are seconds of a monotonic clock.
"""

import heapq
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. A key is due after ``quiet`` without a mark, and at the latest ``patience`` after its first mark.

    It is due at once when it was in no hand for ``idle`` (None: not for that reason).
    """

    quiet: float = 0.05
    patience: float = 0.25
    idle: float | None = None


@dataclass(slots=True)
class _Wait:
    """Why a key waits. ``not_before`` is the end of its back-off. ``alone``: nothing was to do for it before."""

    first: float
    last: float
    urgent: bool
    not_before: float
    alone: bool = False

    def due(self, pace: Pace) -> float:
        calm = self.first if self.urgent or self.alone else min(self.last + pace.quiet, self.first + pace.patience)
        return max(calm, self.not_before)


class Schedule(Generic[Key]):
    """Keys that wait and keys in hand; at most ``hands`` of the latter."""

    def __init__(self, pace: Pace, hands: int) -> None:
        self._pace = pace
        self.hands = hands
        """May be another number before each ``take``."""
        self._waiting: dict[Key, _Wait] = {}
        self._in_hand: set[Key] = set()
        # When a key was last in a hand, the oldest first; only what ``idle`` still asks for.
        self._used: dict[Key, float] = {}
        # Keys by the time they were due when they were put here. The true time may be later by now: then they are put
        # again.
        self._timers: list[tuple[float, int, Key]] = []
        self._urgent: deque[Key] = deque()
        self._count = 0

    def __len__(self) -> int:
        """How many keys wait or are in hand."""
        return len(self._waiting.keys() | self._in_hand)

    def __contains__(self, key: Key) -> bool:
        """Whether the key waits or is in hand."""
        return key in self._waiting or key in self._in_hand

    def mark(self, key: Key, now: float, *, urgent: bool = False) -> None:
        """The key has changed. Urgent: do not wait for quiet, and go first."""
        wait = self._waiting.get(key)
        if wait is None:
            self._wait(key, _Wait(first=now, last=now, urgent=urgent, not_before=now, alone=self._idle(key, now)))
            return
        wait.last = now
        if urgent and not wait.urgent:
            wait.urgent = True
            self._queue(key, wait)

    def take(self, now: float) -> list[Key]:
        """The keys that are due and for which there is a hand: they are the caller's until ``done`` or ``failed``."""
        taken: list[Key] = []
        while len(self._in_hand) < self.hands and (key := self._next(now)) is not None:
            del self._waiting[key]
            self._in_hand.add(key)
            taken.append(key)
        return taken

    def done(self, key: Key, now: float) -> None:
        """The key is out of hand. It waits again if it was marked meanwhile."""
        self._leave(key, now)
        if (wait := self._waiting.get(key)) is not None:
            self._queue(key, wait)

    def failed(self, key: Key, now: float, delay: float) -> None:
        """The key is out of hand and has to be tried again, not before ``delay`` seconds, whatever marks come."""
        self._leave(key, now)
        wait = self._waiting.get(key) or _Wait(first=now, last=now, urgent=False, not_before=now)
        wait.not_before = now + delay
        self._wait(key, wait)

    def forget(self, key: Key) -> None:
        """Nothing is to be done for the key any more. One in hand stays there."""
        self._waiting.pop(key, None)
        self._used.pop(key, None)

    def wakes_at(self) -> float | None:
        """When ``take`` may next have something, as things stand; None: after a mark, or when a hand is free again."""
        if len(self._in_hand) >= self.hands or not self._waiting:
            return None
        timer = self._timers[0][0] if self._timers else None
        ready = (key for key in self._urgent if self._ready(key))  # the first will do: none of them waits for anything
        urgent = next((self._waiting[key].due(self._pace) for key in ready), None)
        return min((at for at in (timer, urgent) if at is not None), default=None)

    def _idle(self, key: Key, now: float) -> bool:
        if self._pace.idle is None or key in self._in_hand:
            return False
        return key not in self._used or now - self._used[key] >= self._pace.idle

    def _leave(self, key: Key, now: float) -> None:
        self._in_hand.discard(key)
        self._used.pop(key, None)
        self._used[key] = now
        while now - self._used[oldest := next(iter(self._used))] > (self._pace.idle or 0):
            del self._used[oldest]

    def _wait(self, key: Key, wait: _Wait) -> None:
        self._waiting[key] = wait
        self._queue(key, wait)

    def _queue(self, key: Key, wait: _Wait) -> None:
        if key in self._in_hand:  # ``done`` queues it
            return
        if wait.urgent and wait.not_before <= wait.last:
            self._urgent.append(key)
            return
        self._count += 1
        heapq.heappush(self._timers, (wait.due(self._pace), self._count, key))

    def _next(self, now: float) -> Key | None:
        while self._urgent:
            if self._ready(key := self._urgent.popleft()) and self._waiting[key].urgent:  # it may have been forgotten
                return key
        return self._next_timed(now)

    def _next_timed(self, now: float) -> Key | None:
        while self._timers and self._timers[0][0] <= now:
            _, _, key = heapq.heappop(self._timers)
            if not self._ready(key):
                continue
            if (wait := self._waiting[key]).due(self._pace) <= now:
                return key
            self._queue(key, wait)
        return None

    def _ready(self, key: Key) -> bool:
        return key in self._waiting and key not in self._in_hand
