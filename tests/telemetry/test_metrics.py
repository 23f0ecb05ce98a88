"""The declared metrics keep the naming rules, and only what is declared can be counted."""

import itertools
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nodewall.telemetry import metrics
from nodewall.telemetry.metrics import (
    AGENT,
    AGENT_WATCHES,
    APPLIED_RULES,
    APPLIES,
    APPLY_SECONDS,
    CONTROLLER,
    MIRRORED,
    PUBLISHES,
    Cause,
    Counter,
    Gauge,
    Histogram,
    Kind,
    Metric,
    Metrics,
    Outcome,
    Resource,
    Result,
)

TABLES = {"controller": CONTROLLER, "agent": AGENT}
EVERY = [(half, metric) for half, table in TABLES.items() for metric in table]
NAMES = [f"{half}-{metric.name}" for half, metric in EVERY]
DECLARED = [value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)]
FOREIGN_UNITS = re.compile(r"_(milliseconds|microseconds|nanoseconds|ms|minutes|kilobytes|kb|mb|percent)(_|$)")


def samples(measured: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(measured.exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize(("half", "metric"), EVERY, ids=NAMES)
def test_names(half: str, metric: Metric) -> None:
    assert re.fullmatch(rf"nodewall_{half}_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == isinstance(metric, Counter)
    assert metric.name.endswith("_seconds") or not isinstance(metric, Histogram)
    assert not FOREIGN_UNITS.search(metric.name)
    assert not metric.help.endswith(".")


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_no_name_twice(table: tuple[Metric, ...]) -> None:
    assert len({metric.name for metric in table}) == len(table)


def test_every_declared_metric_is_in_a_table() -> None:
    assert {metric.name for metric in DECLARED} == {metric.name for _, metric in EVERY}


@pytest.mark.parametrize(("half", "metric"), EVERY, ids=NAMES)
def test_every_series_is_there_from_the_start(half: str, metric: Metric) -> None:
    suffix = "_count" if isinstance(metric, Histogram) else ""
    wanted = {
        tuple(sorted((type(value).__name__.lower(), value.value) for value in values))
        for values in itertools.product(*metric.labels)
    }
    found = {labels: value for (name, labels), value in samples(Metrics(TABLES[half], "1.0")).items()
             if name == metric.name + suffix}  # fmt: skip
    assert found == dict.fromkeys(wanted, 0.0)


def test_counting() -> None:
    measured = Metrics(AGENT, version="1.2.3")
    measured.add(APPLIES, Outcome.FAILED)
    measured.add(APPLIES, Outcome.FAILED, by=2)
    measured.set(APPLIED_RULES, 12)
    measured.observe(APPLY_SECONDS, 0.003, Kind.DIFF, Result.DONE)
    found = samples(measured)
    assert found["nodewall_agent_applies_total", (("outcome", "failed"),)] == 3
    assert found["nodewall_agent_applies_total", (("outcome", "done"),)] == 0
    assert found["nodewall_agent_rules", ()] == 12
    diff_done = (("kind", "diff"), ("result", "done"))
    assert found["nodewall_agent_apply_seconds_sum", diff_done] == 0.003
    assert found["nodewall_agent_apply_seconds_bucket", (diff_done[0], ("le", "0.0025"), diff_done[1])] == 0
    assert found["nodewall_agent_apply_seconds_bucket", (diff_done[0], ("le", "0.005"), diff_done[1])] == 1
    assert found["nodewall_build_info", (("version", "1.2.3"),)] == 1


def test_the_process_is_measured_too_and_nothing_else() -> None:
    names = {name for name, _ in samples(Metrics(AGENT, "1.0"))}
    assert "process_resident_memory_bytes" in names
    assert {name for name in names if not name.startswith(("nodewall_", "process_"))} == set()
    assert {name for name in names if name.endswith("_created")} == set()


def test_each_registry_is_its_own() -> None:
    first, second = Metrics(AGENT, "1.0"), Metrics(AGENT, "1.0")
    first.set(APPLIED_RULES, 5)
    assert samples(second)["nodewall_agent_rules", ()] == 0


WRONG_LABELS: list[tuple[Any, tuple[Any, ...]]] = [
    (APPLIES, ()),
    (APPLIES, ("done",)),
    (APPLIES, (Outcome.DONE, Outcome.DONE)),
    (APPLIES, (Cause.CLOSED,)),
    (AGENT_WATCHES, (Resource.PODS, Cause.CLOSED)),
]


@pytest.mark.parametrize(("metric", "labels"), WRONG_LABELS)
def test_only_the_declared_labels(metric: Any, labels: tuple[Any, ...]) -> None:
    measured = Metrics(AGENT, "1.0")
    before = measured.exposition()
    with pytest.raises(TypeError, match=metric.name):
        measured.add(metric, *labels)
    assert measured.exposition().count(b"\n") == before.count(b"\n")


@pytest.mark.parametrize(("metric", "labels"), [(PUBLISHES, (Outcome.DONE,)), (MIRRORED, (Resource.PODS,))])
def test_only_what_is_in_the_table(metric: Any, labels: tuple[Any, ...]) -> None:
    with pytest.raises(KeyError):
        Metrics(AGENT, "1.0").add(metric, *labels)


def test_a_counter_never_falls() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        Metrics(AGENT, "1.0").add(APPLIES, Outcome.DONE, by=-1)
