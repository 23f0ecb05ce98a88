"""The sets of a rule set's groups while a table is drawn."""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import AddressGroup, PortGroup
from nodewall.render.draft import GroupKey
from nodewall.render.pods import FAMILIES
from nodewall.render.reuse import Index
from nodewall.render.table import Set

Group = TypeVar("Group", AddressGroup, PortGroup)


class GroupSets(Generic[Group]):
    """The set of each group of one kind: as it was drawn before when the group is still what it was, else drawn now."""

    def __init__(
        self,
        before: Index[Group],
        groups: tuple[Group, ...],
        drawn: tuple[Mapping[GroupKey, Set], ...],
        draw: Callable[[Group, int], Set],
    ) -> None:
        """``drawn`` are the sets of ``before``."""
        self.index: Index[Group]
        self.index, self._changed = before.follow(groups)
        self._drawn = drawn
        self._draw: Callable[[Group, int], Set] = draw
        self._now: dict[GroupKey, Set] = {}

    def changed(self) -> Iterator[GroupKey]:
        """Sorted, so that of several troubles it is always the same one that is told."""
        return ((name, family) for name in sorted(self._changed) for family in FAMILIES)

    def __call__(self, key: GroupKey) -> Set:
        """Raises BadInputError when there is no such group, or its members are none."""
        found = self._now.get(key) or self._before(key)
        if found is None:
            found = self._now[key] = self._draw(self._group(key[0]), key[1])
        return found

    def _before(self, key: GroupKey) -> Set | None:
        """A group that is not there any more has changed as well."""
        if key[0] in self._changed:
            return None
        return next((found for sets in self._drawn if (found := sets.get(key))), None)

    def _group(self, name: str) -> Group:
        found = self.index.by_name.get(name)
        if found is None:
            raise BadInputError(f"no group is named {name!r}", subject="NodeRuleSet", path="classes")
        return found
