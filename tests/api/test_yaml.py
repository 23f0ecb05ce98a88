"""YAML as kubectl reads it, and bounded."""

from contextlib import suppress
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.api.yamltext import YamlError, documents, write


def load(text: str) -> list[Any]:
    return list(documents(text))


SCALARS: list[tuple[str, Any]] = [
    ("", None),
    ("~", None),
    ("null", None),
    ("true", True),
    ("yes", True),
    ("Off", False),
    ("n", False),
    ("'yes'", "yes"),
    ("yEs", "yEs"),
    ("80", 80),
    ("-5", -5),
    ("0x1F", 31),
    ("0o17", 15),
    ("017", 15),
    ("0b11", 3),
    ("0", 0),
    ("1_000", 1000),
    ("089", 89.0),
    ("1.5", 1.5),
    ("1e3", 1000.0),
    ('"80"', "80"),
    ("!!str 80", "80"),
    ("!!int 80", 80),
    ("12:30", "12:30"),
    ("2026-01-01", "2026-01-01"),
    ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    ("10.0.0.1", "10.0.0.1"),
    ("10.0.0.0/8", "10.0.0.0/8"),
    ("fd00::1", "fd00::1"),
    ("1.2.3", "1.2.3"),
    ("_", "_"),
    ("9" * 50, 1e50),
    ("9" * 400, "9" * 400),
    ("18446744073709551615", 18446744073709551615),
    ("|\n  a\n  b\n", "a\nb\n"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_a_scalar_is_read(text: str, value: Any) -> None:
    (found,) = load(f"a: {text}\n")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


STRUCTURES: list[tuple[str, list[Any]]] = [
    ("", []),
    ("# nothing\n", []),
    ("---\n---\na: 1\n", [None, {"a": 1}]),
    ("a: [1, {b: c}]\n---\n- x\n", [{"a": [1, {"b": "c"}]}, ["x"]]),
    ("a: {}\nb: []\n", [{"a": {}, "b": []}]),
    ("1: a\ny: b\n", [{"1": "a", "true": "b"}]),  # kubectl does so too
    ("x: &x {a: 1}\nv: *x\n", [{"x": {"a": 1}, "v": {"a": 1}}]),
    ("x: &x {a: 1, b: 2}\nv: {<<: *x, b: 3}\n", [{"x": {"a": 1, "b": 2}, "v": {"b": 3, "a": 1}}]),
    ("x: &x {a: 1}\nz: &z {c: 3}\nv: {<<: [*x, *z]}\n", [{"x": {"a": 1}, "z": {"c": 3}, "v": {"a": 1, "c": 3}}]),
    ("k: &k name\n*k : v\n", [{"k": "name", "name": "v"}]),
    ("'<<': 1\n", [{"<<": 1}]),
]


@pytest.mark.parametrize(("text", "values"), STRUCTURES)
def test_documents_are_read(text: str, values: list[Any]) -> None:
    assert load(text) == values


NINES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join(['*' + chr(97 + level)] * 9)}]\n" for level in range(9)
)
REFUSED: list[tuple[str, str]] = [
    ("a: b: c", "line 1"),
    ("a: 1\nb: [", "line"),
    ("a: 1\n\ta: 2", "line 2"),
    ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' stands there twice"),
    ("a: *nothing\n", "names nothing"),
    ("a: &a [*a]\n", "stands inside of what it names"),
    (NINES, "aliases unfold"),
    ("a: !!python/object/apply:os.system [x]\n", "not supported"),
    ("a: !!python/name:os.system\n", "not supported"),
    ("a: !secret x\n", "not supported"),
    ("a: !!int x\n", "not supported"),
    ("a: !!binary eA==\n", "not supported"),
    ("? [a]\n: b\n", "key must be a string"),
    ("~: b\n", "key must be a string"),
    ("a: {<<: 5}\n", "only mappings"),
    ("a: " + "[" * 150, "deeper than 100"),
    ("a: " + "{a: " * 150, "deeper than 100"),
    ("a: \x00", "line 1"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_a_text_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(YamlError, match=reason.replace("(", r"\(")) as caught:
        load(text)
    assert "\n" not in str(caught.value)


def test_bombs_are_refused_at_once() -> None:
    start = monotonic()
    for text in (NINES, "[" * 1_000_000, "{a: " * 500_000, "- " * 1_000_000):
        with pytest.raises(YamlError):
            load(text)
    assert monotonic() - start < 5


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_what_is_written_is_read(value: Any) -> None:
    assert load(write([value, value])) == [value, value]


@pytest.mark.parametrize("text", ["y", "N", "off", "1e3", "0x1f", "017", "1_0", "1234567e89", "9" * 50, ".5", "<<", ""])
def test_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    assert load(write([{text: text}])) == [{text: text}]
    assert write([[text]], explicit_start=False).strip()[2] in "\"'"


@given(st.text(alphabet="ab:-[]{}&*!<>|?,'\"#%@ \n\t012", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(YamlError):
        load(text)
