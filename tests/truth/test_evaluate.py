"""The evaluator gives the verdicts that a person gave."""

import pytest

from nodewall.compile import Compiler, compile_all
from nodewall.evaluate import ask
from nodewall.model.cluster import ClusterState
from nodewall.model.errors import BadInputError
from tests.truth.case import Case
from tests.truth.cases import ALL
from tests.truth.matrix import report, wrong
from tests.truth.nodes import changes
from tests.truth.reading import state_of, state_of_files


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_evaluator_agrees_with_the_table(case: Case) -> None:
    state = state_of(case)
    got = {
        probe: [
            found.allowed
            for found in ask(state, probe.source, probe.destination, probe.traffic, via_service=probe.via_service)
        ]
        for probe in case.parsed_probes()
    }
    if wrong(got):
        pytest.fail(report(case, got), pytrace=False)


@pytest.mark.parametrize("case", [case for case in ALL if not case.broken], ids=lambda case: case.name)
def test_files_mean_what_stored_objects_mean(case: Case) -> None:
    assert state_of_files(case) == state_of(case)


@pytest.mark.parametrize("case", [case for case in ALL if case.broken], ids=lambda case: case.name)
def test_what_closes_a_rule_is_refused_in_a_file(case: Case) -> None:
    with pytest.raises(BadInputError):
        state_of_files(case)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_both_compilers_make_the_same_of_it(case: Case) -> None:
    state = state_of(case)
    compiler = Compiler()
    compiler.apply(changes(ClusterState(), state))
    assert {name: compiler.ruleset(name) for name in compiler.nodes} == compile_all(state)


def test_every_table_has_its_own_name() -> None:
    names = [case.name for case in ALL]
    assert sorted(set(names)) == sorted(names)


def test_no_table_asks_the_same_twice() -> None:
    for case in ALL:
        probes = [str(probe) for probe in case.parsed_probes()]
        assert sorted(set(probes)) == sorted(probes), case.name
