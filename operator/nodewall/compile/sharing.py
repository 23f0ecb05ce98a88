"""Groups that very many nodes use are held apart from the rule sets, in parts: who joins one changes one part.

A rule set that holds a group has to be written whenever the group changes. What that costs goes by the number of nodes
that use it, so beyond a number of them the rule sets only name the group. docs/adr/0007 has the counts behind it.

In which part a member is follows from its text and the number of parts alone. The number is a power of two that
follows the group's size at a distance: it doubles rarely, and then the rule sets that name the group change once.
"""

from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

from nodewall.compile.members import Group, Members
from nodewall.compile.operations import Operations
from nodewall.model.ruleset import GroupPart, PartKey

BIG = 4096
"""Members beyond which a group is shared however few nodes use it: it would be much of what a rule set may hold."""

FULLEST = 256
"""Members per part, on average, beyond which there are twice as many parts. Each node is sent a part as a whole when
one member joins; this many addresses of the longer kind are 10 KB."""

EMPTIEST = 64
"""Members per part below which there are half as many: far from the other bound, so that nothing goes to and fro."""

MOST_PARTS = 4096
NODES_PER_USER = 50
"""A change of a shared group is told to every node of the cluster, those that do not use it too. That costs a fiftieth
of what writing a rule set costs, so a group is worth it when more than a fiftieth of the nodes use it."""


class Layout:
    """The members of one group (addresses, or pairs), in parts."""

    __slots__ = ("_group", "parts", "pieces")

    def __init__(self, group: Group, parts: int) -> None:
        self._group: Members[Any, Any] = group
        self.parts = parts
        self.pieces: list[set[Any]] = [set() for _ in range(parts)]

    def fill(self) -> Iterator[None]:
        """Put all members where they belong, in steps."""
        for member in self._group:
            self.pieces[self._place(member)].add(member)
            yield

    def take(self) -> set[int]:
        """What changed in the group since it was settled; returns the parts that are others by it."""
        for member in self._group.added:
            self.pieces[self._place(member)].add(member)
        for member in self._group.removed:
            self.pieces[self._place(member)].discard(member)
        return {self._place(member) for member in self._group.added | self._group.removed}

    def part(self, index: int) -> GroupPart:
        return GroupPart(self._group.of(self.pieces[index]), self.parts, index)

    def _place(self, member: Any) -> int:
        text = member if isinstance(member, str) else "/".join(map(str, member))
        return crc32(text.encode()) & (self.parts - 1)


def parts_for(size: int, before: int = 1) -> int:
    """In how many parts a group of so many members is, that was in ``before``."""
    parts = before
    while size > FULLEST * parts and parts < MOST_PARTS:
        parts *= 2
    while parts > 1 and size < EMPTIEST * parts:
        parts //= 2
    return parts


class Sharing:
    """Which groups are shared, and how. ``above`` None: none ever is."""

    def __init__(self, above: int | None, operations: Operations) -> None:
        self._above, self._operations = above, operations
        self._layouts: dict[str, Layout] = {}
        self._changed: dict[PartKey, None] = {}

    def parts(self, group: str) -> int:
        """In how many parts the group is held apart, 0 when it is not."""
        layout = self._layouts.get(group)
        return layout.parts if layout else 0

    def wanted(self, group: Group, nodes: int) -> int:
        """In how many parts the group ought to be, 0 for none, in a cluster of so many nodes.

        What is shared stays so until half as many nodes use it, or half as many members are in it, as it took.
        """
        if self._above is None or not group.nodes:
            return 0
        before = self.parts(group.name)
        slack = 2 if before else 1
        many = max(self._above, nodes // NODES_PER_USER)
        if len(group.nodes) * slack <= many and len(group) * slack <= BIG:
            return 0
        return parts_for(len(group), before or 1)

    def turn(self, group: Group, parts: int) -> Iterator[None]:
        """From now on the group is in so many parts, or in the rule sets (0)."""
        self._layouts.pop(group.name, None)
        if parts:
            layout = self._layouts[group.name] = Layout(group, parts)
            yield from layout.fill()
            self._note((group.name, parts, index) for index in range(parts))

    def follow(self, group: Group) -> bool:
        """The group's members changed. False when it is not shared, so that the nodes have to be told."""
        layout = self._layouts.get(group.name)
        if layout is None:
            return False
        self._note((group.name, layout.parts, index) for index in layout.take())
        return True

    @property
    def layouts(self) -> dict[str, int]:
        """In how many parts each shared group is."""
        return {name: layout.parts for name, layout in self._layouts.items()}

    def changed(self) -> Iterator[GroupPart]:
        """Each part that changed since this was asked last. In steps: between them nothing may change."""
        keys, self._changed = self._changed, {}
        for group, parts, index in sorted(keys):
            layout = self._layouts.get(group)
            if layout and layout.parts == parts:
                yield layout.part(index)

    def _note(self, keys: Iterable[PartKey]) -> None:
        before = len(self._changed)
        self._changed.update(dict.fromkeys(keys))
        self._operations.parts += len(self._changed) - before
