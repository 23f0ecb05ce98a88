"""Going from table to table by differences ends where full replaces would have led."""

from collections.abc import Iterator, Mapping
from dataclasses import replace as changed
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodewall.compile import compile_node
from nodewall.model.cluster import ClusterState
from nodewall.render import Settings, Table, diff, render, replace
from tests.kernel import nft
from tests.kernel.namespace import namespace
from tests.property.strategies import clusters
from tests.render.rulesets import SETTINGS

pytestmark = pytest.mark.kernel

Key = TypeVar("Key")
Thing = TypeVar("Thing")


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[str, str]]:
    with namespace() as one, namespace() as other:
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
def test_differences_lead_to_the_same_table(two: tuple[str, str], history: History) -> None:
    by_steps, at_once = two
    nft.load(by_steps, replace(history[0]).json())
    for old, new in pairwise(history):
        step = diff(old, new)
        if step:
            nft.load(by_steps, step.json())
        nft.load(at_once, replace(new).json())
        assert nft.canonical(by_steps) == nft.canonical(at_once)
