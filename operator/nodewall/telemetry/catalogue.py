"""Every metric as a page for people, drawn from the declarations: what is written there cannot be out of date."""

from nodewall.telemetry.metrics import AGENT, CONTROLLER, Counter, Histogram, Metric

_INTRODUCTION = """\
# Metrics

Written by `nodewall metrics`; the declarations are `operator/nodewall/telemetry/metrics.py`. Units are base units,
and a label has the values below and no others: no name out of the cluster ever becomes one, so the number of series
is known. Each series is there from the start, at zero.

Both halves serve `/metrics` beside `/healthz` and `/readyz`, on the node's loopback: the agent on port 9811, the
controller on 9810. For a Prometheus that is not on the node they listen on the node's address, once it is asked for:

<!-- test: monitoring -->
```
kubectl patch -n nodewall-system daemonset nodewall-agent --patch-file manifests/monitoring/expose-agent.yaml
kubectl patch -n nodewall-system deployment nodewall-controller --patch-file manifests/monitoring/expose-controller.yaml
```

Whoever reaches a node's address can read them then; they name no pod and no policy, but say how many there are.
`/healthz` and `/readyz` stay on loopback.

| file of `manifests/monitoring/` | what for |
|---|---|
| `targets.yaml` | a `scrape_configs` entry that finds both halves and labels them with `node` and `component` |
| `alerts.yaml` | alert rules, for `rule_files` |
| `operator.yaml` | both of these for the Prometheus operator: a PodMonitor and a PrometheusRule |
| `dashboard.json` | a dashboard to import into Grafana |

`kubectl apply -f manifests/` passes this folder by. With the Prometheus operator, whose Prometheus may want a label
on both objects:

*No test runs this: it needs the operator's CustomResourceDefinitions.*

```
kubectl apply -f manifests/monitoring/operator.yaml
```

Per-policy and per-rule hit counters are no metrics, because their number has no bound: `nodewall top` in the agent's
pod reads them.
"""

_REST = """\
## Both

`nodewall_build_info` carries the version that runs in the label `version`. `process_*` are memory, processor time,
open files and the start time of the process.

## What is measured how

`nodewall_agent_programming_seconds` begins when the controller hears of a change and ends when the kernel has taken
the transaction. The controller writes the time of the change into the annotation `nodewall.io/changed-at` of the
NodeRuleSet, and of each PeerGroup, so the figure holds what the two nodes' clocks disagree by. The first rule set after
a start of the agent is not measured, nor is a PeerGroup that is new to the node.

`nodewall_agent_log_records_suppressed_total` is explained in [logging.md](logging.md).
"""


def page() -> str:
    """Markdown."""
    return "\n".join([_INTRODUCTION, _section("agent", AGENT), _section("controller", CONTROLLER), _REST])


def _section(half: str, table: tuple[Metric, ...]) -> str:
    head = f"## nodewall {half}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n"
    return head + "".join(map(_row, table))


def _row(metric: Metric) -> str:
    return f"| {' | '.join((f'`{metric.name}`', _kind(metric), _labels(metric) or '-', metric.help))} |\n"


def _kind(metric: Metric) -> str:
    if isinstance(metric, Histogram):
        return f"histogram, {metric.buckets[0]:g} to {metric.buckets[-1]:g} s"
    return "counter" if isinstance(metric, Counter) else "gauge"


def _labels(metric: Metric) -> str:
    return "; ".join(f"`{each.__name__.lower()}`: {', '.join(each)}" for each in metric.labels)
