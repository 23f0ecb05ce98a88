"""A log record is one line that a program can read, whatever a user wrote."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.telemetry import logs

NASTY = 'a\nb\r\x00\x1b[2J\x7f\x85\u2028"\\ \ud800'


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("no")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def written(form: logs.Format | None = logs.Format.JSON, stream: io.StringIO | None = None) -> io.StringIO:
    stream = stream or io.StringIO()
    logs.configure(logs.Level.DEBUG, form, stream)
    return stream


def record(message: object, *arguments: object, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("nodewall.test", logging.INFO, __file__, 1, message, arguments, None)
    made.created = 1_700_000_000.5
    vars(made).update(extra)
    return made


def as_json(made: logging.LogRecord) -> Any:
    line = logs.JsonFormatter().format(made)
    assert line.isascii()
    assert line.isprintable()
    return json.loads(line, parse_constant=pytest.fail)


def as_text(made: logging.LogRecord) -> str:
    return logs.TextFormatter().format(made)


def test_the_keys_of_a_json_line() -> None:
    assert as_json(record("applied %d rules", 3, fields={"node": "n1", "seconds": 0.5})) == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "info",
        "logger": "nodewall.test",
        "message": "applied 3 rules",
        "fields": {"node": "n1", "seconds": 0.5},
    }


def test_the_parts_of_a_text_line() -> None:
    line = as_text(record("applied %d rules", 3, fields={"node": "n1", "why": "two words", "rules": 3}))
    assert line == '2023-11-14T22:13:20.500Z INFO    nodewall.test: applied 3 rules node=n1 why="two words" rules=3'


def test_no_fields_no_key() -> None:
    assert "fields" not in as_json(record("x"))
    assert "exception" not in as_json(record("x"))


def test_control_characters_in_json_are_escapes() -> None:
    assert as_json(record(NASTY, fields={NASTY: NASTY}))["message"] == NASTY.replace("\ud800", "?")


@pytest.mark.parametrize("form", logs.Format)
def test_one_record_is_one_line(form: logs.Format) -> None:
    stream = written(form)
    logging.getLogger(NASTY).info(NASTY, extra={"fields": {NASTY: NASTY, "list": [NASTY], "map": {NASTY: NASTY}}})
    assert len(stream.getvalue().splitlines()) == 1


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_any_text_comes_back_from_json(message: str, fields: dict[str, str]) -> None:
    line = as_json(record("%s", message, fields=fields))
    assert line["message"] == message.encode("utf-8", "replace").decode()
    assert line.get("fields", {}) == fields


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else "bottom"


VALUES = [
    (None, None),
    (True, True),
    (-5, -5),
    (float("nan"), "nan"),
    (float("inf"), "inf"),
    (2**64, str(2**64)),
    (10**5000, "<int that cannot be shown>"),
    ((1, 2), [1, 2]),
    ({"b": {1: "x"}}, {"b": {"1": "x"}}),
    (frozenset({"a"}), ["a"]),
    (Unshowable(), "<Unshowable that cannot be shown>"),
    (ValueError("no"), "no"),
    (b"raw", "b'raw'"),
    (nested(4), [[["['bottom']"]]]),
]


@pytest.mark.parametrize(("value", "shown"), VALUES, ids=[type(value).__name__ for value, _ in VALUES])
def test_any_value_can_be_a_field(value: object, shown: object) -> None:
    assert as_json(record("x", fields={"value": value}))["fields"] == {"value": shown}


def test_a_line_is_bounded() -> None:
    huge = "x" * 1_000_000
    line = logs.JsonFormatter().format(record(huge, fields={"one": huge, "many": [0] * 1_000_000}))
    assert len(line) < 3 * logs.LONGEST_STRING


@pytest.mark.parametrize("fields", ["text", None, ["a"], 5])
def test_foreign_fields_are_left_out(fields: object) -> None:
    assert "fields" not in as_json(record("x", fields=fields))
    assert as_text(record("x", fields=fields)).endswith("nodewall.test: x")


MISTAKES = [("%d rules", ("many",)), ("%s and %s", ("one",)), ("no place", ("for this",)), ("%s", (Unshowable(),))]


@pytest.mark.parametrize(("message", "arguments"), MISTAKES)
def test_a_wrong_call_is_still_one_record(message: str, arguments: tuple[object, ...]) -> None:
    assert as_json(record(message, *arguments))["message"].startswith(message)
    assert len(as_text(record(message, *arguments)).splitlines()) == 1


def broken() -> None:
    raise ValueError(NASTY)


def test_a_traceback_is_part_of_the_json_line() -> None:
    stream = written()
    try:
        broken()
    except ValueError:
        logging.getLogger("nodewall").exception("failed")
    (line,) = stream.getvalue().splitlines()
    exception = json.loads(line)["exception"]
    assert exception.startswith("Traceback ")
    assert "raise ValueError(NASTY)" in exception


def test_a_traceback_in_text_cannot_pass_for_a_record() -> None:
    stream = written(logs.Format.TEXT)
    try:
        broken()
    except ValueError:
        logging.getLogger("nodewall").exception("failed")
    head, *rest = stream.getvalue().splitlines()
    assert head.endswith("nodewall: failed")
    assert rest
    assert [line for line in rest if not line.startswith("  | ")] == []


STREAMS = [(Terminal(), logs.Format.TEXT), (io.StringIO(), logs.Format.JSON)]


@pytest.mark.parametrize(("stream", "form"), STREAMS)
def test_a_terminal_gets_text_and_a_pipe_json(stream: io.StringIO, form: logs.Format) -> None:
    written(None, stream)
    logging.getLogger("nodewall").info("x")
    assert stream.getvalue().startswith("{") == (form is logs.Format.JSON)


def test_the_level_is_the_least_that_is_written() -> None:
    stream = io.StringIO()
    logs.configure(logs.Level.WARNING, logs.Format.JSON, stream)
    logging.getLogger("nodewall").info("no")
    logging.getLogger("nodewall").warning("yes")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["yes"]


def test_configuring_again_replaces() -> None:
    first, second = written(), written()
    logging.getLogger("nodewall").info("x")
    assert (first.getvalue(), len(second.getvalue().splitlines())) == ("", 1)


def test_the_stream_is_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form=logs.Format.JSON)
    logging.getLogger("nodewall").info("x")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["message"] == "x"


def test_a_python_warning_is_a_record() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        stream = written()
        warnings.warn("old\nthing", DeprecationWarning, stacklevel=1)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["logger"] == "py.warnings"


def test_the_chatter_of_libraries_is_left_out() -> None:
    stream = written()
    logging.getLogger("aiohttp.access").info("GET /healthz")
    assert stream.getvalue() == ""
    assert sys.stderr is not stream
