"""Many NetworkPolicies on one pod as a few lookups.

NetworkPolicy rules are a union, so their order does not matter, and where there are many of them (peer, port) pairs
become the keys of verdict maps: one lookup instead of one per rule and group. Every key leads to a chain of the rule
that it came from, so hits are still counted and recorded by rule. What has no single key, CIDRs and port ranges,
stays a rule.

A map costs an element per member and port, so the smallest groups go in first, and no more than ``fold_limit``
elements; less where there are so many classes that the table would be too large.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from nodewall.model.policy import Direction, NumericPort, PortRange
from nodewall.model.ruleset import Match, Rule
from nodewall.render import table
from nodewall.render.draft import Draft, Fold, FoldEntry, PortKey, rule
from nodewall.render.expressions import Dispatch, Fields, Goto, Proto, Selector, Tuple
from nodewall.render.matches import PROTOCOL_AND_PORT, peer_field
from nodewall.render.members import PROTOCOL_NUMBER
from nodewall.render.pods import FAMILIES
from nodewall.render.settings import Settings
from nodewall.render.table import ADDRESS_TYPE, Element, VerdictMap

Key = tuple[str, int, int]
"""Address, protocol number and port; "" or -1 where the map does not ask."""

_NOBODY, _NO_PORT = "", (-1, -1)


@dataclass(frozen=True, slots=True)
class Piece:
    """One group of a rule (None: whoever) with those of its ports that can be keys (None: every port)."""

    rule: Rule
    group: str | None
    ports: tuple[PortKey, ...] | None

    @property
    def shape(self) -> str:
        """Which map it belongs in."""
        return "ports" if self.group is None else "peers" if self.ports is None else "pairs"


@dataclass(frozen=True, slots=True)
class Folded:
    """``lookups`` ask the maps; ``left`` is what no map holds."""

    lookups: tuple[table.Rule, ...]
    left: tuple[Rule, ...]


def affordable(settings: Settings, classes: int) -> Settings:
    """The same with a limit that so many classes can have each. By halves, or each class more would redraw all.

    Whoever may make pods and policies may make many classes, and 60 of them took a gigabyte of the agent.
    """
    limit = settings.fold_limit
    while len(FAMILIES) * classes * limit > settings.fold_total:
        limit //= 2
    return settings if limit == settings.fold_limit else replace(settings, fold_limit=limit)


def fold(
    entry: str, rules: tuple[Rule, ...], ends: tuple[Direction, int], accept: Callable[[Rule], str], draft: Draft
) -> Folded:
    """The NetworkPolicy rules of a class, folded when they are many.

    ``ends`` are the direction and the family of the chain ``entry``; ``accept`` names the chain where a rule's hits
    end.
    """
    pieces = tuple(piece for one in rules for piece in _pieces(one))
    if len(pieces) <= draft.settings.fold_from:
        return Folded((), rules)
    direction, family = ends
    taken = _affordable(pieces, family, draft)
    peer = peer_field(direction, family)
    keys: dict[str, Selector] = {
        "peers": peer,
        "pairs": Fields((peer, *PROTOCOL_AND_PORT.parts)),
        "ports": PROTOCOL_AND_PORT,
    }
    entries: dict[str, list[FoldEntry]] = defaultdict(list)
    for piece in taken:
        entries[piece.shape].append(FoldEntry(piece.group, piece.ports, accept(piece.rule)))
    lookups = (
        rule(Dispatch(key, draft.fold(Fold(f"{entry}_{shape}", family, tuple(entries[shape])))))
        for shape, key in keys.items()
        if shape in entries
    )
    return Folded(tuple(lookups), tuple(_left(rules, taken)))


def fold_map(folded: Fold, members: Mapping[str, Iterable[str]]) -> VerdictMap:
    """The map of a fold. A key of several rules leads to the first of them."""
    found: dict[Key, Goto] = {}
    for entry in folded.entries:
        goto = Goto(entry.chain)
        addresses = (_NOBODY,) if entry.group is None else members[entry.group]
        for address, (number, port) in product(addresses, entry.ports or (_NO_PORT,)):
            found.setdefault((address, number, port), goto)
    first = folded.entries[0]
    of_address = () if first.group is None else (ADDRESS_TYPE[folded.family],)
    of_port = () if first.ports is None else ("inet_proto", "inet_service")
    return VerdictMap(folded.name, of_address + of_port, tuple((_element(key), found[key]) for key in sorted(found)))


def _pieces(one: Rule) -> Iterator[Piece]:
    ports = None if one.match.any_port else _single(one.match.ports)
    for group in (None,) if one.match.any_peer else one.match.groups:
        if ports or (ports is None and group is not None):
            yield Piece(one, group, ports)


def _single(ports: Iterable[NumericPort]) -> tuple[PortKey, ...]:
    ranges = (port for port in ports if isinstance(port, PortRange) and port.first == port.last)
    return tuple(sorted({(PROTOCOL_NUMBER[port.protocol], port.first) for port in ranges}))


def _affordable(pieces: Iterable[Piece], family: int, draft: Draft) -> tuple[Piece, ...]:
    """As many pieces as the limit allows, the smallest first; in the order of their rules."""
    sized = [(_size(piece, family, draft), place, piece) for place, piece in enumerate(pieces)]
    left, taken = draft.settings.fold_limit, []
    for size, place, piece in sorted(sized, key=lambda one: one[:2]):
        left -= size
        if left < 0:
            break
        taken.append((place, piece))
    return tuple(piece for _, piece in sorted(taken, key=lambda one: one[0]))


def _size(piece: Piece, family: int, draft: Draft) -> int:
    members = 1 if piece.group is None else draft.size(piece.group, family)
    return members * len(piece.ports or (_NO_PORT,))


def _left(rules: Iterable[Rule], taken: Iterable[Piece]) -> Iterator[Rule]:
    """What of each rule is in no map."""
    folded: dict[int, set[str | None]] = defaultdict(set)
    for piece in taken:
        folded[id(piece.rule)].add(piece.group)
    for one in rules:
        for match in _rest(one.match, folded[id(one)]):
            yield replace(one, match=match)


def _rest(match: Match, folded: set[str | None]) -> Iterator[Match]:
    """``match`` without the pairs of those groups and its single ports."""
    ranges = tuple(port for port in match.ports if not _single((port,)))
    if not folded:
        yield match
    elif match.any_peer:
        yield replace(match, ports=ranges)
    else:
        yield replace(match, groups=tuple(group for group in match.groups if group not in folded))
        yield Match(groups=tuple(group for group in match.groups if group in folded), ports=ranges)


def _element(key: Key) -> Element:
    address, number, port = key
    parts: tuple[Element, ...] = (*((address,) if address else ()), *((Proto(number), port) if number >= 0 else ()))
    return parts[0] if len(parts) == 1 else Tuple(parts)
