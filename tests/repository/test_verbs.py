"""The verbs that the README promises exist, and the CI entry is the README's test command."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERBS = {
    "setup": "scripts/setup",
    "demo": "-m e2e demo",
    "cluster": "-m e2e cluster",
    "cluster-down": "-m e2e cluster-down",
    "test": "-m pytest",
    "test-trixie": "-m e2e.trixie",
    "check": "lint-imports",
    "fix": "ruff check --fix",
    "faults": "-m tests.faults",
    "bench": "-m bench",
    "soak": "-m pytest -m soak",
}


def make(*arguments: str) -> str:
    """What make would run; without the flags of an outer make, which may be running these tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", "--dry-run", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("verb", "command"), VERBS.items())
def test_a_verb_sets_up_and_then_does_its_work(verb: str, command: str) -> None:
    lines = make(verb).splitlines()
    assert lines[0] == "scripts/setup"
    assert any(command in line for line in lines)


def test_make_test_checks_first() -> None:
    assert make("test").startswith(make("check"))


def test_the_ci_entry_is_the_test_command_of_the_readme() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test </dev/null")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
