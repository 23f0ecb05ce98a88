"""What a policy's status says, for which facts."""

import json
from dataclasses import replace

import pytest

from nodewall.controller.status import (
    LONGEST_MESSAGE,
    UNKNOWN,
    Facts,
    PolicyStatus,
    as_written,
    assess,
    explanation,
    read_status,
    same,
)
from nodewall.model.errors import Problem
from nodewall.model.policy import Kind, PolicyRef

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"
GOOD = Facts(generation=3, selected={"n1": 2, "n2": 1}, reached=frozenset({"n1", "n2"}))
PROBLEM = Problem("spec.ingress[0]", "what is wrong")
RIVAL = PolicyRef(Kind.CLUSTER_EXTENDED, "", "first")


def told(facts: Facts) -> dict[str, tuple[bool, str]]:
    return {each.type: (each.true, each.reason) for each in assess(facts, UNKNOWN, NOW).conditions}


GOOD_TOLD = {"Accepted": (True, "Accepted"), "Programmed": (True, "Programmed"), "Conflicted": (False, "Unique")}


@pytest.mark.parametrize(
    ("facts", "differs"),
    [
        (GOOD, {}),
        (replace(GOOD, problems=(PROBLEM,)), {"Accepted": (False, "Invalid")}),
        (replace(GOOD, problems=(PROBLEM,), subject_broken=True), {"Accepted": (False, "SubjectInvalid")}),
        (replace(GOOD, reached=frozenset({"n1"})), {"Programmed": (False, "Pending")}),
        (
            replace(GOOD, reached=frozenset({"n1"}), oversized=frozenset({"n2"})),
            {"Programmed": (False, "RuleSetTooLarge")},
        ),
        (
            replace(GOOD, reached=frozenset({"n1"}), oversized=frozenset({"n1", "n9"})),
            {"Programmed": (False, "Pending")},
        ),
        (replace(GOOD, oversized=frozenset({"n9"})), {}),
        (replace(GOOD, selected={}), {"Programmed": (True, "NothingSelected")}),
        (replace(GOOD, rivals=(RIVAL,)), {"Conflicted": (True, "EqualPriority")}),
    ],
)
def test_conditions(facts: Facts, differs: dict[str, tuple[bool, str]]) -> None:
    assert told(facts) == GOOD_TOLD | differs


def test_counts() -> None:
    status = assess(replace(GOOD, reached=frozenset({"n1", "elsewhere"})), UNKNOWN, NOW)
    assert (status.generation, status.pods, status.desired, status.programmed) == (3, 3, 2, 1)
    assert all(each.generation == 3 for each in status.conditions)


def test_a_condition_keeps_its_time_while_it_says_the_same() -> None:
    before = assess(GOOD, UNKNOWN, NOW)
    after = assess(replace(GOOD, generation=4, reached=frozenset()), before, LATER)
    assert [each.since for each in after.conditions] == [NOW, LATER, NOW]


def test_the_same_facts_are_nothing_to_write() -> None:
    before = assess(GOOD, UNKNOWN, NOW)
    assert same(Kind.EXTENDED, before, assess(GOOD, before, LATER))
    assert not same(Kind.EXTENDED, before, assess(replace(GOOD, generation=4), before, LATER))


def test_a_cluster_network_policy_has_conditions_only() -> None:
    before = assess(GOOD, UNKNOWN, NOW)
    assert as_written(Kind.CLUSTER, before).keys() == {"conditions"}
    assert same(Kind.CLUSTER, before, replace(before, pods=99))


@pytest.mark.parametrize("kind", [Kind.EXTENDED, Kind.CLUSTER_EXTENDED])
def test_what_is_written_reads_back_the_same(kind: Kind) -> None:
    status = assess(GOOD, UNKNOWN, NOW)
    body = json.dumps({"status": as_written(kind, status)}).encode()
    assert read_status(body) == status


@pytest.mark.parametrize(
    "body", [b"{}", b'{"status":{}}', b'{"status":7}', b"not json", b'{"status":{"conditions":[{"type":"Theirs"}]}}']
)
def test_a_status_that_says_nothing_to_us_is_unknown(body: bytes) -> None:
    assert read_status(body) == UNKNOWN == PolicyStatus()


def test_messages_are_bounded() -> None:
    facts = replace(GOOD, problems=(PROBLEM,) * 500, rivals=(RIVAL,) * 500)
    assert all(len(each.message) <= LONGEST_MESSAGE for each in assess(facts, UNKNOWN, NOW).conditions)


@pytest.mark.parametrize(
    ("broken", "keeps", "end"),
    [
        (False, False, "what is wrong"),
        (True, False, "(it has no last accepted spec)"),
        (True, True, "(the last accepted spec stays in force)"),
    ],
)
def test_an_explanation_names_the_path_and_the_consequence(broken: bool, keeps: bool, end: str) -> None:
    said = explanation(replace(GOOD, problems=(PROBLEM,), subject_broken=broken, keeps_last=keeps))
    assert said.startswith("spec.ingress[0]: what is wrong")
    assert said.endswith(end)
