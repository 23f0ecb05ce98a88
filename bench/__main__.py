"""`python -m bench`: find the benchmarks, run them, show and write what came out.

Exit status 1 when one of them failed or none was found; what did come out is shown and written all the same.
"""

import importlib
import json
import pkgutil
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table

import bench
from bench.machine import describe
from bench.measure import Benchmark, Result, Together, measure

OUTPUT = Path(__file__).parents[1] / "build" / "bench.json"
FIELDS = ("name", "unit", "ours", "baseline", "ratio", "runs")


def modules(package: ModuleType = bench) -> list[str]:
    """Names of the modules that have benchmarks, sorted."""
    names = (each.name for each in pkgutil.iter_modules(package.__path__))
    return sorted(f"{package.__name__}.{name}" for name in names if name.startswith("bench_"))


def wanted(benchmarks: Iterable[Benchmark | Together], parts: Sequence[str]) -> Iterator[Benchmark | Together]:
    """Those of whose names one contains one of the parts; all without parts."""
    return (each for each in benchmarks if not parts or any(part in name for part in parts for name in names(each)))


def names(benchmark: Benchmark | Together) -> tuple[str, ...]:
    return benchmark.names if isinstance(benchmark, Together) else (benchmark.name,)


def run(module: str, parts: Sequence[str], results: list[Result]) -> bool:
    """Measure a module's benchmarks into `results`; False, with the traceback shown, when one of them failed."""
    succeeded = True
    with _shown(module) as found:
        for benchmark in wanted(importlib.import_module(module).benchmarks(), parts):
            title = ", ".join(names(benchmark))
            began = time.monotonic()
            print(f"{title} ...", file=sys.stderr, flush=True)
            with _shown(title) as one:
                results.extend(benchmark.measure() if isinstance(benchmark, Together) else [measure(benchmark)])
            succeeded &= one.well
            print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return succeeded and found.well


@dataclass(slots=True)
class _Outcome:
    well: bool = True


@contextmanager
def _shown(what: str) -> Iterator[_Outcome]:
    """An error inside is shown and ends there: one broken benchmark must not hide the others."""
    outcome = _Outcome()
    try:
        yield outcome
    except Exception:  # noqa: BLE001
        outcome.well = False
        print(f"{what} failed:", file=sys.stderr)
        traceback.print_exc()


def table(results: Sequence[Result]) -> Table:
    columns = Table("benchmark", "unit", title="medians")
    for header in ("ours", "baseline", "ratio", "runs"):
        columns.add_column(header, justify="right")
    for each in results:
        numbers = (number(value) for value in (each.ours, each.baseline, each.ratio))
        columns.add_row(each.name, each.unit, *numbers, str(each.runs))
    return columns


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def write(results: Sequence[Result], before: Any, path: Path, kept: "Kept | None" = None) -> None:
    """Write all results as a JSON list, and beside it all samples with what the machine was; each whole or not at all.

    ``before``: the machine before the first measurement. ``kept``: what was measured earlier, and stays where it was
    not measured now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    found = [{field: getattr(each, field) for field in FIELDS} for each in results]
    samples = {each.name: {"ours": each.samples, "baseline": each.baseline_samples} for each in results}
    if kept:
        found = [each for each in kept.results if each["name"] not in samples] + found
        samples = {**kept.samples, **samples}
    _dump(path, found)
    _dump(_beside(path), {"before": before, "after": describe(), "samples": samples})


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier run has written."""

    results: list[dict[str, Any]]
    samples: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Kept | None":
        """None when there was none."""
        if not path.exists() or not _beside(path).exists():
            return None
        return cls(json.loads(path.read_text()), json.loads(_beside(path).read_text())["samples"])


def _beside(path: Path) -> Path:
    return path.with_stem(f"{path.stem}-runs")


def _dump(path: Path, value: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    partial.replace(path)


def main(parts: Sequence[str], package: ModuleType = bench, output: Path = OUTPUT) -> int:
    results: list[Result] = []
    before, succeeded = describe(), True
    kept = Kept.read(output) if parts else None
    for module in modules(package):
        succeeded &= run(module, parts, results)
        write(results, before, output, kept)  # what is there so far is not lost when the rest is interrupted
    write(results, before, output, kept)
    if not results:
        print("no benchmarks found", file=sys.stderr)
        return 1
    Console().print(table(results))
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
