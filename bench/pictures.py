"""`python -m bench.pictures`: the pictures of docs/benchmarks.md, drawn from what `python -m bench` wrote last."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.bench_latency import BALLAST
from bench.bench_packet import PEERS, PODS, POLICIES
from bench.chart import Point, at, draw, linear, logarithmic

ROOT = Path(__file__).parents[1]
RESULTS, SAMPLES = ROOT / "build" / "bench.json", ROOT / "build" / "bench-runs.json"
PICTURES = ROOT / "docs" / "pictures"
ELEMENTS = {"1k": 1_000, "10k": 10_000, "55k": 55_000, "1M": 1_100_000}

Results = Mapping[str, Mapping[str, Any]]


def main() -> None:
    results: Results = {each["name"]: each for each in json.loads(RESULTS.read_text())}
    samples = json.loads(SAMPLES.read_text())["samples"]
    pictures = {
        "bench-update": update(results),
        "bench-policies": packet(results, "policies", "policies on the pod", POLICIES),
        "bench-pods": packet(results, "pods", "local pods", PODS),
        "bench-peers": packet(results, "peers", "allowed peers", PEERS),
        "bench-latency": latency(samples),
    }
    PICTURES.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (PICTURES / f"{name}.svg").write_text(picture)


def update(results: Results) -> str:
    lines = {
        f"ours: a {kind} more": [(count, results[f"update.{kind}.{size}"]["ours"]) for size, count in ELEMENTS.items()]
        for kind in ("peer", "pod", "policy")
    }
    lines["replace the table"] = [
        (count, results[f"update.peer.{size}"]["baseline"]) for size, count in ELEMENTS.items()
    ]
    x, y = _spans(lines)
    return draw("One change on a node", logarithmic("elements in the table", x), logarithmic("ms", y), lines)


def packet(results: Results, what: str, title: str, sizes: Sequence[int]) -> str:
    """A whole connection, and the dearest layout may leave the picture's scale."""

    def line(suffix: str, side: str) -> list[Point]:
        return [(size, results[f"packet.{what}.{size}{suffix}"][side]) for size in sizes]

    lines = {
        "nodewall": line("", "ours"),
        "conntrack alone": line("", "baseline"),
        "no rules": line(".none", "baseline"),
        "iptables, ipset, chain per pod": line(".ipset", "baseline"),
        "iptables, linear": line(".iptables", "baseline"),
    }
    x, y = _spans(lines)
    words = "Processor time of a short connection in the router"
    return draw(words, at(title, x), linear("us per connection", y), lines)


def latency(samples: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    lines = {
        f"{words}, {load or 'no'} ballast": _shares(samples[f"latency.{kind}.{load}.p50"]["ours"])
        for load in BALLAST
        for kind, words in (("policy", "policy"), ("pod", "new pod"), ("removal", "pod gone"))
    }
    x, _ = _spans(lines)
    title = "From the API server's answer to the first changed verdict"
    return draw(title, logarithmic("ms", [max(each, 1) for each in x]), linear("% of changes", [100]), lines)


def _shares(values: Sequence[float]) -> list[Point]:
    return [(max(value, 1.0), 100 * (place + 1) / len(values)) for place, value in enumerate(sorted(values))]


def _spans(lines: Mapping[str, Sequence[Point]]) -> tuple[list[float], list[float]]:
    points = [point for line in lines.values() for point in line]
    return [x for x, _ in points], [y for _, y in points]


if __name__ == "__main__":
    main()
