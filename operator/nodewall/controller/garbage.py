"""Python's search for garbage in cycles, kept from standing in the way.

A full search walks everything that lives: 80 ms with 10,000 pods, 700 ms with 100,000, in which no health page is
answered and no lease renewed by anybody in this process. What the mirrors and the compiler hold is not in cycles that
end together, so there is nothing to find. So everything that lives when the first compile is done is taken out of the
search, and again what has lived through a search that became long. Objects that nobody refers to go at once as ever.

What is taken out and becomes garbage in a cycle later is never found: a connection now and then. When the process has
grown so much that this could be the reason, one search goes through all of it.
"""

import asyncio
import gc
import logging
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

log = logging.getLogger(__name__)

WHILE_STARTING = (25_000, 1_000, 1_000)
"""As ``gc.set_threshold`` takes them. Nearly everything that is made then stays, so to search what is older than a
moment costs a third of the start and finds next to nothing."""

RUNNING = (10_000, 5, 4)
"""A full search after some 100,000 new objects."""

LONG_SECONDS = 0.008
"""What a search found alive is not searched again once this has taken so long: the next one would take longer."""

GROWTH = 1.5
ROOM = 64 << 20
"""Bytes, beside ``GROWTH``: a small cluster that doubles is no reason."""
LOOK_SECONDS = 60.0


def resident() -> int:
    """Bytes of memory that this process has. Not how many objects there are: to count them is to walk them all."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Garbage:
    """``kept_small`` from the start to the end of the process, ``settle`` once all is mirrored and compiled."""

    def __init__(self, now: Callable[[], float] = time.perf_counter, memory: Callable[[], int] = resident) -> None:
        self._now, self._memory = now, memory
        self._began = 0.0
        self._settled = False
        self._base = 0

    @contextmanager
    def kept_small(self) -> Iterator[None]:
        """Afterwards everything is as it was before."""
        before = gc.get_threshold()
        gc.set_threshold(*WHILE_STARTING)
        gc.callbacks.append(self._searched)
        try:
            yield
        finally:
            gc.callbacks.remove(self._searched)
            gc.set_threshold(*before)
            gc.unfreeze()

    def settle(self) -> None:
        """Everything that lives now will go on living."""
        gc.freeze()  # without a search: that would be the long one that this is about
        gc.set_threshold(*RUNNING)
        self._settled, self._base = True, self._memory()

    async def run(self, ready: asyncio.Event) -> NoReturn:
        """``settle`` when it is ``ready``, then look now and then whether the process has grown."""
        await ready.wait()
        self.settle()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Search through everything when there is far more than in the beginning."""
        if self._memory() <= self._base * GROWTH + ROOM:
            return
        gc.unfreeze()
        began = self._now()
        found = gc.collect()
        gc.freeze()
        self._base = self._memory()
        fields = {"bytes": self._base, "found": found, "seconds": round(self._now() - began, 3)}
        log.info("memory has grown: searched it for garbage as a whole", extra={"fields": fields})

    def _searched(self, phase: str, about: Mapping[str, Any]) -> None:
        if not self._settled or about["generation"] < 2:
            return
        if phase == "start":
            self._began = self._now()
        elif self._now() - self._began > LONG_SECONDS:
            gc.freeze()
