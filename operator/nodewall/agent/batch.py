"""Transactions of the size of a change, straight to the kernel as one nfnetlink batch.

libnftables reads the headers of every set, counter and chain of the table before each transaction (3.3 ms for a table
of 110 pods with 10 rules each), only to learn how keys are built. Here they are built without: from the same JSON, in
the same order, whole or not at all. What is not known exactly, and what is large, is for libnftables: there its fixed
cost does not matter.

Layouts: linux/netfilter/nfnetlink.h and nf_tables.h.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from struct import pack
from typing import Any

from nodewall.agent import definitions, elements, expressions
from nodewall.agent.comparisons import Place
from nodewall.agent.definitions import Sets
from nodewall.agent.encoding import UnknownFormError, number, string
from nodewall.agent.keytypes import KeyType, tagged
from nodewall.agent.netlink import REQUEST, Request, attribute, nested
from nodewall.agent.spelling import FIRST_THAT_KEEPS

MOST = 1_000
"""Elements of all sets together."""
MOST_BYTES = 120_000
"""What one socket buffer surely holds."""

_NFTABLES = 10
_BEGIN, _END = 0x10, 0x11
_CREATE, _APPEND = 0x400, 0x800
_INET = 1
_NEW_CHAIN, _DELETE_CHAIN, _NEW_RULE, _DELETE_RULE = 3, 5, 6, 8
_NEW_SET, _DELETE_SET, _NEW_ELEMENTS, _DELETE_ELEMENTS, _NEW_OBJECT, _DELETE_OBJECT = 9, 11, 12, 14, 18, 20
_TABLE = 1
_COUNTER = 1
_LONGEST_COMMENT = 128
_FRAME = pack(">BBH", 0, 0, _NFTABLES)
_HEAD = pack(">BBH", _INET, 0, 0)

_OTHER_SHAPES = (AttributeError, LookupError, TypeError, ValueError, struct.error)
"""What JSON of another shape raises where the known one is taken apart."""

Body = Mapping[str, Any]


def encoded(commands: Sequence[Mapping[str, Any]], version: tuple[int, ...], sets: Sets) -> list[Request] | None:
    """A transaction in libnftables' JSON as one batch, as libnftables of this version would make it; None: it has to
    do it itself. ``sets`` are declared already. An empty batch has no answer from kernels before 6.10.
    """
    batch = _Batch(sets, modern=version >= FIRST_THAT_KEEPS)
    try:
        for command in commands:
            ((verb, subject),) = command.items()
            ((kind, body),) = subject.items()
            batch.about = f"{verb} {kind}"
            _COMMANDS[verb, kind](batch, body)
    except (UnknownFormError, *_OTHER_SHAPES):
        return None
    if not batch.requests:
        return None
    return [Request(_BEGIN, REQUEST, _FRAME), *batch.requests, Request(_END, REQUEST, _FRAME)]


class _Batch:
    """The requests so far, and what the later ones need to know of the earlier."""

    def __init__(self, sets: Sets, *, modern: bool) -> None:
        self.modern = modern
        self.requests: list[Request] = []
        self.about = ""
        self.sets = dict(sets)
        self.empty: set[str] = set()
        """Those that this batch makes."""
        self.ids = count(1)
        self._elements = MOST
        self._bytes = MOST_BYTES

    def add(self, kind: int, body: Body, *payload: bytes, flags: int = 0) -> None:
        """Raises UnknownFormError where the batch becomes too large."""
        data = b"".join((_HEAD, string(_TABLE, body["table"]), *payload))
        self._bytes -= len(data)
        if self._bytes < 0:
            raise UnknownFormError("a large transaction")
        named = body.get("name") or body.get("chain")
        self.requests.append(Request(_NFTABLES << 8 | kind, REQUEST | flags, data, f"{self.about} {named}"))

    def spend(self, members: Sequence[Any]) -> None:
        self._elements -= len(members)
        if not isinstance(members, list) or not members or self._elements < 0:
            raise UnknownFormError("no elements, or many")


# --- counters and chains ----------------------------------------------------------------------------------------------


def _only(body: Body, *known: str) -> str:
    """The name of an object that has no more to it than ``known``."""
    name = body["name"]
    if body.keys() - {"family", "table", "name", *known} or not isinstance(name, str):
        raise UnknownFormError("more than a name")
    return name


def _add_counter(batch: _Batch, body: Body) -> None:
    zeros = nested(4, attribute(1, bytes(8)), attribute(2, bytes(8)))
    batch.add(_NEW_OBJECT, body, string(2, _only(body)), number(3, _COUNTER), zeros, flags=_CREATE)


def _delete_counter(batch: _Batch, body: Body) -> None:
    batch.add(_DELETE_OBJECT, body, string(2, _only(body)), number(3, _COUNTER))


def _add_chain(batch: _Batch, body: Body) -> None:
    """Not a base chain: those are made by full replaces."""
    batch.add(_NEW_CHAIN, body, string(3, _only(body)), flags=_CREATE)


def _delete_chain(batch: _Batch, body: Body) -> None:
    batch.add(_DELETE_CHAIN, body, string(3, _only(body)))


def _flush_chain(batch: _Batch, body: Body) -> None:
    batch.add(_DELETE_RULE, body, string(2, _only(body)))


# --- rules ------------------------------------------------------------------------------------------------------------


def _add_rule(batch: _Batch, body: Body) -> None:
    if body.keys() - {"family", "table", "chain", "expr", "comment"}:
        raise UnknownFormError("a rule with more than statements")

    def anonymous(kind: KeyType, members: Sequence[Any]) -> int:
        return _add_anonymous(batch, body, kind, members)

    code = expressions.rule(body["expr"], Place(anonymous, batch.sets, batch.modern))
    comment = _comment(body["comment"]) if "comment" in body else b""
    batch.add(_NEW_RULE, body, string(2, body["chain"]), nested(4, code), comment, flags=_CREATE | _APPEND)


def _comment(text: str) -> bytes:
    """As userdata, where libnftables keeps it."""
    data = text.encode()
    if len(data) > _LONGEST_COMMENT or b"\0" in data:
        raise UnknownFormError("a long comment")
    return attribute(7, tagged(0, data + b"\0"))


def _add_anonymous(batch: _Batch, body: Body, kind: KeyType, members: Sequence[Any]) -> int:
    ident = next(batch.ids)
    batch.add(_NEW_SET, body, definitions.anonymous(kind, ident, len(members), modern=batch.modern), flags=_CREATE)
    held = nested(3, *(elements.plain(each, (kind,)) for each in members))
    batch.add(_NEW_ELEMENTS, body, string(2, definitions.ANONYMOUS), number(4, ident), held, flags=_CREATE)
    return ident


# --- sets, maps and their elements ------------------------------------------------------------------------------------


def _add_holder(kind: str) -> Callable[[_Batch, Body], None]:
    def add(batch: _Batch, body: Body) -> None:
        if body["name"] in batch.sets or "%" in body["name"]:  # which the kernel would put a number for
            raise UnknownFormError("a set that is there already, or that has no name yet")
        made = definitions.read(kind, body)
        batch.add(_NEW_SET, body, made.encoded(body["name"], next(batch.ids), modern=batch.modern), flags=_CREATE)
        batch.sets[body["name"]] = made
        batch.empty.add(body["name"])

    return add


def _delete_holder(batch: _Batch, body: Body) -> None:
    batch.add(_DELETE_SET, body, string(2, _only(body)))
    batch.sets.pop(body["name"], None)


def _add_elements(batch: _Batch, body: Body) -> None:
    name = _only(body, "elem")
    made = batch.sets[name]
    if made.interval:
        batch.empty.remove(name)  # only as a whole: into one with elements these would have to be fitted
        held = elements.intervals(body["elem"], made.types)
    else:
        encode = elements.leading if made.verdicts else elements.plain
        held = (encode(each, made.types) for each in body["elem"])
    _elements(batch, _NEW_ELEMENTS, body, held, flags=_CREATE)


def _delete_elements(batch: _Batch, body: Body) -> None:
    made = batch.sets[_only(body, "elem")]
    if made.interval:
        raise UnknownFormError("a part of intervals")
    if made.verdicts:
        held = (elements.sought(key, made.types) for key, _ in body["elem"])
    else:
        held = (elements.plain(each, made.types) for each in body["elem"])
    _elements(batch, _DELETE_ELEMENTS, body, held)


def _elements(batch: _Batch, kind: int, body: Body, held: Iterable[bytes], flags: int = 0) -> None:
    batch.spend(body["elem"])
    for part in elements.listed(held):
        batch.add(kind, body, string(2, body["name"]), nested(3, part), flags=flags)


_COMMANDS: Mapping[tuple[str, str], Callable[[_Batch, Body], None]] = {
    ("add", "counter"): _add_counter,
    ("delete", "counter"): _delete_counter,
    ("add", "chain"): _add_chain,
    ("flush", "chain"): _flush_chain,
    ("delete", "chain"): _delete_chain,
    ("add", "rule"): _add_rule,
    ("add", "set"): _add_holder("set"),
    ("add", "map"): _add_holder("map"),
    ("delete", "set"): _delete_holder,
    ("delete", "map"): _delete_holder,
    ("add", "element"): _add_elements,
    ("delete", "element"): _delete_elements,
}
