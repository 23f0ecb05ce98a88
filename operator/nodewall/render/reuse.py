"""What one table takes over from the one before, at the cost of what is another one.

What stays costs a pointer, compared or copied; functions are called for what came or went only. All of these are
values: whoever drew the table before keeps what it has, so a drawing that is given up halfway leaves nothing behind.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_not
from typing import TYPE_CHECKING, Generic, TypeVar

from nodewall.model.errors import BadInputError
from nodewall.model.sequences import alike_ends

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

T = TypeVar("T")
Key = TypeVar("Key", bound="SupportsRichComparison")


def unlike(old: Sequence[T], new: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """(what ``old`` has, what ``new`` has) that is not the very same object at the same place in the other.

    Never too little: what is in both at different places may be in both results.
    """
    if old is new:
        return (), ()
    if len(old) == len(new):
        pairs = [(was, now) for was, now in zip(old, new, strict=True) if was is not now]
        return [was for was, _ in pairs], [now for _, now in pairs]
    head, tail = alike_ends(old, new, is_not)
    return old[head : len(old) - tail], new[head : len(new) - tail]


def spliced(old: tuple[T, ...], changes: Mapping[Key, T | None], key: Callable[[T], Key]) -> tuple[T, ...]:
    """``old``, which is sorted by ``key``, with ``changes`` by key: what is there now, or None where nothing is."""
    if not changes:
        return old
    found: list[T] = []
    done = 0
    for name in sorted(changes):
        at = bisect_left(old, name, lo=done, key=key)
        found += old[done:at]
        done = at + 1 if at < len(old) and key(old[at]) == name else at
        thing = changes[name]
        if thing is not None:
            found.append(thing)
    return (*found, *old[done:])


@dataclass(frozen=True, slots=True)
class Index(Generic[T]):
    """What a rule set holds of one kind, each thing by its name too."""

    name: Callable[[T], str]
    things: tuple[T, ...] = ()
    by_name: Mapping[str, T] = field(default_factory=dict)

    def follow(self, things: tuple[T, ...]) -> tuple["Index[T]", frozenset[str]]:
        """(the index of ``things``, the names of what came, went or is not what it was).

        Raises BadInputError when two have the same name.
        """
        gone, come = unlike(self.things, things)
        if not gone and not come:
            return self, frozenset()
        before = {self.name(thing): thing for thing in gone}
        after = {self.name(thing): thing for thing in come}
        by_name = {**self.by_name}
        for name in before:
            del by_name[name]
        by_name.update(after)
        if len(by_name) != len(things):
            raise BadInputError("two things of one kind have the same name", subject="NodeRuleSet")
        return Index(self.name, things, by_name), frozenset(_different(before, after))


def _different(before: Mapping[str, T], after: Mapping[str, T]) -> Iterator[str]:
    for name in before.keys() | after.keys():
        was, now = before.get(name), after.get(name)
        if was is not now and was != now:
            yield name


@dataclass(frozen=True, slots=True)
class Pool(Generic[Key, T]):
    """Things by key, each there for as long as a part of the table uses it."""

    things: Mapping[Key, T] = field(default_factory=dict)
    uses: Mapping[Key, int] = field(default_factory=dict)


class Edit(Generic[Key, T]):
    """A pool while it changes: first ``release`` what goes, then ``redraw``, then ``use``, so that nothing new is
    taken for a contradiction of something that goes.
    """

    def __init__(self, before: Pool[Key, T]) -> None:
        self._before = before
        self._uses: dict[Key, int] = {}
        self.changed: dict[Key, T | None] = {}
        """By key what is another thing now than in the pool before, or (None) no longer there."""

    def release(self, key: Key) -> None:
        self._uses[key] = left = self._count(key) - 1
        if not left:
            self.changed[key] = None

    def redraw(self, key: Key, draw: Callable[[Key], T]) -> None:
        """The thing is another one for all who use it; ``draw`` is not called where nobody does."""
        if self._count(key):
            self.changed[key] = draw(key)

    def use(self, key: Key, thing: T) -> None:
        """Raises BadInputError when another thing is there: keeping either would be wrong."""
        uses = self._count(key)
        if uses:
            known = self.changed.get(key) or self._before.things[key]
            if known is not thing and known != thing:
                raise BadInputError(f"two different objects would be named {key}", subject="NodeRuleSet")
        else:
            self.changed[key] = thing
        self._uses[key] = uses + 1

    def swaps(self) -> list[tuple[T | None, T | None]]:
        """(what was there, what is there now) of what has changed."""
        return [(self._before.things.get(key), thing) for key, thing in self.changed.items()]

    def pool(self) -> Pool[Key, T]:
        if not self._uses and not self.changed:
            return self._before
        return Pool(updated(self._before.things, self.changed), updated(self._before.uses, self._uses))

    def _count(self, key: Key) -> int:
        found = self._uses.get(key)
        return self._before.uses.get(key, 0) if found is None else found


def updated(before: Mapping[Key, T], changes: Mapping[Key, T | None]) -> Mapping[Key, T]:
    """``before`` with the changes; what is None or 0 now is not in it."""
    kept = {**before}
    for key, value in changes.items():
        if value:
            kept[key] = value
        else:
            kept.pop(key, None)
    return kept
