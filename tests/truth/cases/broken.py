"""Broken parts: what they close, and that they touch nothing else. All of it is refused at the door."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, cluster_policy, extended_policy, policy

BLUE = "subject: {namespaces: {matchLabels: {team: blue}}}"
NEAR_ONLY = "{action: Accept, from: [{pods: {podSelector: {matchLabels: {app: client}}}}]}"
OK = policy("ok", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", namespace="b")


def admin(rest: str, subject: str = BLUE, kind: str = "ClusterExtendedNetworkPolicy") -> str:
    return cluster_policy("p", f"{{tier: Admin, priority: 10, {subject}, {rest}}}", kind)


_BROKEN_PEERS = {
    "an unknown peer form": "{clouds: [x]}",
    "a CIDR that cannot be read": "{networks: [10.0.0.0/33]}",
    "two forms in one peer": "{namespaces: {}, networks: [10.0.0.0/8]}",
    "a peer without a form": "{}",
    "an unknown operator": "{namespaces: {matchExpressions: [{key: a, operator: Like, values: [b]}]}}",
    "an except outside of its cidr": "{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}",
}

CASES = (
    *(
        Case(
            f"{what} in an Accept rule matches nothing",
            ("broken",),
            TWO_NODES,
            admin(f"ingress: [{{action: Accept, from: [{{namespaces: {{}}}}, {peer}]}}]")
            + policy("closed", "{podSelector: {}, policyTypes: [Ingress]}")
            + OK,
            """
            a/near a/far b/near ip:203.0.113.7 -> a/web 80 : deny
            b/near b/far -> b/web 80 : allow
            a/near -> b/web 80 : deny
            a/web -> ip:203.0.113.7 80 : allow
            """,
            broken=True,
        )
        for what, peer in _BROKEN_PEERS.items()
    ),
    *(
        Case(
            f"{what} in a {action} rule denies everything in its direction",
            ("broken",),
            TWO_NODES,
            admin(
                f"ingress: [{NEAR_ONLY}, {{action: {action}, from: [{peer}]}},"
                " {action: Accept, from: [{namespaces: {}}]}]"
            )
            + OK,
            """
            a/near a/far b/near b/far -> a/web 80 : allow
            b/web ip:203.0.113.7 ip:2001:db8::7 -> a/web 80 53/UDP : deny
            a/web -> ip:203.0.113.7 80 : allow
            b/near b/far -> b/web 80 : allow
            """,
            broken=True,
        )
        for action in ("Deny", "Pass")
        for what, peer in _BROKEN_PEERS.items()
    ),
    Case(
        "domainNames is a broken part for now",
        ("broken",),
        TWO_NODES,
        admin(
            "egress: [{action: Accept, to: [{domainNames: [example.com]}]}, {action: Accept, to: [{namespaces: {}}]},"
            " {action: Deny, to: [{domainNames: [example.org]}]}]"
        ),
        """
        a/web -> a/far b/near 80 : allow
        a/web -> ip:203.0.113.7 ip:2001:db8::7 80 : deny
        ip:203.0.113.7 -> a/web 80 : allow
        """,
    ),
    Case(
        "an unknown peer form of a ClusterNetworkPolicy closes the same way",
        ("broken",),
        TWO_NODES,
        admin(
            "ingress: [{action: Accept, from: [{namespaces: {}}, {serviceAccounts: [{namespace: a, name: b}]}]},"
            " {action: Pass, from: [{planets: {}}]}, {action: Accept, from: [{namespaces: {}}]}]",
            kind="ClusterNetworkPolicy",
        ),
        "a/near b/far ip:203.0.113.7 -> a/web 80 : deny\na/near -> b/web 80 : allow",
        broken=True,
    ),
    *(
        Case(
            f"{what} breaks the rule",
            ("broken",),
            TWO_NODES,
            admin(f"ingress: [{{action: Deny, from: [{{namespaces: {{}}}}], protocols: [{port}]}}]") + OK,
            """
            a/near b/far ip:203.0.113.7 -> a/web 80 53/UDP : deny
            b/near b/far -> b/web 80 : allow
            """,
            broken=True,
        )
        for what, port in {
            "a range that runs backwards": "{tcp: {destinationPort: {range: {start: 90, end: 80}}}}",
            "port 0": "{tcp: {destinationPort: {number: 0}}}",
            "a code without a type": "{icmp: {code: 1}}",
            "a protocol of unknown form": "{quic: {}}",
        }.items()
    ),
    Case(
        "a port name beside networks breaks an egress rule",
        ("broken", 33),
        TWO_NODES,
        admin("egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: http}]}]"),
        "a/web -> a/far ip:203.0.113.7 81 53/UDP : deny\na/far -> b/web 80 : deny\nb/near -> a/web 80 : allow",
        broken=True,
    ),
    *(
        Case(
            f"a {what} that cannot be read selects nobody",
            ("broken",),
            TWO_NODES,
            made + OK,
            "a/near b/far ip:203.0.113.7 -> a/web 80 : allow\na/near -> b/web 80 : deny",
            broken=True,
        )
        for what, made in {
            "subject": admin(
                "ingress: [{action: Deny, from: [{namespaces: {}}, {networks: [0.0.0.0/0]}]}]",
                "subject: {namespaces: {matchLabels: {'not a key': x}}}",
            ),
            "priority": cluster_policy(
                "p",
                f"{{tier: Admin, priority: 1001, {BLUE}, ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]}}",
            ),
            "mode": admin("mode: Perhaps, ingress: [{action: Deny, from: [{namespaces: {}}]}]"),
            "podSelector": extended_policy(
                "x",
                "{priority: 1, podSelector: {matchExpressions: [{key: app, operator: Near}]},"
                " ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
            ),
        }.items()
    ),
    Case(
        "beside a field of the spec that is not known a NetworkPolicy isolates and allows nothing",
        ("broken",),
        TWO_NODES,
        policy("p", "{podSelector: {matchLabels: {app: web}}, ingress: [{}], sometimes: {from: '22:00'}}") + OK,
        """
        a/near a/far b/near ip:203.0.113.7 -> a/web 80 : deny
        a/web -> ip:203.0.113.7 a/far 80 : allow
        b/near -> b/web 80 : allow
        """,
        broken=True,
    ),
    Case(
        "beside a field of the spec that is not known an Accept matches nothing",
        ("broken",),
        TWO_NODES,
        admin(f"sometimes: {{}}, ingress: [{NEAR_ONLY}]")
        + policy("closed", "{podSelector: {}, policyTypes: [Ingress]}")
        + OK,
        "a/near a/far -> a/web 80 : deny\nb/near -> b/web 80 : allow",
        broken=True,
    ),
    Case(
        "beside a field of the spec that is not known a Pass denies, and a Deny denies what it says",
        ("broken",),
        TWO_NODES,
        admin(
            f"sometimes: 1, ingress: [{NEAR_ONLY.replace('Accept', 'Pass')},"
            " {action: Deny, from: [{networks: [203.0.113.0/24]}]}]"
        ),
        """
        a/near a/far ip:203.0.113.7 -> a/web 80 : deny
        b/web ip:2001:db8::7 -> a/web 80 : allow
        """,
        broken=True,
    ),
    Case(
        "a broken rule closes its own direction of its own policy, the others hold",
        (21, 54),
        TWO_NODES,
        policy(
            "p",
            "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress],"
            " ingress: [{from: [{ipBlock: {cidr: nonsense}}]}, {from: [{podSelector: {}}]}], egress: [{}]}",
        )
        + OK,
        """
        a/near a/far -> a/web 80 : allow
        b/near ip:203.0.113.7 -> a/web 80 : deny
        a/web -> ip:203.0.113.7 a/far 80 : allow
        b/near -> b/web 80 : allow
        """,
        broken=True,
    ),
)
