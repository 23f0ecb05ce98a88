"""Whatever stands in an object, reading it gives a value and says what was wrong; it never ends the process."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodewall.api.kinds import BY_KIND, RESOURCES
from nodewall.api.parsed import InvalidObjectError
from nodewall.api.ruleset import decode, document
from nodewall.api.validate import validate
from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import NodeRuleSet

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "TCP", "Accept", "Deny", "Ingress", "10.0.0.0/8", "10.0.0.1", "In", "http", "a b", "a\nb"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
PEERS = [
    {"podSelector": SELECTOR, "namespaceSelector": SELECTOR},
    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
]
TIER_PEERS = [
    {"namespaces": SELECTOR},
    {"pods": {"namespaceSelector": SELECTOR, "podSelector": SELECTOR}},
    {"networks": ["10.0.0.0/8"]},
    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    {"services": [{"namespace": "a", "name": "b"}]},
    {"sameNamespace": {"podSelector": SELECTOR}},
]
TIER_RULE = {
    "name": "n",
    "action": "Deny",
    "protocols": [
        {"tcp": {"destinationPort": {"range": {"start": 1, "end": 2}}}},
        {"icmp": {"type": 1, "code": 2}},
        {"destinationNamedPort": "http"},
    ],
    "denyWith": "Drop",
    "logging": {"verdicts": ["Deny"], "rate": 1, "burst": 1, "label": "l"},
}
TIER_SPEC = {
    "priority": 1,
    "mode": "Audit",
    "nodes": SELECTOR,
    "logging": {"verdicts": []},
    "denyWith": "Reject",
    "ingress": [{**TIER_RULE, "from": TIER_PEERS}],
    "egress": [{**TIER_RULE, "to": TIER_PEERS}],
}
META = {"name": "x", "namespace": "y", "uid": "u", "generation": 1, "labels": {"a": "b"}, "annotations": {"a": "b"}}
SAMPLES: dict[str, dict[str, Any]] = {
    "Pod": {
        "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "p", "containerPort": 1, "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
    },
    "Namespace": {"status": {"phase": "Active"}},
    "Node": {
        "spec": {"podCIDRs": ["10.0.0.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
    },
    "Service": {"spec": {"clusterIPs": ["10.0.0.1"]}},
    "EndpointSlice": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"port": 1, "protocol": "TCP"}],
    },
    "NetworkPolicy": {
        "spec": {
            "podSelector": SELECTOR,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": PEERS, "ports": [{"port": 1, "endPort": 2, "protocol": "TCP"}, {"port": "p"}]}],
            "egress": [{"to": PEERS, "ports": [{}]}],
        }
    },
    "ExtendedNetworkPolicy": {"spec": {**TIER_SPEC, "podSelector": SELECTOR}},
    "ClusterExtendedNetworkPolicy": {"spec": {**TIER_SPEC, "tier": "Admin", "subject": {"namespaces": SELECTOR}}},
    "ClusterNetworkPolicy": {
        "spec": {
            "tier": "Baseline",
            "priority": 1,
            "subject": {"pods": {"podSelector": SELECTOR}},
            "ingress": [{"action": "Pass", "from": TIER_PEERS[:2]}],
            "egress": [{"action": "Accept", "to": TIER_PEERS[:3], "protocols": [{"udp": {"destinationPort": {}}}]}],
        }
    },
}


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(SAMPLES) == {resource.kind for resource in RESOURCES}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything below ``value``."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at] * bool(at) + [place for key, inner in items for place in places(inner, (*at, key))]


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    result = copy.deepcopy(value)
    holder = result
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = new
    return result


@pytest.mark.parametrize("kind", sorted(SAMPLES))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_anything_anywhere_is_read(kind: str, data: st.DataObject) -> None:
    sample: dict[str, Any] = {"metadata": META, **SAMPLES[kind]}
    body = sample
    for _ in range(data.draw(st.integers(1, 2))):
        body = replaced(body, data.draw(st.sampled_from(places(body))), data.draw(anything))
    resource = BY_KIND[kind]
    try:
        parsed = resource.read(msgspec.json.encode(body))
    except InvalidObjectError:
        name = body["metadata"].get("name") if isinstance(body["metadata"], dict) else None
        assert not isinstance(name, str) or not name
        return
    assert parsed == resource.read(body)
    assert all(problem.path and problem.message for problem in parsed.problems)
    assert not parsed.subject_broken or parsed.problems
    validate(kind, body)


@pytest.mark.parametrize("kind", sorted(SAMPLES))
@settings(max_examples=30, deadline=None)
@given(raw=anything)
def test_any_json_at_all_is_an_object_or_refused(kind: str, raw: Any) -> None:
    for body in (raw, {"metadata": {"name": "x"}, "spec": raw}, {"metadata": raw}):
        try:
            BY_KIND[kind].read(msgspec.json.encode(body))
        except InvalidObjectError:
            assert not isinstance(body, dict) or body.get("metadata") != {"name": "x"}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_rule_set_is_read_or_refused(data: st.DataObject) -> None:
    body = document(NodeRuleSet("n1"))
    place = data.draw(st.sampled_from(places(body)))
    changed = replaced(body, place, data.draw(anything))
    try:
        ruleset = decode(changed)
    except BadInputError:
        return
    assert document(ruleset)["spec"] == changed["spec"]


@pytest.mark.parametrize("kind", sorted(SAMPLES))
@settings(max_examples=30, deadline=None)
@given(body=st.binary(max_size=40))
def test_any_bytes_are_refused(kind: str, body: bytes) -> None:
    with pytest.raises(InvalidObjectError):
        BY_KIND[kind].read(body)
