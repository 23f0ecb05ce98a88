"""No chain can let a packet skip the judgement of its other direction, whatever the rules are."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from nodewall.compile import compile_all
from nodewall.model.cluster import ClusterState
from nodewall.render import Settings, Table, render
from nodewall.render.expressions import DROP, Goto, Jump, Statement, Verdict
from nodewall.render.table import Rule
from tests.property.strategies import clusters
from tests.render.graph import graph, paths, reached
from tests.render.rulesets import EVERYTHING, SETTINGS

DEEPEST = 16
"""Chains one below the other, the base chain included: the kernel's limit is 15 below it."""


def _check(table: Table) -> None:
    chains = graph(table)
    bases = {name for name, chain in chains.items() if chain.base}
    assert bases == {"forward", "input"}
    halves = {f"{name}6" for name in bases}
    assert {name: chains[name].gotos for name in bases} == {name: {f"{name}6"} for name in bases}
    entered = {target for name in bases | halves for target in chains[name].jumps}
    judging = reached(chains, entered, by_jump=False)
    audits = reached(chains, {target for name in judging for target in chains[name].jumps}, by_jump=True)
    for name, chain in chains.items():
        assert name in bases | halves | judging | audits, f"{name} is never reached"
        if name in bases | halves:
            assert not chain.gotos - halves, f"{name}: a goto from a base chain skips the other direction"
            assert "return" not in chain.verdicts
        else:
            assert "accept" not in chain.verdicts, f"{name}: accept skips the other direction"
        if name in audits:
            assert not chain.verdicts, f"{name}: an audit decides"
        if chain.verdicts & {"return"}:
            assert name in judging - audits
    assert not judging & audits
    assert max(len(path) for base in bases for path in paths(chains, base)) <= DEEPEST


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_of_everything(settings: Settings) -> None:
    _check(render(EVERYTHING, settings))


@settings(max_examples=200, deadline=None)
@given(state=clusters())
def test_of_what_the_compiler_makes(state: ClusterState) -> None:
    for ruleset in compile_all(state).values():
        _check(render(ruleset, SETTINGS["all"]))


def test_the_check_sees_each_fault() -> None:
    """One rule is put where it must not be, at a time."""
    table = render(EVERYTHING, SETTINGS["plain"])
    faults = (
        ("in4_in-open", Verdict("accept")),
        ("forward", Goto("in4_in-open")),
        ("forward6", Goto("in6_in-open")),
        ("in4_in-open", Jump("refuse")),
        ("would-pass_would-pass", DROP),
        ("in4_in-open", Goto("in4_in-open")),
    )
    for name, statement in faults:
        with pytest.raises(AssertionError):
            _check(_with_rule(table, name, statement))


def _with_rule(table: Table, name: str, statement: Statement) -> Table:
    assert any(chain.name == name for chain in table.chains)
    added = Rule((statement,))
    chains = (replace(chain, rules=(*chain.rules, added)) if chain.name == name else chain for chain in table.chains)
    return replace(table, chains=tuple(chains))
