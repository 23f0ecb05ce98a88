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


def _measure(name: str) -> Sequence[Result]:
    command = [sys.executable, "-m", "bench.large", name]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    return [Result(f"large.{name}.{what}", unit, found[what], None, None, 1) for what, unit in UNITS.items()]
