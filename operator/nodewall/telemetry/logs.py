"""Log records on standard error: one JSON object per line, or one readable line per record on a terminal.

Any module logs with the standard library and passes values beside the message, never inside it:

    log.info("rule set applied", extra={"fields": {"node": node, "rules": 12}})

Keys of a JSON line: `time` (UTC, milliseconds), `level`, `logger`, `message`, `fields` when there are any and
`exception` (the traceback) when there is one. A record is one line whatever its strings contain, and formatting never
raises: what cannot be shown is shown as well as possible, because the logging package would print a traceback instead.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import Final, TextIO

from nodewall.telemetry.lines import clamp, one_line

LONGEST_STRING: Final = 8192
"""Bytes of one string value in a record; a 512 KB object in an error message must not become a 512 KB line."""
DEEPEST: Final = 4
"""Levels of mappings and lists in a field; what lies deeper is written as its text."""
WIDEST: Final = 64
"""Members of one mapping or list in a field; the rest is left out."""

_LARGEST_NUMBER: Final = 2**64  # readers of JSON keep no more; not a number and infinity are not below it either
_BARE: Final = re.compile(r"[\w./:@%+-]+", re.ASCII)

# Libraries that say at "info" what only their own developers need to know.
_QUIET: Final = {"aiohttp.access": logging.WARNING, "asyncio": logging.WARNING, "kubernetes_asyncio": logging.WARNING}


class Format(StrEnum):
    """How records are written."""

    JSON = "json"
    TEXT = "text"


class Level(StrEnum):
    """The least level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure(level: Level = Level.INFO, form: Format | None = None, stream: TextIO | None = None) -> None:
    """Send every record of this process to `stream` (standard error), replacing whatever was configured before.

    Without a format a terminal gets text and everything else JSON.
    """
    target = sys.stderr if stream is None else stream
    chosen = form or (Format.TEXT if target.isatty() else Format.JSON)
    handler = logging.StreamHandler(target)
    handler.setFormatter(_FORMATTERS[chosen]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object, pure ASCII, without a line break."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clamp(_message(record), LONGEST_STRING),
        }
        if fields := _fields(record):
            line["fields"] = _plain(fields, DEEPEST)
        if trace := _trace(self, record):
            line["exception"] = clamp(trace, LONGEST_STRING)
        return json.dumps(line, allow_nan=False)


class TextFormatter(logging.Formatter):
    """A record as `time LEVEL logger: message key=value`; a traceback follows on lines that begin with a bar."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {one_line(str(key))}={_word(value)}" for key, value in _fields(record).items())
        message = one_line(clamp(_message(record), LONGEST_STRING))
        head = f"{_time(record)} {record.levelname:<7} {one_line(record.name)}: {message}{fields}"
        return "\n".join([head, *(f"  | {one_line(line)}" for line in _trace(self, record).splitlines())])


_FORMATTERS: Final[Mapping[Format, type[logging.Formatter]]] = {
    Format.JSON: JsonFormatter,
    Format.TEXT: TextFormatter,
}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  any object's __str__ or a wrong format string; the log never fails for it
        return f"{_text(record.msg)} {_text(record.args)}"


def _fields(record: logging.LogRecord) -> Mapping[object, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    return formatter.formatException(record.exc_info)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  see _message
        return f"<{type(value).__name__} that cannot be shown>"


def _plain(value: object, depth: int) -> object:
    """`value` as JSON types only: bounded in depth, width and length, unknown objects as their text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < _LARGEST_NUMBER:
        return value
    if depth and isinstance(value, Mapping):
        pairs = islice(value.items(), WIDEST)
        return {clamp(_text(key), LONGEST_STRING): _plain(item, depth - 1) for key, item in pairs}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth - 1) for item in islice(value, WIDEST)]
    return clamp(_text(value), LONGEST_STRING)


def _word(value: object) -> str:
    """A field's value for people: bare when it is one plain word, otherwise as JSON."""
    plain = _plain(value, DEEPEST)
    if isinstance(plain, str) and _BARE.fullmatch(plain):
        return plain
    return one_line(json.dumps(plain, ensure_ascii=False))
