"""Whether the publishing loop still gets on: liveness by progress, so that much work is never taken for none.

A loop without work waits for as long as nothing changes, and says so first. With work it turns at the latest when the
longest pause before a retry is over.
"""

import time
from collections.abc import Callable

HANGS = 300.0
"""Seconds with work and without a turn, after which only a new process helps: five times the longest pause."""


class Turning:
    """What the loop told last."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._waiting = 0
        self._turned_at = monotonic()

    def turned(self, waiting: int | None = None) -> None:
        """Something was done; so many nodes wait now, or as many as before."""
        self._waiting = self._waiting if waiting is None else waiting
        self._turned_at = self._monotonic()

    def problems(self) -> list[str]:
        """What a restart of the process would mend."""
        stood = self._monotonic() - self._turned_at
        if not self._waiting or stood < HANGS:
            return []
        return [f"{self._waiting} nodes wait, and nothing has been done for {stood:.0f} seconds"]
