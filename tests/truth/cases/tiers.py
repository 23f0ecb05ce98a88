"""Order of evaluation: Admin, Namespace, NetworkPolicy, Baseline; priorities; Accept, Deny and Pass."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, cluster_policy, extended_policy, policy

BLUE = "subject: {namespaces: {matchLabels: {team: blue}}}"
EVERYBODY = "[{namespaces: {}}, {networks: [0.0.0.0/0, '::/0']}]"
FROM_GREEN = "from: [{namespaces: {matchLabels: {team: green}}}]"
TO_GREEN = "to: [{namespaces: {matchLabels: {team: green}}}]"
CLOSED = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
OPEN = "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}"


def admin(name: str, rest: str, priority: int = 10) -> str:
    return cluster_policy(name, f"{{tier: Admin, priority: {priority}, {BLUE}, {rest}}}")


def baseline(name: str, rest: str, priority: int = 10) -> str:
    return cluster_policy(name, f"{{tier: Baseline, priority: {priority}, {BLUE}, {rest}}}")


CASES = (
    Case(
        "an Admin deny beats a NetworkPolicy that allows",
        ("order",),
        TWO_NODES,
        admin("p", f"ingress: [{{action: Deny, {FROM_GREEN}}}], egress: [{{action: Deny, {TO_GREEN}}}]")
        + policy("open", OPEN),
        """
        b/near b/far b/web -> a/web a/far 80 53/UDP : deny
        a/web -> b/near b/far 80 53/UDP : deny
        a/near a/far ip:203.0.113.7 ip:2001:db8::7 -> a/web 80 : allow
        a/web -> a/far ip:203.0.113.7 80 : allow
        """,
    ),
    Case(
        "an Admin accept beats a NetworkPolicy's default deny",
        ("order",),
        TWO_NODES,
        admin("p", f"ingress: [{{action: Accept, {FROM_GREEN}}}], egress: [{{action: Accept, {TO_GREEN}}}]")
        + policy("closed", CLOSED),
        """
        b/near b/far b/web -> a/web a/far 80 53/UDP : allow
        a/web -> b/near b/far 80 53/UDP : allow
        a/near a/far ip:203.0.113.7 -> a/web 80 : deny
        a/web -> a/far ip:203.0.113.7 80 : deny
        """,
    ),
    Case(
        "Pass hands over to NetworkPolicy and then to Baseline",
        ("order",),
        TWO_NODES,
        admin("p", f"ingress: [{{action: Pass, {FROM_GREEN}}}, {{action: Deny, from: [{{namespaces: {{}}}}]}}]")
        + policy(
            "np",
            "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {},"
            " podSelector: {matchLabels: {app: client}}}]}]}",
        )
        + baseline("q", "ingress: [{action: Deny, from: [{namespaces: {}}]}]"),
        """
        b/near b/far -> a/web 80 : allow
        b/web -> a/web 80 : deny
        b/near b/far -> a/near a/far 80 : deny
        a/near a/far -> a/web 80 : deny
        ip:203.0.113.7 -> a/web 80 : deny
        ip:203.0.113.7 -> a/near 80 : allow
        """,
    ),
    Case(
        "Pass skips the later policies of its own tier",
        ("order",),
        TWO_NODES,
        admin("first", f"ingress: [{{action: Pass, {FROM_GREEN}}}]", priority=1)
        + admin("second", "ingress: [{action: Deny, from: [{namespaces: {}}]}]", priority=2),
        """
        b/near b/far -> a/web 80 : allow
        a/near a/far -> a/web 80 : deny
        """,
    ),
    Case(
        "a cluster Pass goes to the namespace's own policies first",
        ("order",),
        TWO_NODES,
        admin("p", f"ingress: [{{action: Pass, {FROM_GREEN}}}]")
        + extended_policy(
            "x",
            "{priority: 5, podSelector: {matchLabels: {app: web}}, ingress: [{action: Accept,"
            " from: [{pods: {podSelector: {matchLabels: {app: client}}}}]}]}",
        )
        + policy("closed", "{podSelector: {}, policyTypes: [Ingress]}"),
        """
        b/near b/far a/near -> a/web 80 : allow
        b/web ip:203.0.113.7 -> a/web 80 : deny
        b/near -> a/far 80 : deny
        """,
    ),
    Case(
        "Pass of a namespace's policy leaves it to NetworkPolicy",
        ("order",),
        TWO_NODES,
        extended_policy(
            "x",
            f"{{priority: 5, podSelector: {{}}, ingress: [{{action: Pass, {FROM_GREEN}}}, {{action: Deny,"
            " from: [{namespaces: {}}]}]}",
        )
        + policy("np", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]}")
        + baseline("q", f"ingress: [{{action: Deny, {FROM_GREEN}}}]"),
        """
        b/near b/far -> a/web 80 : allow
        b/near b/far -> a/web 81 : deny
        b/near b/far -> a/near 80 : deny
        a/far -> a/web a/near 80 : deny
        ip:203.0.113.7 -> a/web a/near 80 : allow
        """,
    ),
    Case(
        "Pass in Baseline decides nothing more",
        ("order",),
        TWO_NODES,
        baseline("first", f"ingress: [{{action: Pass, {FROM_GREEN}}}]", priority=1)
        + baseline("second", "ingress: [{action: Deny, from: [{namespaces: {}}]}]", priority=2),
        """
        b/near b/far -> a/web 80 : allow
        a/near a/far -> a/web 80 : deny
        """,
    ),
    Case(
        "a Baseline deny yields to a NetworkPolicy that allows",
        ("order",),
        TWO_NODES,
        baseline("p", "ingress: [{action: Deny, from: [{namespaces: {}}]}]")
        + policy("np", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}"),
        """
        a/near a/far -> a/web 80 : allow
        b/near b/far ip:203.0.113.7 -> a/web 80 : deny
        a/web b/near -> a/far 80 : deny
        ip:203.0.113.7 -> a/far 80 : allow
        """,
    ),
    Case(
        "a Baseline accept does not open what a NetworkPolicy isolates",
        ("order",),
        TWO_NODES,
        baseline("p", f"ingress: [{{action: Accept, {FROM_GREEN}}}]") + policy("closed", CLOSED),
        "b/near b/far a/near -> a/web 80 : deny",
    ),
    Case(
        "isolation for egress leaves ingress to Baseline",
        ("order", 12),
        TWO_NODES,
        baseline(
            "p",
            f"ingress: [{{action: Deny, {FROM_GREEN}}}], egress: [{{action: Deny, to: [{{namespaces: {{}}}}]}}]",
        )
        + policy("np", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{}]}"),
        """
        b/near b/far -> a/web 80 : deny
        a/web -> b/near b/far ip:203.0.113.7 80 : allow
        a/near -> b/near b/far 80 : deny
        """,
    ),
    Case(
        "default deny for every namespace, as a Baseline policy",
        ("order",),
        TWO_NODES + "    ns later\n    pod later/new n2 app=new\n",
        cluster_policy(
            "default-deny",
            "{tier: Baseline, priority: 1000, subject: {namespaces: {}},"
            f" ingress: [{{action: Deny, from: {EVERYBODY}}}]}}",
        )
        + policy("np", "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}"),
        """
        a/near b/near ip:203.0.113.7 ip:2001:db8::7 node:n1 -> later/new 80 53/UDP : deny
        later/new b/near ip:203.0.113.7 ip:2001:db8::7 -> a/web a/far b/web 80 : deny
        a/near a/far -> a/web 80 : allow
        node:n2 -> later/new 80 : allow
        later/new a/web -> ip:203.0.113.7 ip:2001:db8::7 80 : allow
        """,
    ),
    Case(
        "explicit kinds isolate nothing by themselves",
        ("order",),
        TWO_NODES,
        admin("p", "ingress: [{action: Accept, from: [{namespaceNames: [b]}]}]")
        + extended_policy("x", "{priority: 0, podSelector: {}, ingress: [], egress: []}"),
        "a/near b/near ip:203.0.113.7 -> a/web 80 : allow\na/web -> b/near ip:203.0.113.7 80 : allow",
    ),
    Case(
        "an Admin accept is for its own direction only",
        ("order", 10),
        TWO_NODES,
        admin("p", "ingress: [{action: Accept, from: [{namespaces: {}}]}]")
        + policy("closed", "{podSelector: {}, policyTypes: [Egress]}", namespace="b"),
        """
        b/near b/far -> a/web 80 : deny
        a/near a/far -> a/web 80 : allow
        """,
    ),
    Case(
        "the lower priority number is judged first",
        ("order",),
        TWO_NODES,
        admin("a-later", "ingress: [{action: Deny, from: [{namespaces: {}}]}]", priority=1000)
        + admin("b-first", f"ingress: [{{action: Accept, {FROM_GREEN}}}]", priority=0)
        + admin("c-between", "ingress: [{action: Accept, from: [{namespaceNames: [a]}]}]", priority=999),
        "b/near b/far a/near a/far -> a/web 80 : allow",
    ),
    Case(
        "at equal priority ClusterExtendedNetworkPolicy is before ClusterNetworkPolicy",
        ("order",),
        TWO_NODES,
        cluster_policy(
            "a",
            f"{{tier: Admin, priority: 5, {BLUE}, ingress: [{{action: Deny, {FROM_GREEN}}}]}}",
            "ClusterNetworkPolicy",
        )
        + cluster_policy("z", f"{{tier: Admin, priority: 5, {BLUE}, ingress: [{{action: Accept, {FROM_GREEN}}}]}}")
        + policy("closed", CLOSED),
        "b/near b/far -> a/web 80 : allow\na/near -> a/web 80 : deny",
    ),
    *(
        Case(
            f"at equal priority the name decides, {first} first",
            ("order",),
            TWO_NODES,
            admin(names[0], f"ingress: [{{action: Accept, {FROM_GREEN}}}]")
            + admin(names[1], f"ingress: [{{action: Deny, {FROM_GREEN}}}]")
            + extended_policy(
                names[0], "{priority: 5, podSelector: {}, ingress: [{action: Accept, from: [{sameNamespace: {}}]}]}"
            )
            + extended_policy(
                names[1], "{priority: 5, podSelector: {}, ingress: [{action: Deny, from: [{sameNamespace: {}}]}]}"
            ),
            f"b/near b/far a/near a/far -> a/web 80 : {verdict}",
        )
        for first, names, verdict in (("Accept", ("n1", "n2"), "allow"), ("Deny", ("n2", "n1"), "deny"))
    ),
    Case(
        "within a policy the first rule that matches decides",
        ("order", 56),
        TWO_NODES,
        admin(
            "p",
            "ingress: [{action: Deny, from: [{networks: [10.0.2.0/24, 'fd00:2::/64']}]},"
            f" {{action: Accept, {FROM_GREEN}}}, {{action: Deny, from: {EVERYBODY}}}]",
        ),
        """
        b/near -> a/web 80 : allow
        b/far b/web a/far a/near ip:203.0.113.7 -> a/web 80 : deny
        """,
    ),
    Case(
        "a ClusterNetworkPolicy is judged in both tiers, in both directions",
        ("order",),
        TWO_NODES,
        cluster_policy(
            "p",
            f"{{tier: Admin, priority: 5, {BLUE}, egress: [{{action: Deny, {TO_GREEN},"
            " protocols: [{tcp: {destinationPort: {number: 80}}}]}]}",
            "ClusterNetworkPolicy",
        )
        + cluster_policy(
            "q",
            f"{{tier: Baseline, priority: 5, {BLUE}, ingress: [{{action: Deny, {FROM_GREEN}}}]}}",
            "ClusterNetworkPolicy",
        )
        + policy("np", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 81}]}]}"),
        """
        a/near -> b/near b/far 80 : deny
        a/near -> b/near b/far 81 80/UDP : allow
        b/near -> a/near a/far 80 81 : deny
        b/near -> a/web 81 : allow
        b/near -> a/web 80 : deny
        """,
    ),
    Case(
        "Audit changes no verdict and Disabled is as if absent",
        ("order",),
        TWO_NODES,
        admin("audit", f"mode: Audit, ingress: [{{action: Deny, from: {EVERYBODY}}}]", priority=1)
        + admin("disabled", f"mode: Disabled, ingress: [{{action: Deny, from: {EVERYBODY}}}]", priority=2)
        + admin("enforced", f"mode: Enforce, ingress: [{{action: Deny, {FROM_GREEN}}}]", priority=3)
        + extended_policy(
            "x", "{priority: 0, mode: Audit, podSelector: {}, ingress: [{action: Accept, from: [{namespaces: {}}]}]}"
        ),
        """
        a/near a/far ip:203.0.113.7 -> a/web 80 : allow
        b/near b/far -> a/web 80 : deny
        """,
    ),
    Case(
        "a policy only for pods on certain nodes",
        ("order",),
        """
        node n1 zone=a
        node n2 zone=b
        ns a team=blue
        ns b team=green
        pod a/here n1
        pod a/there n2
        pod b/client n2
        """,
        admin(
            "p",
            f"nodes: {{matchLabels: {{zone: a}}}}, ingress: [{{action: Deny, {FROM_GREEN}}}],"
            f" egress: [{{action: Deny, {TO_GREEN}}}]",
        )
        + extended_policy(
            "x",
            "{priority: 0, nodes: {matchExpressions: [{key: zone, operator: NotIn, values: [a]}]}, podSelector: {},"
            " egress: [{action: Deny, to: [{networks: [203.0.113.0/24]}]}]}",
        ),
        """
        b/client -> a/here 80 : deny
        a/here -> b/client 80 : deny
        b/client -> a/there 80 : allow
        a/there -> b/client 80 : allow
        a/there -> ip:203.0.113.7 80 : deny
        a/here -> ip:203.0.113.7 80 : allow
        """,
    ),
    Case(
        "an ExtendedNetworkPolicy cannot reach beyond its namespace",
        ("order",),
        TWO_NODES,
        extended_policy("x", f"{{priority: 0, podSelector: {{}}, ingress: [{{action: Deny, from: {EVERYBODY}}}]}}"),
        """
        a/near b/far ip:203.0.113.7 -> a/web 80 : deny
        a/near b/near ip:203.0.113.7 -> b/web b/far 80 : allow
        """,
    ),
    Case(
        "an ExtendedNetworkPolicy cannot override Admin",
        ("order",),
        TWO_NODES,
        admin("p", f"ingress: [{{action: Deny, {FROM_GREEN}}}, {{action: Accept, from: [{{namespaceNames: [a]}}]}}]")
        + extended_policy(
            "x",
            f"{{priority: 0, podSelector: {{}}, ingress: [{{action: Accept, {FROM_GREEN}}},"
            f" {{action: Deny, from: {EVERYBODY}}}]}}",
        ),
        """
        b/near b/far -> a/web 80 : deny
        a/near a/far -> a/web 80 : allow
        ip:203.0.113.7 -> a/web 80 : deny
        """,
    ),
    Case(
        "a NetworkPolicy cannot go around an ExtendedNetworkPolicy",
        ("order",),
        TWO_NODES,
        extended_policy(
            "x",
            "{priority: 1000, podSelector: {matchLabels: {app: web}},"
            f" ingress: [{{action: Deny, {FROM_GREEN}}}]}}",
        )
        + policy("open", OPEN),
        """
        b/near b/far -> a/web 80 : deny
        a/near a/far ip:203.0.113.7 -> a/web 80 : allow
        b/near b/far -> a/far 80 : allow
        """,
    ),
)
