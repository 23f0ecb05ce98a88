"""docs/semantics.md names what guards each statement; nothing of that may rot."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.truth.cases import ALL

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "semantics.md"
NUMBERS = [str(number) for number in range(1, 61)]
_ROW = re.compile(r"\| (?P<key>[^|]+) \| (?P<text>[^|]+) \| (?P<guards>[^|]*) \|")
_SEPARATOR = "<br>"


def _rows() -> dict[str, list[str]]:
    """Statement -> its guards: ``*name of a table*``, `` `path` `` of tables, or `` `path::test` ``."""
    found: dict[str, list[str]] = {}
    for line in DOCUMENT.read_text().splitlines():
        row = _ROW.fullmatch(line)
        if row and row["text"] != "Statement":
            assert row["key"] not in found, f"{row['key']} is there twice"
            found[row["key"]] = [guard for guard in row["guards"].split(_SEPARATOR) if guard]
    return found


ROWS = _rows()


def _guards() -> Iterator[tuple[str, str]]:
    return ((key, guard) for key, guards in ROWS.items() for guard in guards)


@cache
def _functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_statement_is_there_once() -> None:
    assert [key for key in ROWS if key.isdigit()] == NUMBERS


@pytest.mark.parametrize("key", ROWS)
def test_every_statement_has_a_guard(key: str) -> None:
    assert ROWS[key]


@pytest.mark.parametrize(("key", "guard"), [(k, g) for k, g in _guards() if g.startswith("`")])
def test_every_named_guard_exists(key: str, guard: str) -> None:
    path, _, name = guard.strip("`").partition("::")
    assert (ROOT / path).is_file(), f"statement {key}: there is no {path}"
    if name:
        assert name in _functions(path), f"statement {key}: {path} has no {name}"
    else:
        assert path.startswith("tests/truth/cases/"), f"statement {key}: a file guards it only as one of tables"


@pytest.mark.parametrize("key", NUMBERS)
def test_every_table_is_named_where_it_guards(key: str) -> None:
    named = sorted(guard.strip("*") for guard in ROWS[key] if guard.startswith("*"))
    assert named == sorted(case.name for case in ALL if int(key) in case.statements)


def test_tables_of_a_section_are_named_by_their_file() -> None:
    sections = {str(statement) for case in ALL for statement in case.statements if isinstance(statement, str)}
    assert sections <= ROWS.keys()
