"""An empty network namespace with libnftables in it, as an agent has it."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

from e2e import netns
from nodewall.agent.kernel import Kernel

T = TypeVar("T")
_numbers = count()


class Bed:
    """One thread inside the namespace that runs coroutines one after another; ``kernel`` is its table."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._thread = ThreadPoolExecutor(max_workers=1, initializer=netns.enter, initargs=(namespace,))
        self._runner: asyncio.Runner = self._thread.submit(asyncio.Runner).result()
        self.kernel: Kernel = self.run(Kernel.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.submit(self._runner.run, work).result()

    def close(self) -> None:
        self.kernel.close()
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()


@contextmanager
def bed() -> Iterator[Bed]:
    name = f"nw-bench-{os.getpid()}-{next(_numbers)}"
    netns.add(name)
    try:
        made = Bed(name)
        try:
            yield made
        finally:
            made.close()
    finally:
        netns.delete(name)
