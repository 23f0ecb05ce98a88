"""The parts of a table put together: what several of them name is there once, and goes with the last of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeVar, cast

from nodewall.model.ruleset import AddressGroup, PortGroup
from nodewall.render.draft import Fold, Fragment, GroupKey
from nodewall.render.drawn import Drawn, FoldedMap
from nodewall.render.folding import fold_map
from nodewall.render.groups import GroupSets
from nodewall.render.reuse import Edit, Key, spliced, updated
from nodewall.render.table import Set, Table, VerdictMap

T = TypeVar("T")
NAME = attrgetter("name")


@dataclass(frozen=True, slots=True)
class Change:
    """Fragments that are not in the table any more, those that are now, and the sets of groups."""

    gone: Sequence[Fragment]
    come: Sequence[Fragment]
    groups: GroupSets[AddressGroup]
    ports: GroupSets[PortGroup]


def united(before: Drawn, drawn: Drawn, change: Change) -> Drawn:
    """``drawn`` with the union of its parts, and with their table. Raises BadInputError when two parts contradict each
    other.
    """
    counters, chains = Edit(before.counters), Edit(before.chains)
    groups, sized, ports = Edit(before.groups), Edit(before.sized), Edit(before.ports)
    for fragment in change.gone:
        _release(counters, fragment.counters)
        _release(chains, map(NAME, fragment.chains))
        _release(groups, fragment.groups)
        _release(sized, fragment.sizes)
        _release(ports, fragment.port_groups)
    for key in change.groups.changed():
        groups.redraw(key, change.groups)
        sized.redraw(key, change.groups)
    for key in change.ports.changed():
        ports.redraw(key, change.ports)
    for fragment in change.come:
        _use(counters, ((name, name) for name in fragment.counters))
        _use(chains, ((chain.name, chain) for chain in fragment.chains))
        _use(groups, ((key, change.groups(key)) for key in fragment.groups))
        _use(sized, ((key, change.groups(key)) for key in fragment.sizes))
        _use(ports, ((key, change.ports(key)) for key in fragment.port_groups))
    sets = _sets(before, drawn, change, (groups, ports))
    folds = _folds(before, change)
    old = before.table
    table = Table(
        drawn.settings.table,
        spliced(old.counters, counters.changed, str),
        spliced(old.sets, sets.changed, NAME),
        spliced(old.maps, _maps(before, drawn, folds), NAME),
        spliced(old.chains, chains.changed, NAME),
    )
    return replace(
        drawn,
        counters=counters.pool(),
        chains=chains.pool(),
        groups=groups.pool(),
        sized=sized.pool(),
        ports=ports.pool(),
        sets=sets.pool(),
        folds=updated(before.folds, folds),
        table=table,
    )


def _release(edit: Edit[Key, T], keys: Iterable[Key]) -> None:
    for key in keys:
        edit.release(key)


def _use(edit: Edit[Key, T], things: Iterable[tuple[Key, T]]) -> None:
    for key, thing in things:
        edit.use(key, thing)


# --- sets and maps ----------------------------------------------------------------------------------------------------

Swap = tuple[Set | None, Set | None]
"""(what was there, what is there now)"""


def _sets(before: Drawn, drawn: Drawn, change: Change, groups: Iterable[Edit[GroupKey, Set]]) -> Edit[str, Set]:
    """The sets of pods, of groups, and those that rules make for themselves: no two of one name."""
    edit = Edit(before.sets)
    swaps = [*_pod_sets(before, drawn), *(swap for each in groups for swap in each.swaps())]
    _release(edit, (was.name for was, _ in swaps if was))
    _release(edit, (held.name for fragment in change.gone for held in fragment.sets))
    _use(edit, ((now.name, now) for _, now in swaps if now))
    _use(edit, ((held.name, held) for fragment in change.come for held in fragment.sets))
    return edit


def _pod_sets(before: Drawn, drawn: Drawn) -> Iterator[Swap]:
    for pods in drawn.pods.values():
        for now in (pods.local, pods.own):
            was = before.sets.things.get(now.name)
            if was is not now:
                yield was, now


def _folds(before: Drawn, change: Change) -> dict[str, FoldedMap | None]:
    """By name those that are others now; None: no longer there."""
    changed = frozenset(change.groups.changed())
    found: dict[str, FoldedMap | None] = {fold.name: None for fragment in change.gone for fold in fragment.folds}
    for name, known in before.folds.items() if changed else ():
        if name not in found and not changed.isdisjoint(known.reads):
            found[name] = _folded(known.fold, change.groups)
    for fold in (fold for fragment in change.come for fold in fragment.folds):
        was = before.folds.get(fold.name)
        is_so = was is not None and was.fold == fold and changed.isdisjoint(was.reads)
        found[fold.name] = was if is_so else _folded(fold, change.groups)
    return found


def _folded(fold: Fold, groups: GroupSets[AddressGroup]) -> FoldedMap:
    names = sorted({entry.group for entry in fold.entries if entry.group is not None})
    members = {name: cast("tuple[str, ...]", groups((name, fold.family)).elements) for name in names}
    return FoldedMap(fold, frozenset((name, fold.family) for name in names), fold_map(fold, members))


def _maps(before: Drawn, drawn: Drawn, folds: Mapping[str, FoldedMap | None]) -> dict[str, VerdictMap | None]:
    """By name those that are others now; None: no longer there."""
    found: dict[str, VerdictMap | None] = {name: each.map if each else None for name, each in folds.items()}
    return found | {name: now for name, now in drawn.dispatches.items() if before.dispatches.get(name) is not now}
