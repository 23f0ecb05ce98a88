"""Comparisons: the conditions of a rule, encoded.

What libnftables makes of a comparison depends on what the rule has asked before, and on its neighbours: that is kept
here, so that the kernel gets the same expressions from both.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nodewall.agent.definitions import ANONYMOUS, Definition, Sets
from nodewall.agent.elements import prefix_bounds
from nodewall.agent.encoding import UnknownFormError, number, string, value
from nodewall.agent.keytypes import KeyType
from nodewall.agent.selectors import (
    EQUAL,
    FIELDS,
    FIRST_REGISTER,
    HIGHEST,
    LOWEST,
    MARK,
    NETWORK,
    NETWORK_PROTOCOL,
    NOT_EQUAL,
    NOTHING,
    SEVERAL,
    STATE,
    TRANSPORT_PROTOCOL,
    Context,
    Field,
    asked,
    compared,
    concatenated,
    expression,
    field_of,
    loaded,
    mark,
    masked,
)

Anonymous = Callable[[KeyType, Sequence[Any]], int]
"""Makes a set without a name of these values in the same batch, and returns its id there."""
Statement = tuple[str, Any]
"""As libnftables' JSON has it: a word and what belongs to it."""

_OPERATIONS = {"==": EQUAL, "!=": NOT_EQUAL}
_STATE, OWN_MARK = {"ct": {"key": "state"}}, {"ct": {"key": "mark"}}
_STATES = {"established": 2, "related": 4}


@dataclass(slots=True)
class Place:
    """A place in a rule: ``known`` holds for any packet that gets here, ``sets`` are those it may name.

    ``modern``: encode as libnftables does from 1.1.2 on, which differs where the meaning does not.
    """

    anonymous: Anonymous
    sets: Sets
    modern: bool
    known: Context = NOTHING

    def learn(self, field: Field, operation: int, data: bytes) -> None:
        """A rule that has asked for a protocol itself need not ask again."""
        if field is NETWORK_PROTOCOL and operation == EQUAL:
            self.known = replace(self.known, network=data[0])
        if field is TRANSPORT_PROTOCOL and operation == EQUAL:
            self.known = replace(self.known, transport=data[0])

    def asking(self, *fields: Field) -> bytes:
        """The questions that must come before these fields are read."""
        found = b""
        for field in fields:
            question, self.known = asked(field, self.known)
            found += question
        return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field with an operand."""

    field: Field
    operator: str
    operand: Any

    @property
    def constant(self) -> bool:
        """Whether libnftables would look for a neighbour to compare at once."""
        of_set = isinstance(self.operand, str) and self.operand.startswith("@")
        of_many = isinstance(self.operand, dict) and "prefix" not in self.operand
        return bool(self.field.base) and not of_set and not of_many


def comparison(statement: Statement) -> Comparison | None:
    """None: it is something else."""
    word, body = statement
    if word != "match" or body.keys() != {"op", "left", "right"} or body["op"] not in _OPERATIONS:
        return None
    if body["left"].keys() & {"concat", "&"}:
        return None
    return Comparison(field_of(body["left"]), body["op"], body["right"])


# --- neighbours -------------------------------------------------------------------------------------------------------


def type_and_code(written: Any) -> bytes:
    return b"".join(FIELDS["payload", "icmp", "type"].encode(each) for each in written)


_JOINED = {
    FIELDS["payload", name, "type"]: (
        FIELDS["payload", name, "code"],
        replace(FIELDS["payload", name, "type"], length=2, encode=type_and_code),
    )
    for name in ("icmp", "icmpv6")
}


def joined(statements: Sequence[Comparison | Statement]) -> Iterator[Comparison | Statement]:
    """An ICMP type and its code become one comparison, as libnftables makes it of neighbours in a header.

    It looks for them past other comparisons. No others are ever drawn, so more than one of a header is handed back;
    also of a transport header's that exclude, which before 1.1 it joins as well, into something else.
    """
    done, seen = False, set[tuple[int, str]]()
    for this, following in zip(statements, [*statements[1:], None], strict=True):
        if done:
            done = False
            continue
        both = _both(this, following)
        done = both is not None
        found = both or this
        if isinstance(found, Comparison) and found.constant and (found.operator, found.field.base) != ("!=", NETWORK):
            place = found.field.base, found.operator
            if place in seen:
                raise UnknownFormError("neighbours in a header")
            seen.add(place)
        yield found


def _both(this: Comparison | Statement, following: Comparison | Statement | None) -> Comparison | None:
    if not (
        isinstance(this, Comparison) and isinstance(following, Comparison) and this.constant and following.constant
    ):
        return None
    code, both = _JOINED.get(this.field, (None, this.field))
    if following.field is not code or "!=" in (this.operator, following.operator):
        return None
    return Comparison(both, "==", (this.operand, following.operand))


# --- one field --------------------------------------------------------------------------------------------------------


def condition(comparison: Comparison, place: Place) -> bytes:
    return place.asking(comparison.field) + _compared(comparison, place)


def _compared(comparison: Comparison, place: Place) -> bytes:
    field, operand = comparison.field, comparison.operand
    operation = _OPERATIONS[comparison.operator]
    match operand:
        case str() if operand.startswith("@"):
            _held_by(operand, place, field)
            return loaded(field) + _looked_up(operand, inverted=operation == NOT_EQUAL)
        case {"prefix": {"addr": address, "len": int() as bits, **more}, **rest} if field.of_spans and not more | rest:
            return _within_prefix(field, operation, field.encode(address), bits)
        case {"range": [first, last], **rest} if operation == EQUAL and field.of_spans and not rest:
            return loaded(field) + _within(field.encode(first), field.encode(last), modern=place.modern)
        case {"set": [_, _, *_] as members, **rest} if operation == EQUAL and field.kind and field.many and not rest:
            ident = place.anonymous(field.kind, members)
            if field is TRANSPORT_PROTOCOL:
                place.known = replace(place.known, transport=SEVERAL)
            return loaded(field) + lookup(number(2, FIRST_REGISTER), string(1, ANONYMOUS), number(4, ident))
    data = field.encode(operand)
    place.learn(field, operation, data)
    return loaded(field) + compared(operation, data)


def _held_by(reference: str, place: Place, *fields: Field, verdicts: bool = False) -> Definition:
    """The set that is referred to, which must be one of such values: the kernel compares no more than lengths, and
    those rounded up."""
    found = place.sets[reference[1:]]
    if found.types != tuple(field.kind for field in fields) or found.verdicts != verdicts:
        raise UnknownFormError("a set of something else")
    return found


def _looked_up(reference: str, *, inverted: bool = False) -> bytes:
    flags = number(5, 1) if inverted else b""
    return lookup(number(2, FIRST_REGISTER), string(1, reference[1:]), flags)


def lookup(*data: bytes) -> bytes:
    return expression("lookup", *data)


def _within_prefix(field: Field, operation: int, address: bytes, bits: int) -> bytes:
    """Where a prefix ends between two bytes only those before are read."""
    prefix_bounds(address, bits)
    if bits % 8 == 0 and field.base:
        return loaded(field, length=bits // 8) + compared(operation, address[: bits // 8])
    width = len(address) * 8
    mask = ((1 << width) - (1 << width - bits)).to_bytes(len(address))
    return loaded(field) + masked(mask, bytes(len(address))) + compared(operation, address)


def _within(first: bytes, last: bytes, *, modern: bool) -> bytes:
    if first >= last:
        raise UnknownFormError("not a range")
    if modern:
        return expression("range", number(1, FIRST_REGISTER), number(2, EQUAL), value(3, first), value(4, last))
    return compared(LOWEST, first) + compared(HIGHEST, last)


# --- what is no comparison of one field -------------------------------------------------------------------------------


def match(body: Mapping[str, Any], place: Place) -> bytes:
    """Several fields as one key, states, and bits of the mark. Raises UnknownFormError, KeyError."""
    operator, left, right = body["op"], body["left"], body["right"]
    if body.keys() != {"op", "left", "right"}:
        raise UnknownFormError("a match")
    match operator, left, right:
        case "==", {"concat": _}, str() if right.startswith("@"):
            return key(parts_of(left), right, place) + _looked_up(right)
        case "in", _, [_, *_] if left == _STATE:
            wanted = mark(sum({_STATES[name] for name in right}))
            return loaded(STATE) + masked(wanted, mark(0)) + compared(NOT_EQUAL, mark(0))
        case "==", {"&": [source, mask]}, _ if source == OWN_MARK and len(left) == 1:
            return loaded(MARK) + masked(mark(mask), mark(0)) + compared(EQUAL, mark(right))
    raise UnknownFormError("a match")


def parts_of(selector: Any) -> Sequence[Any]:
    """Of a key: several fields, or one."""
    match selector:
        case {"concat": [first, second, *more], **rest} if not rest:
            return [first, second, *more]
    return [selector]


def key(parts: Sequence[Any], holder: str, place: Place, *, verdicts: bool = False) -> bytes:
    """To be looked up in a set or a map. For one of intervals libnftables before 1.1.2 turns the one byte of a protocol
    into network order, which does nothing; so it does with whatever else is in host order, which is never drawn."""
    fields = tuple(map(field_of, parts))
    of_spans = _held_by(holder, place, *fields, verdicts=verdicts).interval
    if of_spans and not all(field.of_spans for field in fields[1:]):
        raise UnknownFormError("intervals in host order")
    found = [*concatenated(fields)]
    if of_spans and not place.modern and fields[0] is TRANSPORT_PROTOCOL:
        found.insert(1, _TURNED)
    return place.asking(*fields) + b"".join(found)


_TURNED = expression(
    "byteorder", number(1, FIRST_REGISTER), number(2, FIRST_REGISTER), number(3, 1), number(4, 1), number(5, 2)
)
