"""Each metric says what happened: the parts that count are told of something, and the series is read.

`feeds` names the metrics that a test would miss. That the parts are put together so is tried on running processes, in
e2e/test_metrics.py.
"""

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

import nodewall
from nodewall.agent.decide import Drift, Finding, Kind, Reason, State, Target
from nodewall.agent.listen import Followers, Listening
from nodewall.agent.loop import Inbox
from nodewall.agent.programming import Programming
from nodewall.agent.watch import Watching
from nodewall.compile.changes import Input
from nodewall.controller.publish import OversizedError, Result, Step
from nodewall.controller.quarantine import Aside, HeldError, Instead
from nodewall.controller.telling import Compiling, Mirroring, Publishing
from nodewall.kube.errors import ApiError, Call, ExpiredError, SilentError, UnreachableError
from nodewall.kube.resource import NETWORK_POLICIES, NODE_RULE_SETS, NODES, PODS, Collection
from nodewall.model.cluster import Namespace
from nodewall.render import Settings, render
from nodewall.telemetry import metrics
from nodewall.telemetry.metrics import AGENT, CONTROLLER, Metric, Metrics
from tests.agent.rulesets import content, ruleset
from tests.controller import running
from tests.kube.fake_api import FakeApi

T = TypeVar("T", bound=Callable[..., Any])
FED: set[Metric] = set()
NOW = 1_800_000_000.0
CALL = Call("watch", "pods")
BLAMED = (Input.NAMESPACE, "shop")


def feeds(*fed: Metric) -> Callable[[T], T]:
    def mark(test: T) -> T:
        FED.update(fed)
        return test

    return mark


def reading(counts: Metrics, metric: Metric, *labels: str, part: str = "") -> float:
    """One series of a metric; of a histogram its `_count` or `_sum`."""
    wanted = dict(zip((label.__name__.lower() for label in metric.labels), labels, strict=True))
    families = text_string_to_metric_families(counts.exposition().decode())
    (found,) = (
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == metric.name + part and sample.labels == wanted
    )
    return found


# --- the agent --------------------------------------------------------------------------------------------------------


@pytest.fixture
def counts() -> Metrics:
    return Metrics(AGENT, "test")


@pytest.fixture
def listening(counts: Metrics) -> Listening:
    return Listening(counts, lambda: NOW, Followers((), ()))


def target(generation: int, *peers: str) -> Target:
    return Target(ruleset(generation, content(*peers)), Settings(), render(content(*peers)))


@feeds(metrics.APPLY_SECONDS, metrics.APPLIES)
def test_a_transaction_by_kind_and_result(counts: Metrics, listening: Listening) -> None:
    for kind, seconds in ((Kind.REPLACE, 0.5), (Kind.DIFF, 0.25), (Kind.DIFF, 0.25)):
        listening.applied(kind, target(1), seconds)
    listening.refused(Kind.DIFF, Finding(Reason.KERNEL_REFUSED, "no"), 2.0)
    listening.adopted(target(2))
    series = {
        (kind, result): [reading(counts, metrics.APPLY_SECONDS, kind, result, part=part) for part in ("_count", "_sum")]
        for kind in metrics.Kind
        for result in metrics.Result
    }
    assert series == {
        ("diff", "done"): [2, 0.5],
        ("diff", "failed"): [1, 2.0],
        ("replace", "done"): [1, 0.5],
        ("replace", "failed"): [0, 0],
    }
    outcomes = {each: reading(counts, metrics.APPLIES, each) for each in ("done", "unchanged", "failed")}
    assert outcomes == {"done": 3, "unchanged": 1, "failed": 1}


@feeds(
    metrics.APPLIED_AT,
    metrics.APPLIED_GENERATION,
    metrics.APPLIED_PODS,
    metrics.APPLIED_POLICIES,
    metrics.APPLIED_RULES,
    metrics.APPLIED_ADDRESSES,
    metrics.APPLIED_ELEMENTS,
)
@pytest.mark.parametrize("way", ["applied", "adopted"])
def test_what_is_in_force(counts: Metrics, listening: Listening, way: str) -> None:
    found = target(7, "10.0.2.1", "10.0.2.2", "10.0.2.3")
    listening.adopted(found) if way == "adopted" else listening.applied(Kind.DIFF, found, 0.1)
    gauges = (metrics.APPLIED_AT, metrics.APPLIED_GENERATION, metrics.APPLIED_PODS, metrics.APPLIED_POLICIES)
    assert [reading(counts, each) for each in gauges] == [NOW, 7, 1, 1]
    assert reading(counts, metrics.APPLIED_RULES) == 2
    assert reading(counts, metrics.APPLIED_ADDRESSES) == 3
    in_sets = [len(each.elements) for each in found.table.sets] + [len(each.elements) for each in found.table.maps]
    assert reading(counts, metrics.APPLIED_ELEMENTS) == sum(in_sets)
    assert sum(in_sets) > 3


@feeds(metrics.DEGRADED)
def test_degraded_as_long_as_something_is_wrong(counts: Metrics, listening: Listening) -> None:
    weak = State(applied=target(1), findings=(Finding(Reason.BYPASS, "kube-proxy in IPVS mode"),))
    for state, value in ((weak, 1), (replace(weak, findings=()), 0)):
        listening.changed(state)
        assert reading(counts, metrics.DEGRADED) == value


@feeds(metrics.DRIFTS)
def test_drift_counts_once_it_is_repaired(counts: Metrics, listening: Listening) -> None:
    twice = State(applied=target(1), drift=Drift("nft (pid 1)", 2, 0.0), suspect=True)
    readings = []
    for state in (twice, replace(twice, suspect=False), replace(twice, suspect=False, applied=target(2))):
        listening.changed(state)
        readings.append(reading(counts, metrics.DRIFTS))
    assert readings == [0, 2, 2]


@feeds(metrics.PROGRAMMING_SECONDS)
def test_from_the_change_to_the_kernel(counts: Metrics) -> None:
    clock = [NOW, NOW + 0.75]
    programming = Programming(
        lambda seconds: counts.observe(metrics.PROGRAMMING_SECONDS, seconds), lambda: clock.pop(0)
    )
    annotated = b'{"metadata":{"annotations":{"nodewall.io/changed-at":"2027-01-15T08:00:00.250000Z"}}}'
    programming.saw("u1", 1, annotated)
    programming.applied(target(1))
    assert reading(counts, metrics.PROGRAMMING_SECONDS, part="_count") == 1
    assert reading(counts, metrics.PROGRAMMING_SECONDS, part="_sum") == 0.5


def test_programming_is_told_apart_from_five_milliseconds_to_a_minute() -> None:
    assert (metrics.PROGRAMMING_SECONDS.buckets[0], metrics.PROGRAMMING_SECONDS.buckets[-1]) == (0.005, 60)


ENDS: dict[str, ApiError | None] = {
    "closed": None,
    "expired": ExpiredError(CALL, "gone"),
    "silent": SilentError(CALL, "no byte"),
    "failed": UnreachableError(CALL, "no answer"),
}


@feeds(metrics.AGENT_WATCHES)
@pytest.mark.parametrize("cause", ENDS)
def test_why_the_agents_watch_ended(counts: Metrics, cause: str) -> None:
    watching, error = Watching(Inbox(), counts), ENDS[cause]
    watching.failed(Collection(NODE_RULE_SETS), error, 1.0) if error else watching.resumed(Collection(NODE_RULE_SETS))
    assert {each: reading(counts, metrics.AGENT_WATCHES, each) for each in ENDS} == {
        each: float(each == cause) for each in ENDS
    }


# --- the controller ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tally() -> Metrics:
    return Metrics(CONTROLLER, "test")


@pytest.fixture
def publishing(tally: Metrics) -> Publishing:
    return Publishing(tally, lambda _node, _finding: None, lambda: None)


@feeds(metrics.WATCHES)
@pytest.mark.parametrize("cause", ENDS)
def test_why_a_watch_ended(tally: Metrics, cause: str) -> None:
    mirroring, error = Mirroring(tally), ENDS[cause]
    mirroring.failed(Collection(PODS), error, 1.0) if error else mirroring.resumed(Collection(PODS))
    found = {
        (resource.value, each): reading(tally, metrics.WATCHES, resource.value, each)
        for resource in metrics.Resource
        for each in ENDS
    }
    assert {key for key, value in found.items() if value} == {("pods", cause)}


@feeds(metrics.DIRTY_NODES, metrics.COMPILE_SECONDS)
def test_work_that_waits_and_work_that_is_done(tally: Metrics, publishing: Publishing) -> None:
    publishing.waiting(5)
    publishing.compiled(0.125)
    assert reading(tally, metrics.DIRTY_NODES) == 5
    assert reading(tally, metrics.COMPILE_SECONDS, part="_count") == 1
    assert reading(tally, metrics.COMPILE_SECONDS, part="_sum") == 0.125


@feeds(metrics.PUBLISHES, metrics.PUBLISH_SECONDS, metrics.PUBLISHED_AT, metrics.REMOVALS)
def test_writes_by_how_they_ended(tally: Metrics, publishing: Publishing) -> None:
    for step in (Step.LEAVE, Step.STAND_BY):
        publishing.published("n1", Result(step, "d"), 9.0)
    assert reading(tally, metrics.PUBLISHED_AT) == 0
    publishing.published("n1", Result(Step.WRITE, "d"), 0.5)
    publishing.published("n2", Result(Step.REMOVE), 9.0)
    publishing.failed("n1", UnreachableError(CALL, "no answer"), 1.0)
    publishing.oversized(OversizedError("n1", 1 << 20))
    outcomes = {each.value: reading(tally, metrics.PUBLISHES, each.value) for each in metrics.Outcome}
    assert outcomes == {"done": 2, "unchanged": 1, "failed": 1, "too_large": 1}
    assert reading(tally, metrics.PUBLISH_SECONDS, part="_count") == 1
    assert reading(tally, metrics.PUBLISH_SECONDS, part="_sum") == 0.5
    assert reading(tally, metrics.PUBLISHED_AT) > NOW - 86400 * 365
    assert reading(tally, metrics.REMOVALS) == 1


@feeds(metrics.OVERSIZED)
def test_a_node_counts_as_oversized_until_it_fits(tally: Metrics, publishing: Publishing) -> None:
    for _ in range(2):
        publishing.oversized(OversizedError("n1", 1 << 20))
    assert reading(tally, metrics.OVERSIZED) == 1
    publishing.published("n1", Result(Step.WRITE, "d"), 0.5)
    assert reading(tally, metrics.OVERSIZED) == 0


@feeds(metrics.HELD)
def test_a_node_counts_as_held_until_it_is_written(tally: Metrics, publishing: Publishing) -> None:
    for _ in range(2):
        publishing.held(HeldError("n1", BLAMED))
    assert reading(tally, metrics.HELD) == 1
    publishing.published("n1", Result(Step.WRITE, "d"), 0.5)
    assert reading(tally, metrics.HELD) == 0


@feeds(metrics.SET_ASIDE, metrics.COMPILER_FAILURES)
def test_what_the_compiler_fails_on(tally: Metrics) -> None:
    compiling, error = Compiling(tally, lambda _thing, _message: None, lambda _thing: None), ValueError("a mistake")
    for failures in (1, 2):
        compiling.set_aside(Aside(BLAMED, Namespace("shop"), "a mistake", Instead.LEFT_OUT, failures, NOW), error)
    compiling.mended(error)
    assert [reading(tally, each) for each in (metrics.SET_ASIDE, metrics.COMPILER_FAILURES)] == [1, 3]
    compiling.taken_back(BLAMED)
    assert [reading(tally, each) for each in (metrics.SET_ASIDE, metrics.COMPILER_FAILURES)] == [0, 3]


@feeds(metrics.REPAIRS)
def test_an_edit_by_somebody_else(tally: Metrics, publishing: Publishing) -> None:
    publishing.repairing("n1")
    assert reading(tally, metrics.REPAIRS) == 1


@feeds(metrics.MIRRORED, metrics.SYNCED, metrics.LEADS, metrics.POLICIES, metrics.LAG_SECONDS, metrics.HANDS)
async def test_what_a_controller_holds(tally: Metrics) -> None:
    """Objects as they come and go, not as they were listed."""
    async with FakeApi() as api:
        running.furnish(api)
        async with running.measured(api, tally) as listing:
            assert reading(tally, metrics.LEADS) == 1
            assert reading(tally, metrics.HANDS) == 16
            await running.until("listed", listing.done.is_set)
            await running.until("synced", lambda: reading(tally, metrics.SYNCED))
            assert reading(tally, metrics.MIRRORED, "pods") == 2
            api.put(PODS, running.pod("more", "10.0.0.9"))
            await running.until("a pod more", lambda: reading(tally, metrics.MIRRORED, "pods") == 3)
            api.remove(NODES, "n2")
            await running.until("a node less", lambda: reading(tally, metrics.MIRRORED, "nodes") == 1)
            assert [reading(tally, metrics.POLICIES, each) for each in ("accepted", "rejected")] == [1, 0]
            broken = running.isolating("broken")
            broken["spec"]["ingress"] = [{"from": [{"ipBlock": {"cidr": "nonsense"}}]}]
            api.put(NETWORK_POLICIES, broken)
            await running.until("a bad policy", lambda: reading(tally, metrics.POLICIES, "rejected") == 1)
            assert reading(tally, metrics.POLICIES, "accepted") == 1
            await running.until("a look at the loop", lambda: reading(tally, metrics.LAG_SECONDS, part="_count"))


# --- completeness -----------------------------------------------------------------------------------------------------

ELSEWHERE: dict[Metric, tuple[str, str]] = {
    metrics.RECORDS: ("tests/flowlog/test_flowlog.py", 'counted(counts, "log_records_total"'),
    metrics.RECORDS_SUPPRESSED: ("tests/flowlog/test_flowlog.py", 'counted(counts, "log_records_suppressed_total"'),
    metrics.RECORDS_LOST: ("tests/flowlog/test_flowlog.py", "counted(counts, f'log_records_lost_total{{loss="),
    metrics.AGENT_LAG_SECONDS: ("tests/agent/test_agent.py", "nodewall_agent_loop_lag_seconds_count"),
    metrics.REPORTS: ("e2e/test_metrics.py", "REPORTS"),
    metrics.EVENTS: ("tests/telemetry/test_events.py", "counted('nodewall_controller_events_total{outcome=\"done\"}'"),
    metrics.EVENTS_DROPPED: ("tests/telemetry/test_events.py", 'counted("nodewall_controller_events_dropped_total"'),
}
"""Where a metric is read that no test here feeds, and how it is written there."""

ROOT = Path(nodewall.__file__).parents[2]


def test_every_metric_is_read_by_a_test() -> None:
    missed = {file for file, text in ELSEWHERE.values() if text not in (ROOT / file).read_text()}
    assert missed == set()
    assert {each.name for each in (*AGENT, *CONTROLLER)} - {each.name for each in FED | ELSEWHERE.keys()} == set()


def test_every_metric_is_used_and_nothing_else_is() -> None:
    """In the code, as `metrics.NAME`: what nobody counts must not be declared."""
    declared = {name for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)}
    used = {name for path in Path(nodewall.__file__).parent.rglob("*.py") for name in _named(path)}
    assert declared - used == set()
    assert {name for name in used if not hasattr(metrics, name)} == set()


def _named(path: Path) -> set[str]:
    """What a module takes from `metrics`."""
    found = ast.walk(ast.parse(path.read_text()))
    attributes = (each for each in found if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name))
    return {each.attr for each in attributes if isinstance(each.value, ast.Name) and each.value.id == "metrics"}
