"""Dashboard and alert rules ask for what is declared, with the labels that it has. That they parse, and that each alert
fires, is Prometheus' own to say, in e2e/test_monitoring.py.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodewall.telemetry.metrics import AGENT, CONTROLLER, Histogram, Metric

FOLDER = Path(__file__).parents[2] / "manifests" / "monitoring"
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
DECLARED = {metric.name: metric for metric in (*AGENT, *CONTROLLER)}
FOREIGN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
TARGET = {"node", "component"}
"""Labels that targets.yaml gives to every series."""


def expressions() -> Iterator[tuple[str, str]]:
    """(where, expression) of every alert and every panel."""
    for group in ALERTS["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
    for panel in DASHBOARD["panels"]:
        yield from ((f"panel {panel['title']}", target["expr"]) for target in panel.get("targets", ()))
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]["query"]


EVERY = [pytest.param(expression, id=where) for where, expression in expressions()]


def series(expression: str) -> list[tuple[str, dict[str, str]]]:
    """(metric, what its labels are matched with) of each selector."""
    bare = re.findall(r"\b([a-z_:]+)\b(?:\{([^}]*)\})?(?=[\s\[\)>,=/*+-]|$)", expression)
    found = [(name, matchers) for name, matchers in bare if name.startswith("nodewall_") or name in FOREIGN]
    return [(name, dict(re.findall(r'(\w+)=~?"([^"]*)"', matchers))) for name, matchers in found]


def declared(name: str) -> Metric | None:
    """The metric that a series belongs to; a histogram's end in `_bucket`, `_sum` or `_count`, and only they exist."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    for candidate in (name, base):
        metric = DECLARED.get(candidate)
        if metric and isinstance(metric, Histogram) == (candidate != name):
            return metric
    return None


@pytest.mark.parametrize("expression", EVERY)
def test_it_asks_for_what_is_declared(expression: str) -> None:
    selectors = series(expression)
    assert selectors
    allowed = set(TARGET)
    for name, matched in selectors:
        metric = declared(name)
        assert metric or name in FOREIGN, name
        values = {label.__name__.lower(): set(label) for label in metric.labels} if metric else {}
        allowed |= values.keys()
        for label, value in matched.items():
            assert label in values or label in TARGET, label
            assert label in TARGET or value in values[label], value
    grouped = {each.strip() for some in re.findall(r"by \(([^)]*)\)", expression) for each in some.split(",")}
    assert grouped <= allowed | {"le"}


def test_what_is_not_declared_would_be_found() -> None:
    """The check above checks something."""
    ((name, matched),) = series('sum by (node) (rate(nodewall_agent_nonsense_total{outcome="odd", node=~"x"}[5m])) > 0')
    assert (name, matched) == ("nodewall_agent_nonsense_total", {"outcome": "odd", "node": "x"})
    assert declared(name) is None
    assert declared("nodewall_agent_apply_seconds") is None
    assert declared("nodewall_agent_rules_count") is None


NO_TROUBLE = {
    "nodewall_agent_addresses": "how much there is",
    "nodewall_agent_apply_seconds": "a part of nodewall_agent_programming_seconds",
    "nodewall_agent_elements": "how much there is",
    "nodewall_agent_last_apply_timestamp_seconds": "long ago is well where nothing changes",
    "nodewall_agent_log_records_suppressed_total": "a rate that was set is kept",
    "nodewall_agent_log_records_total": "what policies do",
    "nodewall_agent_pods": "how much there is",
    "nodewall_agent_policies": "how much there is",
    "nodewall_agent_rules": "how much there is",
    "nodewall_controller_compile_seconds": "a part of nodewall_agent_programming_seconds",
    "nodewall_controller_last_publish_timestamp_seconds": "long ago is well where nothing changes",
    "nodewall_controller_objects": "how much there is",
    "nodewall_controller_publish_delay_seconds": "a part of nodewall_agent_programming_seconds",
    "nodewall_controller_removals_total": "nodes go",
}
"""Metrics that no alert asks for, and why: none of them tells of trouble by itself."""


def test_every_metric_that_tells_of_trouble_has_an_alert() -> None:
    asked = {
        declared(name) for group in ALERTS["groups"] for rule in group["rules"] for name, _ in series(rule["expr"])
    }
    silent = {metric.name for metric in (*AGENT, *CONTROLLER) if metric not in asked}
    assert silent == set(NO_TROUBLE)


def test_both_forms_of_the_alerts_are_the_same() -> None:
    monitor, rules = yaml.safe_load_all((FOLDER / "operator.yaml").read_text())
    assert rules["spec"]["groups"] == ALERTS["groups"]
    (job,) = yaml.safe_load((FOLDER / "targets.yaml").read_text())["scrape_configs"]
    wanted = {each["target_label"]: each["source_labels"] for each in job["relabel_configs"] if "target_label" in each}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert {each["targetLabel"]: each["sourceLabels"] for each in endpoint["relabelings"]} == wanted
    assert set(wanted) == TARGET


def test_each_alert_says_how_bad_it_is_and_what_to_look_at() -> None:
    rules: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert named <= kept(rule["expr"]), rule["alert"]


def kept(expression: str) -> set[str]:
    """Labels that the result has."""
    if grouped := re.search(r"by \(([^)]*)\)", expression):
        return {each.strip() for each in grouped[1].split(",")}
    return set() if re.search(r"\b(sum|max)\(", expression) else TARGET


def test_a_process_is_found_on_the_port_that_it_is_told_to_serve_on() -> None:
    for half, port in (("agent", 9811), ("controller", 9810)):
        patch = yaml.safe_load((FOLDER / f"expose-{half}.yaml").read_text())
        (container,) = patch["spec"]["template"]["spec"]["containers"]
        (told,) = (each["value"] for each in container["env"] if each["name"] == "NODEWALL_METRICS_ADDRESS")
        manifest = next(FOLDER.parent.glob(f"5?-{half}.yaml")).read_text()
        (workload,) = (each for each in yaml.safe_load_all(manifest) if each["kind"] in ("DaemonSet", "Deployment"))
        (declared_port,) = workload["spec"]["template"]["spec"]["containers"][0]["ports"]
        assert (declared_port["name"], declared_port["containerPort"]) == ("health", port)
        assert told == f"$(HOST_IP):{port}"
        assert container["name"] == half == workload["spec"]["template"]["spec"]["containers"][0]["name"]
