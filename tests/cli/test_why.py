"""``nodewall why``: which tier, policy and rule decide, in each direction, for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodewall import cli

WORLD = """
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, labels: {app: web}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.0.1.5}, {ip: 'fd00:1::5'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: prod, labels: {app: db}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: pg, containerPort: 5432}]}]}
status: {podIPs: [{ip: 10.0.2.5}, {ip: 'fd00:2::5'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: new, labels: {app: web}}
spec: {nodeName: n1}
---
apiVersion: v1
kind: Pod
metadata: {name: proxy, namespace: prod}
spec: {nodeName: n2, hostNetwork: true}
status: {podIP: 192.168.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: done, namespace: prod}
spec: {nodeName: n2}
status: {phase: Succeeded, podIP: 10.0.2.9}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: prod}
spec: {clusterIP: 10.96.0.10}
"""
ISOLATED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: prod}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: pg}]}]}
"""
FOUR_ONLY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: four, namespace: prod}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}
"""
ADMIN = """
apiVersion: nodewall.io/v1alpha1
kind: ClusterExtendedNetworkPolicy
metadata: {name: guardrails}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  ingress:
  - {name: hand-over, action: Pass, from: [{namespaces: {}}]}
  - {action: Deny, from: [{networks: [0.0.0.0/0, '::/0']}]}
"""
TRIAL = ADMIN.replace("guardrails", "trial").replace("  tier: Admin", "  mode: Audit\n  tier: Admin")

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def asked(question: str, *policies: str, as_json: bool = False) -> tuple[int, str, str]:
        (tmp_path / "world.yaml").write_text(WORLD)
        (tmp_path / "policies.yaml").write_text("\n---\n".join(policies))
        more = ["--output", "json"] if as_json else []
        code = cli.main(["why", "-f", str(tmp_path), *question.split(), *more])
        said = capsys.readouterr()
        return code, said.out, said.err

    return asked


def test_an_allowed_packet_with_the_rule_that_allowed_it(ask: Ask) -> None:
    code, said, _ = ask("default/web-0 prod/db-0 --port 5432/TCP", ISOLATED)
    assert code == 0
    assert said.splitlines() == [
        "ALLOWED  pod default/web-0 -> pod prod/db-0  5432/TCP",
        "  egress of pod default/web-0: allowed",
        "    1. Admin tier: no policy is about this pod, goes on",
        "    2. Namespace tier: no policy is about this pod, goes on",
        "    3. NetworkPolicy: none isolates the pod for egress, goes on",
        "    4. Baseline tier: no policy is about this pod, goes on",
        "    5. no policy decides: allowed",
        "  ingress of pod prod/db-0: allowed",
        "    1. Admin tier: no policy is about this pod, goes on",
        "    2. Namespace tier: no policy is about this pod, goes on",
        "    3. NetworkPolicy prod/db ingress[0] allows it",
    ]


def test_a_denied_packet_with_what_isolates(ask: Ask) -> None:
    code, said, _ = ask("ip:203.0.113.7 prod/db-0 --port 5432", ISOLATED, FOUR_ONLY)
    assert code == 1
    assert said.splitlines()[0] == "DENIED  address 203.0.113.7 -> pod prod/db-0  5432/TCP"
    assert "isolated for ingress by prod/db, prod/four, and no rule allows it" in said


def test_every_tier_on_the_way_is_named(ask: Ask) -> None:
    _, said, _ = ask("default/web-0 prod/db-0 --port pg", ADMIN, ISOLATED)
    assert "1. ClusterExtendedNetworkPolicy guardrails rule hand-over: Pass (goes on with the next tier)" in said
    code, said, _ = ask("ip:203.0.113.7 prod/db-0 --port pg", ADMIN, ISOLATED)
    assert code == 1
    assert "1. ClusterExtendedNetworkPolicy guardrails rule ingress[1]: Deny" in said.splitlines()[-1]


def test_what_an_audit_policy_would_have_done(ask: Ask) -> None:
    code, said, _ = ask("ip:203.0.113.7 prod/db-0 --port 1", TRIAL)
    assert code == 0
    assert "audit: ClusterExtendedNetworkPolicy trial rule ingress[1] would Deny (changes nothing)" in said


def test_families_that_differ_are_told_apart(ask: Ask) -> None:
    code, said, _ = ask("default/web-0 prod/db-0 --port 80", FOUR_ONLY)
    assert code == 1
    assert [line for line in said.splitlines() if not line.startswith(" ")] == [
        "ALLOWED  pod default/web-0 -> pod prod/db-0  80/TCP  IPv4",
        "",
        "DENIED  pod default/web-0 -> pod prod/db-0  80/TCP  IPv6",
    ]


def test_programs_read_the_same(ask: Ask) -> None:
    code, said, _ = ask("default/web-0 prod/db-0 --port 80", FOUR_ONLY, TRIAL, as_json=True)
    answers: list[dict[str, Any]] = json.loads(said)
    assert code == 1
    assert [(one["family"], one["allowed"]) for one in answers] == [("IPv4", True), ("IPv6", False)]
    egress, ingress = answers[1]["directions"]
    assert (egress["direction"], egress["allowed"], ingress["direction"]) == ("Egress", True, "Ingress")
    assert ingress["decidedBy"] == ingress["steps"][-1]
    assert ingress["decidedBy"]["tier"] == "NetworkPolicy"
    assert ingress["decidedBy"]["policy"] == {"kind": "NetworkPolicy", "namespace": "prod", "name": "four"}
    assert ingress["audits"][0]["rule"] == "hand-over"


@pytest.mark.parametrize(
    ("question", "code", "words"),
    [
        ("default/new prod/db-0 --port 5432", 0, "prod/db ingress[0]"),
        ("node:n2 prod/db-0 --port 80", 0, "own node"),
        ("node:n1 prod/db-0 --port 80", 1, "isolated"),
        ("ip:192.168.0.1 prod/db-0 --port 80", 1, "node n1"),
        ("prod/proxy prod/db-0 --port 80", 0, "node n2 is the pod's own node"),
        ("ip:10.0.1.5 prod/db-0 --port 5432", 0, "pod default/web-0"),
        ("ip:::ffff:10.0.1.5 prod/db-0 --port 5432", 0, "pod default/web-0"),
        ("ip:FD00:1:0::5 prod/db-0 --port 5432", 0, "pod default/web-0"),
        ("ip:203.0.113.7 prod/proxy --port 80", 0, "nothing is judged"),
        ("prod/db-0 prod/db-0 --port 80", 0, "never leaves the pod"),
        ("prod/db-0 prod/db-0 --port 80 --via-service", 0, "a pod's way to itself"),
        ("default/web-0 prod/db-0 --port icmp", 1, "ICMP type 8 code 0"),
        ("default/web-0 prod/db-0 --port ip/47", 1, "protocol 47"),
        ("default/web-0 prod/db-0 --port 5432/udp", 1, "5432/UDP"),
    ],
)
def test_who_and_what_can_be_asked_about(ask: Ask, question: str, code: int, words: str) -> None:
    ended, said, _ = ask(question, ISOLATED)
    assert (ended, words in said) == (code, True), said


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("default/web-0 prod/db --port 80", "there is no such pod"),
        ("default/web-0 prod/done --port 80", "has finished"),
        ("default/web-0 node:n9 --port 80", "there is no such node"),
        ("default/web-0 ip:10.0.0.300 --port 80", "not an IP address"),
        ("default/web-0 ip:10.96.0.10 --port 80", "Service prod/db"),
        ("default/web-0 db-0 --port 80", "NAMESPACE/POD"),
        ("default/web-0 prod/db-0 --port 65536", "0 to 65535"),
        ("default/web-0 prod/db-0 --port http", "no port of this name"),
        ("default/web-0 prod/db-0 --port 80/QUIC", "PORT/TCP"),
        ("default/web-0 ip:203.0.113.7 --port icmpv6", "no address family in common"),
        ("default/web-0 prod/db-0 --port 80 --output yaml", "text or json"),
    ],
)
def test_a_question_that_cannot_be_answered_is_no_denial(ask: Ask, question: str, words: str) -> None:
    code, said, complaint = ask(question, ISOLATED)
    assert (code, said) == (2, "")
    assert words in complaint
    assert complaint.count("\n") == 1
