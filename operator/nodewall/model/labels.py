"""Labels and label selectors. Values only: the compiler and the evaluator each bring their own way to match them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Labels(Mapping[str, str]):
    """An immutable, hashable label map, so that equal label sets can be shared and used as keys."""

    __slots__ = ("__weakref__", "_hash", "_items")

    def __init__(self, items: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        self._items = dict(items)
        self._hash = hash(frozenset(self._items.items()))

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self._items == other._items

    def __repr__(self) -> str:
        return f"Labels({self._items!r})"


class Operator(StrEnum):
    """The operators of ``matchExpressions``; a ``matchLabels`` entry is an ``In`` with one value."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """One condition on one key. ``values`` is sorted and without repeats; empty for (DoesNot)Exist."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.IN if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
        return f"{self.key} {'in' if self.operator is Operator.IN else 'notin'} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; none at all selects everything. Equal meaning by construction order gives equal
    values: use ``of``.
    """

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def of(cls, requirements: Iterable[Requirement]) -> "Selector":
        """A selector in canonical form: requirements sorted, without repeats."""
        return cls(tuple(sorted(set(requirements))))

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements)) or "*"


EVERYTHING = Selector()
