"""Files -> a cluster state; what an API server would refuse ends with one line that names file, object and field."""

import json
from time import monotonic
from typing import Any

import pytest
import yaml

from nodewall.api.documents import Loaded, Source, load
from nodewall.api.kinds import RESOURCES
from nodewall.model.errors import BadInputError
from nodewall.model.labels import Labels
from nodewall.model.policy import Kind, PolicyRef


def obj(kind: str, name: str = "x", api: str = "v1", **rest: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **rest}


def policy(*ingress: Any, name: str = "p", **spec: Any) -> dict[str, Any]:
    return obj("NetworkPolicy", name, "networking.k8s.io/v1", spec={"ingress": list(ingress), **spec})


def cluster_policy(**spec: Any) -> dict[str, Any]:
    base = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}}
    return obj("ClusterExtendedNetworkPolicy", "g", "nodewall.io/v1alpha1", spec={**base, **spec})


def read(*values: Any) -> Loaded:
    return load([Source("f.yaml", yaml.safe_dump_all(values).encode())])


def test_every_kind_finds_its_place() -> None:
    tier = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}}
    own = {"priority": 1, "podSelector": {}}
    specs = {"ClusterNetworkPolicy": tier, "ClusterExtendedNetworkPolicy": tier, "ExtendedNetworkPolicy": own}
    state = read(
        *(obj(one.kind, "x", one.api_version, spec=specs.get(one.kind, {})) for one in RESOURCES),
    ).state
    assert (set(state.pods), set(state.services), set(state.slices)) == ({("default", "x")},) * 3
    assert set(state.network_policies) == {("default", "x")}
    assert (set(state.nodes), set(state.namespaces)) == ({"x"}, {"x", "default"})
    assert set(state.tier_policies) == {
        PolicyRef(Kind.EXTENDED, "default", "x"),
        PolicyRef(Kind.CLUSTER_EXTENDED, "", "x"),
        PolicyRef(Kind.CLUSTER, "", "x"),
    }


def test_a_namespace_that_is_only_mentioned_exists_with_its_name_label() -> None:
    pod, rule = obj("Pod"), policy()
    pod["metadata"]["namespace"], rule["metadata"]["namespace"] = "shop", "bank"
    state = read(pod, rule, obj("Namespace", "team", metadata={"name": "team", "labels": {"a": "b"}})).state
    assert {name: one.labels for name, one in state.namespaces.items()} == {
        "shop": Labels({"kubernetes.io/metadata.name": "shop"}),
        "bank": Labels({"kubernetes.io/metadata.name": "bank"}),
        "team": Labels({"a": "b", "kubernetes.io/metadata.name": "team"}),
    }


def test_defaults_are_applied() -> None:
    (found,) = read(policy(egress=[{}])).state.network_policies.values()
    assert found.namespace == "default"
    assert found.egress is not None


TWO_PODS = [obj("Pod", "a"), obj("Pod", "b")]
BARE = [{"metadata": {"name": name}} for name in "ab"]
FORMS: list[str] = [
    yaml.safe_dump_all(TWO_PODS),
    yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": TWO_PODS}),
    yaml.safe_dump({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": BARE}),
    yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [{"kind": "List", "items": TWO_PODS}]}),
    json.dumps({"apiVersion": "v1", "kind": "List", "items": TWO_PODS}, indent=2),
    "\n".join(map(json.dumps, TWO_PODS)),
    "".join(map(json.dumps, TWO_PODS)),
    "\ufeff" + yaml.safe_dump_all(TWO_PODS),
    yaml.safe_dump_all(TWO_PODS, default_flow_style=True),
    yaml.safe_dump_all([None, *TWO_PODS, None]),
    yaml.safe_dump_all(TWO_PODS).replace("\n", "\r\n"),
]


@pytest.mark.parametrize("text", FORMS)
def test_objects_come_in_many_forms(text: str) -> None:
    assert set(load([Source("f", text.encode())]).state.pods) == {("default", "a"), ("default", "b")}


@pytest.mark.parametrize(
    "text", ["", "\n", "# only this\n", "---\n---\n", '{"kind":"List","apiVersion":"v1","items":null}']
)
def test_nothing_is_not_an_error(text: str) -> None:
    assert load([Source("f", text.encode())]).state.pods == {}


def test_known_kinds_that_no_policy_depends_on_are_counted() -> None:
    skipped = read(
        obj("Deployment", api="apps/v1"), obj("Secret"), obj("Secret", "y"), obj("Ingress", api="networking.k8s.io/v1")
    )
    assert skipped.skipped == {"Deployment": 1, "Ingress": 1, "Secret": 2}


def test_a_pod_without_status_is_kept() -> None:
    (pod,) = read(obj("Pod", spec={"containers": [{"name": "c", "image": "i"}]})).state.pods.values()
    assert pod.addresses == ()


def test_what_an_api_server_would_store_is_a_warning() -> None:
    loaded = read(cluster_policy(egress=[{"action": "Accept", "to": [{"domainNames": ["example.com"]}]}]))
    assert [(subject, problem.path) for subject, problem in loaded.problems] == [
        ("ClusterExtendedNetworkPolicy g", "spec.egress[0].to[0].domainNames")
    ]
    (found,) = loaded.state.tier_policies.values()
    assert found.egress == ()


def test_a_mistyped_annotation_is_a_warning() -> None:
    annotated = {"name": "shop", "annotations": {"nodewall.io/log": "Denny"}}
    loaded = read(obj("Namespace", metadata=annotated))
    assert [(subject, problem.path) for subject, problem in loaded.problems] == [
        ("Namespace shop", "metadata.annotations[nodewall.io/log]")
    ]


def peer(**raw: Any) -> dict[str, Any]:
    return {"from": [raw]}


ANY = {"action": "Accept", "from": [{"namespaces": {}}]}
REFUSED: list[tuple[Any, str]] = [
    # texts
    (b"a: b: c", "f.yaml: line 1: "),
    (b"\xff\xfe", "f.yaml: not UTF-8 at byte 0"),
    (b"[" * 100_000, "f.yaml: nested too deeply"),
    (b'{"a":' * 100_000, "f.yaml: nested too deeply"),
    (b'{"a": 1', "f.yaml: line "),
    (b"hello", "f.yaml: document 1: not an object"),
    (b"[]", "f.yaml: document 1: not an object"),
    (b"{}\n---\n5", "f.yaml: document 1: kind: must be given"),
    # kinds
    ({"kind": "Pod", "metadata": {"name": "x"}}, "f.yaml: Pod x: apiVersion: must be given"),
    (obj("Frobnicator"), "f.yaml: Frobnicator x: kind: unknown kind 'Frobnicator' of 'v1'"),
    (obj("Deployment", api="v1"), "f.yaml: Deployment x: kind: unknown kind"),
    (obj("NetworkPolicy", api="extensions/v1beta1"), "NetworkPolicy x: apiVersion: 'extensions/v1beta1' must be netw"),
    (obj("NetworkPolicy", api="projectcalico.org/v3"), "must be networking.k8s.io/v1"),
    (obj("ClusterNetworkPolicy", api="policy.networking.k8s.io/v1alpha1"), "must be policy.networking.k8s.io/v1alpha2"),
    (obj("Pod", api="v2"), "f.yaml: Pod x: apiVersion: 'v2' must be v1"),
    ({"kind": 5}, "f.yaml: document 1: kind: must be given"),
    # objects
    ({"apiVersion": "v1", "kind": "Pod", "metadata": {}}, "f.yaml: document 1: metadata.name: must have a name"),
    ({"apiVersion": "v1", "kind": "List", "items": {}}, "f.yaml: document 1: items: expected a list"),
    ({"apiVersion": "v1", "kind": "List", "items": [5]}, "f.yaml: document 1: items[0]: not an object"),
    ({"apiVersion": "v1", "kind": "PodList", "items": [{}]}, "f.yaml: document 1 items[0]: metadata.name: must have"),
    (obj("Pod", "a/b"), "metadata.name: 'a/b' must be"),
    (obj("Pod", "UPPER"), "metadata.name: "),
    (
        obj("Pod", metadata={"name": "x", "labels": {"a": "b c"}}),
        "f.yaml: Pod x: metadata.labels['a']: label value must",
    ),
    (obj("Pod", metadata={"name": "x", "labels": {"a": 1}}), "f.yaml: Pod x: metadata.labels['a']: "),
    (obj("Pod", metadata={"name": "x", "labels": {"a b": "c"}}), "label key must be"),
    (obj("Node", metadata={"name": "x", "namespace": "shop"}), "metadata.namespace: must be left out"),
    (obj("Pod", status={"podIP": "10.0.0.300"}), "f.yaml: Pod x: status.podIPs[0]: '10.0.0.300' is not an IP address"),
    (obj("Node", spec={"podCIDR": "10.0.0.0"}), "f.yaml: Node x: spec.podCIDRs[0]: "),
    # policies
    (
        policy(peer(ipBlock={"cidr": "10.0.0.0/33"})),
        "f.yaml: NetworkPolicy p: spec.ingress[0].from[0].ipBlock.cidr: '10.",
    ),
    (
        policy(peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]})),
        "ipBlock.except[0]: '11.0.0.0/9' must be a",
    ),
    (policy({"ports": [{"port": 80, "endPort": 79}]}), "spec.ingress[0].ports[0].endPort: 79 must be"),
    (policy({"ports": [{"protocol": "ICMP"}]}), "spec.ingress[0].ports[0].protocol: 'ICMP' must be TCP, UDP or SCTP"),
    (policy(peer()), "spec.ingress[0].from[0]: must have podSelector"),
    (policy({"form": []}), "spec.ingress[0]: contains unknown field 'form'"),
    (policy(policyTypes=["ingress"]), "spec.policyTypes[0]: 'ingress' must be Ingress or Egress"),
    (policy(policyType=["Ingress"]), "spec.policyType: unknown field"),
    (policy(podSelector={"matchLabels": {"a": "b c"}}), "spec.podSelector.matchLabels['a']: label value"),
    (cluster_policy(priority=1001), "ClusterExtendedNetworkPolicy g: spec.priority: "),
    (cluster_policy(ingress=[{"action": "Accept", "from": [{}]}]), "spec.ingress[0].from[0]: must have one of"),
    (cluster_policy(ingress=[ANY] * 26), "spec.ingress: must have at most 25 entries"),
    (
        cluster_policy(ingress=[{**ANY, "from": [{"namespaces": {}}] * 26}]),
        "spec.ingress[0].from: must have at most 25",
    ),
    (cluster_policy(ingress=[{**ANY, "name": "n" * 101}]), "spec.ingress[0].name: must have at most 100 characters"),
    (cluster_policy(logging={"label": "n" * 64}), "spec.logging.label: must have at most 63 characters"),
]


@pytest.mark.parametrize(("given", "line"), REFUSED)
def test_a_file_is_refused_in_one_line(given: Any, line: str) -> None:
    with pytest.raises(BadInputError) as caught:
        load([Source("f.yaml", given)]) if isinstance(given, bytes) else read(given)
    assert line in str(caught.value)
    assert str(caught.value).startswith("f.yaml: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_an_object_that_is_given_twice_is_refused_across_files() -> None:
    text = yaml.safe_dump(obj("Pod")).encode()
    with pytest.raises(BadInputError, match=r"^b.yaml: Pod x: is given twice$"):
        load([Source("a.yaml", text), Source("b.yaml", text)])
    load([Source("a.yaml", text), Source("b.yaml", text.replace(b"Pod", b"Service"))])


def test_text_of_a_file_does_not_break_the_line() -> None:
    with pytest.raises(BadInputError) as caught:
        read(obj("Pod", "a\nb\x1b[31m", "v2\r"), obj("Pod"))
    assert str(caught.value).isprintable()


def test_a_bomb_is_refused_at_once() -> None:
    start = monotonic()
    lines = ["a0: &a0 {metadata: {name: x}}"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)
    ]
    for text in ("\n".join(lines), "[" * 2_000_000, '{"a":' * 1_000_000):
        with pytest.raises(BadInputError):
            load([Source("f.yaml", text.encode())])
    assert monotonic() - start < 5
