"""Peers of the explicit kinds, in both directions."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, cluster_policy, extended_policy, policy

CLOSED = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
REST = "{networks: [0.0.0.0/0, '::/0']}"
SERVED = """
    node n1
    node n2
    ns a
    ns b
    pod a/client n1 app=client
    pod b/one n2 app=web
    pod b/two n2 app=web
    pod b/spare n1 app=web
    slice b/web-4 b/web 10.0.2.10,10.0.2.11 8080/TCP
    slice b/web-6 b/web fd00:2::a,fd00:2::b 8080/TCP
    slice b/web-x b/web 10.0.1.11 9090/TCP 53/UDP
    slice b/other b/other 10.0.2.10 7070/TCP
"""


def admin(rest: str, subject: str = "namespaces: {matchLabels: {kubernetes.io/metadata.name: a}}") -> str:
    return cluster_policy("p", f"{{tier: Admin, priority: 10, subject: {{{subject}}}, {rest}}}")


CASES = (
    Case(
        "deny to the metadata address for all pods",
        ("peers",),
        TWO_NODES,
        admin("egress: [{name: metadata, action: Deny, to: [{networks: [169.254.169.254/32]}]}]", "namespaces: {}")
        + policy("open", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}"),
        """
        a/web a/far b/near b/far -> ip:169.254.169.254 80 53/UDP : deny
        a/web a/far b/near b/far -> ip:169.254.169.253 ip:169.254.169.255 80 : allow
        """,
    ),
    Case(
        "tenants are apart with sameNamespace",
        ("peers",),
        TWO_NODES,
        cluster_policy(
            "tenants",
            "{tier: Admin, priority: 1, subject: {namespaces: {matchExpressions: [{key: team, operator: Exists}]}},"
            " ingress: [{action: Pass, from: [{sameNamespace: {}}]}, {action: Deny, from: [{namespaces: {}}]}],"
            " egress: [{action: Pass, to: [{sameNamespace: {}}]}, {action: Deny, to: [{namespaces: {}}]}]}",
        )
        + policy("np", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]}", namespace="b"),
        """
        a/near a/far -> a/web 80 : allow
        b/near b/far -> b/web 80 : allow
        b/near b/far -> b/web 81 : deny
        a/web a/near a/far -> b/web b/near 80 : deny
        b/web b/near b/far -> a/web a/near 80 : deny
        ip:203.0.113.7 -> a/web 80 : allow
        a/web -> ip:203.0.113.7 80 : allow
        """,
    ),
    Case(
        "sameNamespace with a podSelector",
        ("peers",),
        TWO_NODES,
        admin(
            "ingress: [{action: Accept, from: [{sameNamespace: {podSelector: {matchLabels: {app: client}}}}]},"
            " {action: Deny, from: [{namespaces: {}}]}]",
            "namespaces: {}",
        ),
        """
        a/near a/far -> a/web 80 : allow
        b/near b/far -> b/web 80 : allow
        a/web b/web b/near -> a/near 80 : deny
        b/near b/far -> a/web 80 : deny
        """,
    ),
    Case(
        "only a named Service: its ready endpoints and their target ports",
        ("peers", 31),
        SERVED,
        admin(
            "egress: [{action: Accept, to: [{services: [{namespace: b, name: web}]}]},"
            " {action: Deny, to: [{networks: [0.0.0.0/0, '::/0']}]}]"
        )
        + policy("closed", "{podSelector: {}, policyTypes: [Egress]}"),
        """
        a/client -> b/one b/two 8080 : allow
        a/client -> b/one b/two 9090 7070 8081 8080/UDP 53/UDP icmp icmpv6 : deny
        a/client -> ip:10.0.1.11 9090 53/UDP : allow
        a/client -> ip:10.0.1.11 8080 53 : deny
        a/client -> ip:fd00:1::b 9090 53/UDP 8080 : deny
        a/client -> ip:203.0.113.7 8080 : deny
        """,
    ),
    Case(
        "a Service that nobody serves is nobody",
        ("peers", 57),
        SERVED,
        admin(
            "egress: [{action: Deny, to: [{services: [{namespace: a, name: web}]}]}],"
            " ingress: [{action: Deny, from: [{services: [{namespace: b, name: gone}]}]}]"
        ),
        "a/client -> b/one 8080 : allow\nb/one ip:203.0.113.7 -> a/client 80 : allow",
    ),
    Case(
        "a Service as a source is its endpoints' addresses",
        ("peers",),
        SERVED,
        admin("ingress: [{action: Deny, from: [{services: [{namespace: b, name: web}]}]}]"),
        """
        b/one b/two -> a/client 80 53/UDP : deny
        ip:10.0.1.11 -> a/client 80 : deny
        ip:fd00:1::b -> a/client 80 : allow
        """,
    ),
    Case(
        "monitoring by service account",
        ("peers",),
        """
        node n1
        node n2
        ns a
        ns monitoring
        pod monitoring/prometheus n1 sa:prometheus
        pod monitoring/other n2
        pod monitoring/host n2 sa:prometheus hostNetwork
        pod a/impostor n2 sa:prometheus
        pod a/web n1 app=web
        """,
        admin(
            "ingress: [{action: Accept, from: [{serviceAccounts: [{namespace: monitoring, name: prometheus}]}],"
            " protocols: [{tcp: {destinationPort: {range: {start: 9100, end: 9199}}}}]}]"
        )
        + policy("closed", CLOSED),
        """
        monitoring/prometheus -> a/web 9100 9150 9199 : allow
        monitoring/prometheus -> a/web 9099 9200 9100/UDP 80 : deny
        monitoring/other a/impostor monitoring/host -> a/web 9100 : deny
        """,
    ),
    Case(
        "egress to a service account",
        ("peers",),
        """
        node n1
        node n2
        ns a
        pod a/db n2 sa:db http=8080
        pod a/other n2 http=8080
        pod a/web n1 app=web
        """,
        extended_policy(
            "x",
            "{priority: 1, podSelector: {matchLabels: {app: web}}, egress: [{action: Accept,"
            " to: [{serviceAccounts: [{namespace: a, name: db}]}], protocols: [{destinationNamedPort: http}]},"
            " {action: Deny, to: [{namespaces: {}}]}]}",
        ),
        """
        a/web -> a/db 8080 : allow
        a/web -> a/db 80 : deny
        a/web -> a/other 8080 : deny
        """,
    ),
    Case(
        "nodes as peers are addresses of nodes, and of the pods on their networks",
        ("peers", 36, 43, 44),
        """
        node n1 role=worker
        node n2 role=infra
        ns a
        pod a/web n1 app=web
        pod a/there n2
        pod a/host n2 hostNetwork
        """,
        admin(
            "ingress: [{action: Deny, from: [{nodes: {matchLabels: {role: infra}}}]}],"
            " egress: [{action: Deny, to: [{nodes: {}}]}]"
        ),
        """
        node:n2 a/host -> a/web 80 : deny
        node:n2 a/host -> a/there 80 : allow
        node:n1 -> a/web a/there 80 : allow
        a/there -> a/web 80 : allow
        a/web a/there -> node:n1 node:n2 80 53/UDP : deny
        a/web -> ip:203.0.113.7 80 : allow
        """,
    ),
    Case(
        "namespaceNames, pods and ipBlock as peers",
        ("peers", 24),
        TWO_NODES,
        admin(
            "ingress: [{action: Accept, from: [{namespaceNames: [b, c]}], protocols: [{tcp: {destinationPort:"
            " {number: 1}}}]}, {action: Accept, from: [{pods: {namespaceSelector: {matchLabels: {team: green}},"
            " podSelector: {matchLabels: {app: web}}}}], protocols: [{tcp: {destinationPort: {number: 2}}}]},"
            " {action: Accept, from: [{pods: {podSelector: {matchLabels: {app: web}}}}],"
            " protocols: [{tcp: {destinationPort: {number: 3}}}]},"
            " {action: Accept, from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/25]}}]},"
            f" {{action: Deny, from: [{{namespaces: {{}}}}, {REST}]}}]"
        ),
        """
        b/near b/web -> a/near 1 : allow
        a/far a/web ip:203.0.113.7 -> a/near 1 : deny
        b/web -> a/near 2 3 : allow
        b/near a/web -> a/near 2 : deny
        a/web -> a/near 3 : allow
        b/near ip:203.0.113.127 ip:2001:db8::7 -> a/near 3 : deny
        ip:203.0.113.128 -> a/near 1 2 3 53/UDP : allow
        """,
    ),
    Case(
        "hostNetwork pods are neither subject nor peer of the explicit kinds",
        ("peers", 36),
        """
        node n1
        node n2
        ns a
        pod a/host n2 hostNetwork app=web
        pod a/web n1 app=web
        """,
        admin("ingress: [{action: Deny, from: [{namespaces: {}}]}], egress: [{action: Deny, to: [{namespaces: {}}]}]"),
        """
        a/host -> a/web 80 : allow
        a/web -> a/host 80 : allow
        ip:203.0.113.7 -> a/host 80 : allow
        """,
    ),
    *(
        Case(
            f"a group without members matches nothing, in {action}",
            (57,),
            TWO_NODES,
            admin(
                f"ingress: [{{action: {action}, from: [{{namespaceNames: [nowhere]}},"
                " {pods: {podSelector: {matchLabels: {app: nobody}}}}, {serviceAccounts: [{namespace: a, name: x}]},"
                " {nodes: {matchLabels: {absent: node}}}]}, {action: Deny, from: [{namespaceNames: [b]}]}],"
                f" egress: [{{action: {action}, to: [{{namespaceNames: [nowhere]}}]}},"
                f" {{action: {action}, to: [{{namespaces: {{}}}}], protocols: [{{destinationNamedPort: nothing}}]}}]"
            ),
            """
            b/near b/far -> a/web 80 : deny
            a/near ip:203.0.113.7 ip:2001:db8::7 node:n2 -> a/web 80 : allow
            a/web -> b/near ip:203.0.113.7 80 : allow
            """,
        )
        for action in ("Accept", "Deny", "Pass")
    ),
    Case(
        "a NetworkPolicy whose peers do not exist allows nobody",
        (57,),
        TWO_NODES,
        policy(
            "p",
            "{podSelector: {}, policyTypes: [Ingress, Egress],"
            " ingress: [{from: [{podSelector: {matchLabels: {app: nobody}}}]}],"
            " egress: [{to: [{namespaceSelector: {matchLabels: {absent: namespace}}}]}]}",
        ),
        """
        a/near b/far ip:203.0.113.7 -> a/web 80 : deny
        a/web -> a/near b/far ip:203.0.113.7 80 : deny
        """,
    ),
)
