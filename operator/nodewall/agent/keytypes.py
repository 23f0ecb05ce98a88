"""The types that keys and operands have: how a value becomes bytes, and how a set says so.

The userdata of a set is for whoever lists it; the kernel only keeps it. What libnftables writes there depends on its
version (see ``spelling``), and so does what is written here: the table must look the same whichever of both made it.
Layout: libnftnl's udata.h, type-length-value with one byte each.
"""

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import pack
from typing import Any

from nodewall.agent.encoding import UnknownFormError

HOST_ORDER, NETWORK_ORDER, _NO_ORDER = 1, 2, 0
_KEY_ORDER, _DATA_ORDER, _KEY_EXAMPLE, _DATA_EXAMPLE, _DATA_INTERVAL = 0, 1, 3, 4, 6
_EXPRESSION, _DETAILS = 0, 1
_OF_VERDICT, _OF_PAYLOAD, _OF_META, _OF_CONCATENATION = 1, 7, 9, 13
_LINK_LENGTH = 16
_LINK = re.compile(r"[A-Za-z0-9_.-]{1,15}\Z")
_BITS_OF_A_TYPE = 6
_MOST_PARTS = 3


def ipv4(written: Any) -> bytes:
    return _address(socket.AF_INET, written)


def ipv6(written: Any) -> bytes:
    return _address(socket.AF_INET6, written)


def _address(family: int, written: Any) -> bytes:
    try:
        return socket.inet_pton(family, written)
    except (OSError, TypeError, ValueError) as error:
        raise UnknownFormError("not an address of this family") from error


def byte(written: Any) -> bytes:
    return _whole_number(written, 1)


def port(written: Any) -> bytes:
    return _whole_number(written, 2)


def _whole_number(written: Any, length: int) -> bytes:
    if type(written) is not int or not 0 <= written < 1 << 8 * length:  # a bool is an int too
        raise UnknownFormError(f"not a number of {length} bytes")
    return written.to_bytes(length, "big")


def link(written: Any) -> bytes:
    """The name of a link or the kind of one, padded to the length that the kernel compares."""
    if not isinstance(written, str) or not _LINK.match(written):
        raise UnknownFormError("not the name of a link")
    return written.encode().ljust(_LINK_LENGTH, b"\0")


def tagged(kind: int, *parts: bytes) -> bytes:
    """One entry of userdata."""
    data = b"".join(parts)
    return pack("BB", kind, len(data)) + data


def _word(kind: int, number: int) -> bytes:
    return tagged(kind, pack("=I", number))


def _payload(protocol: int, field: int) -> bytes:
    """By libnftables' own numbers of the protocol and of the field in it."""
    return _word(_EXPRESSION, _OF_PAYLOAD) + tagged(_DETAILS, _word(0, protocol), _word(1, field))


def _meta(key: int) -> bytes:
    return _word(_EXPRESSION, _OF_META) + tagged(_DETAILS, _word(0, key))


@dataclass(frozen=True, slots=True)
class KeyType:
    """``number`` is libnftables' own, ``length`` in bytes; ``example`` an expression of the type, as userdata.

    ``alone``: may be all that a set is of.
    """

    number: int
    length: int
    order: int
    encode: Callable[[Any], bytes]
    example: bytes
    alone: bool = True

    @property
    def spans(self) -> bool:
        """Whether there is something from one value to another."""
        return self.encode is not link


TYPES = {
    "ipv4_addr": KeyType(7, 4, NETWORK_ORDER, ipv4, _payload(12, 11)),
    "ipv6_addr": KeyType(8, 16, NETWORK_ORDER, ipv6, _payload(13, 8)),
    "inet_proto": KeyType(12, 1, HOST_ORDER, byte, _meta(16), alone=False),
    "inet_service": KeyType(13, 2, NETWORK_ORDER, port, _payload(11, 2)),
    "icmpv6_type": KeyType(29, 1, NETWORK_ORDER, byte, _payload(14, 1)),
    "ifname": KeyType(41, _LINK_LENGTH, HOST_ORDER, link, _meta(6)),
}

Types = tuple[KeyType, ...]
"""The parts of a key."""


def named(names: Any) -> Types:
    """The types that a set's definition names. Raises UnknownFormError, KeyError."""
    found = (TYPES[names],) if isinstance(names, str) else tuple(TYPES[name] for name in names)
    if len(found) > _MOST_PARTS or (len(found) == 1 and not (isinstance(names, str) and found[0].alone)):
        raise UnknownFormError("types in another way than they are drawn")
    return found


def padded(data: bytes) -> bytes:
    """Each part of a concatenated key begins at a multiple of four bytes."""
    return data.ljust(padded_length(len(data)), b"\0")


def padded_length(length: int) -> int:
    return -(-length // 4) * 4


def number_of(types: Types) -> int:
    total = 0
    for each in types:
        total = total << _BITS_OF_A_TYPE | each.number
    return total


def length_of(types: Types) -> int:
    return types[0].length if len(types) == 1 else sum(padded_length(each.length) for each in types)


def userdata(types: Types, *, verdicts: bool = False, example: bool = True) -> bytes:
    """What tells a listing how a set was declared. A concatenation says always that it is one; ``example``: also what
    of."""
    order = types[0].order if len(types) == 1 else _NO_ORDER
    parts = [_word(_KEY_ORDER, order)]
    if verdicts:
        parts.append(_word(_DATA_ORDER, _NO_ORDER))
    if example or len(types) > 1:
        parts.append(tagged(_KEY_EXAMPLE, _example(types, whole=example)))
    if verdicts and example:
        parts.append(tagged(_DATA_EXAMPLE, _word(_EXPRESSION, _OF_VERDICT), tagged(_DETAILS)))
    if verdicts:
        parts.append(_word(_DATA_INTERVAL, 0))
    return b"".join(parts)


def _example(types: Sequence[KeyType], *, whole: bool) -> bytes:
    if len(types) == 1:
        return types[0].example
    parts = [tagged(place, each.example) for place, each in enumerate(types)] if whole else []
    return _word(_EXPRESSION, _OF_CONCATENATION) + tagged(_DETAILS, *parts)
