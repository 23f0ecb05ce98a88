"""Labels and label selectors on the wire -> the model's, each checked as the API server checks them."""

import re
from typing import Annotated
from weakref import WeakValueDictionary

from msgspec import Meta

from nodewall.api.parsed import Report, Wire
from nodewall.model.labels import Labels, Operator, Requirement, Selector

_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)

LABEL_KEY = "must be [prefix/]name: at most 63 letters, digits, '-', '_', '.' with a letter or digit at both ends"
LABEL_VALUE = "must be empty or at most 63 letters, digits, '-', '_', '.' with a letter or digit at both ends"


def valid_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (not slash or valid_subdomain(prefix))


def valid_value(value: str) -> bool:
    return not value or bool(_NAME.fullmatch(value))


def valid_subdomain(name: str) -> bool:
    """A DNS subdomain, as object names are."""
    return len(name) <= 253 and bool(_SUBDOMAIN.fullmatch(name))


class LabelSelectorRequirement(Wire, frozen=True):
    """One condition on one label."""

    key: Annotated[str, Meta(description="Label key that the condition is about.")]
    operator: Annotated[
        str,
        Meta(
            description="In, NotIn, Exists or DoesNotExist.",
            extra_json_schema={"enum": [str(one) for one in Operator]},
        ),
    ]
    values: Annotated[
        list[str | None] | None,
        Meta(description="Values for In and NotIn (at least one); left out for Exists and DoesNotExist."),
    ] = None


class LabelSelector(Wire, frozen=True):
    """Selects by labels; all conditions must hold, and an empty selector selects everything."""

    match_labels: Annotated[
        dict[str, str | None] | None, Meta(description="Label keys and the values that they must have.")
    ] = None
    match_expressions: Annotated[
        list[LabelSelectorRequirement] | None, Meta(description="Further conditions on labels.")
    ] = None


_WITH_VALUES = frozenset({Operator.IN, Operator.NOT_IN})
_OPERATORS = {str(operator): operator for operator in Operator}


_SHARED: WeakValueDictionary[tuple[tuple[str, str], ...], Labels] = WeakValueDictionary()
"""As long as somebody has them: each Job has others, and those of a pod may be a megabyte, others each time."""


def shared_labels(items: tuple[tuple[str, str], ...]) -> Labels:
    """Equal label sets as one object: pods of one workload share theirs, and 100,000 pods have few workloads."""
    found = _SHARED.get(items)
    if found is None:
        found = _SHARED[items] = Labels(items)
    return found


def read_selector(wire: LabelSelector, at: str, report: Report) -> Selector | None:
    """The selector's meaning, or None when any part of it cannot be read."""
    labels = [
        _read_label(key, value or "", f"{at}.matchLabels[{key!r}]", report)
        for key, value in (wire.match_labels or {}).items()
    ]
    expressions = [
        _read_expression(one, f"{at}.matchExpressions[{index}]", report)
        for index, one in enumerate(wire.match_expressions or ())
    ]
    requirements = [*labels, *expressions]
    return None if None in requirements else Selector.of(one for one in requirements if one is not None)


def _read_label(key: str, value: str, at: str, report: Report) -> Requirement | None:
    if not valid_key(key):
        report.add(at, f"label key {LABEL_KEY}")
    elif not valid_value(value):
        report.add(at, f"label value {LABEL_VALUE}")
    else:
        return Requirement(key, Operator.IN, (value,))
    return None


def _read_expression(wire: LabelSelectorRequirement, at: str, report: Report) -> Requirement | None:
    before = len(report.problems)
    operator, values = _OPERATORS.get(wire.operator), [value or "" for value in wire.values or ()]
    if operator is None:
        report.add(f"{at}.operator", f"{wire.operator!r} must be In, NotIn, Exists or DoesNotExist")
    elif operator in _WITH_VALUES and not values:
        report.add(f"{at}.values", f"must have at least one value with {operator}")
    elif operator not in _WITH_VALUES and values:
        report.add(f"{at}.values", f"must be left out with {operator}")
    if not valid_key(wire.key):
        report.add(f"{at}.key", f"label key {LABEL_KEY}")
    for index, value in enumerate(values):
        if not valid_value(value):
            report.add(f"{at}.values[{index}]", f"label value {LABEL_VALUE}")
    if operator is None or len(report.problems) > before:
        return None
    return Requirement(wire.key, operator, tuple(sorted(set(values))))
