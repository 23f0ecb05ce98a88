"""YAML text <-> JSON values, the way kubectl reads it, and with bounds.

Built from parser events with a stack of our own, because the usual loaders recurse (a deep document ends the
process), unfold aliases without a limit (a few lines become gigabytes), take the last of two equal keys, and read
``12:30`` as a number.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import yaml

from nodewall.model.errors import NodewallError

DEEPEST = 100
"""Levels of nesting."""
MOST_ALIASED = 100_000
"""Values that aliases may add to one text."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(NodewallError):
    """Text that is not YAML as Kubernetes takes it. ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        self.line = line
        super().__init__(f"line {line}: {message}")


def documents(text: str) -> Iterator[Any]:
    """Each document as a JSON value. :raises YamlError:"""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
            if isinstance(event, yaml.DocumentEndEvent):
                yield builder.finish()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(error.problem or "not YAML", mark.line + 1 if mark else 1) from None
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split()), 1) from None


# --- structure --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Open:
    """A collection that is being read. ``size`` counts its values, itself included."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    size: int = 1
    key: str | None = None
    merges: bool = False
    """Whether the next value is to be merged instead of stored under ``key``."""
    merged: list[dict[str, Any]] = field(default_factory=list)


_MERGE = "<<"


class _Builder:
    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliased = 0
        self._root: Any = None

    def finish(self) -> Any:
        root, self._root = self._root, None
        self._anchors.clear()
        return root

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._start(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._end(line)

    def _start(self, event: "yaml.MappingStartEvent | yaml.SequenceStartEvent", line: int) -> None:
        if len(self._open) >= DEEPEST:
            raise YamlError(f"nested deeper than {DEEPEST} levels", line)
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{'map' if mapping else 'seq'}"):
            raise YamlError(f"tag {event.tag!r} is not supported", line)
        if self._awaits_key():
            raise YamlError("a key must be a string", line)
        self._open.append(_Open({} if mapping else [], event.anchor))

    def _end(self, line: int) -> None:
        done = self._open.pop()
        if isinstance(done.value, dict):
            for source in done.merged:
                done.value.update({key: value for key, value in source.items() if key not in done.value})
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.value, done.size)
        self._put(done.value, done.size, line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        value = _scalar_value(event, line)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        if not self._awaits_key():
            self._put(value, 1, line)
        elif event.value == _MERGE and event.implicit[0]:
            self._open[-1].merges = True
        else:
            self._key(_key_text(value), line)

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise YamlError(f"alias {anchor!r} stands inside of what it names, or names nothing", line)
        value, size = self._anchors[anchor]
        self._aliased += size
        if self._aliased > MOST_ALIASED:
            raise YamlError(f"aliases unfold to more than {MOST_ALIASED} values", line)
        if self._awaits_key():
            self._key(_key_text(value), line)
        else:
            self._put(value, size, line)

    def _awaits_key(self) -> bool:
        top = self._open[-1] if self._open else None
        return top is not None and isinstance(top.value, dict) and top.key is None and not top.merges

    def _key(self, key: str | None, line: int) -> None:
        top = self._open[-1]
        if key is None:
            raise YamlError("a key must be a string", line)
        if key in top.value:
            raise YamlError(f"key {key!r} stands there twice", line)
        top.key = key

    def _put(self, value: Any, size: int, line: int) -> None:
        if not self._open:
            self._root = value
            return
        top = self._open[-1]
        top.size += size
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.merges:
            top.merged += _merge_sources(value, line)
        elif top.key is not None:
            top.value[top.key] = value
        top.key, top.merges = None, False


def _merge_sources(value: Any, line: int) -> list[dict[str, Any]]:
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in sources):
        raise YamlError("only mappings can be merged", line)
    return sources


# --- scalars ----------------------------------------------------------------------------------------------------------

_TAG = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    spelling: value
    for value, words in ((True, ("y", "yes", "true", "on")), (False, ("n", "no", "false", "off")))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.?[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_LONGEST_NUMBER = 400
"""Characters. Beyond it no number is finite; a bound for what is converted."""


def _scalar_value(event: yaml.ScalarEvent, line: int) -> Any:
    if event.tag in (f"{_TAG}str", "!") or (event.tag is None and not event.implicit[0]):
        return event.value
    if event.tag is None:
        return plain(event.value)
    value = plain(event.value)
    wanted = {f"{_TAG}int": int, f"{_TAG}bool": bool, f"{_TAG}float": float, f"{_TAG}null": type(None)}.get(event.tag)
    if wanted is None or type(value) is not wanted:
        raise YamlError(f"tag {event.tag!r} is not supported here", line)
    return value


def plain(text: str) -> Any:
    """The value of a scalar without quotes: null, boolean, number or text. Times stay text."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    digits = text.replace("_", "")
    if len(digits) > _LONGEST_NUMBER or not digits or text[0] == "_":
        return text
    if _INTEGER.fullmatch(digits) and -(2**63) <= (whole := _integer(digits.lower())) < 2**64:
        return whole
    if _FLOAT.fullmatch(digits) and isfinite(real := float(digits)):
        return real
    return text


def _integer(digits: str) -> int:
    """A leading zero alone means octal, as in YAML 1.1."""
    unsigned = digits.lstrip("+-")
    octal = len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1] not in "xob"
    return int(digits, 8) if octal else int(digits, 0)


def _key_text(value: Any) -> str | None:
    """Keys of JSON are strings; None for what cannot be one."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else None


# --- values -> text ---------------------------------------------------------------------------------------------------

_SAFE_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SAFE_DUMPER):  # type: ignore[misc]
    """Quotes whatever kubectl would not read as text: PyYAML writes a name like ``y`` or ``1e3`` without quotes."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's name
        return True


def _represent_text(dumper: Any, text: str) -> yaml.Node:
    quoted = plain(text) != text
    node: yaml.Node = dumper.represent_scalar(f"{_TAG}str", text, style='"' if quoted else None)
    return node


_Dumper.add_representer(str, _represent_text)


def write(values: Iterable[object], *, width: int = 10_000, explicit_start: bool = True) -> str:
    """Documents of JSON values, their keys in the order given."""
    text: str = yaml.dump_all(values, Dumper=_Dumper, sort_keys=False, width=width, explicit_start=explicit_start)
    return text
