"""JSON that is nested deeper than Python reads, which is some ten times less deep than what an API server stores.

Whoever may create an object may nest ``metadata.managedFields`` like that. What we read is never there.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Raw

T = TypeVar("T")
DEEPEST = 100
"""Levels that are kept. A pod has a dozen."""

Text = bytes | memoryview | Raw

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', re.DOTALL)
_OPENING, _CLOSING = frozenset(b"[{"), frozenset(b"]}")


def cut(text: bytes) -> bytes:
    """The same with null for each list and each object that is deeper than that. Of what is no JSON, anything."""
    parts, kept, depth = list[bytes](), 0, 0
    for found in _TOKEN.finditer(text):
        begin, end = found.span()
        if text[begin] in _OPENING:
            if depth == DEEPEST:
                parts += text[kept:begin], b"null"
                kept = len(text)
            depth += 1
        elif text[begin] in _CLOSING:
            depth -= 1
            if depth == DEEPEST:
                kept = end
    return b"".join((*parts, text[kept:]))


def read(decode: Callable[[Any], T], text: Text) -> T:
    """What ``decode`` makes of JSON, be it nested too deep. Raises what that raises.

    How deep is too deep follows from how many calls we are in ourselves, so no reader can rely on another's success.
    """
    try:
        return decode(text)
    except RecursionError:
        return decode(type(text)(cut(bytes(text))))
