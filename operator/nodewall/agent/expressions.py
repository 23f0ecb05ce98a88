"""A rule as the expressions that the kernel runs, from libnftables' JSON.

Every form that ``render`` draws is here, and tests/kernel/test_bytecode.py holds each against what libnftables makes
of it, in a real kernel. A form that is not exactly one of these is handed back.
"""

from collections.abc import Callable, Mapping, Sequence
from struct import pack
from typing import Any

from nodewall.agent.comparisons import (
    OWN_MARK,
    Comparison,
    Place,
    Statement,
    comparison,
    condition,
    joined,
    key,
    lookup,
    match,
    parts_of,
)
from nodewall.agent.encoding import UnknownFormError, number, string, verdict, whole
from nodewall.agent.netlink import attribute
from nodewall.agent.selectors import FIRST_REGISTER, MARK, expression, loaded, mark, masked

_LONGEST_PREFIX = 127
_TCP = 6
_PER_SECOND, _PACKETS, _NO_FLAGS = 1, 0, 0
_COUNTER = 1
_LAST = {"accept", "drop", "return", "jump", "goto", "reject"}
"""libnftables takes nothing behind these."""
_TCP_RESET, _ICMPX, _PORT_UNREACHABLE = 1, 2, 1


def rule(statements: Sequence[Mapping[str, Any]], place: Place) -> bytes:
    """All expressions of a rule. Raises UnknownFormError, and what comes of taking apart JSON of another shape."""
    words = [_word(each) for each in statements]
    if not words or any(word in _LAST for word, _ in words[:-1]):
        raise UnknownFormError("nothing, or something after the end")
    return b"".join(_encoded(each, place) for each in joined([comparison(each) or each for each in words]))


def _word(statement: Mapping[str, Any]) -> Statement:
    ((word, body),) = statement.items()
    return word, body


def _encoded(statement: Comparison | Statement, place: Place) -> bytes:
    if isinstance(statement, Comparison):
        return condition(statement, place)
    word, body = statement
    return _STATEMENTS[word](body, place)


def _dispatch(body: Any, place: Place) -> bytes:
    selector, name = body["key"], body["data"]
    if body.keys() == {"key", "data"} and name.startswith("@"):
        found = key(parts_of(selector), name, place, verdicts=True)
        return found + lookup(number(2, FIRST_REGISTER), number(3, 0), string(1, name[1:]))
    raise UnknownFormError("a verdict map")


def _count(body: Any, _place: Place) -> bytes:
    if not isinstance(body, str):
        raise UnknownFormError("a counter without a name")
    return expression("objref", number(1, _COUNTER), string(2, body))


def _limit(body: Any, _place: Place) -> bytes:
    match body:
        case {"rate": rate, "per": "second", "burst": burst, **rest} if rate and burst and not rest:
            times = attribute(1, pack(">Q", whole(rate))) + attribute(2, pack(">Q", _PER_SECOND))
            return expression("limit", times, number(3, whole(burst)), number(4, _PACKETS), number(5, _NO_FLAGS))
    raise UnknownFormError("a limit")


def _log(body: Any, _place: Place) -> bytes:
    match body:
        case {"prefix": str() as prefix, "group": group, "snaplen": snaplen, **rest} if not rest:
            where = attribute(1, pack(">H", whole(group)))
            return expression("log", string(2, prefix, _LONGEST_PREFIX), where, number(3, whole(snaplen)))
    raise UnknownFormError("a log")


def _mangle(body: Any, _place: Place) -> bytes:
    """The connection's mark: some bits kept, some of the others set."""
    match body:
        case {"key": key, "value": {"|": [{"&": [own, kept], **more}, bits], **others}, **rest} if (
            key == own == OWN_MARK
        ):
            if not whole(kept) & whole(bits) and not rest | more | others:
                return loaded(MARK) + masked(mark(kept), mark(bits)) + _SET_MARK
    raise UnknownFormError("a change of a packet")


_SET_MARK = expression("ct", number(2, 3), number(4, FIRST_REGISTER))


def _end(word: str) -> Callable[[Any, Place], bytes]:
    return lambda body, _place: expression("immediate", number(1, 0), verdict(2, {word: body}))


def _reject(body: Any, place: Place) -> bytes:
    if body == {"type": "tcp reset"} and place.known.transport == _TCP:
        return expression("reject", number(1, _TCP_RESET), attribute(2, b"\0"))
    if body == {"type": "icmpx", "expr": "port-unreachable"}:
        return expression("reject", number(1, _ICMPX), attribute(2, bytes((_PORT_UNREACHABLE,))))
    raise UnknownFormError("a reject")


_STATEMENTS: Mapping[str, Callable[[Any, Place], bytes]] = {
    "match": match,
    "vmap": _dispatch,
    "counter": _count,
    "limit": _limit,
    "log": _log,
    "mangle": _mangle,
    "reject": _reject,
} | {word: _end(word) for word in ("accept", "drop", "return", "jump", "goto")}
