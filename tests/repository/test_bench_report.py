"""The tables of docs/benchmarks.md are what was measured, and a goal that was missed says so."""

import re
from dataclasses import replace
from typing import Any

import pytest

from bench.goals import GOALS, Goal, at_most, connection, router, update, within_two
from bench.report import BLOCKS, PAGE, Measured, filled, number

MACHINE = dict.fromkeys(("processor", "cores", "kernel", "nft", "iptables", "python", "load"), "some")
EMPTY = Measured({}, {}, MACHINE)


def found(ours: float, baseline: float | None = None, unit: str = "ms") -> dict[str, Any]:
    ratio = ours / baseline if baseline else None
    return {"unit": unit, "ours": ours, "baseline": baseline, "ratio": ratio, "runs": 4}


def test_a_block_is_written_anew_and_the_words_around_it_stay() -> None:
    page = "before\n<!-- begin large -->\nold\n<!-- end -->\nafter\n"
    measured = replace(EMPTY, results={"large.x": found(2.5, 5), "other": found(1)})
    once = filled(page, measured)
    assert once.startswith("before\n<!-- begin large -->\n")
    assert once.endswith("<!-- end -->\nafter\n")
    assert "| large.x | ms | 2.5 | 5 | 0.5 | 4 |" in once
    assert "old" not in once
    assert "other" not in once
    assert filled(once, measured) == once


def test_the_spread_stands_behind_the_median() -> None:
    samples = {"large.x": {"ours": [1.0, 2.0, 3.0, 4.0, 5.0], "baseline": []}}
    measured = replace(EMPTY, results={"large.x": found(3)}, samples=samples)
    assert measured.cell("large.x") == "3 (2-4)"
    assert measured.cell("large.x", "baseline") == measured.cell("missing") == "-"


def test_the_shares_of_the_builds_stand_behind_that_of_all() -> None:
    samples = {"packet.x": {"ours": [13, 12, 11, 10, 10, 11], "baseline": [10] * 6}}
    assert replace(EMPTY, samples=samples).builds("packet.x") == " (+5.0 +5.0 +25.0)"
    assert EMPTY.builds("packet.x") == ""


def test_a_block_that_nobody_writes_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled("<!-- begin nothing -->\n<!-- end -->\n", EMPTY)


def test_the_page_has_every_block_once_and_can_be_written_without_results() -> None:
    page = PAGE.read_text()
    assert sorted(re.findall(r"<!-- begin (\S+) -->", page)) == sorted(BLOCKS)
    assert "not measured" in filled(page, EMPTY)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.05678, "0.0568"), (12.345, "12.3"), (123.4, "123"), (17_730.2, "17,730")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("goal", "good", "bad"),
    [
        (at_most("x", "a", 10, "s"), {"a": found(10)}, {"a": found(10.1)}),
        (update("pod"), {"update.pod.55k": found(5, 250)}, {"update.pod.55k": found(5.1, 1000)}),
        (update("pod"), {"update.pod.55k": found(1, 50)}, {"update.pod.55k": found(1, 49)}),
        (connection("p", ""), {"connection.p": found(10.9, 10)}, {"connection.p": found(11.1, 10)}),
        (router("p", ""), {"packet.p": found(10.9, 10)}, {"packet.p": found(11.1, 10)}),
        (
            within_two("pod"),
            {"scale.pod.100.p99": found(10), "scale.pod.1000.p99": found(20)},
            {"scale.pod.100.p99": found(10), "scale.pod.1000.p99": found(21)},
        ),
    ],
)
def test_a_goal_is_reached_or_not(goal: Goal, good: dict[str, Any], bad: dict[str, Any]) -> None:
    assert goal.verdict(good) == "reached"
    assert goal.verdict(bad) == "**not reached**"
    assert goal.verdict({}) == "not measured"
    assert goal.figure({}) == "-"


def test_no_goal_is_stated_twice() -> None:
    assert len({goal.text for goal in GOALS}) == len(GOALS)
