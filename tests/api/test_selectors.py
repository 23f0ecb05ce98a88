"""Selectors on the wire: what is accepted is what an API server accepts."""

import weakref
from typing import Any

import msgspec
import pytest

from nodewall.api.labels import LabelSelector, read_selector, shared_labels
from nodewall.api.parsed import Report
from nodewall.model.labels import EVERYTHING, Operator, Requirement, Selector


def read(raw: dict[str, Any]) -> tuple[Selector | None, list[str]]:
    report = Report()
    return read_selector(msgspec.convert(raw, LabelSelector), "s", report), [one.path for one in report.problems]


def expression(key: str = "a", operator: str = "In", values: list[Any] | None = None) -> dict[str, Any]:
    raw = {"key": key, "operator": operator}
    return {"matchExpressions": [raw if values is None else {**raw, "values": values}]}


GOOD = [
    ({}, EVERYTHING),
    ({"matchLabels": {}, "matchExpressions": []}, EVERYTHING),
    ({"matchLabels": None, "matchExpressions": None}, EVERYTHING),
    ({"matchLabels": {"a": "b"}}, Selector.of([Requirement("a", Operator.IN, ("b",))])),
    ({"matchLabels": {"a": None}}, Selector.of([Requirement("a", Operator.IN, ("",))])),
    (expression(values=["c", "b", "c"]), Selector.of([Requirement("a", Operator.IN, ("b", "c"))])),
    (expression(operator="NotIn", values=[""]), Selector.of([Requirement("a", Operator.NOT_IN, ("",))])),
    (expression(values=[None]), Selector.of([Requirement("a", Operator.IN, ("",))])),
    (expression(operator="Exists"), Selector.of([Requirement("a", Operator.EXISTS)])),
    (expression(operator="DoesNotExist", values=[]), Selector.of([Requirement("a", Operator.DOES_NOT_EXIST)])),
    (
        {"matchLabels": {"a": "b"}, **expression("x.y/z", "Exists")},
        Selector.of([Requirement("a", Operator.IN, ("b",)), Requirement("x.y/z", Operator.EXISTS)]),
    ),
    ({"matchLabels": {"a" * 63: "b" * 63}}, Selector.of([Requirement("a" * 63, Operator.IN, ("b" * 63,))])),
    ({"matchLabels": {"A_b.C-d": "E_f.G-h"}}, Selector.of([Requirement("A_b.C-d", Operator.IN, ("E_f.G-h",))])),
]


@pytest.mark.parametrize(("raw", "meaning"), GOOD)
def test_a_selector_is_read(raw: dict[str, Any], meaning: Selector) -> None:
    assert read(raw) == (meaning, [])


BAD = [
    (expression(operator="in", values=["b"]), "s.matchExpressions[0].operator"),
    (expression(operator="", values=["b"]), "s.matchExpressions[0].operator"),
    (expression(operator="In"), "s.matchExpressions[0].values"),
    (expression(operator="NotIn", values=[]), "s.matchExpressions[0].values"),
    (expression(operator="Exists", values=["b"]), "s.matchExpressions[0].values"),
    (expression(operator="DoesNotExist", values=["b"]), "s.matchExpressions[0].values"),
    (expression("", "Exists"), "s.matchExpressions[0].key"),
    (expression("a b", "Exists"), "s.matchExpressions[0].key"),
    (expression("a\n", "Exists"), "s.matchExpressions[0].key"),
    (expression("/a", "Exists"), "s.matchExpressions[0].key"),
    (expression("a/", "Exists"), "s.matchExpressions[0].key"),
    (expression("a/b/c", "Exists"), "s.matchExpressions[0].key"),
    (expression("A.example/b", "Exists"), "s.matchExpressions[0].key"),
    (expression("-a", "Exists"), "s.matchExpressions[0].key"),
    (expression("a" * 64, "Exists"), "s.matchExpressions[0].key"),
    (expression("p" * 254 + "/a", "Exists"), "s.matchExpressions[0].key"),
    (expression("ä", "Exists"), "s.matchExpressions[0].key"),
    (expression(values=["b", "b c"]), "s.matchExpressions[0].values[1]"),
    (expression(values=["b" * 64]), "s.matchExpressions[0].values[0]"),
    (expression(values=["b\n"]), "s.matchExpressions[0].values[0]"),
    ({"matchLabels": {"a": "b:c"}}, "s.matchLabels['a']"),
    ({"matchLabels": {"a:": "b"}}, "s.matchLabels['a:']"),
]


@pytest.mark.parametrize(("raw", "path"), BAD)
def test_a_selector_is_refused_where_it_is_wrong(raw: dict[str, Any], path: str) -> None:
    assert read(raw) == (None, [path])


def test_one_wrong_condition_spoils_the_selector() -> None:
    raw = {"matchLabels": {"a": "b", "c": "d e"}, **expression(operator="Exists")}
    assert read(raw) == (None, ["s.matchLabels['c']"])


def test_equal_label_sets_are_one_object() -> None:
    one = shared_labels((("a", "b"),))
    assert one is shared_labels((("a", "b"),))


def test_label_sets_that_nobody_has_any_more_are_gone() -> None:
    """Each Job has others, and whoever may edit a pod may write a megabyte of them, again and again."""
    gone = weakref.ref(shared_labels((("nobody", "has-it"),)))
    assert gone() is None
