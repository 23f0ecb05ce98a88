# ruff: noqa: ARG002 - a fake is told more than a test asks about
"""The API server is given as many writes as it takes well, and none while it asks for a rest."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from nodewall.controller.fence import FencedError
from nodewall.controller.limiter import MOST, SLOW_SECONDS, Limited, Limiter
from nodewall.kube.clock import LONGEST_WISH
from nodewall.kube.errors import (
    ApiError,
    Call,
    ConflictError,
    ForbiddenError,
    InvalidError,
    ServerError,
    ThrottledError,
    TooLargeError,
    UnreachableError,
)
from nodewall.kube.http import Target
from nodewall.kube.resource import NODE_RULE_SETS, PODS
from nodewall.kube.wire import ObjectMeta
from nodewall.telemetry import metrics
from nodewall.telemetry.metrics import Metrics
from tests.controller.running import endpoint, furnish, measured, pod, rule_sets, until, writes
from tests.kube.fake_api import FakeApi, Refuse
from tests.kube.mirroring import QuickClock

CALL = Call("patch", "noderulesets n1")


def throttled(after: float | None = None) -> ThrottledError:
    return ThrottledError(CALL, "slow down", status=429, retry_after=after)


@pytest.mark.parametrize(
    ("error", "seconds", "hands"),
    [
        (None, 0.01, MOST),
        (None, SLOW_SECONDS + 0.1, MOST // 2),
        (throttled(), 0.01, MOST // 2),
        (ServerError(CALL, "no"), 0.01, MOST // 2),
        (UnreachableError(CALL, "no"), 0.01, MOST // 2),
        (ConflictError(CALL, "no"), 0.01, MOST),
        (ForbiddenError(CALL, "no"), 0.01, MOST),
        (InvalidError(CALL, "no"), 0.01, MOST),
        (TooLargeError(CALL, "no"), 0.01, MOST),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, ApiError) else str(each),
)
def test_what_strains_the_server_halves_it(error: ApiError | None, seconds: float, hands: int) -> None:
    limiter = Limiter()
    limiter.ended(0.0, seconds, error)
    assert limiter.hands(seconds) == hands


def test_it_is_halved_once_for_all_that_were_under_way_and_never_below_one() -> None:
    limiter = Limiter()
    for number in range(MOST):
        limiter.ended(0.0, 1.0 + number / 100, throttled())
    assert limiter.hands(2.0) == MOST // 2
    for number in range(10):
        limiter.ended(2.0 + number, 2.5 + number, throttled())
    assert limiter.hands(20.0) == 1


def test_it_grows_by_one_for_as_many_as_it_allows() -> None:
    limiter = Limiter()
    for at in (1.0, 2.0, 3.0):
        limiter.ended(at, at, throttled())
    assert limiter.hands(4.0) == 2
    for _ in range(2 + 1):
        limiter.ended(4.0, 4.0)
    assert limiter.hands(4.0) == 3
    for _ in range(MOST * MOST):
        limiter.ended(4.0, 4.0)
    assert limiter.hands(4.0) == MOST


def test_a_rest_stops_everybody_and_has_a_limit() -> None:
    limiter = Limiter()
    limiter.ended(0.0, 1.0, throttled(after=5.0))
    limiter.ended(0.5, 2.0, throttled(after=1.0))
    assert [limiter.hands(at) for at in (2.0, 5.9, 6.0)] == [0, 0, MOST // 2]
    limiter.ended(6.0, 7.0, throttled(after=3600.0))
    assert limiter.rest == 7.0 + LONGEST_WISH


@dataclass
class Server:
    """Answers when the test says so."""

    busy: int = 0
    most: int = 0
    asked: int = 0
    errors: list[ApiError] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply(self, target: Target, body: object, manager: str, *, force: bool = True) -> ObjectMeta:
        await self.delete(target)
        return ObjectMeta(target.name)

    async def overwrite(self, target: Target, body: Mapping[str, Any], manager: str) -> ObjectMeta:
        return await self.apply(target, body, manager)

    async def merge_patch(self, target: Target, body: object, manager: str) -> ObjectMeta:
        return await self.apply(target, body, manager)

    async def delete(self, target: Target, uid: str = "") -> None:
        self.asked += 1
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await self.gate.wait()
            if self.errors:
                raise self.errors.pop()
        finally:
            self.busy -= 1


TARGET = Target(NODE_RULE_SETS, "n1")
ASK: dict[str, Callable[[Limited], asyncio.Task[object]]] = {
    "apply": lambda writer: asyncio.create_task(writer.apply(TARGET, {}, "test")),
    "overwrite": lambda writer: asyncio.create_task(writer.overwrite(TARGET, {}, "test")),
    "merge_patch": lambda writer: asyncio.create_task(writer.merge_patch(TARGET, {}, "test")),
    "delete": lambda writer: asyncio.create_task(writer.delete(TARGET)),
}


@pytest.mark.parametrize("verb", ASK)
async def test_so_many_writes_at_a_time_of_whatever_kind(verb: str) -> None:
    server, told = Server(), list[int]()
    writer = Limited(server, Limiter(4), QuickClock(), told.append)
    server.errors = [throttled()]
    tasks = [ASK[verb](writer) for _ in range(12)]
    await until("all hands are busy", lambda: server.busy == 4)
    server.gate.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert (server.most, server.asked, len([each for each in done if isinstance(each, ThrottledError)])) == (4, 12, 1)
    assert min(told) == 2


async def test_one_that_is_let_go_of_frees_its_hand_and_says_nothing() -> None:
    server, limiter = Server(), Limiter(1)
    writer = Limited(server, limiter, QuickClock(), lambda _: None)
    first, second = ASK["apply"](writer), ASK["apply"](writer)
    await until("under way", lambda: server.busy == 1)
    first.cancel()
    await until("the next one", lambda: server.asked == 2)
    server.gate.set()
    await second
    server.errors = [FencedError(CALL, "another controller writes")]
    with pytest.raises(FencedError):
        await writer.delete(TARGET)
    assert limiter.hands(0.0) == 1


# --- at a server ------------------------------------------------------------------------------------------------------


async def test_a_server_that_throttles_has_its_rest_from_all_of_us() -> None:
    async with FakeApi() as api:
        furnish(api)
        counters = Metrics(metrics.CONTROLLER, "test")
        async with measured(api, counters) as listing:
            await until("written", lambda: listing.missing() == [] and len(rule_sets(api)) == 2)
            before = len(writes(api))
            api.fail("patch", Refuse(429, headers={"Retry-After": "1"}), resource=NODE_RULE_SETS)
            api.put(PODS, pod("new", "10.0.0.7"))
            await until("refused", lambda: len(writes(api)) > before)
            refused_at = asyncio.get_running_loop().time()
            api.put(PODS, pod("other", "10.0.1.7", on="n2"))
            await until("written after all", lambda: endpoint(api, "n1", "new") and endpoint(api, "n2", "other"))
            assert asyncio.get_running_loop().time() - refused_at > 0.9
            assert len(writes(api)) == before + 3, "the refused one, and one for each node"
            assert b"nodewall_controller_write_hands 8.0" in counters.exposition()
