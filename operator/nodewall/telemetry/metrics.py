"""Everything the two halves measure, declared as tables, and the one place where it is counted.

A metric that is not in a table does not exist. Names begin with `nodewall_`, units are base units (seconds, bytes) and
counters end in `_total`. Label values come from the enumerations below only, so the number of time series is known from
this file and no name out of the cluster ever becomes one. Every series is there from the start, at zero: an alert on a
rate needs the zero before the first failure.

    metrics = Metrics(AGENT, version=__version__)
    metrics.add(APPLIES, ApplyOutcome.FAILED)
    metrics.set(APPLIED_RULES, 12)
    metrics.observe(APPLY_SECONDS, 0.003)
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of `Metrics.exposition`."""


class Label(StrEnum):
    """A closed set of label values; the label is named like the class, in lower case."""


class Resource(Label):
    """What a reflector mirrors, as the API server's plural."""

    CLUSTER_EXTENDED_NETWORK_POLICIES = "clusterextendednetworkpolicies"
    CLUSTER_NETWORK_POLICIES = "clusternetworkpolicies"
    ENDPOINT_SLICES = "endpointslices"
    EXTENDED_NETWORK_POLICIES = "extendednetworkpolicies"
    NAMESPACES = "namespaces"
    NETWORK_POLICIES = "networkpolicies"
    NODE_RULE_SETS = "noderulesets"
    NODES = "nodes"
    PEER_GROUPS = "peergroups"
    PODS = "pods"
    SERVICES = "services"


class Cause(Label):
    """Why a watch ended and a new one began."""

    CLOSED = "closed"
    EXPIRED = "expired"
    FAILED = "failed"
    SILENT = "silent"


class Outcome(Label):
    """What became of one attempt to bring something to where it belongs."""

    DONE = "done"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    TOO_LARGE = "too_large"


class Kind(Label):
    """How a rule set gets into the kernel: the smallest change, or the whole table anew."""

    DIFF = "diff"
    REPLACE = "replace"


class Result(Label):
    """How one transaction in the kernel ended. A refused one leaves the table as it was."""

    DONE = "done"
    FAILED = "failed"


class Acceptance(Label):
    """Whether a policy was accepted as it is written."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Verdict(Label):
    """What a rule on record did, or would have done."""

    ACCEPT = "accept"
    DENY = "deny"
    WOULD_ACCEPT = "would-accept"
    WOULD_PASS = "would-pass"  # noqa: S105 - a verdict, not a password
    WOULD_DENY = "would-deny"


class Loss(Label):
    """Where a verdict record got lost: in the kernel, for lack of room with us, or because nobody took the line."""

    KERNEL = "kernel"
    CROWDED = "crowded"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Counter:
    """Only ever grows; the name ends in `_total`."""

    name: str
    help: str
    labels: tuple[type[Label], ...] = ()


@dataclass(frozen=True, slots=True)
class Gauge:
    """A state at this moment."""

    name: str
    help: str
    labels: tuple[type[Label], ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """A distribution; `buckets` are upper bounds in the unit that the name ends in."""

    name: str
    help: str
    buckets: tuple[float, ...]
    labels: tuple[type[Label], ...] = ()


Metric = Counter | Gauge | Histogram

_LOCAL_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WAY_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

WATCHES: Final = Counter(
    "nodewall_controller_watch_restarts_total", "Watches begun again, by what ended the last one", (Resource, Cause)
)
MIRRORED: Final = Gauge("nodewall_controller_objects", "Objects mirrored from the API server", (Resource,))
SYNCED: Final = Gauge(
    "nodewall_controller_synced", "1 when every input has been listed; before that nothing is published"
)
LEADS: Final = Gauge("nodewall_controller_leads", "1 while this process is the one that writes")
POLICIES: Final = Gauge(
    "nodewall_controller_policies", "Policies by whether they are accepted as written", (Acceptance,)
)
DIRTY_NODES: Final = Gauge("nodewall_controller_dirty_nodes", "Nodes whose rule set waits to be compiled or written")
COMPILE_SECONDS: Final = Histogram(
    "nodewall_controller_compile_seconds", "Compiling one node's rule set", _LOCAL_SECONDS
)
PUBLISH_SECONDS: Final = Histogram(
    "nodewall_controller_publish_delay_seconds",
    "From the change that made a node dirty to its written rule set",
    _WAY_SECONDS,
)
PUBLISHES: Final = Counter("nodewall_controller_publishes_total", "Rule sets brought to the API server", (Outcome,))
PUBLISHED_AT: Final = Gauge("nodewall_controller_last_publish_timestamp_seconds", "When a rule set was last written")
REPAIRS: Final = Counter(
    "nodewall_controller_repairs_total", "Rule sets written again because somebody else changed them"
)
REMOVALS: Final = Counter("nodewall_controller_removals_total", "Rule sets removed because their node is gone")
OVERSIZED: Final = Gauge(
    "nodewall_controller_oversized_rule_sets", "Nodes kept on an older rule set: the new one is too large"
)
HANDS: Final = Gauge(
    "nodewall_controller_write_hands", "Writes at a time that the API server is given: fewer when it strains"
)
LAG_SECONDS: Final = Histogram(
    "nodewall_controller_loop_lag_seconds", "How late a turn in the event loop came, ten times a second", _LOCAL_SECONDS
)
HELD: Final = Gauge(
    "nodewall_controller_held_rule_sets", "Nodes kept on an older rule set: the compiler fails on a policy of theirs"
)
SET_ASIDE: Final = Gauge(
    "nodewall_controller_objects_set_aside", "Policies and other objects that the compiler fails on, each left out"
)
COMPILER_FAILURES: Final = Counter(
    "nodewall_controller_compiler_failures_total", "Failures of the compiler, each a mistake in the program"
)
EVENTS: Final = Counter(
    "nodewall_controller_events_total", "Kubernetes Events written, first ones and raised counts", (Outcome,)
)
EVENTS_DROPPED: Final = Counter(
    "nodewall_controller_events_dropped_total", "Kubernetes Events forgotten for lack of room"
)

AGENT_WATCHES: Final = Counter(
    "nodewall_agent_watch_restarts_total", "Watches begun again, by what ended the last one", (Cause,)
)
PROGRAMMING_SECONDS: Final = Histogram(
    "nodewall_agent_programming_seconds",
    "From the change of a policy, a pod or another input, as the controller heard of it, to the kernel's table",
    _WAY_SECONDS,
)
APPLY_SECONDS: Final = Histogram(
    "nodewall_agent_apply_seconds", "One transaction in the kernel", _LOCAL_SECONDS, (Kind, Result)
)
APPLIES: Final = Counter("nodewall_agent_applies_total", "Rule sets brought to the kernel", (Outcome,))
APPLIED_AT: Final = Gauge(
    "nodewall_agent_last_apply_timestamp_seconds", "When a rule set was last applied or found in place"
)
APPLIED_GENERATION: Final = Gauge(
    "nodewall_agent_applied_generation", "Generation of the rule set that is in the kernel"
)
DEGRADED: Final = Gauge("nodewall_agent_degraded", "1 when this node cannot enforce everything it should")
APPLIED_PODS: Final = Gauge("nodewall_agent_pods", "Local pods in the applied rule set")
APPLIED_POLICIES: Final = Gauge("nodewall_agent_policies", "Policies in the applied rule set")
APPLIED_RULES: Final = Gauge("nodewall_agent_rules", "Rules in the applied rule set")
APPLIED_ADDRESSES: Final = Gauge("nodewall_agent_addresses", "Addresses in the applied rule set's groups")
APPLIED_ELEMENTS: Final = Gauge("nodewall_agent_elements", "Elements of the sets and maps in the kernel's table")
AGENT_LAG_SECONDS: Final = Histogram(
    "nodewall_agent_loop_lag_seconds", "How late a turn in the event loop came, ten times a second", _LOCAL_SECONDS
)
DRIFTS: Final = Counter(
    "nodewall_agent_drift_repairs_total", "Times that somebody else changed the table and it was repaired"
)
REPORTS: Final = Counter("nodewall_agent_reports_total", "Status written to the API server", (Outcome,))
RECORDS: Final = Counter("nodewall_agent_log_records_total", "Verdict records written, folded ones too", (Verdict,))
RECORDS_SUPPRESSED: Final = Counter(
    "nodewall_agent_log_records_suppressed_total", "Hits of logged rules without a record: over the rate, or lost"
)
RECORDS_LOST: Final = Counter("nodewall_agent_log_records_lost_total", "Verdict records lost on the way", (Loss,))

CONTROLLER: Final[tuple[Metric, ...]] = (
    WATCHES,
    MIRRORED,
    SYNCED,
    LEADS,
    POLICIES,
    DIRTY_NODES,
    COMPILE_SECONDS,
    PUBLISH_SECONDS,
    PUBLISHES,
    PUBLISHED_AT,
    REPAIRS,
    REMOVALS,
    OVERSIZED,
    HANDS,
    LAG_SECONDS,
    HELD,
    SET_ASIDE,
    COMPILER_FAILURES,
    EVENTS,
    EVENTS_DROPPED,
)
AGENT: Final[tuple[Metric, ...]] = (
    AGENT_WATCHES,
    PROGRAMMING_SECONDS,
    APPLY_SECONDS,
    APPLIES,
    APPLIED_AT,
    APPLIED_GENERATION,
    DEGRADED,
    APPLIED_PODS,
    APPLIED_POLICIES,
    APPLIED_RULES,
    APPLIED_ADDRESSES,
    APPLIED_ELEMENTS,
    AGENT_LAG_SECONDS,
    DRIFTS,
    REPORTS,
    RECORDS,
    RECORDS_SUPPRESSED,
    RECORDS_LOST,
)


class Metrics:
    """The series of one table, in a registry of their own, with what the process itself uses beside them.

    Safe to use from any thread. Wrong use is a mistake in the program and raises at once: KeyError for a metric that is
    not in the table, TypeError for labels that are not the declared ones.
    """

    def __init__(self, table: tuple[Metric, ...], version: str) -> None:
        # Without it every counter has a second series, `_created`, that nobody reads.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry(auto_describe=True)
        self._collectors = {metric: _collector(metric, self._registry) for metric in table}
        for metric, collector in self._collectors.items():
            for values in _combinations(metric):
                collector.labels(*values)
        prometheus_client.ProcessCollector(registry=self._registry)
        prometheus_client.Info("nodewall_build", "The version that runs", registry=self._registry).info(
            {"version": version}
        )

    def add(self, metric: Counter, *labels: Label, by: float = 1) -> None:
        """Count `by` more; negative raises ValueError."""
        self._series(metric, labels).inc(by)

    def set(self, metric: Gauge, value: float, *labels: Label) -> None:
        """State the present value."""
        self._series(metric, labels).set(value)

    def observe(self, metric: Histogram, value: float, *labels: Label) -> None:
        """Record one value, in the metric's unit."""
        self._series(metric, labels).observe(value)

    def follow(self, metric: Gauge, read: Callable[[], float], *labels: Label) -> None:
        """Ask for the present value whenever somebody looks; `read` must not block."""
        self._series(metric, labels).set_function(read)

    def exposition(self) -> bytes:
        """All series in the text format, of media type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _series(
        self, metric: Metric, labels: tuple[Label, ...]
    ) -> Any:  # prometheus_client's children have no common type
        if tuple(map(type, labels)) != metric.labels:
            wanted = ", ".join(each.__name__ for each in metric.labels)
            raise TypeError(f"{metric.name} takes the labels ({wanted}), not {labels!r}")
        collector = self._collectors[metric]
        return collector.labels(*labels) if labels else collector


def _collector(metric: Metric, registry: CollectorRegistry) -> Any:
    names = [label.__name__.lower() for label in metric.labels]
    match metric:
        case Counter():
            return prometheus_client.Counter(metric.name, metric.help, names, registry=registry)
        case Gauge():
            return prometheus_client.Gauge(metric.name, metric.help, names, registry=registry)
        case Histogram():
            buckets = metric.buckets
            return prometheus_client.Histogram(metric.name, metric.help, names, registry=registry, buckets=buckets)


def _combinations(metric: Metric) -> Iterator[tuple[Label, ...]]:
    """Every combination of the metric's label values; none for a metric without labels."""
    if metric.labels:
        yield from itertools.product(*metric.labels)
