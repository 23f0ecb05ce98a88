"""What a benchmark is, how it is run, and what comes out of it."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace


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
    """What is written to build/bench.json; the samples behind it go to build/bench-runs.json."""

    name: str
    unit: str
    ours: float
    baseline: float | None
    ratio: float | None
    """`ours / baseline`, or the median of that of each turn; whether small is good depends on the unit."""
    runs: int
    samples: Sequence[float] = field(default=(), compare=False, repr=False)
    baseline_samples: Sequence[float] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Together:
    """Numbers that come out of one measurement, which knows best itself in which order its parts take turns."""

    names: tuple[str, ...]
    measure: Callable[[], Iterable[Result]]
    """What it yields before it fails is kept."""


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
    return compared(benchmark.name, benchmark.unit, ours, baseline)


def compared(name: str, unit: str, ours: Sequence[float], baseline: Sequence[float] = ()) -> Result:
    """The medians of both sides."""
    mine, other = statistics.median(ours), statistics.median(baseline) if baseline else None
    return Result(name, unit, mine, other, mine / other if other else None, len(ours), tuple(ours), tuple(baseline))


def paired(name: str, unit: str, ours: Sequence[float], baseline: Sequence[float]) -> Result:
    """As `compared`, of sides that took turns: the ratio is the median of each turn's own, because what slows a machine
    down for a while slows both sides of a turn. ValueError when one side had more turns than the other.
    """
    ratio = statistics.median(mine / other for mine, other in zip(ours, baseline, strict=True))
    return replace(compared(name, unit, ours, baseline), ratio=ratio)


def point(name: str, values: Sequence[float], share: float, unit: str = "ms") -> Result:
    """The least value that so many of the values do not exceed: 0.5 is the median, 1.0 the largest."""
    ordered = sorted(values)
    chosen = ordered[max(round(share * len(ordered)) - 1, 0)]
    return Result(name, unit, chosen, None, None, len(ordered), tuple(values))
