"""Keys and elements of sets and maps."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from struct import pack
from typing import Any

from nodewall.agent.encoding import UnknownFormError, number, value, verdict, whole
from nodewall.agent.keytypes import KeyType, Types, padded, tagged
from nodewall.agent.netlink import attribute, nested

_KEY, _DATA, _FLAGS, _USERDATA, _KEY_END = 1, 2, 3, 6, 10
_END_OF_INTERVAL = number(_FLAGS, 1)
_EVERYTHING_ELSE = number(_FLAGS, 2)
_OPEN_ENDED = attribute(_USERDATA, tagged(1, pack("=I", 1)))
_ELEMENT = 1
_MOST_BYTES = 60_000
"""A list of attributes has a length of 16 bits."""


def listed(elements: Iterable[bytes]) -> Iterator[bytes]:
    """Lists of elements, each short enough for one message."""
    found: list[bytes] = []
    size = 0
    for element in elements:
        size += len(element)
        if size > _MOST_BYTES:
            yield b"".join(found)
            found, size = [], len(element)
        found.append(element)
    yield b"".join(found)


def plain(element: Any, types: Types) -> bytes:
    """An element of a hash set: a key."""
    return nested(_ELEMENT, value(_KEY, _key(element, types)))


def leading(element: Any, types: Types) -> bytes:
    """An element of a verdict map: a key and the chain it leads to, if any."""
    written, where = element
    if not where.keys() & {"jump", "goto", "continue"}:
        raise UnknownFormError("an end")
    return nested(_ELEMENT, _sought(written, types), verdict(_DATA, where))


def sought(written: Any, types: Types) -> bytes:
    """The same without where it leads, which is not asked for when it goes."""
    return nested(_ELEMENT, _sought(written, types))


def _sought(written: Any, types: Types) -> bytes:
    return _EVERYTHING_ELSE if written == "*" else value(_KEY, _key(written, types))


def _key(written: Any, types: Types) -> bytes:
    if len(types) == 1:
        return types[0].encode(written)
    return b"".join(padded(each.encode(part)) for part, each in zip(_parts(written), types, strict=True))


def _parts(written: Any) -> Sequence[Any]:
    match written:
        case {"concat": list() as parts, **rest} if not rest:
            return parts
    raise UnknownFormError("not several parts")


# --- sets of intervals ------------------------------------------------------------------------------------------------


def intervals(written: Sequence[Any], types: Types) -> Iterator[bytes]:
    """The elements of a new interval set. Of a concatenation each has two keys, its first and its last; of one part
    every interval is a key where it begins and a key where it is over.
    """
    if len(types) > 1:
        return (_span_of_parts(_parts(each), types) for each in written)
    return _ends([_bounds(each, types[0]) for each in written])


def _span_of_parts(parts: Sequence[Any], types: Types) -> bytes:
    spans = [_bounds(part, each) for part, each in zip(parts, types, strict=True)]
    first, last = (b"".join(map(padded, ends)) for ends in zip(*spans, strict=True))
    return nested(_ELEMENT, value(_KEY, first), value(_KEY_END, last))


def _ends(spans: Sequence[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Ascending, with something between any two. Like libnftables: what is before the first ends too, and an interval
    up to the highest value has no end, but says so."""
    if any(this[1] >= following[0] or _after(this[1]) == following[0] for this, following in pairwise(spans)):
        raise UnknownFormError("intervals that touch, or are not in order")
    if any(spans[0][0]):
        yield nested(_ELEMENT, _END_OF_INTERVAL, value(_KEY, bytes(len(spans[0][0]))))
    for first, last in spans:
        after = _after(last)
        yield nested(_ELEMENT, value(_KEY, first), b"" if any(after) else _OPEN_ENDED)
        if any(after):
            yield nested(_ELEMENT, _END_OF_INTERVAL, value(_KEY, after))


def _after(key: bytes) -> bytes:
    """The next higher one; nothing but zeros after the highest."""
    return ((int.from_bytes(key) + 1) % (1 << len(key) * 8)).to_bytes(len(key))


def _bounds(written: Any, kind: KeyType) -> tuple[bytes, bytes]:
    match written:
        case {"range": [first, last], **rest} if kind.spans and not rest:
            return _in_order(kind.encode(first), kind.encode(last))
        case {"prefix": {"addr": address, "len": int() as bits, **more}, **rest} if kind.spans and not rest | more:
            return prefix_bounds(kind.encode(address), bits)
    return kind.encode(written), kind.encode(written)


def _in_order(first: bytes, last: bytes) -> tuple[bytes, bytes]:
    if first > last:
        raise UnknownFormError("a range backwards")
    return first, last


def prefix_bounds(address: bytes, bits: int) -> tuple[bytes, bytes]:
    """First and last address. Not for prefixes with anything behind them, of nothing and of everything."""
    hosts = len(address) * 8 - whole(bits)
    number = int.from_bytes(address)
    if not 0 < hosts < len(address) * 8 or number & ((1 << hosts) - 1):
        raise UnknownFormError("not a plain prefix")
    return address, (number | ((1 << hosts) - 1)).to_bytes(len(address))
