"""Truth tables: who reaches whom on which port, stated in a few lines and compared with what is measured.

A table begins all open; `closed` and `opened` return a new one with some cells changed. Patterns are those of a shell
on the endpoints' names (`x/*`, `*/a`), and the last statement about a cell counts::

    table = Table.of(pods, [tcp(80), udp(53)]).closed(target="x/*").opened(source="x/*", target="x/*")
    await_table(prober, table)

Cells of an endpoint towards itself are left out: such packets never leave it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from e2e.probe import PATIENT_TIMEOUT, Endpoint, Observation, Port, Probe, Prober, Verdict

_LETTERS = {
    Verdict.OPEN: "o",
    Verdict.TIMEOUT: "x",
    Verdict.REFUSED: "r",
    Verdict.UNREACHABLE: "u",
    Verdict.MISROUTED: "?",
}
LEGEND = "o open  x timeout  r refused  u unreachable  ? answered by somebody else  a!b expected a, observed b"

Pattern = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Statement:
    """One line of a table; None means any."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    port: Port | None
    family: int | None
    verdict: Verdict

    def covers(self, probe: Probe) -> bool:
        """Whether it says anything about this cell."""
        return (
            self.port in (None, probe.port)
            and self.family in (None, probe.family)
            and any(fnmatchcase(probe.source.name, pattern) for pattern in self.source)
            and any(fnmatchcase(probe.target.name, pattern) for pattern in self.target)
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Expected verdicts for every source, target, port and family. `statements` are in order; all open without any."""

    sources: tuple[Endpoint, ...]
    targets: tuple[Endpoint, ...]
    ports: tuple[Port, ...]
    families: tuple[int, ...] = (4, 6)
    statements: tuple[Statement, ...] = ()

    @classmethod
    def of(
        cls,
        endpoints: Iterable[Endpoint],
        ports: Iterable[Port],
        *,
        targets: Iterable[Endpoint] | None = None,
        families: Iterable[int] = (4, 6),
    ) -> "Table":
        """All endpoints towards each other, or towards other `targets`."""
        sources = tuple(endpoints)
        return cls(sources, sources if targets is None else tuple(targets), tuple(ports), tuple(families))

    def closed(
        self,
        source: Pattern = "*",
        target: Pattern = "*",
        *,
        port: Port | None = None,
        family: int | None = None,
        by: Verdict = Verdict.TIMEOUT,
    ) -> "Table":
        """These cells are closed, by a drop unless `by` says otherwise. LookupError when there is no such cell."""
        return self._with(Statement(_patterns(source), _patterns(target), port, family, by))

    def opened(
        self,
        source: Pattern = "*",
        target: Pattern = "*",
        *,
        port: Port | None = None,
        family: int | None = None,
    ) -> "Table":
        """These cells are open. LookupError when there is no such cell."""
        return self._with(Statement(_patterns(source), _patterns(target), port, family, Verdict.OPEN))

    def probes(self) -> list[Probe]:
        """Every cell that both ends have an address for."""
        return [
            Probe(source, target, port, family)
            for family in self.families
            for port in self.ports
            for source in self.sources
            for target in self.targets
            if source.name != target.name and source.address(family) and target.address(family)
        ]

    def expected(self) -> dict[Probe, Verdict]:
        """The verdict of every cell."""
        return {probe: self._verdict(probe) for probe in self.probes()}

    def _verdict(self, probe: Probe) -> Verdict:
        said = (each.verdict for each in reversed(self.statements) if each.covers(probe))
        return next(said, Verdict.OPEN)

    def _with(self, statement: Statement) -> "Table":
        # A misspelt name would otherwise make a case that states less than it seems to.
        if not any(statement.covers(probe) for probe in self.probes()):
            raise LookupError(f"no cell of the table is meant by {statement}")
        return replace(self, statements=(*self.statements, statement))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was stated and what was measured."""

    table: Table
    expected: Mapping[Probe, Verdict]
    observed: Mapping[Probe, Observation]
    asked: int = field(default=1)

    def wrong(self) -> list[Probe]:
        """The cells that differ."""
        return [probe for probe, verdict in self.expected.items() if self.observed[probe].verdict is not verdict]

    def __str__(self) -> str:
        wrong = self.wrong()
        head = f"{len(wrong)} of {len(self.expected)} cells differ (measured {self.asked} times)"
        lines = [
            f"  {p.source.name} -> {p.target.name} {p.port} IPv{p.family} ({p.target.address(p.family)}): "
            f"expected {self.expected[p]}, observed {self.observed[p].verdict} {self.observed[p].seen_source}".rstrip()
            for p in wrong[:40]
        ]
        grids = render(self.table, self._cell)
        return "\n".join([head, *lines, LEGEND, grids])

    def _cell(self, probe: Probe) -> str:
        expected, observed = self.expected[probe], self.observed[probe].verdict
        return _LETTERS[expected] if expected is observed else f"{_LETTERS[expected]}!{_LETTERS[observed]}"


def compare(prober: Prober, table: Table) -> Comparison:
    """Measure the table once."""
    expected = table.expected()
    # More patience only helps when the rest is as stated; while rules are still on their way it would cost seconds.
    quick = Comparison(table, expected, prober.measure(list(expected)))
    late = [probe for probe in quick.wrong() if quick.observed[probe].verdict is Verdict.TIMEOUT]
    if not late or len(late) < len(quick.wrong()):
        return quick
    again = prober.measure(late, timeout=PATIENT_TIMEOUT)
    return replace(quick, observed={**quick.observed, **again})


def await_table(prober: Prober, table: Table, *, within: float = 10.0, stays: float = 0.3) -> Comparison:
    """Measure until all cells are as stated, and then for at least `stays` seconds and once more that they stay so.

    Raises AssertionError with the whole matrix, expected and observed, when they are not after `within` seconds, or
    when they are at first and then change.
    """
    end = time.monotonic() + within
    asked = 1
    while (result := compare(prober, table)).wrong():
        if time.monotonic() >= end:
            raise AssertionError(f"not as stated after {within:g} s: {replace(result, asked=asked)}")
        asked += 1
    steady = time.monotonic() + stays
    while True:
        result = compare(prober, table)
        if result.wrong():
            raise AssertionError(f"as stated at first, but it did not stay so: {result}")
        if time.monotonic() >= steady:
            return result


def render(table: Table, cell: Callable[[Probe], str]) -> str:
    """One grid per port and family, sources down and targets across; `cell` gives the text of each."""
    return "\n\n".join(
        _grid(table, port, family, cell) for port in table.ports for family in table.families if _has(table, family)
    )


def letter(verdict: Verdict) -> str:
    """The one letter that stands for a verdict in a grid."""
    return _LETTERS[verdict]


def _grid(table: Table, port: Port, family: int, cell: Callable[[Probe], str]) -> str:
    left = max(len(source.name) for source in table.sources)
    width = max(3, *(len(target.name) for target in table.targets))
    cells = {(p.source, p.target): p for p in table.probes() if (p.port, p.family) == (port, family)}
    lines = [f"{port} IPv{family}", " " * left + "  " + " ".join(t.name.ljust(width) for t in table.targets)]
    for source in table.sources:
        texts = (cell(cells[source, t]) if (source, t) in cells else "." for t in table.targets)
        lines.append(source.name.ljust(left) + "  " + " ".join(text.ljust(width) for text in texts))
    return "\n".join(line.rstrip() for line in lines)


def _has(table: Table, family: int) -> bool:
    return any(probe.family == family for probe in table.probes())


def _patterns(pattern: Pattern) -> tuple[str, ...]:
    return (pattern,) if isinstance(pattern, str) else tuple(pattern)
