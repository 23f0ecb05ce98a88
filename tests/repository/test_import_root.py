"""`operator/` is an import root only: as a package it would shadow the standard library's `operator`.

With an `__init__.py` in it the interpreter dies importing `enum`; with tests in it pytest registers it as that module.
"""

import fnmatch
from pathlib import Path

OPERATOR = Path(__file__).parents[2] / "operator"
TEST_FILES = ("test_*.py", "*_test.py", "conftest.py")


def test_operator_is_no_package() -> None:
    assert list(OPERATOR.glob("*.py")) == []


def test_operator_holds_one_package() -> None:
    assert [path.parent.name for path in OPERATOR.glob("*/__init__.py")] == ["nodewall"]


def test_operator_holds_no_tests() -> None:
    files = OPERATOR.rglob("*.py")
    assert [str(path) for path in files if any(fnmatch.fnmatch(path.name, pattern) for pattern in TEST_FILES)] == []
