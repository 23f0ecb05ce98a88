"""Whatever happens on the way, the store ends as what the server has: event storms under random faults.

Each seed is one schedule; a schedule that once failed stays in the list.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Self

import pytest

from nodewall.kube.reflector import Change, Identity, Pace
from nodewall.kube.resource import PODS
from tests.kube.fake_api import GONE_IN_STREAM, FakeApi, Fault, Garble, Refuse, Say, Silence, event, pod
from tests.kube.mirroring import HASTY, Labels, Mirrored, QuickClock, mirrored, until

SEEDS = range(12)
STEPS = 400
PAGED = Pace(page_size=7)

FAULTS: dict[str, tuple[Fault, ...]] = {
    "list": (Refuse(500), Refuse(429, headers={"Retry-After": "3"}), Refuse(403), Refuse(410), Garble()),
    "watch": (
        Refuse(500),
        Refuse(410),
        Refuse(404),
        Refuse(401),
        Silence(),
        Say(GONE_IN_STREAM + b"\n", close=True),
        Say(b"no json at all\n"),
        Say(b'{"type":"ADDED","object":{"metada', close=True),
        Say(event("BOOKMARK", {"metadata": {"resourceVersion": "1"}})),
        Say(b"", close=True),
    ),
    "discover": (Refuse(503),),
}


class Storm:
    """A server that changes and breaks by chance."""

    def __init__(self, api: FakeApi, seed: int) -> None:
        self.api, self.random = api, random.Random(seed)  # noqa: S311 - the same each time
        self.restores: tuple[Callable[[], None], ...] = ()

    def with_restores(self) -> Self:
        """Also restore backups, of any age. A big collection need not notice: see the reflector."""
        backups = [self.api.backup()]
        self.restores = (
            lambda: backups.append(self.api.backup()),
            lambda: self.api.restore(self.random.choice(backups)),
        )
        return self

    async def blow(self) -> None:
        """All of it, then heal."""
        for _ in range(STEPS):
            self._step()
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.random() * 0.01)
        self.api.heal()
        self.api.drop_watches()  # silent ones would take their time

    def _step(self) -> None:
        roll = self.random.random()
        if roll < 0.80:
            self._change()
        elif roll < 0.90:
            verb = self.random.choice(list(FAULTS))
            self.api.fail(verb, self.random.choice(FAULTS[verb]))
        else:
            self.random.choice(self._accidents())()

    def _change(self) -> None:
        name = f"p{self.random.randrange(30)}"
        if ("default", name) in self.api.objects(PODS) and self.random.random() < 0.4:
            self.api.remove(PODS, name, "default")
        else:
            self.api.put(PODS, pod(name, v=str(self.random.randrange(5))))

    def _accidents(self) -> tuple[Callable[[], None], ...]:
        return (
            self.api.compact,
            self.api.bookmark,
            self.api.drop_watches,
            lambda: self.api.drop_watches(half=b'{"type":"ADD'),
            *self.restores,
        )


def expected(api: FakeApi) -> dict[Identity, Labels]:
    return {key: tuple(sorted(body["metadata"]["labels"].items())) for key, body in api.objects(PODS).items()}


def replayed(changes: list[Change[Identity, Labels]]) -> dict[Identity, Labels]:
    """What somebody believes who only listens to the changes. Each must fit what was told before."""
    believed: dict[Identity, Labels] = {}
    for change in changes:
        assert believed.get(change.key) == change.old
        assert change.old != change.new
        if change.new is None:
            del believed[change.key]
        else:
            believed[change.key] = change.new
    return believed


def is_settled(api: FakeApi, mirror: Mirrored) -> bool:
    return mirror.reflector.synced.is_set() and dict(mirror.reflector.objects) == expected(api)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_small_store_ends_as_what_the_server_has(seed: int) -> None:
    async with FakeApi() as api, mirrored(api, clock=QuickClock(seed), timeouts=HASTY) as mirror:
        await Storm(api, seed).with_restores().blow()
        await settle(api, mirror)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_big_store_ends_as_what_the_server_has(seed: int) -> None:
    async with (
        FakeApi() as api,
        mirrored(api, pace=PAGED, clock=QuickClock(seed), timeouts=HASTY) as mirror,
    ):
        await Storm(api, seed).blow()
        await settle(api, mirror)


async def settle(api: FakeApi, mirror: Mirrored) -> None:
    """Same objects, same story, and still following."""
    await until(lambda: is_settled(api, mirror), 20)
    assert replayed(mirror.changes) == dict(mirror.reflector.objects)
    assert mirror.seen.refusals == []
    api.put(PODS, pod("last"))
    await until(lambda: is_settled(api, mirror), 20)
