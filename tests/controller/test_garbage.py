"""What lives on is not searched for garbage again, and garbage that was taken for living is found in the end."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from itertools import count

import pytest

from nodewall.controller.garbage import RUNNING, WHILE_STARTING, Garbage, resident


class Ring:
    """Refers to itself, so only a search finds it when nobody else does."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def still() -> Iterator[None]:
    """No search but those that a test asks for, and nothing taken out of them before or after."""
    gc.unfreeze()
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def searched() -> int:
    """How many objects a full search would go through."""
    return len(gc.get_objects())


@pytest.mark.usefixtures("still")
def test_what_lives_when_all_is_compiled_is_not_searched_again() -> None:
    everything = searched()
    kept = Garbage()
    with kept.kept_small():
        kept.settle()
        rings = [Ring() for _ in range(100)]
        assert searched() < everything / 100 + 300
        gone = weakref.ref(rings.pop())
        rings.clear()
        gc.collect()
        assert gone() is None, "what is new is searched as ever"


@pytest.mark.usefixtures("still")
def test_searches_are_rare_at_the_start_small_afterwards_and_as_before_at_the_end() -> None:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    kept = Garbage()
    with kept.kept_small():
        assert gc.get_threshold() == WHILE_STARTING
        kept.settle()
        assert gc.get_threshold() == RUNNING
    assert (gc.get_threshold(), gc.callbacks, gc.get_freeze_count()) == (before, callbacks, 0)


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize(
    ("step", "generation", "taken_out"),
    [(0.02, 2, True), (0.001, 2, False), (0.02, 1, False)],
    ids=["long", "short", "young"],
)
def test_what_lived_through_a_long_search_is_taken_out(step: float, generation: int, *, taken_out: bool) -> None:
    ticks = count()
    kept = Garbage(lambda: next(ticks) * step)
    with kept.kept_small():
        kept.settle()
        ring = Ring()
        gc.collect(generation)
        assert (not any(each is ring for each in gc.get_objects())) is taken_out


@pytest.mark.usefixtures("still")
def test_garbage_that_was_taken_for_living_is_found_when_memory_has_grown() -> None:
    memory = [100 << 20]
    kept = Garbage(memory=lambda: memory[0])
    with kept.kept_small():
        kept.settle()
        ring = Ring()
        gone = weakref.ref(ring)
        gc.freeze()
        del ring
        gc.collect()
        memory[0] = 214 << 20
        kept.look()
        assert gone() is not None, "it has grown little: a search through everything is not worth it"
        memory[0] = 215 << 20
        kept.look()
        assert gone() is None
        another = Ring()
        gone = weakref.ref(another)
        gc.freeze()
        del another
        kept.look()
        assert gone() is not None, "what it has grown to is the measure of the next time"
        assert searched() < gc.get_freeze_count() / 10


@pytest.mark.usefixtures("still")
async def test_nothing_is_taken_out_before_all_is_compiled() -> None:
    kept, ready = Garbage(), asyncio.Event()
    with kept.kept_small():
        task = asyncio.create_task(kept.run(ready))
        await asyncio.sleep(0)
        assert gc.get_freeze_count() == 0
        ready.set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert gc.get_freeze_count() > 0
        task.cancel()


def test_the_memory_of_this_process_is_known() -> None:
    before = resident()
    held = bytearray(32 << 20)
    held[::4096] = b"x" * (len(held) // 4096)
    assert resident() - before > 16 << 20
