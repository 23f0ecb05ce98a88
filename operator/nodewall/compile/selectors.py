"""Selectors against labels (semantics 14-19)."""

from collections.abc import Callable, Mapping

from nodewall.model.cluster import Namespace
from nodewall.model.labels import Labels, Operator, Selector
from nodewall.model.policy import NamespaceNames

_NAME_LABEL = "kubernetes.io/metadata.name"

_HOLDS: Mapping[Operator, Callable[[str | None, tuple[str, ...]], bool]] = {
    Operator.IN: lambda value, values: value in values,
    Operator.NOT_IN: lambda value, values: value not in values,  # an object without the key too
    Operator.EXISTS: lambda value, _: value is not None,
    Operator.DOES_NOT_EXIST: lambda value, _: value is None,
}


def matches(selector: Selector, labels: Labels) -> bool:
    """Every requirement holds; without any, everything matches."""
    return all(_HOLDS[each.operator](labels.get(each.key), each.values) for each in selector.requirements)


def namespace_matches(match: Selector | NamespaceNames, namespace: str, labels: Labels) -> bool:
    """By name where names are given, so that it holds before the Namespace object has been seen."""
    if isinstance(match, NamespaceNames):
        return namespace in match.names
    return matches(match, labels)


def namespace_labels(namespace: str, found: Namespace | None) -> Labels:
    """The labels of a namespace. One not seen yet has the label that every namespace has: its name."""
    return found.labels if found else Labels({_NAME_LABEL: namespace})
