"""Traffic to a ClusterIP is judged by the endpoint that DNAT chose (statements 28, 29, 46, 47).

The NAT rules are a stand-in for kube-proxy's, in both of its forms: at prerouting, before any rule of ours.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from e2e import netns
from e2e.command import run
from nodewall.model.cluster import ClusterState
from tests.kernel import nft
from tests.kernel.checker import Outcome
from tests.kernel.packets import Packet
from tests.truth.case import Case
from tests.truth.nodes import Nodes, nodes
from tests.truth.reading import state_of
from tests.truth.worlds import TWO_NODES, cluster_policy, policy

pytestmark = pytest.mark.kernel

FAMILIES = (4, 6)
WEB = {4: "10.0.1.10", 6: "fd00:1::a"}
NEAR = {4: "10.0.1.11", 6: "fd00:1::b"}
FAR = {4: "10.0.2.12", 6: "fd00:2::c"}
OUTSIDE = {4: "203.0.113.7", 6: "2001:db8::7"}
NODE = {4: "192.168.0.1", 6: "fd00:f::1"}
WEB_SERVICE = {4: "10.96.0.10", 6: "fd00:96::10"}
FAR_SERVICE = {4: "10.96.0.20", 6: "fd00:96::20"}
SLICES = """
    slice a/web-4 a/web 10.0.1.10 8080/TCP
    slice a/web-6 a/web fd00:1::a 8080/TCP
    slice b/far-4 b/far 10.0.2.12 8080/TCP
    slice b/far-6 b/far fd00:2::c 8080/TCP
"""


@dataclass(frozen=True, slots=True)
class Translation:
    """(address, port) -> (address, port) of TCP."""

    source: tuple[str, int]
    target: tuple[str, int]


def _translations(family: int) -> list[Translation]:
    return [
        Translation((WEB_SERVICE[family], 80), (WEB[family], 8080)),
        Translation((FAR_SERVICE[family], 80), (FAR[family], 8080)),
        Translation((NODE[family], 30080), (WEB[family], 8080)),
    ]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _by_nft(namespace: str) -> None:
    for family in FAMILIES:
        kind = "ip" if family == 4 else "ip6"
        rules = "\n".join(
            f"{kind} daddr {one.source[0]} tcp dport {one.source[1]}"
            f" dnat to {_bracketed(one.target[0])}:{one.target[1]}"
            for one in _translations(family)
        )
        nft.load_text(
            namespace,
            f"table {kind} proxy {{\nchain before {{ type nat hook prerouting priority -100;\n{rules}\n}}\n"
            "chain after { type nat hook postrouting priority 100;\n"
            f"{kind} saddr {WEB[family]} {kind} daddr {WEB[family]} masquerade\n}}\n}}\n",
        )


def _by_iptables(namespace: str) -> None:
    for family in FAMILIES:
        rules = "\n".join(
            f"-A PREROUTING -d {one.source[0]} -p tcp --dport {one.source[1]}"
            f" -j DNAT --to-destination {_bracketed(one.target[0])}:{one.target[1]}"
            for one in _translations(family)
        )
        program = "iptables-restore" if family == 4 else "ip6tables-restore"
        script = f"*nat\n{rules}\n-A POSTROUTING -s {WEB[family]} -d {WEB[family]} -j MASQUERADE\nCOMMIT\n"
        run([*netns.argv(namespace), program], given=script)


@pytest.fixture(scope="module", params=[_by_nft, _by_iptables], ids=["nft", "iptables"])
def proxied(request: pytest.FixtureRequest) -> Iterator[Nodes]:
    program: Callable[[str], None] = request.param
    with nodes("n1", "n2") as made:
        program(made.namespace("n1"))
        yield made


def _state(policies: str) -> ClusterState:
    return state_of(Case("services", (), TWO_NODES + SLICES, policies, ""))


def _calls(sources: Mapping[int, str], service: Mapping[int, str], port: int = 80) -> list[Packet]:
    """A TCP SYN in each family to a Service, that arrives at the endpoint (from the node, when it is a hairpin)."""
    packets = []
    for family in FAMILIES:
        target = next(one.target for one in _translations(family) if one.source == (service[family], port))
        seen = NODE[family] if target[0] == sources[family] else sources[family]
        packets.append(Packet(sources[family], service[family], dport=port, arrives_as=(seen, target[0])))
    return packets


def _outcomes(proxied: Nodes, policies: str, packets: list[Packet]) -> set[Outcome]:
    proxied.program(_state(policies))
    return set(proxied.raw_outcomes("n1", packets))


def _web_ingress(rule: str) -> str:
    return policy("p", f"{{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Ingress], ingress: [{rule}]}}")


def _near_egress(rule: str) -> str:
    return policy("p", f"{{podSelector: {{matchLabels: {{app: client}}}}, policyTypes: [Egress], egress: [{rule}]}}")


PASSED, DROPPED = {Outcome.PASSED}, {Outcome.DROPPED}


def test_without_policies_services_work(proxied: Nodes) -> None:
    calls = _calls(NEAR, WEB_SERVICE) + _calls(NEAR, FAR_SERVICE) + _calls(WEB, WEB_SERVICE)
    assert _outcomes(proxied, "", calls + _calls(OUTSIDE, NODE, 30080)) == PASSED


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}", PASSED),
        ("{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}]}", DROPPED),
        ("{from: [{podSelector: {matchLabels: {app: other}}}]}", DROPPED),
        ("{from: [{ipBlock: {cidr: 10.96.0.0/16}}, {ipBlock: {cidr: 'fd00:96::/64'}}]}", DROPPED),
    ],
)
def test_ingress_sees_the_client_and_the_pods_port(proxied: Nodes, rule: str, expected: set[Outcome]) -> None:
    assert _outcomes(proxied, _web_ingress(rule), _calls(NEAR, WEB_SERVICE)) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{to: [{namespaceSelector: {matchLabels: {team: green}}}], ports: [{port: 8080}]}", PASSED),
        ("{to: [{namespaceSelector: {matchLabels: {team: green}}}], ports: [{port: 80}]}", DROPPED),
        ("{to: [{ipBlock: {cidr: 10.0.2.0/24}}, {ipBlock: {cidr: 'fd00:2::/64'}}]}", PASSED),
        ("{to: [{ipBlock: {cidr: 10.96.0.0/16}}, {ipBlock: {cidr: 'fd00:96::/64'}}]}", DROPPED),
        ("{to: [{podSelector: {}}]}", DROPPED),
    ],
)
def test_egress_sees_the_endpoint_and_its_port(proxied: Nodes, rule: str, expected: set[Outcome]) -> None:
    assert _outcomes(proxied, _near_egress(rule), _calls(NEAR, FAR_SERVICE)) == expected


@pytest.mark.parametrize(("service", "expected"), [(FAR_SERVICE, PASSED), (WEB_SERVICE, DROPPED)], ids=["far", "web"])
def test_a_service_in_to_needs_no_rule_for_its_address(
    proxied: Nodes, service: Mapping[int, str], expected: set[Outcome]
) -> None:
    made = cluster_policy(
        "p",
        "{tier: Admin, priority: 1, subject: {pods: {podSelector: {matchLabels: {app: client}}}},"
        " egress: [{action: Accept, to: [{services: [{namespace: b, name: far}]}]}]}",
    ) + _near_egress("")
    assert _outcomes(proxied, made, _calls(NEAR, service)) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{from: [{ipBlock: {cidr: 203.0.113.0/24}}, {ipBlock: {cidr: '2001:db8::/64'}}]}", PASSED),
        ("{from: [{ipBlock: {cidr: 192.168.0.0/24}}, {ipBlock: {cidr: 'fd00:f::/64'}}]}", DROPPED),
    ],
)
def test_external_traffic_is_judged_before_its_source_is_hidden(
    proxied: Nodes, rule: str, expected: set[Outcome]
) -> None:
    assert _outcomes(proxied, _web_ingress(rule), _calls(OUTSIDE, NODE, 30080)) == expected


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        (policy("p", "{podSelector: {}, policyTypes: [Ingress, Egress]}"), PASSED),
        *(
            (
                cluster_policy(
                    "p",
                    f"{{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {section}:"
                    f" [{{action: Deny, {end}: [{{sameNamespace: {{}}}}]}}]}}",
                ),
                DROPPED,
            )
            for section, end in (("ingress", "from"), ("egress", "to"))
        ),
        (
            cluster_policy(
                "p",
                "{tier: Admin, priority: 1, subject: {namespaces: {}},"
                " egress: [{action: Deny, to: [{services: [{namespace: a, name: web}]}]}]}",
            ),
            DROPPED,
        ),
    ],
    ids=["isolated", "ingress rule", "egress rule", "service rule"],
)
def test_a_pod_that_reaches_itself_through_its_service(proxied: Nodes, policies: str, expected: set[Outcome]) -> None:
    assert _outcomes(proxied, policies, _calls(WEB, WEB_SERVICE)) == expected


def test_a_denied_call_through_a_service_is_told_when_the_rule_rejects(proxied: Nodes) -> None:
    made = cluster_policy(
        "p",
        "{tier: Admin, priority: 1, denyWith: Reject, subject: {namespaces: {}},"
        " ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
    )
    assert _outcomes(proxied, made, _calls(NEAR, WEB_SERVICE)) == {Outcome.REJECTED}
