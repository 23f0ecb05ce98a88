"""What no NodeRuleSet could hold is closed by itself, before it costs anybody else anything."""

import time
from typing import Any

import msgspec
import pytest

from nodewall.api.bulk import MOST_BYTES, MOST_RULES, TOO_LARGE
from nodewall.api.networkpolicy import read_network_policy
from nodewall.controller.publish import SIZE_LIMIT
from nodewall.model.errors import Problem
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import NetworkPolicy


def selectors(count: int) -> list[dict[str, Any]]:
    return [{"podSelector": {"matchLabels": {"a": str(number)}}} for number in range(count)]


def names(count: int) -> list[dict[str, Any]]:
    return [{"port": f"p{number}"} for number in range(count)]


def blocks(count: int) -> list[dict[str, Any]]:
    return [
        {"ipBlock": {"cidr": f"{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.0/24"}}
        for number in range(count)
    ]


def excluding(count: int, **labels: str) -> dict[str, Any]:
    expressions = [{"key": f"k{number}", "operator": "DoesNotExist"} for number in range(count)]
    return {"matchLabels": labels, "matchExpressions": expressions}


def read(egress: list[dict[str, Any]]) -> tuple[NetworkPolicy, tuple[Problem, ...]]:
    spec = {"policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": egress}
    parsed = read_network_policy(msgspec.json.encode({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}))
    return parsed.value, parsed.problems


TOO_MUCH = {
    "peers times port names": [{"to": selectors(80), "ports": names(80)}],
    "very many of both": [{"to": selectors(10_000), "ports": names(10_000)}],
    "over several rules": [{"to": selectors(80), "ports": names(40)}, {"to": selectors(80), "ports": names(80)[40:]}],
    "port names of anybody": [{"ports": names(6_000)}],
    "peers": [{"to": selectors(6_000)}],
    "blocks": [{"to": blocks(44_000)}],
    "conditions that only exclude": [
        {"to": [{"podSelector": excluding(1_500)}]},
        {"to": [{"podSelector": excluding(501)}]},
    ],
    "rules": [{}] * (MOST_RULES + 1),
    "rules without end": [{}] * 400_000,
}


@pytest.mark.parametrize("egress", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_section_that_no_rule_set_could_hold_allows_nothing(egress: list[dict[str, Any]]) -> None:
    began = time.process_time()
    policy, problems = read(egress)
    assert policy.egress == ()
    assert problems == (Problem("spec.egress", TOO_LARGE),)
    assert policy.ingress is not None, "its other section stays"
    assert len(policy.ingress) == 1
    assert time.process_time() - began < 2, "seconds, of which all others wait"


FITTING = {
    "peers times port names": [{"to": selectors(60), "ports": names(60)}],
    "the same again and again": [{"to": selectors(60), "ports": names(60)}] * 20,
    "repeats": [{"to": selectors(1) * 9_000, "ports": names(1) * 9_000}],
    "peers": [{"to": selectors(4_000)}],
    "blocks": [{"to": blocks(20_000)}],
    "repeated blocks": [{"to": blocks(1) * 44_000}],
    "rules": [{}] * 2_000,
    "conditions that only exclude": [{"to": [{"podSelector": excluding(1_999)}]}],
    "the same condition in very many rules": [{"to": [{"podSelector": excluding(1)}]}] * 2_500,
    "conditions beside one that names a label": [{"to": [{"podSelector": excluding(9_000, a="b")}]}],
    "numbers": [{"ports": [{"port": number} for number in range(1, 60_000)]}],
}


@pytest.mark.parametrize("egress", FITTING.values(), ids=FITTING)
def test_all_else_is_taken(egress: list[dict[str, Any]]) -> None:
    policy, problems = read(egress)
    assert problems == ()
    assert policy.egress is not None
    assert len(policy.egress) == len(egress)


def test_in_ingress_a_port_name_takes_nothing() -> None:
    spec = {"ingress": [{"from": selectors(1_000), "ports": names(1_000)}]}
    parsed = read_network_policy({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec})
    assert parsed.problems == ()


def test_the_limit_is_that_of_what_is_written() -> None:
    assert MOST_BYTES == SIZE_LIMIT


def test_a_subject_without_end_is_broken() -> None:
    body = {"metadata": {"name": "p", "namespace": "shop"}, "spec": {"podSelector": excluding(2_001), "ingress": [{}]}}
    parsed = read_network_policy(body)
    assert parsed.subject_broken
    assert (parsed.value.pods, parsed.value.ingress) == (EVERYTHING, ())
    assert [each.path for each in parsed.problems] == ["spec.podSelector"]
