"""Going from table to table by differences ends where full replaces would have led.

The steps go the way that an agent's go, encoded here; the full replaces are libnftables' work. So this is a test of the
encoding too, with histories instead of single tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as changed
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.bed import Bed, bed
from nodewall.agent import batch
from nodewall.agent.definitions import after
from nodewall.compile import compile_node
from nodewall.model.cluster import ClusterState
from nodewall.render import Settings, Table, Transaction, diff, render, replace
from tests.kernel import nft
from tests.kernel.bytecode import differences, held
from tests.property.strategies import clusters
from tests.render.rulesets import SETTINGS

pytestmark = pytest.mark.kernel

Key = TypeVar("Key")
Thing = TypeVar("Thing")


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Bed, Bed]]:
    with bed() as one, bed() as other:
        yield one, other


class History(list[Table]):
    """Tables one after the other. A failure is told by the step, not by kilobytes of tables."""

    def __repr__(self) -> str:
        return f"{len(self)} tables"


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Two clusters, and states in between in which pods and policies come and go, under changing settings."""
    made = [draw(clusters()), draw(clusters())]
    states = [_thinned(draw, draw(st.sampled_from(made))) for _ in range(draw(st.integers(2, 6)))]
    chosen = st.sampled_from((Settings(), Settings(), *SETTINGS.values()))
    return History(render(compile_node(state, "n1"), draw(chosen)) for state in states)


def _thinned(draw: st.DrawFn, state: ClusterState) -> ClusterState:
    """About a quarter of everything left out."""
    return changed(
        state,
        pods=_some(draw, state.pods),
        network_policies=_some(draw, state.network_policies),
        tier_policies=_some(draw, state.tier_policies),
    )


def _some(draw: st.DrawFn, things: Mapping[Key, Thing]) -> dict[Key, Thing]:
    return {key: thing for key, thing in things.items() if draw(st.integers(0, 3))}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=histories())
def test_differences_lead_to_the_same_table(two: tuple[Bed, Bed], history: History) -> None:
    by_steps, at_once = two
    load(by_steps, replace(history[0]))
    known = after({}, replace(history[0]).json()["nftables"])
    for old, new in pairwise(history):
        step = diff(old, new)
        if step:
            commands = step.json()["nftables"]
            assert batch.encoded(commands, (1, 0, 6), known) or is_replace(commands)
            load(by_steps, step)
            known = after(known, commands)
        load(at_once, replace(new))
        assert differences(held(by_steps.namespace), held(at_once.namespace)) == []
        assert nft.canonical(by_steps.namespace) == nft.canonical(at_once.namespace)


def load(place: Bed, transaction: Transaction) -> None:
    place.run(place.kernel.apply(transaction.json()))


def is_replace(commands: Sequence[Mapping[str, Any]]) -> bool:
    """An object that keeps its name but not its nature makes it one, and that is for libnftables."""
    return "table" in commands[0].get("add", {})
