"""Two inverted indexes: selectors by the labels they ask for, and objects by the labels they have.

Each selector is anchored at one of its requirements that names a label (``In``, ``Exists``), so labels lead straight
to the few selectors that can match them, and a selector to the few objects. Only selectors that merely exclude
something, or ask for nothing, have to be tried on everything.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Generic, TypeVar

from nodewall.compile.operations import Operations
from nodewall.compile.selectors import matches
from nodewall.model.labels import Labels, Operator, Requirement, Selector

T = TypeVar("T")
Anchor = tuple[str, ...]
"""(key, value), or (key,) for any value, or () for all."""

_ALL: Anchor = ()


def _of_requirement(requirement: Requirement) -> tuple[Anchor, ...] | None:
    """Every label that can fulfil it is under exactly one of these. None: a missing label may fulfil it."""
    if requirement.operator is Operator.IN:
        return tuple((requirement.key, value) for value in requirement.values)
    return ((requirement.key,),) if requirement.operator is Operator.EXISTS else None


def _of_selector(selector: Selector) -> list[tuple[Anchor, ...]]:
    """The choices; each of them alone covers whatever the selector matches."""
    found = [anchors for each in selector.requirements if (anchors := _of_requirement(each)) is not None]
    return found or [(_ALL,)]


def _of_labels(labels: Labels) -> Iterator[Anchor]:
    for key, value in labels.items():
        yield (key, value)
        yield (key,)
    yield _ALL


class SelectorIndex(Generic[T]):
    """One item per selector.

    Under an anchor stand numbers and no selectors: to look up one of 50,000 values takes as long as to read them all,
    and it has as many anchors.
    """

    __slots__ = ("_anchors", "_items", "_last", "_operations")

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._items: dict[Anchor, dict[int, tuple[Selector, T]]] = {}
        self._anchors: dict[Selector, tuple[int, tuple[Anchor, ...]]] = {}
        self._last = 0

    def add(self, selector: Selector, item: T) -> None:
        self._last += 1
        anchors, entry = min(_of_selector(selector), key=self._load), (selector, item)
        self._anchors[selector] = self._last, anchors
        for anchor in anchors:
            self._items.setdefault(anchor, {})[self._last] = entry

    def remove(self, selector: Selector) -> None:
        number, anchors = self._anchors.pop(selector)
        for anchor in anchors:
            items = self._items[anchor]
            del items[number]
            if not items:
                del self._items[anchor]

    def __len__(self) -> int:
        return len(self._anchors)

    def matching(self, labels: Labels) -> list[T]:
        """The items whose selectors match these labels."""
        tried = [each for anchor in _of_labels(labels) for each in self._items.get(anchor, {}).values()]
        self._operations.selectors += len(tried)
        return [item for selector, item in tried if matches(selector, labels)]

    def _load(self, anchors: tuple[Anchor, ...]) -> tuple[int, int]:
        """Where few selectors are, few are tried in vain."""
        return max((len(self._items.get(anchor, ())) for anchor in anchors), default=0), len(anchors)


class LabelIndex(Generic[T]):
    """Objects and their labels."""

    __slots__ = ("_labels", "_objects")

    def __init__(self) -> None:
        self._labels: dict[T, Labels] = {}
        self._objects: dict[Anchor, dict[T, None]] = {}

    def add(self, item: T, labels: Labels) -> None:
        self._labels[item] = labels
        for anchor in _of_labels(labels):
            if anchor != _ALL:
                self._objects.setdefault(anchor, {})[item] = None

    def remove(self, item: T) -> None:
        for anchor in _of_labels(self._labels.pop(item)):
            if anchor == _ALL:
                continue
            objects = self._objects[anchor]
            del objects[item]
            if not objects:
                del self._objects[anchor]

    def count(self, selector: Selector) -> int:
        """How many ``candidates`` there are."""
        return sum(map(len, self._best(selector)))

    def candidates(self, selector: Selector) -> Iterable[T]:
        """At least the objects that the selector matches."""
        return list(chain.from_iterable(self._best(selector)))

    def _best(self, selector: Selector) -> list[dict[T, Labels] | dict[T, None]]:
        choices = [[self._under(anchor) for anchor in anchors] for anchors in _of_selector(selector)]
        return min(choices, key=lambda objects: sum(map(len, objects)))

    def _under(self, anchor: Anchor) -> dict[T, Labels] | dict[T, None]:
        return self._objects.get(anchor, {}) if anchor else self._labels
