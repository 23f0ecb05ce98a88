"""`kubectl apply -f manifests/` on a real API server, and what it lets whom do."""

from collections.abc import Callable

import pytest

from e2e.api import Api, ApiError, Object
from e2e.controlplane import ControlPlane
from nodewall.api.ruleset import document
from nodewall.model.ruleset import NodeRuleSet
from tests.manifests.documents import MANIFESTS, documents

pytestmark = pytest.mark.e2e

CONTROLLER = "system:serviceaccount:nodewall-system:nodewall-controller"
AGENT = "system:serviceaccount:nodewall-system:nodewall-agent"


# -- applying


def test_one_apply_installs_everything(first_apply: list[str]) -> None:
    assert len(first_apply) == len(documents())
    assert all(line.endswith(" created") for line in first_apply)


def test_applying_again_changes_nothing(installed: ControlPlane) -> None:
    """kubectl always says "configured" of a PodDisruptionBudget, because it always sends the selector anew."""
    budget = ("policy/v1", "PodDisruptionBudget", "nodewall-controller", "nodewall-system")
    before = installed.api.get(*budget)["metadata"]["resourceVersion"]
    said = installed.kubectl("apply", "-f", str(MANIFESTS)).splitlines()
    changed = [line for line in said if not line.endswith(" unchanged")]
    assert changed == ["poddisruptionbudget.policy/nodewall-controller configured"]
    assert installed.api.get(*budget)["metadata"]["resourceVersion"] == before
    assert len(said) == len(documents())


def test_a_server_side_dry_run_has_no_complaint(installed: ControlPlane) -> None:
    said = installed.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(MANIFESTS))
    assert "Warning" not in said
    assert len(said.splitlines()) == len(documents())


def test_the_admission_policy_is_well_typed(installed: ControlPlane) -> None:
    found = installed.api.get("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "nodewall-agent-own-node")
    assert not found.get("status", {}).get("typeChecking", {}).get("expressionWarnings")


@pytest.mark.parametrize(("role", "label"), [("admin", "nodewall-policies-admin"), ("view", "nodewall-policies-view")])
def test_the_roles_of_people_take_ours_in(installed: ControlPlane, role: str, label: str) -> None:
    group = "rbac.authorization.k8s.io/v1"
    wanted = installed.api.get(group, "ClusterRole", role)["aggregationRule"]["clusterRoleSelectors"]
    labels = installed.api.get(group, "ClusterRole", label)["metadata"]["labels"]
    assert any(selector["matchLabels"].items() <= labels.items() for selector in wanted)


# -- who may do what

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
EVERY = (*READ, *WRITE)
INPUTS = (
    "pods",
    "namespaces",
    "nodes",
    "services",
    "endpointslices.discovery.k8s.io",
    "networkpolicies.networking.k8s.io",
    "clusternetworkpolicies.policy.networking.k8s.io",
    "extendednetworkpolicies.nodewall.io",
    "clusterextendednetworkpolicies.nodewall.io",
    "customresourcedefinitions.apiextensions.k8s.io",
)
RULE_SETS = "noderulesets.nodewall.io"
PEER_GROUPS = "peergroups.nodewall.io"
STATUSES = (
    "extendednetworkpolicies.nodewall.io/status",
    "clusterextendednetworkpolicies.nodewall.io/status",
    "clusternetworkpolicies.policy.networking.k8s.io/status",
)
FOREIGN = (
    "secrets",
    "configmaps",
    "serviceaccounts",
    "serviceaccounts/token",
    "pods/exec",
    "pods/status",
    "nodes/proxy",
    "nodes/status",
    "deployments.apps",
    "daemonsets.apps",
    "clusterroles.rbac.authorization.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
)

GRANTED: dict[str, dict[str, tuple[str, ...]]] = {
    CONTROLLER: {
        **dict.fromkeys(INPUTS, READ),
        **dict.fromkeys(STATUSES, ("patch",)),
        RULE_SETS: (*READ, "create", "patch", "delete"),
        PEER_GROUPS: (*READ, "create", "patch", "delete"),
        "events": ("create", "patch"),
    },
    AGENT: {RULE_SETS: READ, PEER_GROUPS: ("list", "watch"), f"{RULE_SETS}/status": ("patch",)},
}
RESOURCES = (*INPUTS, *STATUSES, RULE_SETS, PEER_GROUPS, f"{RULE_SETS}/status", "events", *FOREIGN)


@pytest.mark.parametrize("account", [CONTROLLER, AGENT], ids=["controller", "agent"])
@pytest.mark.parametrize("resource", RESOURCES)
def test_an_account_may_do_what_it_needs_and_nothing_else(installed: ControlPlane, account: str, resource: str) -> None:
    granted = GRANTED[account].get(resource, ())
    answers = {verb: may(installed.api, account, verb, resource) for verb in EVERY}
    assert answers == {verb: verb in granted for verb in EVERY}


@pytest.mark.parametrize(
    ("verb", "name", "namespace", "allowed"),
    [
        ("create", "", "nodewall-system", True),
        ("get", "nodewall-controller", "nodewall-system", True),
        ("update", "nodewall-controller", "nodewall-system", True),
        ("delete", "nodewall-controller", "nodewall-system", False),
        ("get", "somebody-elses", "nodewall-system", False),
        ("update", "somebody-elses", "nodewall-system", False),
        ("create", "", "kube-system", False),
        ("update", "nodewall-controller", "kube-system", False),
    ],
)
def test_the_controller_has_one_lease(
    installed: ControlPlane, verb: str, name: str, namespace: str, allowed: bool
) -> None:
    lease = "leases.coordination.k8s.io"
    assert may(installed.api, CONTROLLER, verb, lease, name=name, namespace=namespace) is allowed
    assert may(installed.api, AGENT, verb, lease, name=name, namespace=namespace) is False


def may(client: Api, user: str, verb: str, resource: str, *, name: str = "", namespace: str = "") -> bool:
    """What `kubectl auth can-i VERB RESOURCE --as=USER` says, for the groups that a ServiceAccount is in."""
    whole, _, subresource = resource.partition("/")
    plural, _, group = whole.partition(".")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
    groups = ["system:serviceaccounts", "system:serviceaccounts:nodewall-system", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": user,
            "groups": groups,
            "resourceAttributes": attributes | {"name": name, "namespace": namespace},
        },
    }
    return bool(client.create(review)["status"]["allowed"])


# -- with the real tokens


@pytest.fixture
def two_nodes(installed: ControlPlane) -> ControlPlane:
    """Rule sets for node-a and node-b."""
    for name in ("node-a", "node-b"):
        installed.api.ensure(document(NodeRuleSet(name)))
    return installed


@pytest.fixture
def tokened(with_token: Callable[[str], Api], token: Callable[[str, str], str]) -> Callable[[str], Api]:
    """A client with the token of an account, of a pod on node-a."""
    return lambda account: with_token(token(account, "node-a"))


def report(client: Api, name: str) -> None:
    """As an agent does."""
    status = {"status": {"observedGeneration": 1, "appliedDigest": "abc"}}
    path = f"/apis/nodewall.io/v1alpha1/noderulesets/{name}/status"
    client.request("PATCH", path, status, content_type="application/merge-patch+json")


def test_an_agent_reports_on_its_own_node(two_nodes: ControlPlane, agent_of: Callable[[str], Api]) -> None:
    report(agent_of("node-a"), "node-a")
    assert two_nodes.api.get("nodewall.io/v1alpha1", "NodeRuleSet", "node-a")["status"]["appliedDigest"] == "abc"


def test_an_agent_does_not_report_on_another_node(two_nodes: ControlPlane, agent_of: Callable[[str], Api]) -> None:
    with pytest.raises(ApiError, match="may only report on the node that its own pod runs on") as caught:
        report(agent_of("node-a"), "node-b")
    assert caught.value.status == 403


def test_a_token_without_a_node_reports_on_none(two_nodes: ControlPlane, with_token: Callable[[str], Api]) -> None:
    account: Object = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "nodewall-agent", "namespace": "nodewall-system"},
    }
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    unbound = with_token(two_nodes.api.post(account, "token", request)["status"]["token"])
    for name in ("node-a", "node-b"):
        with pytest.raises(ApiError, match="may only report on the node"):
            report(unbound, name)


CORE, NODEWALL = "/api/v1", "/apis/nodewall.io/v1alpha1"
NETWORKING = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
LEASES = "/apis/coordination.k8s.io/v1/namespaces"
MERGE = "application/merge-patch+json"
LABEL: Object = {"metadata": {"labels": {"a": "b"}}}
OUT_OF_REACH = [
    ("nodewall-controller", "PATCH", f"{CORE}/nodes/node-a", LABEL),
    ("nodewall-controller", "PATCH", f"{CORE}/namespaces/default", LABEL),
    ("nodewall-controller", "PATCH", f"{CORE}/namespaces/nodewall-system/pods/nodewall-controller-node-a", LABEL),
    ("nodewall-controller", "POST", NETWORKING, {"metadata": {"name": "x"}, "spec": {"podSelector": {}}}),
    ("nodewall-controller", "PATCH", f"{NODEWALL}/noderulesets/node-a/status", {"status": {"appliedDigest": "x"}}),
    ("nodewall-controller", "PATCH", f"{NODEWALL}/clusterextendednetworkpolicies/x", LABEL),
    ("nodewall-controller", "GET", f"{CORE}/namespaces/nodewall-system/secrets", None),
    ("nodewall-controller", "GET", f"{LEASES}/kube-system/leases", None),
    ("nodewall-agent", "GET", f"{CORE}/pods", None),
    ("nodewall-agent", "GET", f"{CORE}/nodes/node-a", None),
    ("nodewall-agent", "GET", NETWORKING, None),
    ("nodewall-agent", "GET", f"{NODEWALL}/extendednetworkpolicies", None),
    ("nodewall-agent", "GET", f"{CORE}/namespaces/nodewall-system/secrets", None),
    ("nodewall-agent", "GET", f"{LEASES}/nodewall-system/leases", None),
    ("nodewall-agent", "POST", f"{CORE}/namespaces/default/events", {"metadata": {"name": "x"}}),
]


@pytest.mark.parametrize(("account", "method", "path", "body"), OUT_OF_REACH)
def test_a_real_token_gets_no_further(
    two_nodes: ControlPlane, tokened: Callable[[str], Api], account: str, method: str, path: str, body: Object | None
) -> None:
    with pytest.raises(ApiError) as caught:
        tokened(account).request(method, path, body, content_type=MERGE if method == "PATCH" else "application/json")
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")


def test_an_agent_changes_no_rule_set(two_nodes: ControlPlane, agent_of: Callable[[str], Api]) -> None:
    agent, own = agent_of("node-a"), document(NodeRuleSet("node-a"))
    for attempt in (agent.apply, agent.create, agent.delete):
        with pytest.raises(ApiError) as caught:
            attempt(own)
        assert caught.value.status == 403


def test_the_spec_is_out_of_reach_of_a_report(two_nodes: ControlPlane, agent_of: Callable[[str], Api]) -> None:
    before = two_nodes.api.get("nodewall.io/v1alpha1", "NodeRuleSet", "node-a")["spec"]
    path = "/apis/nodewall.io/v1alpha1/noderulesets/node-a/status"
    body = {"spec": {"classes": None}, "status": {"appliedDigest": "abc"}}
    agent_of("node-a").request("PATCH", path, body, content_type="application/merge-patch+json")
    assert two_nodes.api.get("nodewall.io/v1alpha1", "NodeRuleSet", "node-a")["spec"] == before
