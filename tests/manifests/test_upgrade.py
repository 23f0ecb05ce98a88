"""`kubectl apply -f manifests/` on API servers of its own: empty ones, file by file, and over an older version."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.api import Object, is_established
from e2e.command import CommandError
from e2e.controlplane import ControlPlane
from e2e.waiting import until
from tests.manifests.conftest import CRD, fresh_server
from tests.manifests.documents import MANIFESTS, documents

pytestmark = pytest.mark.e2e

VOLATILE = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "annotations")
Objects = dict[tuple[str, str], Object]


@pytest.fixture(scope="module")
def empty() -> Iterator[ControlPlane]:
    """An API server that nobody has installed anything on."""
    with fresh_server("g") as control_plane:
        yield control_plane


def stored(server: ControlPlane) -> Objects:
    """Every object of the manifests as it is there, without what is another one each time."""
    return {(each.kind, each.name): _settled(_there(server, each.body)) for each in documents()}


def _there(server: ControlPlane, body: Object) -> Object:
    metadata = body["metadata"]
    return server.api.get(body["apiVersion"], body["kind"], metadata["name"], metadata.get("namespace"))


def _settled(found: Object) -> Object:
    kept = {key: value for key, value in found.items() if key != "status"}
    return kept | {"metadata": {key: value for key, value in found["metadata"].items() if key not in VOLATILE}}


def apply(server: ControlPlane, *words: str, given: str | None = None) -> list[str]:
    return server.kubectl("apply", *words, given=given).splitlines()


def one_by_one(server: ControlPlane, files: list[Path]) -> list[str]:
    """Each file by itself, those that failed again after the others. Returns which were tried, in order."""
    tried: list[str] = []
    for _ in range(3):
        failed = []
        for file in files:
            tried.append(file.name)
            try:
                apply(server, "-f", str(file))
            except CommandError:
                failed.append(file)
        files = failed
    assert files == []
    return tried


@pytest.fixture(scope="module")
def fresh(empty: ControlPlane) -> Objects:
    """What is there after an installation in the worst order: everything before what it needs."""
    files = sorted(MANIFESTS.glob("*.yaml"), reverse=True)
    tried = one_by_one(empty, files)
    assert len(tried) > len(files), "what is in the namespace has failed before there was one"
    until("definitions served", lambda: all(map(is_established, empty.api.list(*CRD))), within=20)
    return stored(empty)


def test_a_dry_run_is_clean_once_there_is_a_namespace(empty: ControlPlane) -> None:
    """The first test of this file, on a server with nothing else in it."""
    assert empty.api.list(*CRD) == []
    apply(empty, "-f", str(MANIFESTS / "10-namespace.yaml"))
    said = apply(empty, "--dry-run=server", "--validate=strict", "-f", str(MANIFESTS))
    assert len(said) == len(documents())
    assert not [line for line in said if "(server dry run)" not in line]
    empty.api.delete({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "nodewall-system"}})
    _end_namespace(empty)


def _end_namespace(server: ControlPlane) -> None:
    """What a controller manager would do."""
    gone = server.api.find("v1", "Namespace", "nodewall-system")
    if gone:
        path = "/api/v1/namespaces/nodewall-system/finalize"
        server.api.request("PUT", path, gone | {"spec": {"finalizers": []}})
    until("gone", lambda: server.api.find("v1", "Namespace", "nodewall-system") is None, within=10)


def test_any_order_of_retries_comes_to_the_same(empty: ControlPlane, fresh: Objects) -> None:
    for each in documents():
        assert _part(each.body, fresh[each.kind, each.name]), each
    one_by_one(empty, sorted(MANIFESTS.glob("*.yaml"), key=lambda file: file.name[::-1]))
    apply(empty, "-f", str(MANIFESTS))
    assert stored(empty) == fresh


def _part(wanted: Any, there: Any) -> bool:
    """Whether all that is written is there; the API server adds its defaults."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        return all(_part(value, there.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(map(_part, wanted, there))
    return bool(wanted == there)


# -- over an older version


NEWEST = {("CustomResourceDefinition", "peergroups.nodewall.io"), ("PodDisruptionBudget", "nodewall-controller")}
"""What the older version does not have."""


def older() -> list[Object]:
    """The manifests as they might have been: with less, with more, and with other values."""
    found = [deepcopy(each.body) for each in documents()]
    for each in found:
        each["metadata"].setdefault("labels", {})["nodewall.io/older"] = "yes"
        if each["kind"] in _OLDER:
            _OLDER[each["kind"]](each)
    return [each for each in found if (each["kind"], each["metadata"]["name"]) not in NEWEST]


def _definition(each: Object) -> None:
    (version,) = each["spec"]["versions"]
    version["additionalPrinterColumns"] = version["additionalPrinterColumns"][1:]
    properties = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties.pop("podCIDRs", None)
    properties.pop("logging", None)
    properties["gone"] = {"type": "string"}
    required = version["schema"]["openAPIV3Schema"]["properties"]["spec"].get("required", [])
    required[:] = [name for name in required if name in properties]


def _role(each: Object) -> None:
    each["rules"] = [*each["rules"][:-1], {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]


def _workload(each: Object) -> None:
    pod = each["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container["image"] = "nodewall:0.0.9"
    container["env"] = [*container["env"][1:], {"name": "NODEWALL_GONE", "value": "yes"}]
    container.pop("livenessProbe")
    container["securityContext"] = {"privileged": True}
    pod.pop("priorityClassName")
    pod["volumes"] = [{"name": "gone", "emptyDir": {}}]
    container["volumeMounts"] = [{"name": "gone", "mountPath": "/gone"}]


def _deployment(each: Object) -> None:
    _workload(each)
    each["spec"]["replicas"] = 1
    each["spec"]["strategy"] = {"type": "Recreate"}


def _admission(each: Object) -> None:
    each["spec"] |= {"failurePolicy": "Ignore", "matchConditions": []}


_OLDER: dict[str, Callable[[Object], None]] = {
    "CustomResourceDefinition": _definition,
    "ClusterRole": _role,
    "Role": _role,
    "DaemonSet": _workload,
    "Deployment": _deployment,
    "ValidatingAdmissionPolicy": _admission,
}

KEPT: Object = {
    "apiVersion": "nodewall.io/v1alpha1",
    "kind": "ExtendedNetworkPolicy",
    "metadata": {"name": "kept", "namespace": "default"},
    "spec": {"priority": 1, "podSelector": {}, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]},
}


def _nothing_of_ours(server: ControlPlane) -> None:
    server.kubectl("delete", "--wait=false", "--ignore-not-found", "-f", str(MANIFESTS))
    _end_namespace(server)
    until("no definitions", lambda: not server.api.list(*CRD), within=20)


def test_an_older_version_becomes_this_one(empty: ControlPlane, fresh: Objects) -> None:
    _nothing_of_ours(empty)
    apply(empty, "-f", "-", given=yaml.safe_dump_all(older()))
    until("definitions served", lambda: all(map(is_established, empty.api.list(*CRD))), within=20)
    kept = until("served", lambda: _made(empty), within=20)
    differing = {key for key in fresh if _find(empty, *key) != fresh[key]}
    assert differing == set(fresh), "the older version differs in each object"

    apply(empty, "-f", str(MANIFESTS))
    assert stored(empty) == fresh
    again = apply(empty, "-f", str(MANIFESTS))
    assert [line for line in again if " unchanged" not in line and "poddisruptionbudget" not in line] == []
    assert empty.api.get(KEPT["apiVersion"], KEPT["kind"], "kept", "default")["spec"] == kept["spec"]

    apply(empty, "-f", "-", given=yaml.safe_dump_all(older()))
    assert {key for key in fresh if _find(empty, *key) != fresh[key]} >= set(fresh) - NEWEST, "and the way back"


def _made(server: ControlPlane) -> Object | None:
    try:
        return server.api.ensure(KEPT)
    except LookupError:
        return None


def _find(server: ControlPlane, kind: str, name: str) -> Object | None:
    (body,) = (each.body for each in documents() if (each.kind, each.name) == (kind, name))
    found = server.api.find(body["apiVersion"], kind, name, body["metadata"].get("namespace"))
    return found and _settled(found)
