"""A copy of the tree in which something may be broken."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
_PARTS = ("operator", "tests", "e2e", "bench", "crds", "pyproject.toml")
_LONGEST = 300.0
PASSED, FAILED = 0, 1
"""Exit codes of pytest that say something about the code; any other says that the tests did not run."""


@contextmanager
def copy() -> Iterator[Path]:
    with TemporaryDirectory(prefix="nodewall-fault-") as made:
        for part in _PARTS:
            source, target = ROOT / part, Path(made) / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        yield Path(made)


def apply(patch: Path, tree: Path, *, only_check: bool = False) -> str:
    """Apply the patch; returns what git says against it, "" when it went (or would go) in."""
    check = ["--check"] if only_check else []
    done = subprocess.run(
        ["git", "apply", "-C1", *check, str(patch)],
        cwd=tree,
        capture_output=True,
        text=True,
        env=_outside_git(),
        check=False,
    )
    return done.stderr.strip()


def run_tests(tree: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """(exit code of pytest, its last lines), with the package of ``tree``."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "operator"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider", *arguments],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LONGEST,
        check=False,
    )
    return done.returncode, "\n".join((done.stdout + done.stderr).strip().splitlines()[-6:])


def _outside_git() -> dict[str, str]:
    """Or a repository around the copy would make git apply the patch to paths of its own."""
    return {**os.environ, "GIT_CEILING_DIRECTORIES": "/", "GIT_DIR": os.devnull}
