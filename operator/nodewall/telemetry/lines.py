"""Text that comes from a cluster's users, made safe for one line of a log, an Event or a health page.

A label, a comment or an error message that quotes them may hold line breaks, terminal escapes or invisible marks that
reorder what is shown. Whoever can write such text must not be able to write a second log record with it.
"""

import unicodedata
from functools import lru_cache
from typing import Final

ELLIPSIS: Final = "..."
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that can end a line, steer a terminal, reorder text, or cannot be encoded: controls, invisible
formatting, lone surrogates, line and paragraph separators."""


@lru_cache(maxsize=1024)
def _shown(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def one_line(text: str) -> str:
    """`text` with every character that could leave its line written as an escape (`\\n`, `\\x1b`, `\\u2028`)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def clamp(text: str, limit: int) -> str:
    """`text` cut to at most `limit` bytes of UTF-8, never inside a character; what was cut ends in `...`."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode("utf-8")
    return encoded[: limit - len(ELLIPSIS)].decode("utf-8", "ignore") + ELLIPSIS
