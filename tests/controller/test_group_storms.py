"""Shared groups in random storms: leaders change, the API fails, backups are restored, somebody edits, removes, copies.

An interleaving that breaks them is too odd to be thought of by anybody; a seed finds it, and plays it again.
"""

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from nodewall.agent.grouping import Known
from nodewall.api import peergroup
from nodewall.api.peergroup import REVISION
from nodewall.model.ruleset import GroupPart
from tests.controller.storm import State, Storm

STEPS = 40
SEEDS = (*range(24), 1168, 2216, 2445, 5934)
"""Of the quick run; each is some 20 ms. Behind the first ones: what the long run has found."""
LONG = 20_000
"""Seeds of the long run."""

Operation = Callable[[Storm], Awaitable[None]]
OWN: list[Operation] = [*[Storm.join] * 5, Storm.lay_out, Storm.fail, Storm.lead, Storm.relist, Storm.calm]
FOREIGN: list[Operation] = [Storm.save, Storm.restore, Storm.remove, Storm.edit, Storm.copy]
ORDERLY: list[Operation] = [*[Storm.move] * 4, *OWN, Storm.copy]
"""What may happen while every state of the groups is one that we made."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A failed write is logged, and there are thousands."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@asynccontextmanager
async def over(seed: int, operations: list[Operation], *, fenced: bool) -> AsyncIterator[Storm]:
    """A storm that is over, and all is as it ought to be again."""
    storm = Storm(seed, fenced=fenced)
    try:
        await storm.lead()
        for _ in range(STEPS):
            await storm.chance.choice(operations)(storm)
            await storm.rest(storm.chance.choice([0, 1, 5, 30]))
        await storm.clear_up()
        yield storm
    except BaseException as error:
        error.add_note(f"the storm of seed {seed}")
        raise
    finally:
        await storm.stop()


async def ends_right(seed: int) -> None:
    """Whatever anybody does: when it is over, each node has what is wanted, and nothing else is left."""
    async with over(seed, [*OWN, *FOREIGN], fenced=False) as storm:
        assert read(storm.node.told[-1]) == parts_of(storm.wanted)
        names = {peergroup.name(part.key) for part in parts_of(storm.wanted)}
        assert storm.store.objects.keys() == names | {REVISION}


async def goes_from_state_to_state(seed: int) -> None:
    """While nobody else writes, and no backup is restored: what a node enforces is at every moment what really was."""
    async with over(seed, ORDERLY, fenced=True) as storm:
        were = [parts_of(state) for state in storm.states]
        for told in storm.node.told:
            found = read(told)
            assert any(state <= found for state in were), f"revision {told.revision} is no state: {found}"


Law = Callable[[int], Awaitable[None]]
LAWS: list[Law] = [ends_right, goes_from_state_to_state]


@pytest.mark.parametrize("law", LAWS)
async def test_a_storm(law: Law) -> None:
    for seed in SEEDS:
        await law(seed)


@pytest.mark.soak
@pytest.mark.parametrize("law", LAWS)
async def test_storms_for_long(law: Law) -> None:
    """Others each time; a failure says the seed, which goes into ``SEEDS`` then."""
    chance = random.SystemRandom()
    for _ in range(LONG):
        await law(chance.getrandbits(32))


def read(known: Known) -> set[GroupPart]:
    """The parts that a node has. :raises BadInputError: one is broken."""
    return {peergroup.decode_part(item.source) for item in known.parts.values()}


def parts_of(state: State) -> set[GroupPart]:
    """As they have to be."""
    return {part for name, content in state.items() for part in content.split(name)}
