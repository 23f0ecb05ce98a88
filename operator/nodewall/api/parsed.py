"""What reading an object gives: a value that is always usable, and the problems met on the way.

Reading never raises for what an object says, however wrong; it raises ``InvalidObjectError`` only when there is
nothing to name. A reader returns None for a part that it cannot use, having said why in the ``Report``; its caller
decides what that closes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from nodewall.api import shallow
from nodewall.model.errors import BadInputError, Problem

T = TypeVar("T")
S = TypeVar("S")


class InvalidObjectError(BadInputError):
    """Something that is not even an object with a name."""


class Projection(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Base of the wire forms of objects that we only look at: unknown fields are skipped while parsing."""


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """Base of the wire forms of policies and of our own kinds: an unknown field may narrow a rule, so it is never
    ignored.
    """


class Meta(Projection, frozen=True, gc=False):
    """What an object's metadata says about the object itself. ``namespace`` is "" for cluster-scoped kinds."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """``value`` acts as semantics.md says under "Broken parts" for each of ``problems``.

    ``subject_broken``: which pods the policy is about (or its place in the order) cannot be read, so whoever keeps
    the last accepted value of this policy keeps that in force instead of ``value``.
    """

    value: T
    meta: Meta
    problems: tuple[Problem, ...] = ()
    subject_broken: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Collects the problems of one object while it is read."""

    problems: list[Problem] = field(default_factory=list)

    def add(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


_WHERE = re.compile(r"(?P<what>.*?)(?: - at `(?P<key>key in )?\$?(?P<path>.*)`)?", re.DOTALL)


def located(error: msgspec.ValidationError, at: str) -> tuple[str, str]:
    """(JSON path, message) of a conversion error below ``at``."""
    found = _WHERE.fullmatch(str(error))
    what, key, path = (found["what"], found["key"], found["path"]) if found else (str(error), None, None)
    what = what.replace("Object contains", "contains").replace("Object missing", "misses").replace("`", "'")
    what = what.replace(" | null", "").replace("Expected", "expected")
    return (at + (path or "")).lstrip("."), f"key: {what}" if key else what


def convert(raw: object, form: type[S], at: str, report: Report) -> S | None:
    """``raw`` as ``form``, or None with the reason reported."""
    try:
        return msgspec.convert(raw, form)
    except msgspec.ValidationError as error:
        report.add(*located(error, at))
        return None


def decode(body: bytes | memoryview | msgspec.Raw | Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object in ``body``. :raises InvalidObjectError: it is not one."""
    raw: Any = body
    if not isinstance(body, Mapping):
        try:
            raw = shallow.read(msgspec.json.decode, body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidObjectError(f"not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise InvalidObjectError("not an object")
    return raw


def text(raw: object) -> str:
    """``raw`` when it is a string, else ""."""
    return raw if isinstance(raw, str) else ""


def mapping(raw: object) -> Mapping[str, Any]:
    """``raw`` when it is a JSON object, else an empty one."""
    return raw if isinstance(raw, dict) else {}


def meta_of(raw: Mapping[str, Any], namespaced: bool) -> Meta:
    """Identity of an object; the namespace of a namespaced one is "default" unless given, as for kubectl.

    :raises InvalidObjectError: the object has no name.
    """
    metadata = mapping(raw.get("metadata"))
    name = text(metadata.get("name"))
    if not name:
        raise InvalidObjectError("must have a name", path="metadata.name")
    generation = metadata.get("generation")
    return Meta(
        name=name,
        namespace=(text(metadata.get("namespace")) or "default") if namespaced else "",
        uid=text(metadata.get("uid")),
        generation=generation if isinstance(generation, int) else 0,
        resource_version=text(metadata.get("resourceVersion")),
    )


@dataclass(frozen=True, slots=True)
class Pieces:
    """The fields of an object that could be converted, by Python name, and the names of those that could not.

    ``strange``: there are others, which may narrow what these say.
    """

    values: Mapping[str, Any]
    broken: frozenset[str]
    strange: bool = False


def pieces(raw: object, form: type[msgspec.Struct], at: str, report: Report, *, raw_fields: frozenset[str]) -> Pieces:
    """Convert each field of ``form`` by itself, so that a broken one leaves the others. ``raw_fields`` stay as they
    are.
    """
    fields = msgspec.structs.fields(form)
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        report.add(at, "expected an object")
        return Pieces({}, frozenset(one.name for one in fields))
    values: dict[str, Any] = {}
    broken: set[str] = set()
    for one in fields:
        value, path = raw.get(one.encode_name), f"{at}.{one.encode_name}"
        if one.name in raw_fields:
            values[one.name] = value
        elif value is None:
            if one.required:
                report.add(path, "must be given")
                broken.add(one.name)
        elif (converted := convert(value, one.type, path, report)) is None:
            broken.add(one.name)
        else:
            values[one.name] = converted
    strange = sorted(raw.keys() - {one.encode_name for one in fields})
    for unknown in strange:
        report.add(f"{at}.{unknown}", "unknown field")
    return Pieces(values, frozenset(broken), bool(strange))
