"""Pods all over the cluster that get other addresses all the time: the work of the controller and the API server."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench import populace, usage
from bench.clusters import address
from bench.measure import Result, compared
from e2e.api import Api
from nodewall.model.cluster import Pod

RATE, SECONDS = 100, 15
"""Pod events per second, and for how long."""
HANDS = 6


def steady(name: str, api: Api, controller: int, server: int, pods: Sequence[Pod]) -> Iterator[Result]:
    """Cores that each of the two processes keeps busy, and the rate that there was."""
    before = usage.cpu_seconds(controller), usage.cpu_seconds(server)
    begun = time.monotonic()
    with ThreadPoolExecutor(max_workers=HANDS) as several:
        for number in range(RATE * SECONDS):
            time.sleep(max(begun + number / RATE - time.monotonic(), 0))
            several.submit(populace.readdress, api, pods[number % len(pods)], address(number, net=13))
    passed = time.monotonic() - begun
    spent = usage.cpu_seconds(controller) - before[0], usage.cpu_seconds(server) - before[1]
    yield compared(f"{name}.rate", "1/s", [RATE * SECONDS / passed])
    yield compared(f"{name}.controller", "cores", [spent[0] / passed])
    yield compared(f"{name}.apiserver", "cores", [spent[1] / passed])
