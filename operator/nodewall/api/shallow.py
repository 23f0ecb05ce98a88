"""JSON that is nested deeper than Python reads, which is some ten times less deep than what an API server stores.

Whoever may create an object may nest ``metadata.managedFields`` like that. What we read is never there.
"""

import re

DEEPEST = 100
"""Levels that are kept. A pod has a dozen."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', re.DOTALL)
_OPENING, _CLOSING = frozenset(b"[{"), frozenset(b"]}")


def shallow(text: bytes) -> bytes:
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
