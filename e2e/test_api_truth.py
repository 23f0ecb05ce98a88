"""The real API server's refusals and defaults, and ours, on the same objects.

Nothing is stored: every object is created with ``dryRun=All``, and with the strict field validation that kubectl asks
for.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import upstream
from e2e.api import Api, ApiError, Object, is_established
from e2e.controlplane import ControlPlane
from e2e.waiting import until
from nodewall.api.kinds import BY_KIND
from nodewall.api.validate import validate

CRDS = Path(__file__).resolve().parent.parent / "crds"
DRY = {"dryRun": "All", "fieldValidation": "Strict"}


@contextmanager
def installed(api: Api, definition: Object) -> Iterator[None]:
    """A custom resource definition for a while; one that is there already stays as it is."""
    if api.find(definition["apiVersion"], definition["kind"], definition["metadata"]["name"]):
        yield
        return
    api.create(definition)
    try:
        until("the kind is served", lambda: _served(api, definition), within=30)
        yield
    finally:
        api.delete(definition)
        until("the kind is gone", lambda: not _current(api, definition), within=60)


def _current(api: Api, definition: Object) -> Object | None:
    return api.find(definition["apiVersion"], definition["kind"], definition["metadata"]["name"])


def _served(api: Api, definition: Object) -> bool:
    """Established, and in discovery, which follows a little later."""
    current = _current(api, definition)
    if current is None or not is_established(current):
        return False
    spec = definition["spec"]
    version = next(one["name"] for one in spec["versions"] if one["served"])
    try:
        api.resource(f"{spec['group']}/{version}", spec["names"]["kind"])
    except LookupError:
        return False
    return True


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> Iterator[Api]:
    """The administrator, where our kinds are served."""
    with ExitStack() as stack:
        for path in sorted(CRDS.glob("*.yaml")):
            stack.enter_context(installed(control_plane.api, yaml.safe_load(path.read_text())))
        yield control_plane.api


def refusal(api: Api, obj: Object) -> str:
    """Why the API server refuses the object; "" when it takes it."""
    try:
        api.request("POST", path_of(api, obj), obj, DRY)
    except ApiError as error:
        if error.status not in (400, 422):
            raise
        return str(error)
    return ""


def path_of(api: Api, obj: Object) -> str:
    return api.resource(obj["apiVersion"], obj["kind"]).path("default")


def obj(kind: str, spec: Any) -> Object:
    return {"apiVersion": BY_KIND[kind].api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}


# --- NetworkPolicy ----------------------------------------------------------------------------------------------------

WEB = {"matchLabels": {"app": "web"}}


def rule(**fields: Any) -> dict[str, Any]:
    return {"ingress": [fields]}


def peer(**fields: Any) -> dict[str, Any]:
    return {"egress": [{"to": [fields]}]}


def port(**fields: Any) -> dict[str, Any]:
    return rule(ports=[fields])


def block(cidr: Any, *excepts: Any) -> dict[str, Any]:
    return rule(**{"from": [{"ipBlock": {"cidr": cidr, **({"except": list(excepts)} if excepts else {})}}]})


def selector(**expression: Any) -> dict[str, Any]:
    return {"podSelector": {"matchExpressions": [{"key": "a", **expression}]}}


TAKEN: list[dict[str, Any] | None] = [
    None,
    {},
    {"podSelector": None, "ingress": None, "egress": None, "policyTypes": None},
    {"policyTypes": []},
    {"policyTypes": ["Egress"], "ingress": [{}]},
    {"policyTypes": ["Ingress", "Egress"]},
    {"policyTypes": ["Egress", "Egress"]},
    {"ingress": []},
    {"egress": []},
    {"egress": [{}]},
    {"ingress": [None]},
    rule(**{"from": [], "ports": []}),
    rule(ports=[None]),
    port(),
    port(protocol="UDP"),
    port(protocol="SCTP", port=1),
    port(port=65535),
    port(port=80, endPort=80),
    port(port=80, endPort=65535),
    port(port="http"),
    port(port="8080-a"),
    port(port="a" * 15),
    peer(podSelector={}),
    peer(namespaceSelector={}),
    peer(podSelector=WEB, namespaceSelector=WEB),
    block("10.0.0.0/8"),
    block("0.0.0.0/0", "10.0.0.0/8", "192.168.0.0/16"),
    block("fd00::/8", "fd00::/64"),
    block("FD00:0:0::/8"),
    selector(operator="In", values=["b", "b", ""]),
    selector(operator="In", values=[None]),
    selector(operator="NotIn", values=["b"]),
    selector(operator="Exists"),
    selector(operator="DoesNotExist", values=[]),
    {"podSelector": {"matchLabels": {"a": None, "x.y/z": "B_c.d-e"}}},
]
REFUSED: list[Any] = [
    "all",
    [],
    {"policyTypes": ["ingress"]},
    {"policyTypes": [None]},
    {"policyTypes": "Ingress"},
    {"policyTypes": ["Ingress", "Egress", "Ingress"]},
    {"policyType": ["Ingress"]},
    {"ingress": {}},
    {"ingress": [[]]},
    {"ingress": ["all"]},
    rule(form=[]),
    rule(to=[]),
    rule(**{"from": {}}),
    rule(**{"from": [None]}),
    peer(),
    peer(podSelector=None),
    peer(podSelector="web"),
    peer(podSelector={}, moreNarrow={}),
    peer(podSelector={}, ipBlock={"cidr": "10.0.0.0/8"}),
    peer(namespaceSelector={}, ipBlock={"cidr": "10.0.0.0/8"}),
    peer(ipBlock={}),
    port(port=0),
    port(port=-1),
    port(port=65536),
    port(port=80.5),
    port(port=True),
    port(port=""),
    port(port="80"),
    port(port="HTTP"),
    port(port="a--b"),
    port(port="-a"),
    port(port="a" * 16),
    port(port=80, endPort=79),
    port(port=80, endPort=0),
    port(port=80, endPort=65536),
    port(port="http", endPort=80),
    port(endPort=80),
    port(protocol=""),
    port(protocol="tcp"),
    port(protocol="ICMP"),
    block(""),
    block(5),
    block("10.0.0.0"),
    block("10.0.0.0/33"),
    block("10.0.0.256/8"),
    block("10.0.0.0/255.0.0.0"),
    block("example.com"),
    block("10.0.0.0/8", "11.0.0.0/16"),
    block("10.0.0.0/8", "10.0.0.0/8"),
    block("10.0.0.0/16", "10.0.0.0/8"),
    block("10.0.0.0/8", "fd00::/64"),
    block("::/0", "10.0.0.0/8"),
    block("10.0.0.0/8", None),
    selector(operator="in", values=["b"]),
    selector(operator="In"),
    selector(operator="Exists", values=["b"]),
    selector(operator="In", values=["b c"]),
    selector(operator="In", values=["b" * 64]),
    {"podSelector": {"matchLabels": {"a": 1}}},
    {"podSelector": {"matchLabels": {"a b": "c"}}},
    {"podSelector": {"matchLabels": {"A.example/b": "c"}}},
    {"podSelector": {"matchLabel": {}}},
]
OLD_SPELLINGS = [
    block("10.1.2.3/8"),
    block("010.0.0.0/8"),
    block("10.0.0.0/08"),
    block("::ffff:10.0.0.0/104"),
    block("10.0.0.0/8", "10.1.2.3/16"),
]
"""Stored by API servers before 1.36, refused since. Files may come from any of them, so we take these."""


@pytest.mark.parametrize("spec", TAKEN, ids=str)
def test_what_the_api_server_takes_we_take(api: Api, spec: Any) -> None:
    policy = obj("NetworkPolicy", spec)
    assert (refusal(api, policy), validate("NetworkPolicy", policy)) == ("", ())


@pytest.mark.parametrize("spec", REFUSED, ids=str)
def test_what_the_api_server_refuses_we_refuse(api: Api, spec: Any) -> None:
    policy = obj("NetworkPolicy", spec)
    assert (bool(refusal(api, policy)), bool(validate("NetworkPolicy", policy))) == (True, True)


@pytest.mark.parametrize("spec", OLD_SPELLINGS, ids=str)
def test_spellings_that_only_older_api_servers_take_are_taken(api: Api, spec: Any) -> None:
    policy = obj("NetworkPolicy", spec)
    said = refusal(api, policy)
    assert validate("NetworkPolicy", policy) == ()
    assert "must not have" in said


@pytest.mark.parametrize("spec", TAKEN, ids=str)
def test_the_api_servers_defaults_change_no_meaning(api: Api, spec: Any) -> None:
    """A file means what the object means that the API server makes of it."""
    policy = obj("NetworkPolicy", spec)
    stored = api.request("POST", path_of(api, policy), policy, DRY)
    assert stored["spec"]["policyTypes"]
    ours, theirs = BY_KIND["NetworkPolicy"].read(policy), BY_KIND["NetworkPolicy"].read(stored)
    assert (ours.value, theirs.problems) == (theirs.value, ())


# --- other kinds ------------------------------------------------------------------------------------------------------

NAMES = [("Namespace", "team-a", True), ("Namespace", "Team", False), ("Node", "n.1", True), ("Node", "n_1", False)]


@pytest.mark.parametrize(("kind", "name", "good"), NAMES)
def test_names_are_judged_alike(api: Api, kind: str, name: str, good: bool) -> None:
    named = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}
    assert (not refusal(api, named), not validate(kind, named)) == (good, good)


def test_a_namespace_gets_the_same_name_label(api: Api) -> None:
    given = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {"a": "b"}}}
    stored = api.request("POST", path_of(api, given), given, DRY)
    assert BY_KIND["Namespace"].read(given).value.labels == BY_KIND["Namespace"].read(stored).value.labels


def test_a_pod_gets_the_same_defaults(api: Api) -> None:
    ports = [{"name": "http", "containerPort": 80}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]
    sidecar = {
        "name": "s",
        "image": "i",
        "restartPolicy": "Always",
        "ports": [{"name": "mesh", "containerPort": 15001}],
    }
    spec = {"containers": [{"name": "c", "image": "i", "ports": ports}], "initContainers": [sidecar]}
    given = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    stored = api.request("POST", path_of(api, given), given, DRY)
    ours, theirs = BY_KIND["Pod"].read(given).value, BY_KIND["Pod"].read(stored).value
    for field in ("namespace", "name", "labels", "ports", "service_account", "host_network", "addresses"):
        assert getattr(ours, field) == getattr(theirs, field)


# --- our kinds, at the door -------------------------------------------------------------------------------------------

CLUSTER = {"tier": "Admin", "priority": 5, "subject": {"namespaces": {}}}
OWN = {"priority": 5, "podSelector": {}}
ANY: dict[str, Any] = {"namespaces": {}}
NAMED = [{"destinationNamedPort": "http"}]
NUMBER = [{"tcp": {"destinationPort": {"number": 80}}}]
SERVICES = [{"services": [{"namespace": "a", "name": "b"}]}]


def ingress(**fields: Any) -> dict[str, Any]:
    return {"ingress": [{"action": "Accept", "from": [ANY], **fields}]}


def egress(**fields: Any) -> dict[str, Any]:
    return {"egress": [{"action": "Deny", "to": [ANY], **fields}]}


def tcp(**destination: Any) -> dict[str, Any]:
    return ingress(protocols=[{"tcp": {"destinationPort": destination}}])


def ip_block(cidr: str, *excepts: str) -> dict[str, Any]:
    return ingress(**{"from": [{"ipBlock": {"cidr": cidr, "except": list(excepts)}}]})


OURS_TAKEN: list[dict[str, Any]] = [
    {},
    {"mode": "Audit", "nodes": {}, "denyWith": "Reject", "logging": {"verdicts": ["Deny"], "rate": 1, "burst": 1000}},
    ingress(name="n" * 100, denyWith="Drop", logging={"label": "l" * 63}),
    ingress(**{"from": [ANY] * 25}),
    {"ingress": ingress()["ingress"] * 25, "egress": egress()["egress"] * 25},
    ingress(**{"from": [{"namespaceNames": ["a"]}, {"sameNamespace": {}}, {"nodes": {}}, *SERVICES]}),
    ingress(**{"from": [{"serviceAccounts": [{"namespace": "a", "name": "b"}]}, {"pods": {"podSelector": {}}}]}),
    ingress(**{"from": [{"networks": ["10.0.0.0/8", "10.1.2.3/8", "fd00::/8"]}]}, protocols=NAMED),
    ingress(protocols=[{"icmp": {}}, {"icmpv6": {"type": 128, "code": 0}}, {"ipProtocol": 0}]),
    ingress(protocols=[{"udp": {"destinationPort": {"range": {"start": 1, "end": 65535}}}}]),
    ip_block("10.0.0.0/8", *(f"10.{each}.0.0/16" for each in range(25))),
    ip_block("fd00::/8", "fd00::/64"),
    egress(to=[{"domainNames": ["a.example"]}]),
    egress(protocols=NAMED),
    egress(to=[{"networks": ["10.0.0.0/8"]}], protocols=NUMBER),
    egress(to=SERVICES),
]
OURS_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"priority": 1001}, "less than or equal to 1000"),
    ({"priority": -1}, "greater than or equal to 0"),
    ({"priority": None}, "spec.priority"),
    ({"mode": "Audit "}, '"Audit", "Disabled", "Enforce"'),
    ({"denyWith": "drop"}, '"Drop", "Reject"'),
    ({"modes": "Audit"}, 'unknown field "spec.modes"'),
    ({"logging": {"verdicts": ["Pass"]}}, '"Accept", "Deny"'),
    ({"logging": {"rate": 0}}, "greater than or equal to 1"),
    ({"logging": {"label": "l" * 64}}, "may not be more than 63 bytes"),
    (ingress(name="n" * 101), "may not be more than 100 bytes"),
    (ingress(action="Allow"), '"Accept", "Deny", "Pass"'),
    (ingress(**{"from": []}), "should have at least 1 items"),
    (ingress(**{"from": None}), "spec.ingress[0].from"),
    (ingress(**{"from": [{}]}), "must have exactly one of namespaces"),
    (ingress(**{"from": [{"namespaces": {}, "nodes": {}}]}), "write an entry of its own for each"),
    (ingress(**{"from": [{"unheardOf": {}}]}), "unknown field"),
    (ingress(**{"from": [{"domainNames": ["a.example"]}]}), "unknown field"),
    (ingress(**{"from": [{"networks": ["10.0.0.0/33"]}]}), "write one like 10.0.0.0/8"),
    (ingress(**{"from": [{"networks": []}]}), "should have at least 1 items"),
    (ingress(**{"from": [{"networks": ["10.0.0.0/8"] * 26}]}), "must have at most 25 items"),
    (ingress(**{"from": [ANY] * 26}), "must have at most 25 items"),
    ({"ingress": ingress()["ingress"] * 26}, "must have at most 25 items"),
    (ingress(**{"from": [{"namespaceNames": [""]}]}), "at least 1 chars"),
    (ingress(**{"from": [{"serviceAccounts": [{"name": "b"}]}]}), "namespace: Required value"),
    (ingress(**{"from": [{"namespaces": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}]}), '"In", "NotIn"'),
    (ip_block("10.0.0.0"), "write one like 10.0.0.0/8"),
    (ip_block("10.0.0.0/8", "x"), "write one like 10.0.0.0/8"),
    (ip_block("10.0.0.0/8", "11.0.0.0/16"), "leave out those that are not"),
    (ip_block("10.0.0.0/8", "10.0.0.0/8"), "leave out those that are not"),
    (ip_block("10.0.0.0/8", "fd00::/64"), "leave out those that are not"),
    (ip_block("10.0.0.0/8", *["10.1.0.0/16"] * 4, "11.0.0.0/16"), "leave out those that are not"),
    (tcp(number=0), "greater than or equal to 1"),
    (tcp(number=65536), "less than or equal to 65535"),
    (tcp(range={"start": 2, "end": 1}), "write the smaller one first"),
    (tcp(range={"start": 2}), "end: Required value"),
    (tcp(), "for every port leave out protocols"),
    (tcp(number=1, range={"start": 1, "end": 2}), "must have exactly one of number, range"),
    (ingress(protocols=[]), "should have at least 1 items"),
    (ingress(protocols=[{}]), "must have exactly one of tcp"),
    (ingress(protocols=[{"tcp": {}}]), "for all of TCP write ipProtocol: 6"),
    (ingress(protocols=[{"ipProtocol": 256}]), "less than or equal to 255"),
    (ingress(protocols=[{"icmp": {"type": 256}}]), "less than or equal to 255"),
    (ingress(protocols=[{"icmp": {"code": 0}}]), "code needs a type"),
    (ingress(protocols=[{"destinationNamedPort": "HTTP"}]), "container port's name"),
    (ingress(protocols=[{"destinationNamedPort": "a" * 16}]), "may not be more than 15 bytes"),
    (egress(to=[{"networks": ["10.0.0.0/8"]}], protocols=NAMED), "which have no port names; write a number"),
    (egress(to=[ANY, {"nodes": {}}], protocols=NAMED + NUMBER), "which have no port names; write a number"),
    (egress(to=[{"ipBlock": {"cidr": "10.0.0.0/8"}}], protocols=NAMED), "which have no port names; write a number"),
    (egress(to=SERVICES, protocols=NUMBER), "protocols must be left out beside services"),
]
KINDS = [("ClusterExtendedNetworkPolicy", CLUSTER), ("ExtendedNetworkPolicy", OWN)]
our_kinds = pytest.mark.parametrize(("kind", "base"), KINDS, ids=["cxnp", "xnp"])


@pytest.mark.parametrize("spec", OURS_TAKEN, ids=lambda spec: str(spec)[:80])
@our_kinds
def test_the_door_takes_what_we_take(api: Api, kind: str, base: dict[str, Any], spec: dict[str, Any]) -> None:
    policy = obj(kind, {**base, **spec})
    assert (refusal(api, policy), validate(kind, policy)) == ("", ())


@pytest.mark.parametrize(("spec", "advice"), OURS_REFUSED, ids=lambda part: str(part)[:80])
@our_kinds
def test_the_door_refuses_what_cannot_work_and_says_what_to_write(
    api: Api, kind: str, base: dict[str, Any], spec: dict[str, Any], advice: str
) -> None:
    policy = obj(kind, {**base, **spec})
    assert advice in refusal(api, policy)
    assert validate(kind, policy)


SUBJECTS = [
    ("ClusterExtendedNetworkPolicy", {**CLUSTER, "subject": {}}, "for every pod write namespaces: {}"),
    (
        "ClusterExtendedNetworkPolicy",
        {**CLUSTER, "subject": {"namespaces": {}, "pods": {"podSelector": {}}}},
        "must have exactly one of namespaces, pods",
    ),
    ("ClusterExtendedNetworkPolicy", {**CLUSTER, "tier": "Middle"}, '"Admin", "Baseline"'),
    ("ClusterExtendedNetworkPolicy", {"tier": "Admin", "priority": 1}, "spec.subject: Required value"),
    ("ExtendedNetworkPolicy", {"priority": 1}, "spec.podSelector: Required value"),
    ("ExtendedNetworkPolicy", {**OWN, "tier": "Admin"}, 'unknown field "spec.tier"'),
]


@pytest.mark.parametrize(("kind", "spec", "advice"), SUBJECTS)
def test_the_door_refuses_a_policy_about_nobody_knows_whom(api: Api, kind: str, spec: Any, advice: str) -> None:
    policy = obj(kind, spec)
    assert advice in refusal(api, policy)
    assert validate(kind, policy)


def test_more_excepts_than_the_door_checks_are_caught_by_us(api: Api) -> None:
    excepts = [*(f"10.{each}.0.0/16" for each in range(5)), "11.0.0.0/16"]
    policy = obj("ClusterExtendedNetworkPolicy", {**CLUSTER, **ip_block("10.0.0.0/8", *excepts)})
    assert refusal(api, policy) == ""
    assert [one.path for one in validate(policy["kind"], policy)] == ["spec.ingress[0].from[0].ipBlock.except[5]"]


# --- upstream ---------------------------------------------------------------------------------------------------------

PODS = {"namespaceSelector": WEB, "podSelector": WEB}
UPSTREAM: dict[str, Any] = {
    "tier": "Baseline",
    "priority": 1000,
    "subject": {"pods": PODS},
    "ingress": [
        {"name": "a", "action": "Accept", "from": [{"pods": PODS}, ANY]},
        {"action": "Pass", "from": [{"pods": {"podSelector": {}, "namespaceSelector": {}}}], "protocols": NAMED},
    ],
    "egress": [
        {
            "action": "Deny",
            "to": [{"networks": ["10.0.0.0/8", "fd00::/8"]}],
            "protocols": [
                {"tcp": {"destinationPort": {"range": {"start": 1, "end": 9}}}},
                {"udp": {"destinationPort": {"number": 53}}},
                {"sctp": {"destinationPort": {"number": 65535}}},
            ],
        },
        {"name": "b", "action": "Accept", "to": [{"pods": PODS}, ANY], "protocols": NAMED},
    ],
}
EXPERIMENTAL = {
    **UPSTREAM,
    "subject": {"namespaces": WEB},
    "egress": [
        *UPSTREAM["egress"],
        {"action": "Pass", "to": [{"nodes": WEB}]},
        {"action": "Accept", "to": [{"domainNames": ["*.example.com"]}]},
    ],
}
SPECS = {"standard": UPSTREAM, "experimental": EXPERIMENTAL}


def _fields(schema: Object) -> set[str]:
    """Names of all fields below a schema."""
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return set(schema.get("properties", ())).union(*map(_fields, inner))


def _used(value: Any) -> set[str]:
    """Names of all fields below a value."""
    if isinstance(value, list):
        return set().union(*map(_used, value))
    return set(value).union(*map(_used, value.values())) if isinstance(value, dict) else set()


@pytest.mark.parametrize("channel", upstream.CHANNELS)
def test_an_upstream_spec_pastes_unchanged_and_means_the_same(api: Api, channel: str) -> None:
    definition, spec = upstream.definition(channel), SPECS[channel]
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert _fields(schema) - _used([UPSTREAM, spec]) == {"matchExpressions", "key", "operator", "values"}
    theirs, ours = obj(upstream.KIND, spec), obj("ClusterExtendedNetworkPolicy", spec)
    with installed(api, definition):
        assert (refusal(api, theirs), refusal(api, ours)) == ("", "")
        stored = api.request("POST", path_of(api, theirs), theirs, DRY)
    read = [BY_KIND[one["kind"]].read(one).value for one in (theirs, stored, ours)]
    for field in ("tier", "priority", "subject", "mode", "nodes", "ingress", "egress"):
        assert getattr(read[0], field) == getattr(read[1], field) == getattr(read[2], field)
    assert (validate(upstream.KIND, theirs), validate("ClusterExtendedNetworkPolicy", ours)) == ((), ())
