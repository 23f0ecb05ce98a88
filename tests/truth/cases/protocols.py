"""Protocols: statements 49 and 51."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, policy

CASES = (
    Case(
        "deny all covers every protocol",
        (49,),
        TWO_NODES,
        policy("p", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}"),
        """
        a/near a/far b/far -> a/web 80 53/UDP 9/SCTP icmp icmpv6 ip/47 ip/50 ip/4 : deny
        a/web -> a/near b/far 80 53/UDP 9/SCTP icmp icmpv6 ip/47 ip/50 ip/4 : deny
        ip:203.0.113.7 ip:2001:db8::7 -> a/web 80 53/UDP 9/SCTP ip/47 : deny
        """,
    ),
    Case(
        "a rule with ports admits no protocol without them",
        (49,),
        TWO_NODES,
        policy(
            "p",
            "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 1, endPort: 65535},"
            " {protocol: UDP}, {protocol: SCTP}]}]}",
        ),
        """
        a/near a/far -> a/web 80 53/UDP 9/SCTP : allow
        a/near a/far -> a/web icmp icmpv6 ip/47 : deny
        """,
    ),
    Case(
        "a policy that speaks of one family leaves nothing open in the other",
        (51, 26),
        TWO_NODES,
        policy(
            "p",
            "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress],"
            " ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}",
        ),
        """
        ip:10.0.1.11 ip:10.0.2.10 -> a/web 80 : allow
        ip:fd00:1::b ip:fd00:2::a ip:2001:db8::7 -> a/web 80 : deny
        a/web -> ip:203.0.113.7 80 : allow
        a/web -> ip:2001:db8::7 80 : deny
        """,
    ),
)
