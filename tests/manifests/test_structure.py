"""What a cluster operator reads before applying manifests/, as statements."""

import re
from pathlib import Path
from typing import Any

import pytest

from nodewall import __version__
from nodewall.api.kinds import RESOURCES
from nodewall.controller.election import NAME as LEASE
from nodewall.controller.options import HEALTH as CONTROLLER_HEALTH
from tests.manifests.documents import CRDS, MANIFESTS, Document, documents, pod_spec, the

BUILT_IN_GROUPS = {
    "v1",
    "apps/v1",
    "rbac.authorization.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "admissionregistration.k8s.io/v1",
    "policy/v1",
}
WORKLOADS = [("Deployment", "nodewall-controller"), ("DaemonSet", "nodewall-agent")]
READ = {"get", "list", "watch"}
MEASURED = {"scale.start.1000", "footprint.agent"}
"""Of bench/."""


def test_the_crds_come_first_and_each_has_one_home() -> None:
    links = [file for file in sorted(MANIFESTS.iterdir()) if file.is_symlink()]
    assert [link.resolve() for link in links] == sorted(CRDS.glob("*.yaml"))
    assert all(link.readlink() == Path("../crds") / link.resolve().name for link in links)
    kinds = [each.kind for each in documents()]
    assert kinds[: len(links) + 1] == ["CustomResourceDefinition"] * len(links) + ["Namespace"]
    assert kinds.count("CustomResourceDefinition") == len(links) > 0


def test_nothing_but_manifests_is_in_the_folder() -> None:
    """kubectl would read a kustomization.yaml as an object without a name, and fail; all this it passes by."""
    others = [file.name for file in MANIFESTS.iterdir() if file.suffix != ".yaml" or file.is_dir()]
    assert sorted(others) == ["Kustomization", "monitoring"]
    assert not list(MANIFESTS.glob("kustomiz*"))


@pytest.mark.parametrize("document", documents(), ids=str)
def test_no_custom_resource_is_among_them(document: Document) -> None:
    """On the first apply its kind would not be known yet."""
    assert document.body["apiVersion"] in BUILT_IN_GROUPS


@pytest.mark.parametrize("document", documents(), ids=str)
def test_everything_is_in_our_namespace_or_says_our_name(document: Document) -> None:
    namespace = document.body["metadata"].get("namespace")
    assert namespace == "nodewall-system" or (namespace is None and "nodewall" in document.name)


# -- what the processes may do


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_the_container_is_confined(kind: str, name: str) -> None:
    spec = pod_spec(kind, name)
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"]["drop"] == ["ALL"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "privileged" not in security
    assert not spec.keys() & {"hostPID", "hostIPC", "initContainers", "shareProcessNamespace"}


def test_the_controller_is_nobody_and_sees_nothing_of_the_node() -> None:
    spec = pod_spec("Deployment", "nodewall-controller")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert "add" not in spec["containers"][0]["securityContext"]["capabilities"]
    assert "volumes" not in spec


def test_the_agent_has_net_admin_and_one_folder() -> None:
    spec = pod_spec("DaemonSet", "nodewall-agent")
    security = spec["containers"][0]["securityContext"]
    assert (security["runAsUser"], security["capabilities"]["add"]) == (0, ["NET_ADMIN"])
    assert [volume["hostPath"]["path"] for volume in spec["volumes"]] == ["/var/lib/nodewall"]
    assert [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]] == ["/var/lib/nodewall"]


def test_the_agent_is_on_every_node() -> None:
    spec = pod_spec("DaemonSet", "nodewall-agent")
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"
    assert "affinity" not in spec


def test_two_controllers_on_two_nodes_and_never_a_third() -> None:
    deployment = the("Deployment", "nodewall-controller")["spec"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (2, "RollingUpdate")
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    affinity = pod_spec("Deployment", "nodewall-controller")["affinity"]
    (apart,) = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert (apart["topologyKey"], apart["labelSelector"]) == ("kubernetes.io/hostname", deployment["selector"])


def test_the_controller_is_scheduled_first_and_where_a_new_cluster_lets_it() -> None:
    spec = pod_spec("Deployment", "nodewall-controller")
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert {each["key"] for each in spec["tolerations"]} == {
        "node-role.kubernetes.io/control-plane",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/network-unavailable",
        "node.cloudprovider.kubernetes.io/uninitialized",
    }


def test_agents_are_updated_a_few_at_a_time() -> None:
    """Never two at once on a node: both would want its ports, and repair each other's table."""
    strategy = the("DaemonSet", "nodewall-agent")["spec"]["updateStrategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_what_it_needs_is_requested_and_measured(kind: str, name: str) -> None:
    (container,) = pod_spec(kind, name)["containers"]
    assert container["resources"].keys() == {"requests"}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    (file,) = {each.file for each in documents() if (each.kind, each.name) == (kind, name)}
    comment, _, _ = file.read_text().partition("        resources:")
    (measured,) = re.findall(r"# Measured [^:]+\(make bench, ([a-z0-9.]+)\)", comment)
    (most,) = re.findall(r"\b(\d+) MB (?:at most|under)", comment)
    assert int(most) <= int(container["resources"]["requests"]["memory"].removesuffix("Mi"))
    assert measured in MEASURED


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_a_half_that_hangs_is_started_again_and_one_that_is_not_ready_says_so(kind: str, name: str) -> None:
    (container,) = pod_spec(kind, name)["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    patience = container["livenessProbe"]["failureThreshold"] * container["livenessProbe"]["periodSeconds"]
    assert patience >= 60, "a busy node is no reason to start it again"


def test_one_controller_at_a_time_is_evicted() -> None:
    budget = the("PodDisruptionBudget", "nodewall-controller")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == the("Deployment", "nodewall-controller")["spec"]["selector"]


def test_the_lease_is_in_the_namespace_of_the_controllers() -> None:
    (container,) = pod_spec("Deployment", "nodewall-controller")["containers"]
    variables = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in container["env"]}
    assert variables == {"POD_NAMESPACE": "metadata.namespace", "POD_NAME": "metadata.name"}
    named = [rule["resourceNames"] for rule in the("Role", "nodewall-controller")["rules"] if "resourceNames" in rule]
    assert named == [[LEASE]]


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_no_rule_set_can_lock_it_out_and_nobody_else_reaches_its_ports(kind: str, name: str) -> None:
    spec = pod_spec(kind, name)
    (container,) = spec["containers"]
    assert spec["hostNetwork"] is True
    for probe in ("livenessProbe", "readinessProbe"):
        where = container[probe]["httpGet"]
        assert (where["host"], where["port"]) == ("127.0.0.1", container["ports"][0]["containerPort"])


def test_the_controller_listens_where_it_is_probed() -> None:
    (container,) = pod_spec("Deployment", "nodewall-controller")["containers"]
    assert container["readinessProbe"]["httpGet"]["port"] == CONTROLLER_HEALTH.port
    assert "--health-address" not in " ".join(container["args"])


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_the_image_is_of_this_version(kind: str, name: str) -> None:
    (container,) = pod_spec(kind, name)["containers"]
    assert container["image"] == f"nodewall:{__version__}"
    assert container["imagePullPolicy"] == "IfNotPresent"


# -- what the API server lets them do


def rules(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = the("ClusterRole", name)["rules"]
    return found


@pytest.mark.parametrize("document", [each for each in documents() if each.kind in {"ClusterRole", "Role"}], ids=str)
def test_no_wildcard_is_granted(document: Document) -> None:
    for rule in document.body["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_the_controller_reads_what_it_mirrors() -> None:
    readable = {
        (group, resource)
        for rule in rules("nodewall-controller")
        if set(rule["verbs"]) >= READ
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    ours = {
        ("nodewall.io", "noderulesets"),
        ("nodewall.io", "peergroups"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    }
    assert readable == ours | {(each.group, each.plural) for each in RESOURCES}


def test_the_controller_writes_nothing_of_the_users() -> None:
    writing = [rule for rule in rules("nodewall-controller") if not set(rule["verbs"]) <= READ]
    assert {resource for rule in writing for resource in rule["resources"]} == {
        "noderulesets",
        "peergroups",
        "extendednetworkpolicies/status",
        "clusterextendednetworkpolicies/status",
        "clusternetworkpolicies/status",
        "events",
    }


def test_the_agent_reads_rule_sets_and_reports() -> None:
    assert rules("nodewall-agent") == [
        {"apiGroups": ["nodewall.io"], "resources": ["noderulesets"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["nodewall.io"], "resources": ["peergroups"], "verbs": ["list", "watch"]},
        {"apiGroups": ["nodewall.io"], "resources": ["noderulesets/status"], "verbs": ["patch"]},
    ]


def test_the_namespaced_kind_comes_with_the_role_admin_and_with_no_lesser_one() -> None:
    label = "rbac.authorization.k8s.io/aggregate-to-"
    for document in documents():
        if document.kind != "ClusterRole":
            continue
        labels = {key.removeprefix(label) for key in document.body["metadata"]["labels"] if key.startswith(label)}
        writes = [rule for rule in document.body["rules"] if not set(rule["verbs"]) <= READ]
        assert labels <= ({"admin"} if writes else {"view"})
    assert rules("nodewall-policies-admin")[0]["resources"] == ["extendednetworkpolicies"]
