"""Groups that are held apart from the rule sets, in parts, put together again."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from nodewall.model.address import Address
from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import AddressGroup, GroupPart, NodeRuleSet, PortGroup, SharedGroup

G = TypeVar("G", AddressGroup, PortGroup)
Group = AddressGroup | PortGroup
Gather = Callable[[SharedGroup], AddressGroup | PortGroup]
"""The whole group of this name. May raise BadInputError: some of it is not there."""

_FEW = 64
"""Members that are moved one by one; each costs as much as a copy of the group. More of them are sorted anew."""


def merged(parts: Sequence[GroupPart]) -> AddressGroup | PortGroup:
    """All parts of one group as one. There is at least one part."""
    first = parts[0].content
    if isinstance(first, AddressGroup):
        contents = _all(parts, AddressGroup)
        found = sorted(member for each in contents for member in each.addresses)
        return AddressGroup(first.name, first.description, tuple(found))
    members = sorted(member for each in _all(parts, PortGroup) for member in each.members)
    return PortGroup(first.name, first.description, tuple(members))


def merged_again(made: AddressGroup | PortGroup, before: Sequence[GroupPart], parts: Sequence[GroupPart]) -> Group:
    """``merged(parts)``, where ``made`` is ``merged(before)``. Of as many parts; what is the same part costs nothing.

    A few members are put in and taken out of what is sorted already. A member that two parts hold is there twice.
    """
    changed = [(was, now) for was, now in zip(before, parts, strict=True) if was is not now]
    if not isinstance(made, AddressGroup) or not all(isinstance(now.content, AddressGroup) for _, now in changed):
        return merged(parts)
    old, new = (
        (_counted(each) for each in zip(*changed, strict=True)) if changed else (Counter[Address](), Counter[Address]())
    )
    lost, gained = old - new, new - old
    if lost.total() + gained.total() > _FEW:
        return merged(parts)
    members = list(made.addresses)
    for member in lost.elements():
        del members[bisect_left(members, member)]
    for member in gained.elements():
        insort(members, member)
    first = parts[0].content
    return AddressGroup(first.name, first.description, tuple(members))


def _counted(parts: Iterable[GroupPart]) -> Counter[Address]:
    return Counter(member for each in _all(parts, AddressGroup) for member in each.addresses)


def _all(parts: Iterable[GroupPart], kind: type[G]) -> list[G]:
    return [_of_kind(part.content, kind) for part in parts]


def _of_kind(group: AddressGroup | PortGroup, kind: type[G]) -> G:
    if not isinstance(group, kind):
        raise BadInputError("holds addresses and destinations both", subject=f"group {group.name}")
    return group


def whole(ruleset: NodeRuleSet, gather: Gather) -> NodeRuleSet:
    """The rule set as if it held all its groups itself. :raises BadInputError: as ``gather`` does."""
    if not ruleset.shared and not ruleset.shared_ports:
        return ruleset
    groups = [*ruleset.groups, *(_of_kind(gather(one), AddressGroup) for one in ruleset.shared)]
    ports = [*ruleset.port_groups, *(_of_kind(gather(one), PortGroup) for one in ruleset.shared_ports)]
    return replace(
        ruleset,
        groups=tuple(sorted(groups, key=lambda group: group.name)),
        port_groups=tuple(sorted(ports, key=lambda group: group.name)),
        shared=(),
        shared_ports=(),
        revision=0,
    )
