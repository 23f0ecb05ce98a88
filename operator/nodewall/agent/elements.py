"""Transactions that only add elements to hash sets and maps or remove them, straight to the kernel.

A pod that comes or goes is such a transaction, and the most frequent of all. libnftables reads the headers of every
set, counter and chain of the table before each one (1.3 us apiece, 5 ms for a table of 110 pods with 10 rules each),
only to learn how keys are built. Ours show it: an address, two addresses, a protocol and a port, or all three. Whatever
looks different is for libnftables.

Layouts: linux/netfilter/nfnetlink.h and nf_tables.h.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from struct import pack
from typing import Any

from nodewall.agent.netlink import REQUEST, Request, attribute, nested

MOST = 1_000
"""Elements: what one socket buffer surely holds. With more of them libnftables' fixed cost does not matter."""

_NFTABLES = 10
_BEGIN, _END = 0x10, 0x11
_CREATE = 0x400
_VERBS = {"add": (_NFTABLES << 8 | 12, REQUEST | _CREATE), "delete": (_NFTABLES << 8 | 14, REQUEST)}
_INET = 1
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_ELEMENT, _KEY, _DATA = 1, 1, 2
_VALUE, _VERDICT = 1, 2
_CODE, _CHAIN = 1, 2
_VERDICTS = {"jump": -3, "goto": -4}
_AT_ONCE = 400
"""Elements to a message: a list of attributes has a length of 16 bits."""


def encoded(commands: Sequence[Mapping[str, Any]]) -> list[Request] | None:
    """A transaction in libnftables' JSON as one batch; None: libnftables has to do it."""
    requests: list[Request] = []
    left = MOST
    for command in commands:
        ((verb, subject),) = command.items()
        body = subject.get("element")
        if body is None or verb not in _VERBS or len(body["elem"]) > left:
            return None
        left -= len(body["elem"])
        elements = [_element(each, verb) for each in body["elem"]]
        if b"" in elements:
            return None
        requests += _requests(verb, body, elements)
    frame = pack(">BBH", 0, 0, _NFTABLES)
    return [Request(_BEGIN, REQUEST, frame), *requests, Request(_END, REQUEST, frame)]


def _requests(verb: str, body: Mapping[str, Any], elements: list[bytes]) -> Iterator[Request]:
    kind, flags = _VERBS[verb]
    head = pack(">BBH", _INET, 0, 0) + _named(_TABLE, body["table"]) + _named(_SET, body["name"])
    for first in range(0, len(elements), _AT_ONCE):
        yield Request(kind, flags, head + nested(_ELEMENTS, *elements[first : first + _AT_ONCE]))


def _named(kind: int, name: str) -> bytes:
    return attribute(kind, name.encode() + b"\0")


def _element(element: Any, verb: str) -> bytes:
    """b"" when it is none of those known here. What a map leads to is not asked for when a key goes."""
    key, verdict = element if isinstance(element, list) else (element, None)
    value, data = _key(key), _data(verdict) if verdict and verb == "add" else b""
    if not value or (verdict and verb == "add" and not data):
        return b""
    return nested(_ELEMENT, nested(_KEY, attribute(_VALUE, value)), data)


def _data(verdict: Mapping[str, Any]) -> bytes:
    ((word, body),) = verdict.items()
    if word not in _VERDICTS:
        return b""
    code = attribute(_CODE, pack(">i", _VERDICTS[word]))
    return nested(_DATA, nested(_VERDICT, code, _named(_CHAIN, body["target"])))


def _key(key: Any) -> bytes:
    if isinstance(key, str):
        return _address(key)
    match key.get("concat") if isinstance(key, dict) else None:
        case [str() as one, str() as other]:
            return _joined(_address(one), _address(other))
        case [str() as one, int() as protocol, int() as port]:
            return _joined(_address(one), _protocol_and_port(protocol, port))
        case [int() as protocol, int() as port]:
            return _protocol_and_port(protocol, port)
    return b""


def _joined(*parts: bytes) -> bytes:
    return b"".join(parts) if all(parts) else b""


def _address(text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:  # the name of a link, most likely
        return b""


def _protocol_and_port(protocol: int, port: int) -> bytes:
    """Each part of a key begins at a multiple of four bytes."""
    return pack(">B3xH2x", protocol, port)
