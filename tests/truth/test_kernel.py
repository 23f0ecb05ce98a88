"""The kernel gives the verdicts that a person gave, by the tables that compile and render make of the documents."""

from collections import defaultdict

import pytest

from nodewall.render import Settings
from tests.truth.case import Case, Probe
from tests.truth.cases import ALL
from tests.truth.flows import flows_of
from tests.truth.matrix import report, wrong
from tests.truth.nodes import Nodes
from tests.truth.reading import state_of

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(
    ("settings", "share"), [(Settings(), False), (Settings(fold_from=0), True)], ids=["rules", "folded-and-shared"]
)
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_kernel_agrees_with_the_table(case: Case, settings: Settings, share: bool, cluster: Nodes) -> None:
    state = state_of(case)
    cluster.program(state, settings, share=share)
    sent = [(probe, flow) for probe in case.parsed_probes() for flow in flows_of(state, probe)]
    got: dict[Probe, list[bool]] = defaultdict(list)
    for (probe, _), verdict in zip(sent, cluster.verdicts(state, [flow for _, flow in sent]), strict=True):
        got[probe].append(verdict)
    if wrong(got):
        pytest.fail(report(case, got), pytrace=False)
