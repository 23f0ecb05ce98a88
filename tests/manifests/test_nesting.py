"""Objects that are nested as deep as the API server takes them, which is deeper than Python reads."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.api import Object
from e2e.controlplane import ControlPlane
from e2e.waiting import until
from tests.manifests.test_controller import controller, policy, rule_set

pytestmark = pytest.mark.e2e
LEVELS = 1500
ABOUT_THE_LIMIT = range(900, 1000, 6)
"""Levels that can be read or not, as many calls as the reader is in itself."""
NODE = "node-deep"
HERE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}


def deep(name: str, levels: int) -> str:
    """JSON; ``json`` itself cannot write it."""
    return f'{{"{name}":' * levels + "{}" + "}" * levels


def create(server: ControlPlane, path: str, body: Object, tmp_path: Path, levels: int = LEVELS) -> None:
    """Where it says DEEP it is nested."""
    file = tmp_path / "deep.json"
    file.write_text(json.dumps(body).replace('"DEEP"', deep("f:a", levels)))
    server.kubectl("create", "--raw", path, "-f", str(file))


def owned(body: Object) -> Object:
    """With an entry of managedFields, which whoever may create an object may write."""
    entry = {"manager": "me", "operation": "Update", "apiVersion": body["apiVersion"], "time": "2026-01-01T00:00:00Z"}
    fields = [entry | {"fieldsType": "FieldsV1", "fieldsV1": "DEEP"}]
    return body | {"metadata": body["metadata"] | {"managedFields": fields}}


def pod(name: str) -> Object:
    spec = {"nodeName": NODE, "containers": [{"name": "main", "image": "none"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def broken(name: str) -> Object:
    spec: dict[str, Any] = {"digest": "x", "addressGroups": "DEEP", "portGroups": 1, "classes": [None]}
    spec |= {"endpoints": "all", "policies": [[{}]], "podCIDRs": []}
    return {"apiVersion": "nodewall.io/v1alpha1", "kind": "NodeRuleSet", "metadata": {"name": name}, "spec": spec}


TOLD: Object = {
    "apiVersion": "nodewall.io/v1alpha1",
    "kind": "ExtendedNetworkPolicy",
    "metadata": {"name": "told", "namespace": "default"},
    "spec": {"priority": 1, "podSelector": {}, "ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}]},
}


def conditions(server: ControlPlane) -> list[Object]:
    found: Object = server.api.get(TOLD["apiVersion"], TOLD["kind"], "told", "default")
    conditions: list[Object] = found.get("status", {}).get("conditions", [])
    return conditions


@pytest.fixture
def node(installed: ControlPlane) -> Iterator[ControlPlane]:
    installed.api.ensure(HERE)
    yield installed
    installed.api.delete(TOLD)
    quickly = ("--ignore-not-found", "--wait=false", "--grace-period=0", "--force")
    pods = [f"pod/{name}" for name in ("early", "late", *(f"at-{levels}" for levels in ABOUT_THE_LIMIT))]
    installed.kubectl("delete", *quickly, "networkpolicy/early", *pods, f"node/{NODE}")
    installed.kubectl("delete", *quickly, "noderuleset", NODE, "nobody")


def run(server: ControlPlane, name: str, tmp_path: Path) -> None:
    """A pod that runs."""
    create(server, "/api/v1/namespaces/default/pods", owned(pod(name)), tmp_path)
    ip = {"early": "10.2.0.1", "late": "10.2.0.2"}[name]
    status = json.dumps({"status": {"podIPs": [{"ip": ip}], "podIP": ip}})
    server.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", status)


def listed(server: ControlPlane) -> set[str]:
    try:
        endpoints = ((rule_set(server, NODE) or {}).get("spec") or {}).get("endpoints", [])
    except RecursionError:
        return set()
    return {each["pod"] for each in endpoints if isinstance(endpoints, list)}


def test_no_object_is_nested_so_deep_that_it_ends_the_controller(
    node: ControlPlane, kubeconfig: Callable[[str], Path], tmp_path: Path
) -> None:
    """There when it begins, and coming while it runs. It is read all the same."""
    policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
    run(node, "early", tmp_path)
    for levels in ABOUT_THE_LIMIT:
        create(node, "/api/v1/namespaces/default/pods", owned(pod(f"at-{levels}")), tmp_path, levels)
    create(node, "/apis/nodewall.io/v1alpha1/noderulesets", broken(NODE), tmp_path)
    bare = {key: value for key, value in policy("early")["metadata"].items() if key != "finalizers"}
    create(node, policies, owned(policy("early") | {"metadata": bare}), tmp_path)

    def alive() -> bool:
        assert found.process.poll() is None, found.log.read_text()[-4000:]
        return True

    with controller(kubeconfig("nodewall-controller")) as found:
        until("written", lambda: alive() and listed(node) == {"early"}, within=30)
        run(node, "late", tmp_path)
        until("written", lambda: alive() and listed(node) == {"early", "late"}, within=30)
        node.api.delete({"apiVersion": "nodewall.io/v1alpha1", "kind": "NodeRuleSet", "metadata": {"name": NODE}})
        create(node, "/apis/nodewall.io/v1alpha1/noderulesets", broken("nobody"), tmp_path)
        until("written again", lambda: alive() and listed(node) == {"early", "late"}, within=30)
        (judged,) = (rule_set(node, NODE) or {})["spec"]["classes"]
        node.api.ensure(TOLD)  # kopf cannot read it with Python 3.11, and ends time and again
        until("a policy is told what became of it", lambda: conditions(node), within=10)
        assert not found.said("an object could not be taken in")
        assert judged["isolation"]["policies"] == ["default/early"]
