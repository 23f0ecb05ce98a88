"""Reading one node's rule sets one after the other: what is byte for byte as in the last one is not read again.

A NodeRuleSet comes whole with every change, and most of it is what it was. Its entries (groups, classes, endpoints ...)
are compared as bytes, and what was made of equal ones is taken over as it is; that tells whoever draws a table, too,
that nothing has changed there. Nothing is refused here: what cannot be read in this way has to be read by
``ruleset.decode``, which says what is wrong with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from operator import ne
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from nodewall.api.parsed import Meta, meta_of
from nodewall.api.ruleset import ENTRIES, Entry, Unusable, canonical, of_lists
from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import NodeRuleSet
from nodewall.model.sequences import alike_ends


class _Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """``NodeRuleSetSpec`` with the entries of its lists unread."""

    digest: str
    address_groups: list[Raw]
    port_groups: list[Raw]
    classes: list[Raw]
    endpoints: list[Raw]
    policies: list[Raw]
    pod_cidrs: list[Raw] = msgspec.field(name="podCIDRs")
    shared_groups: list[Raw] | UnsetType = UNSET
    groups_revision: int | UnsetType = UNSET


class _Object(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A NodeRuleSet with all but its spec unread."""

    metadata: Raw
    spec: _Spec
    api_version: Raw = Raw(b'""')
    kind: Raw = Raw(b'""')
    status: Raw = Raw(b"null")


_decode_object = msgspec.json.Decoder(_Object).decode

_Text = Raw | bytes
_UNREADABLE = (msgspec.MsgspecError, BadInputError, Unusable, UnicodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Found:
    """A NodeRuleSet as it was read. ``digest`` is that of its content."""

    meta: Meta
    digest: str
    content: NodeRuleSet


class Rereader:
    """Reads the NodeRuleSets of ``node``, and keeps the last one that it could read."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._lists: Mapping[str, _List] = dict.fromkeys(ENTRIES, _List())

    def read(self, source: bytes) -> Found | None:
        """What ``ruleset.decode`` makes of it. None: ask that, for it cannot be used, or is another node's."""
        try:
            return self._read(source)
        except _UNREADABLE:
            return None

    def _read(self, source: bytes) -> Found | None:
        if not source.isascii():
            source.decode()  # nobody below looks at all of it
        whole = _decode_object(source)
        spec = whole.spec
        for raw in (whole.api_version, whole.kind, whole.status):
            msgspec.json.decode(raw)  # nobody needs it, but it has to be JSON
        meta = meta_of({"metadata": msgspec.json.decode(whole.metadata)}, namespaced=False)
        if meta.name != self._node:
            return None
        given = {name: getattr(spec, entry.field) for name, entry in ENTRIES.items()}
        lists = {name: self._lists[name].follow(given[name] or [], entry) for name, entry in ENTRIES.items()}
        revision = spec.groups_revision
        texts: dict[str, Iterable[_Text]] = {
            name: each.json() for name, each in lists.items() if given[name] is not UNSET
        }
        if revision is not UNSET:
            texts["groupsRevision"] = [canonical(revision)]
        if spec.digest != _digest(texts):
            return None
        values = {name: each.values for name, each in lists.items()}
        content = of_lists(meta.name, values, 0 if revision is UNSET else revision)
        self._lists = lists
        return Found(meta, spec.digest, content)


def _digest(texts: Mapping[str, Iterable[_Text]]) -> str:
    """Of an object with these fields, each in pieces: as ``ruleset.digest_of`` makes it of the object as a whole."""
    found = sha256()
    for place, name in enumerate(sorted(texts)):
        found.update(b"%s%s:" % (b"," if place else b"{", canonical(name)))
        for text in texts[name]:
            found.update(text)
    found.update(b"}" if texts else b"{}")
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class _List:
    """A list of the spec, by entry: as it came, in canonical JSON where it came in another spelling, and what was read.

    ``values`` is the very same tuple for as long as the list is the same.
    """

    raws: Sequence[Raw] = ()
    spelled: tuple[bytes | None, ...] = ()
    values: tuple[Any, ...] = ()

    def json(self) -> Iterator[_Text]:
        """In pieces."""
        yield b"["
        yield b",".join([spelled or raw for spelled, raw in zip(self.spelled, self.raws, strict=True)])
        yield b"]"

    def follow(self, raws: Sequence[Raw], entry: Entry) -> "_List":
        """The list as it came now. None of the old bytes stay: each is a piece of its whole object, and would keep it.

        Raises what reading an entry raises.
        """
        head, tail = alike_ends(self.raws, raws, ne)
        if head == len(self.raws) == len(raws):
            return replace(self, raws=raws)
        old = slice(head, len(self.raws) - tail)
        gone = replace(self, raws=self.raws[old], spelled=self.spelled[old], values=self.values[old])
        come = tuple(gone.read(raws[head : len(raws) - tail], entry))
        return _List(
            raws,
            (*self.spelled[:head], *(spelled for spelled, _ in come), *self.spelled[old.stop :]),
            (*self.values[:head], *(value for _, value in come), *self.values[old.stop :]),
        )

    def read(self, raws: Iterable[Raw], entry: Entry) -> Iterator[tuple[bytes | None, Any]]:
        """(canonical JSON, what was read) of entries, whether they are in this list or not."""
        known = dict(zip(map(bytes, self.raws), zip(self.spelled, self.values, strict=True), strict=True))
        before = {value.name: value for value in self.values} if entry.again else {}
        for text in map(bytes, raws):
            yield known.get(text) or _read(text, entry, before)


def _read(text: bytes, entry: Entry, before: Mapping[str, Any]) -> tuple[bytes | None, Any]:
    """``before`` are entries by name, of which this one may be a newer state."""
    body = msgspec.json.decode(text)
    wire, spelled = msgspec.convert(body, entry.form), canonical(body)
    was = before.get(wire.name) if entry.again else None
    value = entry.again(wire, was) if entry.again and was else entry.read(wire, "")
    return (None if spelled == text else spelled), value
