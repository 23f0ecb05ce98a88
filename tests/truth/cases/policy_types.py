"""policyTypes and rule lists: statements 1 to 13."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, policy

WEB = "podSelector: {matchLabels: {app: web}}"
CLIENTS = "from: [{podSelector: {matchLabels: {app: client}}}]"

CASES = (
    Case(
        "absent policyTypes with ingress rules isolates ingress only",
        (1, 12),
        TWO_NODES,
        policy("p", f"{{{WEB}, ingress: [{{{CLIENTS}}}]}}"),
        """
        a/near a/far -> a/web 80 : allow
        b/near b/far ip:203.0.113.7 ip:2001:db8::7 -> a/web 80 : deny
        a/web -> b/far ip:203.0.113.7 80 : allow
        b/far -> a/near b/web 80 : allow
        """,
    ),
    Case(
        "absent policyTypes with egress rules isolates both",
        (1,),
        TWO_NODES,
        policy("p", f"{{{WEB}, egress: [{{to: [{{podSelector: {{}}}}]}}]}}"),
        """
        a/web -> a/near a/far 80 : allow
        a/web -> b/far ip:203.0.113.7 80 : deny
        a/near a/far b/far -> a/web 80 : deny
        """,
    ),
    Case(
        "empty policyTypes is like absent",
        (1,),
        TWO_NODES,
        policy("p", f"{{{WEB}, policyTypes: [], egress: [{{}}]}}"),
        """
        a/near -> a/web 80 : deny
        a/web -> a/far b/far ip:203.0.113.7 80 : allow
        """,
    ),
    Case(
        "absent policyTypes with an empty egress list isolates ingress only",
        (1,),
        TWO_NODES,
        policy("p", f"{{{WEB}, egress: []}}"),
        """
        a/near -> a/web 80 : deny
        a/web -> a/far ip:203.0.113.7 80 : allow
        """,
    ),
    Case(
        "policyTypes Egress makes an ingress section mean nothing",
        (2, 12),
        TWO_NODES,
        policy("p", f"{{{WEB}, policyTypes: [Egress], ingress: [{{{CLIENTS}}}]}}"),
        """
        a/near b/far ip:203.0.113.7 -> a/web 80 : allow
        a/web -> a/near b/far ip:203.0.113.7 80 : deny
        """,
    ),
    Case(
        "both policyTypes without rules deny both ways",
        (3,),
        TWO_NODES,
        policy("p", f"{{{WEB}, policyTypes: [Ingress, Egress]}}"),
        """
        a/near a/far b/far ip:203.0.113.7 -> a/web 80 : deny
        a/web -> a/near a/far b/far ip:203.0.113.7 80 : deny
        a/near -> b/far 80 : allow
        """,
    ),
    *(
        Case(
            f"ingress {name} isolates and allows nothing",
            (4,),
            TWO_NODES,
            policy("p", f"{{{WEB}, policyTypes: [Ingress]{section}}}"),
            "a/near a/far b/near b/far ip:203.0.113.7 ip:2001:db8::7 -> a/web 80 53/UDP : deny",
        )
        for name, section in (("absent", ""), ("null", ", ingress: null"), ("empty", ", ingress: []"))
    ),
    *(
        Case(
            f"one rule {name} allows everybody",
            (5, 6),
            TWO_NODES,
            policy("p", f"{{{WEB}, ingress: [{rule}]}}"),
            """
            a/near a/far b/near b/far ip:203.0.113.7 ip:2001:db8::7 -> a/web 80 53/UDP 9/SCTP ip/47 : allow
            a/near a/far b/near b/far -> a/web icmp icmpv6 : allow
            """,
        )
        for name, rule in (
            ("empty", "{}"),
            ("with null fields", "{from: null, ports: null}"),
            ("with empty fields", "{from: [], ports: []}"),
        )
    ),
    Case(
        "an egress rule with empty to and ports allows everything",
        (6,),
        TWO_NODES,
        policy("p", f"{{{WEB}, policyTypes: [Egress], egress: [{{to: [], ports: []}}]}}"),
        """
        a/web -> a/near b/far ip:203.0.113.7 ip:2001:db8::7 80 53/UDP 9/SCTP ip/47 : allow
        a/web -> a/near b/far icmp icmpv6 : allow
        """,
    ),
    Case(
        "an empty port entry is every TCP port",
        (7,),
        TWO_NODES,
        policy("p", f"{{{WEB}, ingress: [{{ports: [{{}}]}}]}}"),
        """
        a/near b/far ip:203.0.113.7 -> a/web 0 1 80 65535 : allow
        a/near b/far ip:203.0.113.7 -> a/web 80/UDP 80/SCTP icmp ip/47 : deny
        """,
    ),
    Case(
        "UDP without a port is all UDP and no TCP",
        (8,),
        TWO_NODES,
        policy("p", f"{{{WEB}, ingress: [{{ports: [{{protocol: UDP}}]}}]}}"),
        """
        a/near b/far -> a/web 0/UDP 53/UDP 65535/UDP : allow
        a/near b/far -> a/web 53 53/SCTP icmp icmpv6 : deny
        """,
    ),
    Case(
        "an SCTP rule never admits TCP and still isolates",
        (8,),
        TWO_NODES,
        policy("p", f"{{{WEB}, ingress: [{{ports: [{{protocol: SCTP, port: 80}}]}}]}}"),
        """
        a/near b/far -> a/web 80/SCTP : allow
        a/near b/far -> a/web 80 80/UDP 81/SCTP : deny
        """,
    ),
    Case(
        "any port and any peer inside a rule, policies add up",
        (9,),
        TWO_NODES,
        policy("p", f"{{{WEB}, ingress: [{{{CLIENTS}, ports: [{{port: 80}}, {{port: 81}}]}}]}}")
        + policy(
            "q",
            f"{{{WEB}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: green}}}}}},"
            " {ipBlock: {cidr: 203.0.113.0/24}}], ports: [{port: 90}]}]}",
        ),
        """
        a/near a/far -> a/web 80 81 : allow
        a/near a/far -> a/web 90 82 : deny
        b/near b/far b/web ip:203.0.113.7 -> a/web 90 : allow
        b/near b/far ip:203.0.113.7 -> a/web 80 81 : deny
        ip:203.0.114.7 -> a/web 80 90 : deny
        """,
    ),
    Case(
        "allow all beats deny all",
        (9,),
        TWO_NODES,
        policy("deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
        + policy("allow", "{podSelector: {}, ingress: [{}], egress: [{}], policyTypes: [Ingress, Egress]}"),
        """
        a/near b/far ip:203.0.113.7 -> a/web 80 : allow
        a/web -> b/far ip:203.0.113.7 80 : allow
        """,
    ),
    Case(
        "an allow at the server does not rescue a deny at the client",
        (10,),
        TWO_NODES,
        policy("server", f"{{{WEB}, ingress: [{{}}]}}")
        + policy("client", "{podSelector: {}, policyTypes: [Egress]}", namespace="b"),
        """
        b/near b/far -> a/web 80 : deny
        a/near a/far ip:203.0.113.7 -> a/web 80 : allow
        """,
    ),
)
