"""A turn that came late is told, by how much it was late."""

import asyncio
import time
from contextlib import suppress

from nodewall.telemetry import lag


async def test_what_keeps_the_loop_is_seen() -> None:
    seen: list[float] = []
    task = asyncio.create_task(lag.watch(seen.append))
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - this is what keeps the loop
    async with asyncio.timeout(5):
        while not seen:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    task.cancel()
    assert 0.2 <= seen[0] < 5


async def test_a_turn_in_time_is_none() -> None:
    seen: list[float] = []
    clock = [0.0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds + (0.25 if len(seen) == 1 else -0.01)
        if len(seen) == 3:
            raise asyncio.CancelledError

    with suppress(asyncio.CancelledError):
        await lag.watch(seen.append, lambda: clock[0], sleep)
    assert [round(each, 3) for each in seen] == [0.0, 0.25, 0.0]
