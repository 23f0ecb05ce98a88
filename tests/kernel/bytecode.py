"""What the kernel itself holds of our table, byte for byte, by its own netlink dumps.

A listing of nft is a translation of this, so that two tables may list alike and judge differently. Left out is only
what differs between equal tables: handles, places by handle, the order of elements in hash sets, and the numbers in
the names of anonymous sets, each of which is replaced by all that the set is.
"""

import re
import struct
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import zip_longest

from e2e import netns
from nodewall.agent.netlink import DUMP, NETLINK_NETFILTER, Message, Netlink, attribute

_INET = bytes((1, 0, 0, 0))
_NFTABLES = 10 << 8
_CHAINS, _RULES, _SETS, _ELEMENTS, _OBJECTS = 4, 7, 10, 13, 19
_TABLE = attribute(1, b"nodewall\0")
_RULE_CHAIN, _RULE_HANDLE, _RULE_POSITION = 2, 3, 6
_CHAIN_HANDLE, _SET_HANDLE, _OBJECT_HANDLE = 2, 16, 6
_CHAIN_NAME, _SET_NAME, _OBJECT_NAME, _OBJECT_DATA = 3, 2, 2, 4
_ELEMENT_LIST = 3
_ANONYMOUS = re.compile(rb"[\x0b\x0c]\0[\1\2]\0(__set\d\d?\0)\0?")
"""The whole attribute, with its length. A table with more than a hundred would seem to differ."""

Held = dict[str, list[str]]
"""By kind and name, each object or each rule in hex."""


def held(namespace: str) -> Held:
    return netns.inside(namespace, _held)


def differences(ours: Held, theirs: Held) -> list[str]:
    """Each line that is not the same."""
    pairs = (
        (name, place, one, other)
        for name in sorted(ours.keys() | theirs.keys())
        for place, (one, other) in enumerate(zip_longest(ours.get(name, ()), theirs.get(name, ())))
    )
    return [f"{name}, {place}: {one} instead of {other}" for name, place, one, other in pairs if one != other]


def _held() -> Held:
    asking = Netlink(NETLINK_NETFILTER)

    def dump(kind: int, *more: bytes) -> list[Message]:
        return asking.ask(_NFTABLES | kind, b"".join((_INET, _TABLE, *more)), DUMP)

    try:
        return _read(dump)
    finally:
        asking.close()


def _read(dump: Callable[..., list[Message]]) -> Held:
    sets = {_text(found, _SET_NAME): _rest(found, _SET_HANDLE) for found in dump(_SETS)}
    whole = {
        name: [definition, *sorted(element.hex() for element in _elements(dump(_ELEMENTS, attribute(2, name + b"\0"))))]
        for name, definition in sets.items()
    }
    contents = {name: _ANONYMOUS.sub(b"", "\n".join(lines).encode()) for name, lines in whole.items()}

    def named(data: bytes) -> str:
        return _ANONYMOUS.sub(lambda found: sha256(contents[found[1][:-1]]).digest(), data).hex()

    result: Held = {f"set {name.decode()}": lines for name, lines in whole.items() if not name.startswith(b"__set")}
    for found in dump(_CHAINS):
        result[f"chain {_text(found, _CHAIN_NAME).decode()}"] = [_rest(found, _CHAIN_HANDLE)]
    for found in dump(_OBJECTS):
        result[f"object {_text(found, _OBJECT_NAME).decode()}"] = [_rest(found, _OBJECT_HANDLE, _OBJECT_DATA)]
    for found in dump(_RULES):
        rule = b"".join(raw for kind, raw in _pairs(found.payload[4:]) if kind not in (_RULE_HANDLE, _RULE_POSITION))
        result.setdefault(f"rules of {_text(found, _RULE_CHAIN).decode()}", []).append(named(rule))
    return result


def _pairs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Attributes as (type, the whole attribute)."""
    offset = 0
    while offset < len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        yield kind & 0x3FFF, data[offset : offset + length]
        offset += (length + 3) & ~3


def _text(found: Message, wanted: int) -> bytes:
    return next(raw[4:-1] for kind, raw in _pairs(found.payload[4:]) if kind == wanted)


def _rest(found: Message, *without: int) -> str:
    kept = b"".join(raw for kind, raw in _pairs(found.payload[4:]) if kind not in without)
    return _ANONYMOUS.sub(b"", kept).hex()


def _elements(found: list[Message]) -> Iterator[bytes]:
    for message in found:
        for kind, raw in _pairs(message.payload[4:]):
            if kind == _ELEMENT_LIST:
                yield from (element for _, element in _pairs(raw[4:]))
