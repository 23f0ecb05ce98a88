"""The smallest transaction from one table to another.

The order is the one that the kernel accepts: what is new comes first, then the rules that name it, then elements, and
what nothing names any more goes last.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain as joined
from typing import Protocol, TypeVar

from nodewall.render.reuse import unlike
from nodewall.render.table import Chain, Held, Holder, Table, VerdictMap
from nodewall.render.transaction import Command, Transaction, add_rules, create, replace


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Thing = TypeVar("Thing", bound=_Named)


def diff(old: Table, new: Table) -> Transaction | None:
    """What turns ``old`` into ``new``; None when nothing differs.

    Its size is that of the change: elements of hash sets and maps one by one, chains whole, interval sets swapped by
    name. Where an object keeps its name but not its nature, the table is replaced.
    """
    before, after = _by_name(old.holders, new.holders)
    chains_before, chains_after = _by_name(old.chains, new.chains)
    holders, chains = _in_both(before, after), _in_both(chains_before, chains_after)
    gone, come = unlike(old.counters, new.counters)
    if old.name != new.name or _recast(holders) or _rehung(chains):
        return replace(new)
    commands = tuple(
        joined(
            create(
                new.name,
                sorted(set(come) - set(gone)),
                _only_in(after, before),
                _only_in(chains_after, chains_before),
            ),
            _redrawn(new.name, chains),
            _edited(new.name, holders),
            _dropped(new.name, _only_in(chains_before, chains_after), _only_in(before, after)),
            (Command("delete", "counter", new.name, name) for name in sorted(set(gone) - set(come))),
        )
    )
    return Transaction(commands) if commands else None


def _by_name(old: Sequence[Thing], new: Sequence[Thing]) -> tuple[dict[str, Thing], dict[str, Thing]]:
    """(as it was, as it is) by name, of all that is not the very same thing: of the rest there is most."""
    gone, come = unlike(old, new)
    return {thing.name: thing for thing in gone}, {thing.name: thing for thing in come}


def _only_in(these: Mapping[str, Thing], those: Mapping[str, Thing]) -> list[Thing]:
    return [thing for name, thing in these.items() if name not in those]


def _in_both(old: Mapping[str, Thing], new: Mapping[str, Thing]) -> list[tuple[Thing, Thing]]:
    """(as it was, as it is) of what has kept its name and is not the very same object."""
    return [(old[name], thing) for name, thing in new.items() if name in old and old[name] is not thing]


def _recast(holders: Iterable[tuple[Holder, Holder]]) -> bool:
    return any(_nature(was) != _nature(now) for was, now in holders)


def _nature(holder: Holder) -> tuple[object, ...]:
    """What cannot be edited: an interval set's content too, so its name has to change with it."""
    if isinstance(holder, VerdictMap):
        return ("map", holder.types)
    return ("set", holder.types, holder.elements if holder.interval else None)


def _rehung(chains: Iterable[tuple[Chain, Chain]]) -> bool:
    return any(was.hook != now.hook for was, now in chains)


def _redrawn(table: str, chains: Iterable[tuple[Chain, Chain]]) -> Iterator[Command]:
    for was, now in chains:
        if was.rules != now.rules:
            yield Command("flush", "chain", table, now.name)
            yield from add_rules(table, now)


def _edited(table: str, holders: Iterable[tuple[Holder, Holder]]) -> Iterator[Command]:
    """Deletes before adds: an address whose verdict changes is the same key twice."""
    changed = [(now.name, *unlike(was.elements, now.elements)) for was, now in holders]
    lost = ((name, _missing(was, now)) for name, was, now in changed)
    gained = ((name, _missing(now, was)) for name, was, now in changed)
    for name, elements in lost:
        if elements:
            yield Command("delete", "element", table, name, elements=elements)
    for name, elements in gained:
        if elements:
            yield Command("add", "element", table, name, elements=elements)


def _missing(these: Sequence[Held], those: Sequence[Held]) -> tuple[Held, ...]:
    """Elements of ``these`` that ``those`` has not, in their order. No holder has one twice."""
    known = set(those)
    return tuple(element for element in these if element not in known)


def _dropped(table: str, chains: list[Chain], holders: list[Holder]) -> Iterator[Command]:
    """Chains are emptied first, because they name each other, sets and maps; maps go next, because they name chains."""
    for chain in chains:
        yield Command("flush", "chain", table, chain.name)
    for holder in holders:
        yield Command("delete", "map" if isinstance(holder, VerdictMap) else "set", table, holder.name)
    for chain in chains:
        yield Command("delete", "chain", table, chain.name)
