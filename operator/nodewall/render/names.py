"""Names, comments and log prefixes: the only places where a string from outside comes near nft.

Names of chains, sets and counters are a prefix of ours (a bare keyword such as ``ip6`` is refused as a name) and
either an id that is plainly safe or a hash of it. Comments carry policy names, so they are cut to what every nft
version takes and stripped of whatever could end a string or a line.
"""

import re
from enum import StrEnum
from hashlib import sha256

from nodewall.model.policy import Action

COMMENT_BYTES = 128
"""nft refuses a longer rule comment."""
PREFIX_BYTES = 127
"""nft refuses a longer log prefix; 140 bytes abort the process inside libnftables 1.0.6."""

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}\Z")
_SAFE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}\Z")
_UNPRINTABLE = re.compile(r"[^ !#-\[\]-~]")  # keeps printable ASCII without the quote and the backslash


def digest(content: str) -> str:
    """A name for content: equal content, equal name. 96 bits, because users choose what is hashed."""
    return sha256(content.encode()).hexdigest()[:24]


def name(prefix: str, ident: str) -> str:
    """``prefix_ident``, or ``prefix__hash`` where the id holds anything but letters, digits and dashes (so the two
    never meet).
    """
    return f"{prefix}_{ident}" if _SAFE_ID.match(ident) else f"{prefix}__{digest(ident)}"


def checked(identifier: str) -> str:
    """An identifier that goes into nft text as it is. ValueError: not one of ours."""
    if not _SAFE_NAME.match(identifier):
        raise ValueError(f"not a name of ours: {identifier!r}")
    return identifier


def plain(text: str, limit: int) -> str:
    """``text`` as at most ``limit`` printable ASCII characters; a newline, a quote or any other letter is ``?``."""
    return _UNPRINTABLE.sub("?", text)[:limit]


def comment(text: str) -> str:
    return plain(text, COMMENT_BYTES)


class Recorded(StrEnum):
    """What a rule that writes a log record does to the packet, or would do in Audit mode."""

    ACCEPT = "accept"
    DENY = "deny"
    WOULD_ACCEPT = "would-accept"
    WOULD_PASS = "would-pass"  # noqa: S105 - a verdict, not a password
    WOULD_DENY = "would-deny"


WOULD = {Action.ACCEPT: Recorded.WOULD_ACCEPT, Action.PASS: Recorded.WOULD_PASS, Action.DENY: Recorded.WOULD_DENY}


def log_prefix(verdict: Recorded, rule_id: str) -> str:
    """What the kernel puts before a log record: what the rule does, and its id.

    The id would do to look the rule up, but a rule keeps its id when its action changes, and a record may be read
    after that. So the rule itself says what it did.
    """
    return plain(f"{verdict}:{rule_id}", PREFIX_BYTES)


def read_log_prefix(prefix: str) -> tuple[Recorded, str]:
    """(what the rule did, its id). ValueError: not a prefix of ours."""
    verdict, _, rule_id = prefix.partition(":")
    return Recorded(verdict), rule_id


def quoted(text: str) -> str:
    """A string for nft text. ``plain`` left nothing in it that could end it."""
    return f'"{plain(text, COMMENT_BYTES)}"'
