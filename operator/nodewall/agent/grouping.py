"""Groups that are held apart from the rule set: which are there as a whole, and putting rule sets together with them.

Parts come one by one, and a change may take several. They are taken over when the object that tells the revision says
that all of them are written: what the kernel gets is a state that really was (``nodewall.api.peergroup``). A rule set
is used when every part of every group that it names is there, and as new as it asks for; until then the last one stays.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import msgspec

from nodewall.agent.decide import RuleSet
from nodewall.api import peergroup
from nodewall.api.peergroup import LARGEST_REVISION, REVISION, Head
from nodewall.kube.reflector import Change
from nodewall.kube.wire import Decoder
from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import AddressGroup, GroupPart, PartKey, PortGroup, SharedGroup
from nodewall.model.shared import merged, merged_again, whole


class AwaitedError(BadInputError):
    """A group that a rule set names is not there yet, or not as new as it has to be."""


@dataclass(frozen=True, slots=True)
class Item:
    """A PeerGroup object, its members unread. Equal when nothing but metadata changed."""

    uid: str
    generation: int
    head: Head
    source: bytes = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Known:
    """All PeerGroups as they were at one moment, at which they were whole."""

    revision: int = 0
    report_within: int = 0
    parts: Mapping[PartKey, Item] = field(default_factory=dict, repr=False)


def project(raw: msgspec.Raw) -> tuple[str, Item]:
    """An event's object."""
    meta = Decoder.envelope.decode(raw).metadata
    return meta.name, Item(meta.uid, meta.generation, peergroup.head(raw), bytes(raw))


class Shelf:
    """The PeerGroups as the watch brings them; ``tell`` is told each time that they are whole."""

    def __init__(self, tell: Callable[[Known], None]) -> None:
        self._tell = tell
        self._items: dict[str, Item] = {}
        self._ahead: set[str] = set()
        self._behind: dict[str, int] = {}

    def changed(self, change: Change[str, Item]) -> None:
        """Of the reflector."""
        name, new = change.key, change.new
        if new is None or not _is_ours(name, new.head):
            self._items.pop(name, None)
            self._behind.pop(name, None)
        else:
            self._compare(name, new, self._items.get(name))
            self._items[name] = new
        self._look(name)

    def _compare(self, name: str, new: Item, old: Item | None) -> None:
        """A part that went back: a restored backup. The others of its time follow, and the revision is the last of
        them. Or somebody edited it, and the controller writes it again.
        """
        if name == REVISION:
            self._behind.clear()
            return
        before = self._behind.pop(name, old.head.revision if old else 0)
        if new.head.revision < before:
            self._behind[name] = before

    def _look(self, name: str) -> None:
        told = self._items.get(REVISION)
        if told is None:
            self._ahead.clear()  # each is looked at again when there is one
            return
        for each in self._items if name == REVISION else (name,):
            item = self._items.get(each)
            (self._ahead.add if item and item.head.revision > told.head.revision else self._ahead.discard)(each)
        if not self._ahead and not self._behind:
            self._tell(known(told.head.revision, told.head.report_within, self._items.values()))


def _is_ours(name: str, head: Head) -> bool:
    """Somebody's copy under another name is no part, and what nobody can have counted holds up no revision."""
    return name == (peergroup.name(head.part) if head.part else REVISION) and head.revision <= LARGEST_REVISION


def known(revision: int, report_within: int, items: Iterable[Item]) -> Known:
    """These are all there are."""
    return Known(revision, report_within, {item.head.part: item for item in items if item.head.part})


@dataclass(frozen=True, slots=True)
class _Made:
    """A group put together of these parts."""

    items: list[Item]
    parts: list[GroupPart]
    whole: AddressGroup | PortGroup


class Gathering:
    """Puts rule sets and groups together, and keeps what it made: the work of a change is that of its parts."""

    def __init__(self) -> None:
        self._read: dict[PartKey, tuple[Item, GroupPart]] = {}
        self._groups: dict[SharedGroup, _Made] = {}

    def whole(self, ruleset: RuleSet, known: Known) -> RuleSet:
        """The rule set with the members of all its groups.

        :raises AwaitedError: :raises BadInputError: a part is broken.
        """
        content = ruleset.content
        named = (*content.shared, *content.shared_ports)
        if not named:
            return ruleset
        if content.revision > known.revision:
            raise AwaitedError(f"waits for revision {content.revision} of the PeerGroups, {known.revision} is there")
        items = [item for group in named for item in _items(group, known)]
        content = whole(content, lambda group: self._group(group, known))
        self._groups = {group: self._groups[group] for group in named}
        self._read = {key: self._read[key] for group in named for key in _keys(group)}
        digest = sha256(" ".join(f"{item.uid} {item.head.digest}" for item in items).encode()).hexdigest()
        return replace(
            ruleset,
            content=content,
            members=digest,
            groups=known.revision,
            report_within=known.report_within,
            parts=tuple(item.source for item in items),
        )

    def _group(self, group: SharedGroup, known: Known) -> AddressGroup | PortGroup:
        items, before = _items(group, known), self._groups.get(group)
        if before and before.items == items:
            return before.whole
        parts = [self._part(item) for item in items]
        made = merged_again(before.whole, before.parts, parts) if before else merged(parts)
        self._groups[group] = _Made(items, parts, made)
        return made

    def _part(self, item: Item) -> GroupPart:
        key = item.head.part
        before = self._read.get(key) if key else None
        if before and before[0] == item:
            return before[1]
        part = peergroup.decode_part(item.source)
        self._read[part.key] = item, part
        return part


def _keys(group: SharedGroup) -> list[PartKey]:
    return [(group.name, group.parts, index) for index in range(group.parts)]


def _items(group: SharedGroup, known: Known) -> list[Item]:
    found = [known.parts.get(key) for key in _keys(group)]
    for index, item in enumerate(found):
        if item is None:
            raise AwaitedError(f"waits for group {group.name}, part {index} of {group.parts}")
    return [item for item in found if item]
