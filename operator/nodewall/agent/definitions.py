"""Sets and maps as they are declared.

How an element is encoded depends on the set that it is for, so what our transactions have declared is remembered. Sets
that nobody has declared here are for libnftables. Layout: linux/netfilter/nf_tables.h, set attributes.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nodewall.agent.encoding import UnknownFormError, number, string, whole
from nodewall.agent.keytypes import KeyType, Types, length_of, named, number_of, userdata
from nodewall.agent.netlink import attribute, nested

_NAME, _FLAGS, _KEY_TYPE, _KEY_LENGTH, _DATA_TYPE, _DATA_LENGTH, _DESCRIPTION, _ID = 2, 3, 4, 5, 6, 7, 9, 10
_USERDATA = 13
_SIZE, _CONCATENATION = 1, 2
_VERDICTS = 0xFFFFFF00
ANONYMOUS = "__set%d"
"""The kernel gives it a number."""
_ANONYMOUS_AND_CONSTANT, _INTERVALS, _MAP, _OF_PARTS = 0x3, 0x4, 0x8, 0x80
_KNOWN = {
    "set": frozenset({"family", "table", "name", "type", "flags", "size"}),
    "map": frozenset({"family", "table", "name", "type", "map", "size"}),
}


@dataclass(frozen=True, slots=True)
class Definition:
    """``size`` 0: without a limit."""

    types: Types
    interval: bool = False
    verdicts: bool = False
    size: int = 0

    def encoded(self, name: str, ident: int, *, modern: bool) -> bytes:
        """All its attributes but the table's. ``modern``: as libnftables from 1.1.2 on makes it."""
        return b"".join(
            (
                string(_NAME, name),
                number(_FLAGS, self._flags),
                number(_KEY_TYPE, number_of(self.types)),
                number(_KEY_LENGTH, length_of(self.types)),
                number(_DATA_TYPE, _VERDICTS) + number(_DATA_LENGTH, 0) if self.verdicts else b"",
                number(_ID, ident),
                self._description,
                attribute(_USERDATA, userdata(self.types, verdicts=self.verdicts, example=modern)),
            )
        )

    @property
    def _flags(self) -> int:
        interval = (_INTERVALS | _OF_PARTS if len(self.types) > 1 else _INTERVALS) if self.interval else 0
        return interval | (_MAP if self.verdicts else 0)

    @property
    def _description(self) -> bytes:
        size = number(_SIZE, self.size) if self.size else b""
        parts = b""
        if self.interval and len(self.types) > 1:
            parts = nested(_CONCATENATION, *(nested(1, number(1, each.length)) for each in self.types))
        return nested(_DESCRIPTION, size, parts) if size or parts else b""


def read(kind: str, body: Mapping[str, Any]) -> Definition:
    """A definition in libnftables' JSON. Raises UnknownFormError, KeyError."""
    flags, size = body.get("flags", []), body.get("size", 0)
    verdicts = "verdict" if kind == "map" else None
    if body.keys() - _KNOWN[kind] or flags not in ([], ["interval"]) or body.get("map") != verdicts:
        raise UnknownFormError("a definition")
    return Definition(named(body["type"]), bool(flags), kind == "map", whole(size))


Sets = Mapping[str, Definition]
"""Of one table, by name."""


def after(sets: Sets, commands: Iterable[Mapping[str, Any]]) -> Sets:
    """What is declared when a transaction is through that began with ``sets``."""
    found = dict(sets)
    for command in commands:
        for verb, subject in command.items():
            for kind, body in subject.items():
                _follow(found, verb, kind, body)
    return found


def _follow(sets: dict[str, Definition], verb: str, kind: str, body: Mapping[str, Any]) -> None:
    if kind == "table" and verb == "delete":
        sets.clear()
    elif kind in _KNOWN:
        sets.pop(body["name"], None)
        if verb == "add":
            with suppress(UnknownFormError, LookupError, TypeError):
                sets[body["name"]] = read(kind, body)


def anonymous(kind: KeyType, ident: int, count: int, *, modern: bool) -> bytes:
    """A set of ``count`` values that belongs to one rule, and has no name before the kernel gives it one."""
    return b"".join(
        (
            string(_NAME, ANONYMOUS),
            number(_FLAGS, _ANONYMOUS_AND_CONSTANT),
            number(_KEY_TYPE, kind.number),
            number(_KEY_LENGTH, kind.length),
            number(_ID, ident),
            b"" if modern else nested(_DESCRIPTION, number(_SIZE, count)),
            attribute(_USERDATA, userdata((kind,), example=True)),
        )
    )
