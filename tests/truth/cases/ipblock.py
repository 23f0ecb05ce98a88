"""ipBlock: statements 22 to 28."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, policy

WEB = "podSelector: {matchLabels: {app: web}}"


def from_(peers: str) -> str:
    return policy("p", f"{{{WEB}, ingress: [{{from: [{peers}]}}]}}")


CASES = (
    Case(
        "an ipBlock beside a selector, and a peer with nothing set, are broken and admit nobody",
        (22,),
        TWO_NODES,
        from_("{podSelector: {}, ipBlock: {cidr: 0.0.0.0/0}}")
        + policy("empty-peer", "{podSelector: {matchLabels: {app: client}}, ingress: [{from: [{}]}]}"),
        """
        a/near b/far ip:203.0.113.7 -> a/web 80 : deny
        a/web b/far ip:203.0.113.7 -> a/near 80 : deny
        """,
        broken=True,
    ),
    Case(
        "an except outside of its cidr breaks the rule",
        (23,),
        TWO_NODES,
        from_("{ipBlock: {cidr: 203.0.113.0/24, except: [198.51.100.0/24]}}"),
        "ip:203.0.113.7 ip:198.51.100.7 a/near -> a/web 80 : deny",
        broken=True,
    ),
    Case(
        "an except as wide as its cidr breaks the rule",
        (23,),
        TWO_NODES,
        from_("{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/24]}}"),
        "ip:203.0.113.7 a/near -> a/web 80 : deny",
        broken=True,
    ),
    Case(
        "except carves only its own block",
        (24,),
        TWO_NODES,
        from_(
            "{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.64/26, 203.0.113.96/27]}},"
            " {ipBlock: {cidr: 203.0.113.100/32}}"
        )
        + policy("q", f"{{{WEB}, ingress: [{{from: [{{ipBlock: {{cidr: 203.0.113.80/30}}}}]}}]}}"),
        """
        ip:203.0.113.0 ip:203.0.113.63 ip:203.0.113.128 ip:203.0.113.255 -> a/web 80 : allow
        ip:203.0.113.100 ip:203.0.113.80 ip:203.0.113.83 -> a/web 80 : allow
        ip:203.0.113.64 ip:203.0.113.79 ip:203.0.113.84 ip:203.0.113.99 ip:203.0.113.101 -> a/web 80 : deny
        ip:203.0.113.127 ip:203.0.112.255 ip:203.0.114.0 -> a/web 80 : deny
        """,
    ),
    Case(
        "an ipBlock matches pod addresses too",
        (25,),
        TWO_NODES,
        from_("{ipBlock: {cidr: 10.0.2.0/24}}, {ipBlock: {cidr: 'fd00:2::/64'}}"),
        """
        a/far b/far b/web -> a/web 80 : allow
        a/near b/near -> a/web 80 : deny
        """,
    ),
    Case(
        "0.0.0.0/0 is IPv4 only",
        (26,),
        TWO_NODES,
        from_("{ipBlock: {cidr: 0.0.0.0/0}}"),
        """
        ip:203.0.113.7 ip:10.0.2.10 ip:10.0.1.11 -> a/web 80 : allow
        ip:2001:db8::7 ip:fd00:2::a -> a/web 80 : deny
        """,
    ),
    Case(
        "::/0 is IPv6 only",
        (26,),
        TWO_NODES,
        from_("{ipBlock: {cidr: '::/0'}}"),
        """
        ip:2001:db8::7 ip:fd00:2::a -> a/web 80 : allow
        ip:203.0.113.7 ip:10.0.2.10 -> a/web 80 : deny
        """,
    ),
    Case(
        "a stored cidr with host bits or an old spelling means its network",
        (27,),
        TWO_NODES,
        from_(
            "{ipBlock: {cidr: 203.0.113.77/26}}, {ipBlock: {cidr: '2001:DB8:0::77/64'}},"
            " {ipBlock: {cidr: 198.051.100.007/32}}"
        ),
        """
        ip:203.0.113.64 ip:203.0.113.127 ip:2001:db8::1 ip:198.51.100.7 -> a/web 80 : allow
        ip:203.0.113.63 ip:203.0.113.128 ip:2001:db8:0:1::1 ip:198.51.100.8 -> a/web 80 : deny
        """,
    ),
    Case(
        "egress to a block, overlapping blocks and excepts in one rule",
        (24, 26),
        TWO_NODES,
        policy(
            "p",
            f"{{{WEB}, policyTypes: [Egress], egress: [{{to: ["
            "{ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}}, {ipBlock: {cidr: 172.17.1.128/25}}]}]}",
        ),
        """
        a/web -> ip:172.17.0.0 ip:172.17.0.255 ip:172.17.1.128 ip:172.17.1.255 ip:172.17.2.0 80 : allow
        a/web -> ip:172.17.1.0 ip:172.17.1.127 ip:172.16.255.255 ip:172.18.0.0 ip:2001:db8::7 a/far 80 : deny
        """,
    ),
    Case(
        "blocks that nearly touch stay apart",
        (24,),
        TWO_NODES,
        from_(
            "{ipBlock: {cidr: 203.0.113.0/30}}, {ipBlock: {cidr: 203.0.113.5/32}}, {ipBlock: {cidr: 203.0.113.6/31}},"
            " {ipBlock: {cidr: '2001:db8::/127'}}, {ipBlock: {cidr: '2001:db8::3/128'}}"
        ),
        """
        ip:203.0.113.0 ip:203.0.113.3 ip:203.0.113.5 ip:203.0.113.6 ip:203.0.113.7 -> a/web 80 : allow
        ip:2001:db8:: ip:2001:db8::1 ip:2001:db8::3 -> a/web 80 : allow
        ip:203.0.113.4 ip:203.0.113.8 ip:203.0.112.255 ip:2001:db8::2 ip:2001:db8::4 -> a/web 80 : deny
        """,
    ),
)
