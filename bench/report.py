"""`python -m bench.report`: put what `python -m bench` measured last into docs/benchmarks.md, and draw its pictures.

Only what is between a line ``<!-- begin NAME -->`` and the next ``<!-- end -->`` is written; the words around it are
people's.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from bench import pictures
from bench.bench_latency import BALLAST
from bench.bench_packet import BUILDS, PEERS, PODS, POLICIES
from bench.bench_update import SHAPES
from bench.goals import GOALS
from bench.pictures import RESULTS, ROOT, SAMPLES, Results

PAGE = ROOT / "docs" / "benchmarks.md"
_BLOCK = re.compile(r"(<!-- begin (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Measured:
    """What build/ holds. ``samples`` are those of ours and of the baseline, by name; ``machine`` as before it all."""

    results: Results
    samples: Mapping[str, Mapping[str, Sequence[float]]]
    machine: Mapping[str, Any]

    def cell(self, name: str, side: str = "ours", digits: int = 3) -> str:
        """A median with its quartiles; a dash for what was not measured."""
        found = self.results.get(name)
        if found is None or found[side] is None:
            return "-"
        return f"{number(found[side], digits)}{self.spread(name, side, digits)}"

    def spread(self, name: str, side: str = "ours", digits: int = 3) -> str:
        values = self.samples.get(name, {}).get(side, ())
        if len(values) < 2:
            return ""
        low, _, high = quantiles(values, n=4, method="inclusive")
        return f" ({number(low, digits)}-{number(high, digits)})"

    def times(self, name: str) -> str:
        """How many times ours goes into the baseline."""
        ratio = self.results[name]["ratio"] if name in self.results else None
        return f"{number(1 / ratio)}x" if ratio else "-"

    def share(self, name: str) -> str:
        """How much more than the baseline, in percent."""
        ratio = self.results[name]["ratio"] if name in self.results else None
        return "-" if ratio is None else f"{100 * (ratio - 1):+.1f} %"

    def builds(self, name: str) -> str:
        """The share of each build of the roads, least first."""
        samples = self.samples.get(name)
        if not samples or not samples["baseline"]:
            return ""
        ratios = [mine / other for mine, other in zip(samples["ours"], samples["baseline"], strict=True)]
        each = len(ratios) // BUILDS
        shares = sorted(median(ratios[start : start + each]) - 1 for start in range(0, len(ratios), each))
        return f" ({' '.join(f'{100 * share:+.1f}' for share in shares)})"


def number(value: float, digits: int = 3) -> str:
    """Three digits that count, without an exponent."""
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{float(f'{value:.{digits}g}'):g}"


def main() -> None:
    runs = json.loads(SAMPLES.read_text())
    measured = Measured(
        {each["name"]: each for each in json.loads(RESULTS.read_text())}, runs["samples"], runs["before"]
    )
    PAGE.write_text(filled(PAGE.read_text(), measured))
    pictures.main()


def filled(page: str, measured: Measured) -> str:
    """The page with its blocks written anew. LookupError: it asks for one that nobody writes."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]](measured)}\n{found[3]}", page)


def table(head: Row, rows: Sequence[Row]) -> str:
    """Markdown; the first column is words, the others are numbers."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# --- the blocks -------------------------------------------------------------------------------------------------------


def _machine(measured: Measured) -> str:
    names = ("processor", "cores", "kernel", "nft", "iptables", "python", "load")
    return table(("machine", ""), [(name, str(measured.machine[name])) for name in names])


def _goals(measured: Measured) -> str:
    rows = [(goal.text, goal.figure(measured.results), goal.verdict(measured.results)) for goal in GOALS]
    return table(("goal", "measured", ""), rows)


def _update(measured: Measured) -> str:
    def row(size: str) -> Row:
        names = [f"update.{kind}.{size}" for kind in ("pod", "peer", "policy")]
        cells = [f"{measured.cell(name)}, {measured.times(name)}" for name in names]
        return [f"{size}: {SHAPES[size]}", *cells, measured.cell(names[0], "baseline")]

    return table(
        ("elements", "a pod more, ms", "a peer more, ms", "a policy more, ms", "replace, ms"), _rows(row, SHAPES)
    )


def _agent(measured: Measured) -> str:
    def row(size: str) -> Row:
        names = [f"agent.{kind}.{size}" for kind in ("pod", "peer", "policy")]
        return [size, *map(measured.cell, names), measured.cell(names[0], "baseline")]

    return table(("elements", "pod, ms", "peer, ms", "policy, ms", "all anew, ms"), _rows(row, ("1k", "10k", "55k")))


SCENES = [
    f"{what}.{size}" for what, sizes in (("pods", PODS), ("policies", POLICIES), ("peers", PEERS)) for size in sizes
]
OTHERS = {"without the source check": "unchecked", "ipset": "ipset", "linear": "iptables"}


def _packet(kind: str) -> Callable[[Measured], str]:
    def block(measured: Measured) -> str:
        def row(scene: str) -> Row:
            name = f"{kind}.{scene}"
            others = [measured.cell(f"{name}.{layout}", "baseline") for layout in OTHERS.values()]
            least = [measured.cell(f"{name}.none", "baseline"), measured.cell(name, "baseline")]
            shares = [f"{measured.share(each)}{measured.builds(each)}" for each in (name, f"{name}.check")]
            return [scene, *least, measured.cell(name), shares[0], *others, shares[1]]

        head = ("", "no rules", "conntrack", "nodewall", "over conntrack", *OTHERS, "noise")
        return table(head, _rows(row, SCENES))

    return block


def _latency(measured: Measured) -> str:
    def row(name: str) -> Row:
        points = [measured.cell(f"{name}.{each}").partition(" ")[0] for each in ("p50", "p99", "max")]
        parts = [measured.cell(f"{name}.{part}") for part in ("controller", "agent")]
        return [name.removeprefix("latency."), *points, *parts, str(measured.results[f"{name}.p50"]["runs"])]

    names = [f"latency.{kind}.{load}" for load in BALLAST for kind in ("policy", "pod", "removal")]
    head = ("change.ballast", "p50, ms", "p99, ms", "max, ms", "controller, ms", "agent, ms", "events")
    return table(head, _rows(row, [name for name in names if f"{name}.p50" in measured.results]))


def _plain(*starts: str) -> Callable[[Measured], str]:
    """Everything whose name begins so, one line each."""

    def block(measured: Measured) -> str:
        chosen = [name for name in measured.results if name.startswith(starts)]
        return table(("", "unit", "ours", "baseline", "ratio", "runs"), _rows(row_of(measured), chosen))

    return block


def row_of(measured: Measured) -> Callable[[str], Row]:
    def row(name: str) -> Row:
        found = measured.results[name]
        ratio = "-" if found["ratio"] is None else number(found["ratio"])
        points = name.endswith((".p50", ".p99", ".max"))
        ours = number(found["ours"]) if points else measured.cell(name)
        return [name, found["unit"], ours, measured.cell(name, "baseline"), ratio, str(found["runs"])]

    return row


def _rows(row: Callable[[str], Row], names: Sequence[str] | Mapping[str, object]) -> list[Row]:
    return [row(name) for name in names]


BLOCKS: Mapping[str, Callable[[Measured], str]] = {
    "machine": _machine,
    "goals": _goals,
    "update": _update,
    "agent": _agent,
    "connection": _packet("connection"),
    "packet": _packet("packet"),
    "syn": _packet("syn"),
    "latency": _latency,
    "footprint": _plain("footprint."),
    "scale": _plain("scale."),
    "large": _plain("large."),
    "compile": _plain("compile."),
    "logging": _plain("logging."),
}


if __name__ == "__main__":
    main()
