"""Names from content: equal meaning gives equal names, and no text of a user ever becomes a name.

A name that two selectors shared would hand one tenant's peers to another, and everybody who may write a policy chooses
what is hashed. 80 bits keep a chosen second preimage out of reach; 48 would be a night's work for one graphics card.
"""

import json
from collections.abc import Generator, Iterator
from dataclasses import fields
from enum import Enum
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from nodewall.model.policy import Direction, PolicyRef

_HEX = 20
_RULE_HEX = 10
"""A rule id only labels records and counters: nothing is decided by it, and a log prefix is short."""

_ENTRIES = 16
"""Of a tuple, encoded at a time. Most classes have no more rules, and are named in one go."""


def content(value: object) -> object:
    """A value as nested JSON lists; unlike ``repr`` the same on every version of Python."""
    if value is None or isinstance(value, str | int | Enum):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, tuple):
        return [content(part) for part in value]
    if isinstance(value, IPv4Network | IPv6Network):
        return str(value)
    return [type(value).__name__, *(content(getattr(value, each.name)) for each in fields(value))]  # type: ignore[arg-type]


_json = json.JSONEncoder(separators=(",", ":")).encode


def _digest(value: object) -> str:
    return sha256(_json(content(value)).encode()).hexdigest()


def name(prefix: str, value: object) -> str:
    """``prefix`` and 20 hex digits: a DNS label, and an nft identifier that no keyword can be."""
    return prefix + _digest(value)[:_HEX]


def naming(prefix: str, value: object) -> Generator[None, None, str]:
    """``name`` of a dataclass that may be long, in small steps."""
    parts = [getattr(value, each.name) for each in fields(value)]  # type: ignore[arg-type]
    if not any(map(_is_long, parts)):
        return name(prefix, value)
    digest = sha256()
    for text in _texts(type(value).__name__, parts):
        digest.update(text.encode())
        yield
    return prefix + digest.hexdigest()[:_HEX]


def _is_long(part: object) -> bool:
    return isinstance(part, tuple) and len(part) > _ENTRIES


def _texts(kind: str, parts: list[Any]) -> Iterator[str]:
    """The JSON of ``content`` in order, of each part some entries at a time."""
    yield _json([kind])[:-1]
    for part in parts:
        yield ","
        if not _is_long(part):
            yield _json(content(part))
            continue
        for start in range(0, len(part), _ENTRIES):
            yield ("," if start else "[") + _json(content(part[start : start + _ENTRIES]))[1:-1]
        yield "]"
    yield "]"


def rule_id(ref: PolicyRef, direction: Direction, index: int) -> str:
    """10 hex digits that stay the same while the rule keeps its place in its policy."""
    return _digest((ref, direction, index))[:_RULE_HEX]


def isolation_id(namespace: str, direction: Direction, policies: tuple[str, ...]) -> str:
    """10 hex digits for the deny of all NetworkPolicies that isolate a pod together."""
    return _digest(("isolation", namespace, direction, policies))[:_RULE_HEX]
