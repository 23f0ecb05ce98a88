"""Protocols of the explicit kinds: ports, ranges, names, ICMP and IP protocols by number."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, cluster_policy, policy

REST = "[{namespaces: {}}, {networks: [0.0.0.0/0, '::/0']}]"
NAMED = """
    node n1
    node n2
    ns a
    ns b
    pod a/one n1 app=web http=8080
    pod a/two n2 app=web http=9090/UDP
    pod a/twice n1 app=web http=81 http#2=82/SCTP
    pod b/client n2 app=client
"""


def admin(rest: str, subject: str = "a") -> str:
    chosen = f"namespaces: {{matchLabels: {{kubernetes.io/metadata.name: {subject}}}}}"
    return cluster_policy("p", f"{{tier: Admin, priority: 10, subject: {{{chosen}}}, {rest}}}")


CASES = (
    Case(
        "ICMP echo allowed in both families, nothing else",
        ("protocols", 49),
        TWO_NODES,
        admin(
            f"ingress: [{{action: Accept, from: {REST},"
            " protocols: [{icmp: {type: 8}}, {icmpv6: {type: 128}}]}]"
        )
        + policy("closed", "{podSelector: {}, policyTypes: [Ingress]}"),
        """
        a/near b/far -> a/web icmp icmpv6 icmp/8/0 icmpv6/128/0 : allow
        a/near b/far -> a/web 80 53/UDP icmp/13 icmp/0 icmpv6/129 icmpv6/1 ip/47 : deny
        ip:203.0.113.7 -> a/web icmp : allow
        ip:2001:db8::7 -> a/web icmpv6 : allow
        """,
    ),
    Case(
        "ICMP echo denied in both families, everything else allowed",
        ("protocols",),
        TWO_NODES,
        admin(
            f"ingress: [{{action: Deny, from: {REST}, protocols: [{{icmp: {{type: 8, code: 0}}}},"
            " {icmpv6: {type: 128, code: 0}}]}]"
        ),
        """
        a/near b/far -> a/web icmp icmpv6 : deny
        a/near b/far -> a/web 80 53/UDP ip/47 icmp/13/0 icmp/8/1 icmpv6/128/1 : allow
        """,
    ),
    *(
        Case(
            f"every message of {name} and nothing of the other family",
            ("protocols", 51),
            TWO_NODES,
            admin(f"ingress: [{{action: Deny, from: {REST}, protocols: [{{{name}: {{}}}}]}}]"),
            f"""
            a/near b/far -> a/web {name} {name}/13 {name}/3/4 : deny
            a/near b/far -> a/web {other} 80 : allow
            """,
        )
        for name, other in (("icmp", "icmpv6"), ("icmpv6", "icmp"))
    ),
    Case(
        "an IP protocol by number",
        ("protocols",),
        TWO_NODES,
        admin(
            f"egress: [{{action: Accept, to: {REST}, protocols: [{{ipProtocol: 47}}, {{ipProtocol: 17}}]}},"
            f" {{action: Deny, to: {REST}}}]"
        ),
        """
        a/web -> a/far b/far ip:203.0.113.7 ip:2001:db8::7 ip/47 53/UDP 9/UDP : allow
        a/web -> a/far b/far ip:203.0.113.7 ip:2001:db8::7 ip/50 80 9/SCTP : deny
        """,
    ),
    Case(
        "numbers and ranges of TCP, UDP and SCTP",
        ("protocols", 35),
        TWO_NODES,
        admin(
            f"ingress: [{{action: Accept, from: {REST}, protocols: [{{tcp: {{destinationPort: {{range: {{start: 80,"
            " end: 90}}}}, {udp: {destinationPort: {number: 53}}},"
            " {sctp: {destinationPort: {range: {start: 1, end: 1}}}},"
            " {tcp: {destinationPort: {number: 91}}}]}, "
            f"{{action: Deny, from: {REST}}}]"
        ),
        """
        a/near b/far -> a/web 80 85 90 91 53/UDP 1/SCTP : allow
        a/near b/far -> a/web 79 92 53 80/UDP 80/SCTP 2/SCTP icmp icmpv6 : deny
        """,
    ),
    Case(
        "destinationNamedPort in ingress is each subject's own, with its own protocol",
        ("protocols", 30, 34),
        NAMED,
        admin(
            f"ingress: [{{action: Accept, from: {REST}, protocols: [{{destinationNamedPort: http}}]}},"
            f" {{action: Deny, from: {REST}}}]"
        ),
        """
        b/client ip:203.0.113.7 -> a/one 8080 : allow
        b/client -> a/one 8080/UDP 9090 80 : deny
        b/client -> a/two 9090/UDP : allow
        b/client -> a/two 9090 8080 : deny
        b/client -> a/twice 81 82/SCTP : allow
        b/client -> a/twice 82 81/SCTP : deny
        """,
    ),
    Case(
        "destinationNamedPort in egress pairs each destination with its own number",
        ("protocols", 31, 33),
        NAMED,
        admin(
            "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{destinationNamedPort: http}]}]", subject="b"
        ),
        """
        b/client -> a/one 8080 : deny
        b/client -> a/two 9090/UDP : deny
        b/client -> a/twice 81 82/SCTP : deny
        b/client -> a/one 9090 8080/UDP 81 : allow
        b/client -> a/two 8080 9090 : allow
        b/client -> ip:203.0.113.7 8080 : allow
        """,
    ),
    Case(
        "nested port ranges and blocks, the first match decides",
        (56,),
        TWO_NODES,
        admin(
            "ingress: ["
            "{action: Accept, from: [{networks: [203.0.113.64/26]}],"
            " protocols: [{tcp: {destinationPort: {number: 85}}}]},"
            " {action: Deny, from: [{networks: [203.0.113.0/24]}], protocols: [{tcp: {destinationPort: {range:"
            " {start: 80, end: 89}}}}]},"
            " {action: Accept, from: [{networks: [203.0.112.0/23]}], protocols: [{tcp: {destinationPort: {range:"
            " {start: 1, end: 100}}}}]},"
            " {action: Deny, from: [{networks: [203.0.0.0/16]}]}]"
        ),
        """
        ip:203.0.113.64 ip:203.0.113.127 -> a/web 85 79 90 1 100 : allow
        ip:203.0.113.64 -> a/web 84 86 80 89 101 53/UDP : deny
        ip:203.0.113.63 ip:203.0.113.128 -> a/web 85 80 89 : deny
        ip:203.0.113.63 ip:203.0.113.128 ip:203.0.112.0 -> a/web 79 90 : allow
        ip:203.0.112.255 -> a/web 85 : allow
        ip:203.0.114.0 ip:203.0.111.255 -> a/web 85 1 : deny
        ip:203.1.0.0 -> a/web 85 101 53/UDP : allow
        """,
    ),
)
