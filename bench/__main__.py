"""`python -m bench`: find the benchmarks, run them, show and write what came out.

Exit status 1 when one of them failed or none was found; what did come out is shown and written all the same.
"""

import importlib
import json
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.table import Table

import bench
from bench.measure import Benchmark, Result, measure

OUTPUT = Path(__file__).parents[1] / "build" / "bench.json"


def modules(package: ModuleType = bench) -> list[str]:
    """Names of the modules that have benchmarks, sorted."""
    names = (each.name for each in pkgutil.iter_modules(package.__path__))
    return sorted(f"{package.__name__}.{name}" for name in names if name.startswith("bench_"))


def wanted(benchmarks: Iterable[Benchmark], parts: Sequence[str]) -> Iterator[Benchmark]:
    """Those whose name contains one of the parts; all without parts."""
    return (each for each in benchmarks if not parts or any(part in each.name for part in parts))


def run(module: str, parts: Sequence[str], results: list[Result]) -> bool:
    """Measure a module's benchmarks into `results`; False, with the traceback shown, when one of them failed."""
    try:
        for benchmark in wanted(importlib.import_module(module).benchmarks(), parts):
            print(f"{benchmark.name} ...", file=sys.stderr, flush=True)
            results.append(measure(benchmark))
    except Exception:  # noqa: BLE001  one broken benchmark must not hide the others
        print(f"{module} failed:", file=sys.stderr)
        traceback.print_exc()
        return False
    return True


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


def write(results: Sequence[Result], path: Path) -> None:
    """Write all results as a JSON list, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(each) for each in results], indent=2) + "\n")
    partial.replace(path)


def main(parts: Sequence[str], package: ModuleType = bench, output: Path = OUTPUT) -> int:
    results: list[Result] = []
    succeeded = [run(module, parts, results) for module in modules(package)]
    write(results, output)
    if not results:
        print("no benchmarks found", file=sys.stderr)
        return 1
    Console().print(table(results))
    return 0 if all(succeeded) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
