"""Groups that are held apart from the rule sets, in parts, put together again."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import AddressGroup, GroupPart, NodeRuleSet, PortGroup, SharedGroup

G = TypeVar("G", AddressGroup, PortGroup)
Gather = Callable[[SharedGroup], AddressGroup | PortGroup]
"""The whole group of this name. May raise BadInputError: some of it is not there."""


def merged(parts: Sequence[GroupPart]) -> AddressGroup | PortGroup:
    """All parts of one group as one. There is at least one part."""
    first = parts[0].content
    if isinstance(first, AddressGroup):
        contents = _all(parts, AddressGroup)
        found = sorted(member for each in contents for member in each.addresses)
        return AddressGroup(first.name, first.description, tuple(found))
    members = sorted(member for each in _all(parts, PortGroup) for member in each.members)
    return PortGroup(first.name, first.description, tuple(members))


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
