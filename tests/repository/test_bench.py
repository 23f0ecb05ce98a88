"""The benchmark runner: both sides in turns, medians, a list on disk, and failures that show."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bench.measure import Benchmark, Result, measure, paired

ROOT = Path(__file__).parents[2]
RUNNER = """
import sys
from pathlib import Path
import {package}
from bench.__main__ import main
sys.exit(main(sys.argv[1:], {package}, Path("out/bench.json")))
"""
GOOD = """
from bench.measure import Benchmark
def benchmarks():
    yield Benchmark("good one", "ms", lambda: 2.0, lambda: 4.0, runs=3)
    yield Benchmark("alone", "1/s", lambda: 1234567.0)
"""
TOGETHER = """
from bench.measure import Together, compared
def benchmarks():
    yield Together(("p50", "p99"), lambda: [compared("p50", "ms", [1.0, 3.0])])
"""
BROKEN = """
from bench.measure import Benchmark
def benchmarks():
    yield Benchmark("broken one", "ms", lambda: 1 / 0)
"""


HALF_BROKEN = """
from bench.measure import Benchmark, Together, compared
def half():
    yield compared("kept", "ms", [1.0])
    raise ValueError("half way")
def benchmarks():
    yield Together(("kept", "lost"), half)
    yield Benchmark("after it", "ms", lambda: 1.0)
"""


def series(values: Iterable[float], seen: list[str], who: str) -> Callable[[], float]:
    remaining = iter(values)

    def run() -> float:
        seen.append(who)
        return next(remaining)

    return run


def test_both_sides_take_turns_and_the_first_run_does_not_count() -> None:
    seen: list[str] = []
    ours, baseline = series([900, 1, 5, 3], seen, "ours"), series([900, 6, 6, 7], seen, "baseline")
    assert measure(Benchmark("x", "ms", ours, baseline, runs=3)) == Result("x", "ms", 3, 6, 0.5, 3)
    assert seen == ["ours", "baseline"] * 4


@pytest.mark.parametrize("baseline", [None, lambda: 0.0])
def test_no_ratio_without_a_baseline(baseline: Callable[[], float] | None) -> None:
    assert measure(Benchmark("x", "ms", lambda: 1.0, baseline)).ratio is None


def test_a_ratio_of_sides_in_turns_is_that_of_the_middle_turn() -> None:
    """The machine was slow in the last two turns: medians alone would say 2.2."""
    found = paired("x", "ms", [1.1, 1.2, 22, 13, 12], [1, 1, 10, 10, 10])
    assert found == Result("x", "ms", 12, 10, 1.2, 5)


def test_sides_in_turns_have_as_many_turns() -> None:
    with pytest.raises(ValueError, match="longer"):
        paired("x", "ms", [1, 2], [1, 2, 3])


def bench(where: Path, modules: dict[str, str], *parts: str) -> tuple[int, str, Any]:
    """Exit status, all output and the written list of a package with these benchmark modules."""
    package = where / "measured"
    package.mkdir(exist_ok=True)
    for name, text in {"__init__": "", **modules}.items():
        (package / f"{name}.py").write_text(text)
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r})" + RUNNER.format(package="measured"),
    ]
    done = subprocess.run([*command, *parts], cwd=where, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr, json.loads((where / "out" / "bench.json").read_text())


def test_results_are_shown_and_written(tmp_path: Path) -> None:
    status, output, written = bench(tmp_path, {"bench_good": GOOD, "ours": BROKEN})
    assert status == 0, output
    assert "good one" in output
    assert "1,234,567" in output
    assert written == [
        {"name": "good one", "unit": "ms", "ours": 2.0, "baseline": 4.0, "ratio": 0.5, "runs": 3},
        {"name": "alone", "unit": "1/s", "ours": 1234567.0, "baseline": None, "ratio": None, "runs": 5},
    ]


def test_one_measurement_may_have_several_results_and_samples_are_kept_beside_them(tmp_path: Path) -> None:
    status, output, written = bench(tmp_path, {"bench_good": TOGETHER}, "p99")
    assert status == 0, output
    assert written == [{"name": "p50", "unit": "ms", "ours": 2.0, "baseline": None, "ratio": None, "runs": 2}]
    runs = json.loads((tmp_path / "out" / "bench-runs.json").read_text())
    assert runs["samples"] == {"p50": {"ours": [1.0, 3.0], "baseline": []}}
    assert runs["before"].keys() == runs["after"].keys() > {"kernel", "nft", "cores", "load"}


def test_a_broken_benchmark_shows_and_does_not_hide_the_others(tmp_path: Path) -> None:
    status, output, written = bench(tmp_path, {"bench_a": BROKEN, "bench_b": GOOD})
    assert status == 1
    assert "ZeroDivisionError" in output
    assert [each["name"] for each in written] == ["good one", "alone"]


def test_what_came_before_and_after_a_failure_is_kept(tmp_path: Path) -> None:
    status, output, written = bench(tmp_path, {"bench_a": HALF_BROKEN})
    assert status == 1
    assert "half way" in output
    assert [each["name"] for each in written] == ["kept", "after it"]


def test_a_part_of_a_name_chooses(tmp_path: Path) -> None:
    status, _, written = bench(tmp_path, {"bench_a": BROKEN, "bench_b": GOOD}, "alo")
    assert (status, [each["name"] for each in written]) == (0, ["alone"])


def test_a_part_measured_again_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    bench(tmp_path, {"bench_a": TOGETHER, "bench_b": GOOD})
    (tmp_path / "measured" / "bench_b.py").write_text(GOOD.replace("2.0", "1.0"))
    status, _, written = bench(tmp_path, {}, "good")
    assert status == 0
    assert {each["name"]: each["ours"] for each in written} == {"p50": 2.0, "alone": 1234567.0, "good one": 1.0}
    runs = json.loads((tmp_path / "out" / "bench-runs.json").read_text())
    assert runs["samples"].keys() == {"p50", "alone", "good one"}


def test_a_whole_run_forgets_what_was_there(tmp_path: Path) -> None:
    bench(tmp_path, {"bench_b": GOOD})
    (tmp_path / "measured" / "bench_b.py").write_text(TOGETHER)
    assert [each["name"] for each in bench(tmp_path, {})[2]] == ["p50"]


def test_nothing_to_measure_is_a_failure(tmp_path: Path) -> None:
    assert bench(tmp_path, {}) == (1, "no benchmarks found\n", [])
