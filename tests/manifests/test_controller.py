"""The controller as a process, with kopf in it, against a real API server and with the rights of its manifest."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.api import Object, is_established
from e2e.controlplane import ControlPlane
from e2e.waiting import until
from tests.manifests.conftest import CRD, NAMESPACE

pytestmark = pytest.mark.e2e

KOPFS_MARK = "kopf.zalando.org/KopfFinalizerMarker"


@dataclass
class Running:
    """A controller at work."""

    process: "subprocess.Popen[str]"
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it logged: every line is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def said(self, text: str) -> bool:
        """Whether a message has this in it."""
        return any(text in line["message"] for line in self.lines())


@contextmanager
def controller(kubeconfig: Path) -> Iterator[Running]:
    """Stopped by SIGTERM at the end."""
    log = kubeconfig.with_suffix(".log")
    argv = [sys.executable, "-m", "nodewall.cli", "controller", "--kubeconfig", str(kubeconfig)]
    argv += ["--health-address", "127.0.0.1:0", "--log-level", "debug", "--log-format", "json"]
    with log.open("w") as stream:
        env = os.environ | {"POD_NAMESPACE": NAMESPACE}
        process = subprocess.Popen(argv, stderr=stream, stdout=stream, text=True, env=env)
        try:
            yield Running(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            finally:
                process.kill()
                process.wait()


def policy(name: str, namespace: str = "default") -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "finalizers": [KOPFS_MARK]},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }


@pytest.fixture
def running(installed: ControlPlane, kubeconfig: Callable[[str], Path]) -> Iterator[Running]:
    """A controller that has listed everything."""
    with controller(kubeconfig("nodewall-controller")) as found:
        until("listed", lambda: found.said("every input is listed"), within=20)
        yield found


def rule_set(server: ControlPlane, node: str = "node-a") -> Object | None:
    return server.api.find("nodewall.io/v1alpha1", "NodeRuleSet", node)


def test_it_works_with_the_rights_that_its_manifest_gives(installed: ControlPlane, running: Running) -> None:
    until("a rule set", lambda: rule_set(installed), within=10)
    assert [line for line in running.lines() if "forbidden" in line["message"].lower()] == []


def test_users_objects_are_left_as_they_are(installed: ControlPlane, running: Running) -> None:
    """Not even the finalizer that kopf takes for its own by default is removed."""
    made = installed.api.ensure(policy("untouched"))
    try:
        until("kopf told", lambda: running.said("kopf saw"), within=20)
        until("a rule set", lambda: rule_set(installed), within=10)
        assert installed.api.get("networking.k8s.io/v1", "NetworkPolicy", "untouched", "default") == made
    finally:
        installed.api.patch(made, {"metadata": {"finalizers": None}})
        installed.api.delete(made)


def test_sigterm_ends_it_at_once_and_well(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(5) == 0
    assert running.lines()[-1]["message"] == "stopped; every node keeps what it enforces"


def test_a_missing_permission_is_said_and_mended(installed: ControlPlane, kubeconfig: Callable[[str], Path]) -> None:
    role = installed.api.get("rbac.authorization.k8s.io/v1", "ClusterRole", "nodewall-controller")
    without = [rule for rule in role["rules"] if "endpointslices" not in rule["resources"]]
    installed.api.patch(role, {"rules": without})
    try:
        with controller(kubeconfig("nodewall-controller")) as found:
            until("said", lambda: found.said("endpointslices.discovery.k8s.io: "), within=20)
            assert found.said("a permission is missing: kubectl apply -f manifests/ grants it")
            assert not found.said("every input is listed")
            installed.api.patch(role, {"rules": role["rules"]})
            until("mended", lambda: found.said("every input is listed"), within=30)
            assert [line for line in found.lines() if "exception" in line] == []
    finally:
        installed.api.patch(role, {"rules": role["rules"]})


def test_an_api_server_that_is_away_is_said_and_waited_for(
    installed: ControlPlane, kubeconfig: Callable[[str], Path]
) -> None:
    with controller(kubeconfig("nodewall-controller")) as found:
        until("listed", lambda: found.said("every input is listed"), within=20)
        installed.kill_apiserver()
        try:
            until("said", lambda: found.said("Cannot connect"), within=20)
        finally:
            installed.start_apiserver()
        made = installed.api.ensure({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-late"}})
        try:
            until("goes on", lambda: rule_set(installed, "node-late"), within=40)
        finally:
            installed.api.delete(made)
        until("removed", lambda: not rule_set(installed, "node-late"), within=10)
        assert found.process.poll() is None


def upstream_definition() -> Object:
    """As much of the upstream kind as matters here: its name, and a status."""
    group, plural = "policy.networking.k8s.io", "clusternetworkpolicies"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1alpha2",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {"plural": plural, "singular": "clusternetworkpolicy", "kind": "ClusterNetworkPolicy"},
            "versions": [version],
        },
    }


def test_the_upstream_kind_may_come_go_and_come_again(installed: ControlPlane, running: Running) -> None:
    api = installed.api
    definition = upstream_definition()
    guard: Object = {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "guard"},
        "spec": {
            "tier": "Admin",
            "priority": 1,
            "subject": {"namespaces": {}},
            "egress": [{"action": "Deny", "to": [{"networks": ["192.0.2.0/24"]}]}],
        },
    }

    def is_made() -> bool:
        """Discovery lags behind the definition's own condition."""
        try:
            return bool(api.ensure(guard))
        except LookupError:
            return False

    def is_told() -> bool:
        status = api.get(guard["apiVersion"], guard["kind"], "guard").get("status", {})
        return any(each["type"] == "Accepted" for each in status.get("conditions", ()))

    def told_by_kopf() -> int:
        return sum("kopf saw" in line["message"] for line in running.lines())

    def has_kopf() -> bool:
        """kopf asks discovery when a definition changes; discovery may have lagged behind, so it is changed again."""
        api.patch(definition, {"metadata": {"annotations": {"e2e/at": str(time.monotonic())}}})
        return told_by_kopf() > before[-1]

    before: list[int] = []
    for _ in range(2):
        before.append(told_by_kopf())
        api.create(definition)
        try:
            until("served", lambda: is_established(api.get(*CRD, definition["metadata"]["name"])), within=20)
            until("made", is_made, within=20)
            until("the mirror has it", is_told, within=30)
            until("kopf has it", lambda: told_by_kopf() > before[-1], within=30)
        finally:
            api.delete(definition)
        until("gone", lambda: not api.find(*CRD, definition["metadata"]["name"]), within=30)
    assert running.process.poll() is None
