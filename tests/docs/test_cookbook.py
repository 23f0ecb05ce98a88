"""Each recipe of docs/policies.md does what its table says: by the evaluator, and by the real kernel."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodewall.evaluate import ask
from tests.truth.case import Case, Probe
from tests.truth.flows import flows_of
from tests.truth.matrix import report, wrong
from tests.truth.nodes import Nodes
from tests.truth.reading import state_of, state_of_files

COOKBOOK = Path(__file__).parents[2] / "docs" / "policies.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^### (.+)$", re.MULTILINE)


def recipes() -> Iterator[Case]:
    text = COOKBOOK.read_text()
    world = next(body for kind, body in FENCE.findall(text) if kind == "world")
    parts = HEADING.split(text)[1:]
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        blocks = dict(FENCE.findall(body))
        yield Case(title, (), world, blocks["yaml"], blocks["verdicts"])


RECIPES = tuple(recipes())


def test_there_are_twenty() -> None:
    assert len(RECIPES) >= 20


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_evaluator_agrees(recipe: Case) -> None:
    state = state_of_files(recipe)
    got = {
        probe: [found.allowed for found in ask(state, probe.source, probe.destination, probe.traffic)]
        for probe in recipe.parsed_probes()
    }
    if wrong(got):
        pytest.fail(report(recipe, got), pytrace=False)


@pytest.mark.kernel
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_kernel_agrees(recipe: Case, cluster: Nodes) -> None:
    state = state_of(recipe)
    cluster.program(state)
    sent = [(probe, flow) for probe in recipe.parsed_probes() for flow in flows_of(state, probe)]
    got: dict[Probe, list[bool]] = defaultdict(list)
    for (probe, _), verdict in zip(sent, cluster.verdicts(state, [flow for _, flow in sent]), strict=True):
        got[probe].append(verdict)
    if wrong(got):
        pytest.fail(report(recipe, got), pytrace=False)
