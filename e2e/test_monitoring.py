"""What manifests/monitoring/ offers is taken by Prometheus and by the API server, and does what it says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import debian, netns
from e2e.components import Component, Installation
from e2e.local import LocalCluster
from e2e.manifests import Workload
from e2e.rootfs import Bind
from e2e.waiting import until
from tests.docs.documents import ROOT, blocks

FOLDER = ROOT / "manifests" / "monitoring"
PAGE = ROOT / "docs" / "metrics.md"
GROUPS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}

AGENT, CONTROLLER = 'component="agent", node="n1"', 'component="controller", node="n1"'
GROWS, STANDS = "0+1x60", "3+0x60"


def of(name: str, labels: str, values: str) -> list[dict[str, str]]:
    return [{"series": f"{name}{{{labels}}}", "values": values}]


def slow(name: str, labels: str, values: str, bounds: tuple[str, str]) -> list[dict[str, str]]:
    """What all takes between these seconds; with values that grow: none of it."""
    buckets = ((bounds[0], values), (bounds[1], GROWS), ("+Inf", GROWS))
    return [each for bound, counts in buckets for each in of(f"{name}_bucket", f'{labels}, le="{bound}"', counts)]


def late(half: str, labels: str, values: str) -> list[dict[str, str]]:
    """Turns of the event loop that all come so late."""
    return slow(f"nodewall_{half}_loop_lag_seconds", labels, values, ("1", "2.5"))


def changes(values: str) -> list[dict[str, str]]:
    return slow("nodewall_agent_programming_seconds", AGENT, values, ("5", "10"))


def strained(hands: int, writes: str) -> list[dict[str, str]]:
    return of("nodewall_controller_write_hands", CONTROLLER, f"{hands}x60") + of(
        "nodewall_controller_publishes_total", f'{CONTROLLER}, outcome="done"', writes
    )


FIRES: dict[str, tuple[list[dict[str, str]], list[dict[str, str]], str]] = {
    "NodewallAgentDown": (of("up", AGENT, "0x60"), of("up", AGENT, "1x60"), AGENT),
    "NodewallNothingApplied": (
        of("nodewall_agent_applied_generation", AGENT, "0x60"),
        of("nodewall_agent_applied_generation", AGENT, "7x60"),
        AGENT,
    ),
    "NodewallDegraded": (
        of("nodewall_agent_degraded", AGENT, "1x60"),
        of("nodewall_agent_degraded", AGENT, "0x60"),
        AGENT,
    ),
    "NodewallApplyFails": (
        of("nodewall_agent_applies_total", f'{AGENT}, outcome="failed"', GROWS),
        of("nodewall_agent_applies_total", f'{AGENT}, outcome="done"', GROWS),
        'node="n1"',
    ),
    "NodewallTableChanged": (
        of("nodewall_agent_drift_repairs_total", AGENT, GROWS),
        of("nodewall_agent_drift_repairs_total", AGENT, STANDS),
        'node="n1"',
    ),
    "NodewallSlow": (changes("0x60"), changes(GROWS), ""),
    "NodewallAgentCutOff": (
        of("nodewall_agent_watch_restarts_total", f'{AGENT}, cause="failed"', GROWS),
        of("nodewall_agent_watch_restarts_total", f'{AGENT}, cause="closed"', GROWS),
        'node="n1"',
    ),
    "NodewallReportsFail": (
        of("nodewall_agent_reports_total", f'{AGENT}, outcome="failed"', GROWS),
        of("nodewall_agent_reports_total", f'{AGENT}, outcome="done"', GROWS),
        'node="n1"',
    ),
    "NodewallAgentStarved": (late("agent", AGENT, "0x60"), late("agent", AGENT, GROWS), 'node="n1"'),
    "NodewallRecordsLost": (
        of("nodewall_agent_log_records_lost_total", f'{AGENT}, loss="kernel"', GROWS),
        of("nodewall_agent_log_records_lost_total", f'{AGENT}, loss="kernel"', STANDS),
        'node="n1", loss="kernel"',
    ),
    "NodewallNobodyLeads": (
        of("nodewall_controller_leads", CONTROLLER, "0x60"),
        of("nodewall_controller_leads", CONTROLLER, "1x60"),
        "",
    ),
    "NodewallTwoLead": (
        of("nodewall_controller_leads", 'node="n1"', "1x60") + of("nodewall_controller_leads", 'node="n2"', "1x60"),
        of("nodewall_controller_leads", 'node="n1"', "1x60") + of("nodewall_controller_leads", 'node="n2"', "0x60"),
        "",
    ),
    "NodewallNotListed": (
        of("nodewall_controller_synced", CONTROLLER, "0x60"),
        of("nodewall_controller_synced", CONTROLLER, "1x60"),
        CONTROLLER,
    ),
    "NodewallControllerCutOff": (
        of("nodewall_controller_watch_restarts_total", f'{CONTROLLER}, resource="pods", cause="failed"', GROWS),
        of("nodewall_controller_watch_restarts_total", f'{CONTROLLER}, resource="pods", cause="silent"', GROWS),
        'node="n1", resource="pods"',
    ),
    "NodewallPublishFails": (
        of("nodewall_controller_publishes_total", f'{CONTROLLER}, outcome="failed"', GROWS),
        of("nodewall_controller_publishes_total", f'{CONTROLLER}, outcome="done"', GROWS),
        "",
    ),
    "NodewallBehind": (
        of("nodewall_controller_dirty_nodes", CONTROLLER, "5x60"),
        of("nodewall_controller_dirty_nodes", CONTROLLER, "5 0 5 0 5 0 5 0 " * 8),
        CONTROLLER,
    ),
    "NodewallControllerStarved": (
        late("controller", CONTROLLER, "0x60"),
        late("controller", CONTROLLER, GROWS),
        'node="n1"',
    ),
    "NodewallApiServerStrains": (strained(2, "0+10x60"), strained(2, STANDS), CONTROLLER),
    "NodewallRuleSetsEdited": (
        of("nodewall_controller_repairs_total", CONTROLLER, GROWS),
        of("nodewall_controller_repairs_total", CONTROLLER, STANDS),
        "",
    ),
    "NodewallRuleSetTooLarge": (
        of("nodewall_controller_oversized_rule_sets", CONTROLLER, "1x60"),
        of("nodewall_controller_oversized_rule_sets", CONTROLLER, "0x60"),
        "",
    ),
    "NodewallPolicyRejected": (
        of("nodewall_controller_policies", f'{CONTROLLER}, acceptance="rejected"', "2x60"),
        of("nodewall_controller_policies", f'{CONTROLLER}, acceptance="accepted"', "2x60"),
        "",
    ),
    "NodewallCompilerFails": (
        of("nodewall_controller_objects_set_aside", CONTROLLER, "1x60"),
        of("nodewall_controller_objects_set_aside", CONTROLLER, "0x60"),
        "",
    ),
    "NodewallEventsLost": (
        of("nodewall_controller_events_total", f'{CONTROLLER}, outcome="failed"', GROWS),
        of("nodewall_controller_events_total", f'{CONTROLLER}, outcome="done"', GROWS),
        "",
    ),
}
"""Alert -> series on which it fires within the hour, on which it does not, and the labels that it has then."""

FIRES_TOO: list[tuple[str, list[dict[str, str]]]] = [
    ("NodewallNobodyLeads", []),  # nobody answers at all: nor does anybody lead
    ("NodewallCompilerFails", of("nodewall_controller_held_rule_sets", CONTROLLER, "1x60")),
    ("NodewallCompilerFails", of("nodewall_controller_compiler_failures_total", CONTROLLER, GROWS)),
    ("NodewallEventsLost", of("nodewall_controller_events_dropped_total", CONTROLLER, GROWS)),
]
"""Other series on which they fire."""

QUIET_TOO: list[tuple[str, list[dict[str, str]]]] = [
    ("NodewallApiServerStrains", strained(16, "0+10x60")),
    ("NodewallCompilerFails", of("nodewall_controller_compiler_failures_total", CONTROLLER, STANDS)),
]
"""Other series on which they do not."""


@pytest.fixture(scope="module")
def prometheus() -> Path:
    """A root with promtool in it."""
    return debian.provide(["prometheus"], print)


@pytest.fixture
def promtool(prometheus: Path, tmp_path: Path) -> Any:
    """Runs promtool on these files by name; raises CommandError with what it says."""

    def run(*arguments: str, **files: object) -> str:
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        script = f"cd /run/here && promtool {' '.join(arguments)}"
        binds = [Bind(tmp_path, Path("/run/here"), read_only=True)]
        return debian.run_inside(prometheus, ["sh", "-c", script], binds)

    return run


def test_every_alert_is_tried() -> None:
    assert RULES.keys() == FIRES.keys()


def test_every_alert_fires_when_it_should_and_only_then(promtool: Any) -> None:
    tests = list(cases())
    said = promtool("test", "rules", "tests.yaml", alerts={"groups": GROUPS}, tests=suite(tests))
    assert "SUCCESS" in said
    assert len(tests) == 2 * len(RULES) + len(FIRES_TOO) + len(QUIET_TOO)


def suite(tests: list[dict[str, Any]]) -> dict[str, Any]:
    return {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": tests}


def cases() -> Iterator[dict[str, Any]]:
    for name, (loud, quiet, labels) in FIRES.items():
        yield case(name, loud, labels)
        yield case(name, quiet, None)
    for name, series in FIRES_TOO:
        yield case(name, series, "")
    for name, series in QUIET_TOO:
        yield case(name, series, None)


def case(name: str, series: list[dict[str, str]], labels: str | None) -> dict[str, Any]:
    """That at the end of an hour it fires with these labels; None: that it does not."""
    known = dict(re.findall(r'(\w+)="([^"]*)"', labels or ""))
    rule = RULES[name]
    said = {
        key: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: known.get(found[1], ""), text)
        for key, text in rule["annotations"].items()
    }
    expected = [] if labels is None else [{"exp_labels": known | rule["labels"], "exp_annotations": said}]
    tested = {"eval_time": "59m", "alertname": name, "exp_alerts": expected}
    return {"interval": "1m", "input_series": series, "alert_rule_test": [tested]}


def test_rules_and_targets_are_a_configuration(promtool: Any) -> None:
    targets = yaml.safe_load((FOLDER / "targets.yaml").read_text())
    said = promtool(
        "check", "config", "config.yaml", alerts={"groups": GROUPS}, config={**targets, "rule_files": ["alerts.yaml"]}
    )
    assert f"{len(RULES)} rules found" in said


def test_what_the_dashboard_asks_can_be_asked(promtool: Any) -> None:
    """As recording rules, with Grafana's own words filled in."""
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    filled = [each.replace("$__rate_interval", "5m").replace("$node", ".*") for each in asked]
    rules = [{"record": f"asked:{number}", "expr": each} for number, each in enumerate(filled)]
    assert f"{len(asked)} rules found" in promtool(
        "check", "rules", "--lint=none", "asked.yaml", asked={"groups": [{"name": "asked", "rules": rules}]}
    )
    assert len(asked) > 20


@pytest.mark.datapath("routed")
def test_metrics_are_on_the_nodes_address_once_they_are_asked_for(
    engine: Installation, local_cluster: LocalCluster
) -> None:
    """The commands of the page, and processes started as the patched objects say. Health stays where it is probed."""
    before = {kind: local_cluster.api.get("apps/v1", kind, name, SYSTEM) for kind, name in WORKLOADS.items()}
    (block,) = (each for each in blocks(PAGE) if each.test == "monitoring")
    try:
        for command in block.commands():
            local_cluster.kubectl(*command.replace("manifests/", f"{ROOT}/manifests/").split()[1:])
        for kind, name in WORKLOADS.items():
            patched = local_cluster.api.get("apps/v1", kind, name, SYSTEM)["spec"]["template"]
            serves_on_its_node(engine.on(name.rpartition("-")[2], "node-1"), patched, local_cluster)
    finally:
        for kind, name in WORKLOADS.items():
            there = local_cluster.api.get("apps/v1", kind, name, SYSTEM)
            version = there["metadata"]["resourceVersion"]
            local_cluster.api.replace(
                {**before[kind], "metadata": {**before[kind]["metadata"], "resourceVersion": version}}
            )


SYSTEM = "nodewall-system"
WORKLOADS = {"DaemonSet": "nodewall-agent", "Deployment": "nodewall-controller"}
PORTS = {"nodewall-agent": 9811, "nodewall-controller": 9810}


def serves_on_its_node(component: Component, template: dict[str, Any], cluster: LocalCluster) -> None:
    workload, pod = component.workload, component.pod
    name, address = workload.name, cluster.topology.nodes["node-1"].plan.addresses[0]
    try:
        component.workload = Workload(workload.kind, workload.namespace, name, template)
        component.pod = {**pod, "spec": {**pod["spec"], "containers": template["spec"]["containers"]}}
        component.restart()
        component.await_ready()
        elsewhere = cluster.topology.nodes["node-2"].namespace
        assert "nodewall_build_info" in until("scraped", lambda: fetch(elsewhere, address, PORTS[name]), within=10)
        assert component.http(PORTS[name], "/metrics")[0] == 404
    finally:
        component.workload, component.pod = workload, pod
        component.restart()
        component.await_ready()


def fetch(namespace: str, address: str, port: int) -> str:
    """What a scraper gets that is somewhere else."""
    with netns.connect(namespace, (address, port)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
