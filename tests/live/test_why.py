"""Why on live objects: the answer of the offline verb, and whether the nodes that judge have it."""

import pytest

from nodewall.live import why
from nodewall.live.why import Question
from nodewall.model.errors import BadInputError
from tests.live.clusters import POLICIES, behind, cluster

ALLOWED = Question("shop/web", "shop/db", "5432/TCP")
DENIED = Question("shop/web", "shop/db", "80/TCP")


def test_it_says_what_the_offline_verb_says_and_that_the_nodes_enforce_it() -> None:
    found = why.answer(cluster(POLICIES), ALLOWED)
    assert found.allowed
    assert why.text(found).splitlines() == [
        "ALLOWED  pod shop/web -> pod shop/db  5432/TCP",
        *why.text(found).splitlines()[1:-2],
        "  node n1 enforces this",
        "  node n2 enforces this",
    ]
    assert not why.answer(cluster(POLICIES), DENIED).allowed


def test_a_node_that_lags_is_named() -> None:
    text = why.text(why.answer(cluster(POLICIES, n2=behind("n2")), DENIED))
    assert "node n1 enforces this" in text
    assert "node n2 does NOT enforce this yet: its rule set does not say this yet" in text


def test_only_nodes_with_an_end_of_the_traffic_count() -> None:
    found = why.answer(cluster(POLICIES, n2=behind("n2")), Question("shop/web", "ip:203.0.113.7", "80/TCP"))
    assert [(each.node, each.in_force) for each in found.nodes] == [("n1", True)]
    outside = why.answer(cluster(POLICIES), Question("ip:203.0.113.7", "node:n1", "80/TCP"))
    assert outside.nodes == ()


def test_the_objects_for_programs_are_those_of_the_offline_verb_and_the_nodes() -> None:
    (found,) = why.as_objects(why.answer(cluster(POLICIES), DENIED))
    assert not found["allowed"]
    assert [each["decidedBy"]["verdict"] for each in found["directions"]] == ["Accept", "Deny"]
    assert found["nodes"] == [
        {"name": "n1", "enforced": True, "why": "", "degraded": ""},
        {"name": "n2", "enforced": True, "why": "", "degraded": ""},
    ]


def test_a_name_that_leads_nowhere_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="no such pod"):
        why.answer(cluster(POLICIES), Question("shop/none", "shop/db", "80/TCP"))
