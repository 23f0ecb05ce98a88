"""What a benchmark is, how it is run, and what comes out of it."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One number of ours, beside the same number of what we compare with."""

    name: str
    unit: str
    """Unit of every value, such as `ms` or `1/s`."""
    ours: Callable[[], float]
    """Does one run and returns its value."""
    baseline: Callable[[], float] | None = None
    """The same work done the other way; None when there is nothing to compare with."""
    runs: int = 5


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over all runs, as they are written to build/bench.json."""

    name: str
    unit: str
    ours: float
    baseline: float | None
    ratio: float | None
    """`ours / baseline`; whether small is good depends on the unit."""
    runs: int


def measure(benchmark: Benchmark) -> Result:
    """Run both sides in turns, so that a machine that gets slower is slower for both; the first run warms up."""
    benchmark.ours()
    if benchmark.baseline:
        benchmark.baseline()
    ours, baseline = [], []
    for _ in range(benchmark.runs):
        ours.append(benchmark.ours())
        if benchmark.baseline:
            baseline.append(benchmark.baseline())
    return _result(benchmark, statistics.median(ours), statistics.median(baseline) if baseline else None)


def _result(benchmark: Benchmark, ours: float, baseline: float | None) -> Result:
    ratio = ours / baseline if baseline else None
    return Result(benchmark.name, benchmark.unit, ours, baseline, ratio, benchmark.runs)
