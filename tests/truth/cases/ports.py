"""Ports: statements 30 to 35."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, policy

WEB = "podSelector: {matchLabels: {app: web}}"

NAMED = """
    node n1
    node n2
    ns a
    ns b
    pod a/one n1 app=web http=8080
    pod a/two n2 app=web http=9090
    pod a/udp n1 app=web http=7070/UDP
    pod a/none n2 app=web
    pod a/twice n1 app=web http=81 http#2=82
    pod b/other n2 app=web http=8181
    pod a/client n1 app=client
    pod b/client n2 app=client
"""

CASES = (
    Case(
        "an ingress port name is resolved on each destination pod",
        (30, 33, 34),
        NAMED,
        policy("p", f"{{{WEB}, ingress: [{{ports: [{{port: http}}]}}]}}"),
        """
        a/client b/client ip:203.0.113.7 -> a/one 8080 : allow
        a/client b/client ip:203.0.113.7 -> a/one 9090 80 8080/UDP : deny
        a/client b/client -> a/two 9090 : allow
        a/client b/client -> a/two 8080 : deny
        a/client b/client -> a/udp 7070/UDP 7070 : deny
        a/client b/client -> a/none 80 8080 9090 : deny
        a/client b/client -> a/twice 81 82 : allow
        a/client b/client -> a/twice 80 83 : deny
        """,
    ),
    Case(
        "an ingress port name from an ipBlock is the subject's own",
        (33,),
        NAMED,
        policy(
            "p", f"{{{WEB}, ingress: [{{from: [{{ipBlock: {{cidr: 203.0.113.0/24}}}}], ports: [{{port: http}}]}}]}}"
        ),
        """
        ip:203.0.113.7 -> a/one 8080 : allow
        ip:203.0.113.7 -> a/two 8080 : deny
        a/client -> a/one 8080 : deny
        """,
    ),
    Case(
        "an egress port name pairs each destination with its own number",
        (31, 33, 34),
        NAMED,
        policy(
            "p",
            "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: ["
            "{podSelector: {matchLabels: {app: web}}}], ports: [{port: http}]}]}",
        ),
        """
        a/client -> a/one 8080 : allow
        a/client -> a/one 9090 81 : deny
        a/client -> a/two 9090 : allow
        a/client -> a/two 8080 : deny
        a/client -> a/udp 7070 7070/UDP : deny
        a/client -> a/none 80 8080 9090 : deny
        a/client -> a/twice 81 82 : allow
        a/client -> b/other 8181 : deny
        """,
    ),
    Case(
        "an egress port name with a protocol",
        (33,),
        NAMED,
        policy(
            "p",
            "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: ["
            "{podSelector: {}}], ports: [{port: http, protocol: UDP}]}]}",
        ),
        """
        a/client -> a/udp 7070/UDP : allow
        a/client -> a/udp 7070 : deny
        a/client -> a/one 8080 8080/UDP : deny
        """,
    ),
    Case(
        "an egress port name without to is any pod that exposes it",
        (32, 33),
        NAMED,
        policy(
            "p",
            "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}",
        ),
        """
        a/client -> a/one 8080 : allow
        a/client -> a/two 9090 : allow
        a/client -> b/other 8181 : allow
        a/client -> b/other 8080 : deny
        a/client -> ip:203.0.113.7 80 8080 9090 : deny
        """,
    ),
    Case(
        "an egress ipBlock never matches a port name",
        (33,),
        NAMED,
        policy(
            "p",
            "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: ["
            "{ipBlock: {cidr: 10.0.0.0/8}}, {ipBlock: {cidr: 'fd00::/16'}}], ports: [{port: http}]}]}",
        ),
        "a/client -> a/one a/two b/other 8080 9090 8181 : deny",
    ),
    Case(
        "an egress port name and a number in one rule",
        (31, 33),
        NAMED,
        policy(
            "p",
            "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: ["
            "{ipBlock: {cidr: 203.0.113.0/24}}, {podSelector: {}}], ports: [{port: http}, {port: 443}]}]}",
        ),
        """
        a/client -> a/one 8080 443 : allow
        a/client -> a/two 9090 443 : allow
        a/client -> ip:203.0.113.7 443 : allow
        a/client -> ip:203.0.113.7 8080 : deny
        a/client -> b/other 8181 443 : deny
        """,
    ),
    Case(
        "a port name that nobody exposes matches nothing",
        (34,),
        NAMED,
        policy("p", f"{{{WEB}, ingress: [{{ports: [{{port: nothing}}]}}]}}")
        + policy(
            "q",
            "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}],"
            " ports: [{port: nothing}]}]}",
        ),
        """
        b/client ip:203.0.113.7 -> a/one 80 8080 65535 53/UDP : deny
        a/client -> a/one b/other ip:203.0.113.7 80 8080 : deny
        """,
    ),
    Case(
        "endPort includes both of its ends",
        (35,),
        TWO_NODES,
        policy(
            "p",
            f"{{{WEB}, ingress: [{{ports: [{{port: 8000, endPort: 8010}}, {{port: 9000, endPort: 9000}},"
            " {port: 65535}, {port: 53, endPort: 54, protocol: UDP}]}]}",
        ),
        """
        a/near b/far ip:203.0.113.7 -> a/web 8000 8005 8010 9000 65535 53/UDP 54/UDP : allow
        a/near b/far ip:203.0.113.7 -> a/web 7999 8011 8999 9001 65534 53 52/UDP 55/UDP 8005/UDP : deny
        """,
    ),
    Case(
        "endPort from 1 to the last port, and overlapping ranges",
        (35,),
        TWO_NODES,
        policy(
            "p",
            f"{{{WEB}, ingress: [{{ports: [{{port: 1, endPort: 65535}}, {{port: 80, endPort: 90}}, {{port: 85}}]}}]}}",
        ),
        """
        a/near b/far -> a/web 1 80 90 65535 : allow
        a/near b/far -> a/web 80/UDP 80/SCTP : deny
        """,
    ),
    Case(
        "single ports and ranges beside peers of every form",
        (9, 35),
        TWO_NODES,
        policy(
            "p",
            f"{{{WEB}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: client}}}}}},"
            " {ipBlock: {cidr: 203.0.113.0/24}}], ports: [{port: 80}, {port: 90, endPort: 99}, {port: 53,"
            " protocol: UDP}]}, {from: [{namespaceSelector: {matchLabels: {team: green}}}],"
            " ports: [{port: 200, endPort: 201}]}]}",
        ),
        """
        a/near a/far ip:203.0.113.7 -> a/web 80 90 95 99 53/UDP : allow
        a/near a/far ip:203.0.113.7 -> a/web 81 89 100 80/UDP 95/UDP 53 200 : deny
        b/near b/web -> a/web 200 201 : allow
        b/near b/web -> a/web 80 90 199 202 200/UDP : deny
        ip:203.0.114.7 -> a/web 80 90 200 : deny
        """,
    ),
    Case(
        "ranges that nearly touch stay apart",
        (35,),
        TWO_NODES,
        policy(
            "p",
            f"{{{WEB}, ingress: [{{ports: [{{port: 80, endPort: 89}}, {{port: 91, endPort: 95}}, {{port: 96}},"
            " {port: 98}]}]}",
        ),
        """
        a/near b/far -> a/web 80 89 91 95 96 98 : allow
        a/near b/far -> a/web 79 90 97 99 : deny
        """,
    ),
    *(
        Case(
            f"endPort {name} breaks the rule",
            (35,),
            TWO_NODES,
            policy("p", f"{{{WEB}, ingress: [{{ports: [{ports}]}}]}}"),
            "a/near b/far ip:203.0.113.7 -> a/web 80 8000 8005 : deny",
            broken=True,
        )
        for name, ports in (
            ("below its port", "{port: 8010, endPort: 8000}"),
            ("beside a name", "{port: http, endPort: 8000}"),
            ("without a port", "{endPort: 8000}"),
        )
    ),
)
