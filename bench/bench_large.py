"""Clusters that are too large for an API server on this machine: the compiler alone, in processor time and memory."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.large import SHAPES
from bench.measure import Result, Together

ROOT = Path(__file__).parents[1]
UNITS = {"start": "s", "memory": "MB", "pod": "ms"}
"""All of it from nothing, the most memory resident after that, one pod that gets another address."""


def benchmarks() -> Iterator[Together]:
    for name in SHAPES:
        yield Together(tuple(f"large.{name}.{what}" for what in UNITS), partial(_measure, name))

    yield Together(("large.each.pod", "large.each.policy"), _each)


def _each() -> Iterator[Result]:
    """Memory for one pod and for one policy: what so many of them add to the rest."""
    neither, pods, both = (_run(name)["memory"] for name in ("neither", "pods", "cluster"))
    whole = SHAPES["cluster"]
    yield Result("large.each.pod", "kB", (pods - neither) * 1024 / whole.pods, None, None, 1)
    yield Result("large.each.policy", "kB", (both - pods) * 1024 / whole.policies, None, None, 1)


def _run(name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.large", name]
    found: dict[str, float] = json.loads(
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    )
    return found


def _measure(name: str) -> Sequence[Result]:
    found = _run(name)
    return [Result(f"large.{name}.{what}", unit, found[what], None, None, 1) for what, unit in UNITS.items()]
