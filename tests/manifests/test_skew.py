"""Definitions that are older than the controller: the API server would forget what it does not know of a rule set."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.api import Object
from e2e.command import CommandError
from e2e.controlplane import ControlPlane
from e2e.waiting import until
from nodewall.agent.reading import reader
from nodewall.api.crds import schema
from nodewall.api.rulesetwire import ClassWire
from nodewall.model.errors import BadInputError
from tests.manifests.documents import MANIFESTS, the
from tests.manifests.test_controller import Running, controller

pytestmark = pytest.mark.e2e
NODE = "node-skew"
POLICY: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "skew", "namespace": "default"},
    "spec": {
        "podSelector": {},
        "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
    },
}
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "skew", "namespace": "default"},
    "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "none"}]},
}


def without_except(definition: Object) -> None:
    """A definition that says what is in a class, as those of early versions did, and knows no exceptions of a block."""
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    judged = schema(ClassWire)
    del judged["properties"]["rules"]["items"]["properties"]["blocks"]["items"]["properties"]["except"]
    spec["properties"]["classes"] = {"type": "array", "items": judged, "x-kubernetes-list-type": "atomic"}


@pytest.fixture
def node(installed: ControlPlane) -> Iterator[ControlPlane]:
    """With a pod, and a policy that leaves a part out of what it allows."""
    made = [installed.api.ensure(each) for each in (_node(), POD, POLICY)]
    installed.api.patch(POD, {"status": {"podIPs": [{"ip": "10.2.0.1"}], "podIP": "10.2.0.1"}}, subresource="status")
    yield installed
    for each in reversed(
        [*made, {"apiVersion": "nodewall.io/v1alpha1", "kind": "NodeRuleSet", "metadata": {"name": NODE}}]
    ):
        installed.api.delete(each, grace=0)


@pytest.fixture
def outdate(node: ControlPlane) -> Iterator[Callable[[Callable[[Object], None]], None]]:
    """Give the API server an older definition."""

    def change(older: Callable[[Object], None]) -> None:
        definition = the("CustomResourceDefinition", "noderulesets.nodewall.io")
        older(definition)
        node.api.apply(definition)

    yield change
    node.kubectl("apply", "-f", str(MANIFESTS))


@pytest.fixture
def running(node: ControlPlane, kubeconfig: Callable[[str], Path]) -> Iterator[Running]:
    with controller(kubeconfig("nodewall-controller")) as found:
        yield found


def _node() -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}


def excepts(server: ControlPlane) -> list[Any]:
    """What the rule set leaves out, as it is read now."""
    found = server.api.find("nodewall.io/v1alpha1", "NodeRuleSet", NODE)
    rules = [each for one in (found or {"spec": {"classes": []}})["spec"]["classes"] for each in one["rules"]]
    return [block.get("except") for each in rules for block in each.get("blocks", ())]


def as_read(server: ControlPlane) -> bytes:
    return json.dumps(server.api.get("nodewall.io/v1alpha1", "NodeRuleSet", NODE)).encode()


def test_what_the_api_server_forgot_is_not_enforced(
    node: ControlPlane, running: Running, outdate: Callable[[Callable[[Object], None]], None]
) -> None:
    """Without its exceptions a block would let in what it leaves out."""
    until("written", lambda: excepts(node) == [["10.1.0.0/16"]], within=20)
    whole = reader(NODE)(as_read(node))
    outdate(without_except)
    until("forgotten", lambda: excepts(node) == [None], within=20)
    with pytest.raises(BadInputError, match="is not the digest of the rest"):
        reader(NODE)(as_read(node))
    node.kubectl("apply", "-f", str(MANIFESTS))
    until("whole again", lambda: excepts(node) == [["10.1.0.0/16"]], within=20)
    assert reader(NODE)(as_read(node)).content == whole.content


def test_nothing_is_written_until_the_definition_is_current(
    node: ControlPlane,
    kubeconfig: Callable[[str], Path],
    outdate: Callable[[Callable[[Object], None]], None],
) -> None:
    outdate(without_except)
    with controller(kubeconfig("nodewall-controller")) as found:
        until("refused", lambda: found.said(".except: field not declared in schema"), within=30)
        assert found.said(
            "CustomResourceDefinition is older than this controller: kubectl apply -f manifests/ updates it"
        )
        assert excepts(node) == []
        node.kubectl("apply", "-f", str(MANIFESTS))
        until("written", lambda: excepts(node) == [["10.1.0.0/16"]], within=30)


NEWER = """
apiVersion: nodewall.io/v1alpha1
kind: ExtendedNetworkPolicy
metadata: {name: newer, namespace: default}
spec: {priority: 1, podSelector: {}, ingress: [{action: Accept, from: [{namespaces: {}}], exceptOnSundays: true}]}
"""


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client", "server"])
def test_a_policy_of_a_later_version_is_not_stored_in_part(node: ControlPlane, how: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="exceptOnSundays"):
        node.kubectl("apply", *how, "-f", "-", given=NEWER)
    assert node.api.find("nodewall.io/v1alpha1", "ExtendedNetworkPolicy", "newer", "default") is None
