"""Pods, Namespaces, Nodes, Services and EndpointSlices as they come from an API server, and as they should not."""

from typing import Any

import msgspec
import pytest

from nodewall.api.cluster import read_endpoint_slice, read_namespace, read_node, read_pod, read_service
from nodewall.api.parsed import InvalidObjectError
from nodewall.model.cluster import ContainerPort, LogWish, Phase
from nodewall.model.labels import Labels
from nodewall.model.policy import Protocol

SPEC: dict[str, Any] = {
    "nodeName": "n1",
    "serviceAccountName": "web",
    "containers": [
        {"name": "a", "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}, {"containerPort": 9}]},
        {"name": "b", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
        {"name": "c"},
    ],
    "initContainers": [
        {"name": "once", "ports": [{"name": "gone", "containerPort": 1}]},
        {"name": "side", "restartPolicy": "Always", "ports": [{"name": "mesh", "containerPort": 15001}]},
    ],
    "volumes": [{"name": "v", "emptyDir": {}}],
}
STATUS = {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "FD00:0::1"}]}
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-0",
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": "7",
        "labels": {"app": "web"},
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"fieldsV1": {"f:spec": {}}}],
    },
    "spec": SPEC,
    "status": STATUS,
}


@pytest.mark.parametrize("body", [POD, msgspec.json.encode(POD), msgspec.Raw(msgspec.json.encode(POD))])
def test_a_pod_is_read_from_text_and_from_values(body: Any) -> None:
    parsed = read_pod(body)
    pod = parsed.value
    assert parsed.problems == ()
    assert (parsed.meta.name, parsed.meta.namespace, parsed.meta.resource_version) == ("web-0", "shop", "7")
    assert (pod.key, pod.uid, pod.node, pod.service_account) == (("shop", "web-0"), "u", "n1", "web")
    assert pod.labels == Labels({"app": "web"})
    assert pod.addresses == ("10.0.0.1", "fd00::1")
    assert pod.ports == (
        ContainerPort("http", Protocol.TCP, 80),
        ContainerPort("dns", Protocol.UDP, 53),
        ContainerPort("mesh", Protocol.TCP, 15001),
    )
    assert (pod.phase, pod.terminating, pod.host_network) == (Phase.RUNNING, False, False)
    assert pod.created == "2026-01-01T00:00:00Z"


PHASES = [
    ("Pending", Phase.PENDING),
    ("Running", Phase.RUNNING),
    ("Succeeded", Phase.FINISHED),
    ("Failed", Phase.FINISHED),
    ("Unknown", Phase.RUNNING),
    ("Later", Phase.RUNNING),
    ("", Phase.RUNNING),
    (None, Phase.RUNNING),
]


@pytest.mark.parametrize(("phase", "meaning"), PHASES)
def test_a_phase_is_read(phase: str | None, meaning: Phase) -> None:
    assert read_pod({**POD, "status": {**STATUS, "phase": phase}}).value.phase is meaning


ADDRESSES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({}, ()),
    ({"podIP": "", "podIPs": []}, ()),
    ({"podIP": None, "podIPs": None}, ()),
    ({"podIP": "10.0.0.1"}, ("10.0.0.1",)),
    ({"podIPs": [{"ip": "10.0.0.1"}]}, ("10.0.0.1",)),
    ({"podIP": "10.0.0.1", "podIPs": [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}]}, ("fd00::1", "10.0.0.1")),
    ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "::ffff:10.0.0.1"}]}, ("10.0.0.1",)),
    ({"podIPs": [{}, {"ip": "10.0.0.1"}]}, ("10.0.0.1",)),
]


@pytest.mark.parametrize(("status", "addresses"), ADDRESSES)
def test_every_pod_address_of_both_families_is_read(status: dict[str, Any], addresses: tuple[str, ...]) -> None:
    assert read_pod({**POD, "status": status}).value.addresses == addresses


def test_defaults_of_a_pod_are_applied() -> None:
    pod = read_pod({"metadata": {"name": "a"}, "spec": {"hostNetwork": True}}).value
    assert (pod.namespace, pod.service_account, pod.node) == ("default", "default", "")
    assert pod.host_network
    assert read_pod({"metadata": {"name": "a"}}).value.labels == Labels()


def test_a_deleted_pod_is_terminating() -> None:
    metadata = {**POD["metadata"], "deletionTimestamp": "2026-01-02T00:00:00Z"}
    assert read_pod({**POD, "metadata": metadata}).value.terminating


def test_null_is_absent_everywhere_in_a_pod() -> None:
    spec = dict.fromkeys(SPEC) | {"containers": [{"ports": [{"name": None, "containerPort": None, "protocol": None}]}]}
    metadata = {**dict.fromkeys(("labels", "uid", "creationTimestamp", "deletionTimestamp")), "name": "a"}
    parsed = read_pod({"metadata": metadata, "spec": spec, "status": None})
    assert (parsed.problems, parsed.value.terminating, parsed.value.ports) == ((), False, ())


def test_one_broken_field_leaves_the_rest_of_a_pod() -> None:
    body = {
        **POD,
        "metadata": {**POD["metadata"], "labels": {"app": "web", "n": 1}},
        "spec": {**SPEC, "nodeName": 5},
        "status": {**STATUS, "podIPs": [{"ip": 7}, {"ip": "10.0.0.1"}, {"ip": "nonsense"}]},
    }
    parsed = read_pod(msgspec.json.encode(body))
    assert parsed.value.labels == Labels({"app": "web"})
    assert (parsed.value.node, parsed.value.service_account) == ("", "web")
    assert parsed.value.addresses == ("10.0.0.1",)
    assert [problem.path for problem in parsed.problems] == [
        "metadata.labels['n']",
        "spec.nodeName",
        "status.podIPs[0].ip",
        "status.podIPs[2]",
    ]


@pytest.mark.parametrize("port", [0, 65536, None])
def test_a_port_that_cannot_be_is_left_out(port: int | None) -> None:
    spec = {"containers": [{"ports": [{"name": "x", "containerPort": port}, {"name": "y", "containerPort": 1}]}]}
    parsed = read_pod({"metadata": {"name": "a"}, "spec": spec})
    assert parsed.value.ports == (ContainerPort("y", Protocol.TCP, 1),)
    assert [problem.path for problem in parsed.problems] == ["spec.containers"]


NAMELESS: list[Any] = [
    {},
    {"metadata": None},
    {"metadata": {}},
    {"metadata": {"name": ""}},
    {"metadata": {"name": 5}},
    b"",
    b"nonsense",
    b"[]",
    b"5",
    b"null",
    b'"\xff"',
    b'{"metadata":',
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", NAMELESS)
@pytest.mark.parametrize("read", [read_pod, read_namespace, read_node, read_service, read_endpoint_slice])
def test_what_has_no_name_is_refused(read: Any, body: Any) -> None:
    with pytest.raises(InvalidObjectError):
        read(body)


def test_a_namespace_has_its_name_label() -> None:
    body = {"metadata": {"name": "shop", "labels": {"team": "a", "kubernetes.io/metadata.name": "lie"}}}
    namespace = read_namespace(body).value
    assert namespace.labels == Labels({"team": "a", "kubernetes.io/metadata.name": "shop"})
    assert (namespace.terminating, namespace.log) == (False, None)


def test_a_namespace_is_terminating() -> None:
    assert read_namespace({"metadata": {"name": "a", "deletionTimestamp": "x"}}).value.terminating
    assert read_namespace({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}}).value.terminating


WISHES = [("Deny", LogWish.DENY, 0), ("All", LogWish.ALL, 0), ("None", LogWish.NONE, 0), ("deny", None, 1)]


@pytest.mark.parametrize(("text", "wish", "problems"), WISHES)
def test_a_namespace_says_what_to_log(text: str, wish: LogWish | None, problems: int) -> None:
    parsed = read_namespace({"metadata": {"name": "a", "annotations": {"nodewall.io/log": text, "other": "x"}}})
    assert (parsed.value.log, len(parsed.problems)) == (wish, problems)


def test_a_node_is_read() -> None:
    body = {
        "metadata": {"name": "n1", "uid": "u", "labels": {"zone": "a"}},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "Hostname", "address": "n1"},
                {"type": "ExternalIP", "address": "2001:DB8::1"},
            ]
        },
    }
    node = read_node(body).value
    assert node.addresses == ("192.0.2.1", "2001:db8::1")
    assert [str(one) for one in node.pod_cidrs] == ["10.1.0.0/24", "fd00:1::/64"]
    assert (node.uid, node.labels) == ("u", Labels({"zone": "a"}))
    old = read_node({"metadata": {"name": "n1"}, "spec": {"podCIDR": "10.1.0.0/24"}}).value
    assert [str(one) for one in old.pod_cidrs] == ["10.1.0.0/24"]


CLUSTER_IPS = [
    ({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::9"]}, ("10.96.0.1", "fd00::9")),
    ({"clusterIP": "10.96.0.1"}, ("10.96.0.1",)),
    ({"clusterIP": "None", "clusterIPs": ["None"]}, ()),
    ({"type": "ExternalName"}, ()),
    ({"clusterIP": ""}, ()),
]


@pytest.mark.parametrize(("spec", "addresses"), CLUSTER_IPS)
def test_a_service_is_read(spec: dict[str, Any], addresses: tuple[str, ...]) -> None:
    parsed = read_service({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    assert (parsed.value.namespace, parsed.value.cluster_ips, parsed.problems) == ("shop", addresses, ())


def test_a_slice_has_the_ready_addresses_and_the_target_ports() -> None:
    body = {
        "metadata": {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": True}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": False}},
            {"addresses": ["10.0.0.3"], "conditions": {}},
            {"addresses": ["10.0.0.4"]},
            {"addresses": ["10.0.0.1"]},
        ],
        "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}, {"name": "any"}, {"port": 80, "protocol": "TCP"}],
    }
    found = read_endpoint_slice(body).value
    assert (found.namespace, found.name, found.service) == ("shop", "web-x", "web")
    assert found.addresses == ("10.0.0.1", "10.0.0.3", "10.0.0.4")
    assert found.ports == ((Protocol.TCP, 80), (Protocol.UDP, 53))


def test_a_slice_of_names_has_no_addresses() -> None:
    body = {"metadata": {"name": "a"}, "addressType": "FQDN", "endpoints": [{"addresses": ["example.com"]}]}
    parsed = read_endpoint_slice(body)
    assert (parsed.value.addresses, parsed.value.service, parsed.problems) == ((), "", ())


@pytest.mark.parametrize(("count", "remembered"), [(3, True), (5_000, False)])
def test_ports_of_a_workload_are_one_object_but_not_those_of_a_monster(count: int, remembered: bool) -> None:
    ports = [{"name": f"p{number}", "containerPort": number + 1} for number in range(count)]
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"ports": ports}]}}
    one, other = (read_pod(body).value.ports for _ in range(2))
    assert len(one) == count
    assert (one is other) is remembered
