"""The patches, and what they say about themselves."""

import shlex
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Fault:
    """``tests``: arguments of pytest; the first failure is enough."""

    path: Path
    what: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def faults(names: tuple[str, ...] = ()) -> list[Fault]:
    """All of them by name, or those named. :raises ValueError: a header is missing, or a name leads nowhere."""
    found = {path.stem: path for path in sorted(HERE.glob("*.patch"))}
    if unknown := set(names) - found.keys():
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}")
    return [_fault(path) for name, path in found.items() if not names or name in names]


def _fault(path: Path) -> Fault:
    headers = dict(line.split(": ", 1) for line in path.read_text().split("\n--- ", 1)[0].splitlines() if ": " in line)
    if headers.keys() != {"Fault", "Tests"}:
        raise ValueError(f"{path.name} must begin with Fault: and Tests:")
    return Fault(path, headers["Fault"], tuple(shlex.split(headers["Tests"])))
