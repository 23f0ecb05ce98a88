"""Wait for a condition with a deadline; nothing here sleeps in the hope that something has happened meanwhile."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class DeadlineError(Exception):
    """A condition did not come true in time."""


def until(what: str, condition: Callable[[], T | None], *, within: float, every: float = 0.05) -> T:
    """Poll `condition` until it returns something true and return that.

    Raises DeadlineError, which names `what`, after `within` seconds.
    """
    end = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise DeadlineError(f"{what}: not so after {within:g} s")
        time.sleep(every)
