"""How long whatever wants its turn in the event loop has to wait for it: a sleep that ends late was kept waiting."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

EVERY_SECONDS = 0.1
"""What keeps the loop for longer than this is certainly seen, what is shorter by chance."""


async def watch(
    observe: Callable[[float], None],
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """Tell ``observe`` the seconds, ten times a second, until cancelled."""
    while True:
        began = now()
        await sleep(EVERY_SECONDS)
        observe(max(now() - began - EVERY_SECONDS, 0.0))
