"""The locks are complete, hashed, and free of addresses, so that they install from any mirror and nothing else."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUN = PROJECT["dependencies"]
DEV = [*RUN, *PROJECT["optional-dependencies"]["dev"]]
LOCKS = {"run.txt": RUN, "dev.txt": DEV}


def entries(lock: str) -> list[str]:
    """Each requirement of a lock as one line, comments removed."""
    text = (ROOT / "requirements" / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def normal(requirement: str) -> str:
    """The bare distribution name, as package indexes compare names."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_is_pinned_and_hashed(lock: str) -> None:
    pinned = re.compile(r"[\w.-]+==\S+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [entry for entry in entries(lock) if not pinned.fullmatch(entry)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_no_addresses(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert re.findall(r".*(?:://|--find-links|--(?:extra-)?index-url|--trusted-host).*", text) == []


@pytest.mark.parametrize(("lock", "declared"), LOCKS.items())
def test_every_declared_dependency_is_locked(lock: str, declared: list[str]) -> None:
    assert {normal(each) for each in declared} - {normal(each) for each in entries(lock)} == set()


def test_both_locks_agree() -> None:
    pins = {name: {entry.split()[0] for entry in entries(name)} for name in LOCKS}
    assert pins["run.txt"] - pins["dev.txt"] == set()
