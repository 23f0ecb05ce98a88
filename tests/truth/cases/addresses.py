"""Pods and addresses: statements 36 to 41."""

from tests.truth.case import Case
from tests.truth.worlds import policy

CLOSED = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
WEB_FROM_CLIENTS = (
    "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}"
)
FROM_ALL_PODS = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"

CASES = (
    Case(
        "hostNetwork pods are neither subject nor selector peer",
        (36,),
        """
        node n1
        node n2
        ns a
        pod a/host n2 hostNetwork app=web
        pod a/web n1 app=web
        """,
        policy("all", FROM_ALL_PODS),
        """
        a/host node:n2 -> a/web 80 : deny
        a/web ip:203.0.113.7 -> a/host 80 : allow
        """,
    ),
    Case(
        "an ipBlock on the node's address lets its hostNetwork pods in",
        (36, 43),
        """
        node n1
        node n2
        ns a
        pod a/host n2 hostNetwork
        pod a/web n1 app=web
        """,
        policy(
            "p",
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.2/32}},"
            " {ipBlock: {cidr: 'fd00:f::2/128'}}]}]}",
        ),
        """
        a/host node:n2 -> a/web 80 : allow
        ip:192.168.0.3 -> a/web 80 : deny
        """,
    ),
    *(
        Case(
            f"a {phase} pod leaves subjects and peers, its address is the next pod's",
            (37, 40),
            f"""
            node n1
            node n2
            ns a
            ns b
            pod a/old n1 app=client {phase} at:10.0.1.77 at:fd00:1::77
            pod b/new n1 at:10.0.1.77 at:fd00:1::77
            pod a/gone n1 app=client {phase} at:10.0.1.78
            pod a/web n1 app=web
            """,
            policy("p", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}"),
            """
            b/new ip:10.0.1.77 ip:fd00:1::77 ip:10.0.1.78 -> a/web 80 : deny
            a/web -> b/new ip:10.0.1.78 80 : allow
            """,
        )
        for phase in ("finished", "failed")
    ),
    Case(
        "a terminating pod that runs stays enforced and stays a peer",
        (38,),
        """
        node n1
        node n2
        ns a
        pod a/web n1 app=web terminating
        pod a/client n2 app=client terminating
        pod a/other n2 app=other
        """,
        policy("p", WEB_FROM_CLIENTS),
        """
        a/client -> a/web 80 : allow
        a/other -> a/web 80 : deny
        """,
    ),
    Case(
        "every address of both families is enforced and matched",
        (39, 51),
        """
        node n1
        node n2
        ns a
        pod a/both n1 app=web
        pod a/four n1 app=web v4
        pod a/six n1 app=web v6
        pod a/client n2 app=client
        pod a/other n2 app=other
        """,
        policy("p", WEB_FROM_CLIENTS),
        """
        a/client -> a/both a/four a/six 80 : allow
        a/other -> a/both a/four a/six 80 : deny
        """,
    ),
    Case(
        "a pod without addresses harms nothing",
        (39,),
        """
        node n1
        node n2
        ns a
        pod a/web n1 app=web
        pod a/new n2 app=client bare
        pod a/client n2 app=client
        """,
        policy("p", WEB_FROM_CLIENTS),
        """
        a/client -> a/web 80 : allow
        ip:203.0.113.7 -> a/web 80 : deny
        """,
    ),
    Case(
        "two running pods with one address: the newest has it",
        (40,),
        """
        node n1
        node n2
        ns a
        pod a/older n1 app=client at:10.0.1.77
        pod a/newer n1 app=other at:10.0.1.77
        pod a/web n2 app=web
        """,
        policy("p", WEB_FROM_CLIENTS),
        "ip:10.0.1.77 -> a/web 80 : deny",
    ),
    Case(
        "a running pod has an address before a newer pending one",
        (40,),
        """
        node n1
        node n2
        ns a
        pod a/running n1 app=client at:10.0.1.77
        pod a/pending n1 app=other pending at:10.0.1.77
        pod a/web n2 app=web
        """,
        policy("p", WEB_FROM_CLIENTS),
        "ip:10.0.1.77 -> a/web 80 : allow",
    ),
    Case(
        "policies hold in a namespace that is being deleted",
        (41,),
        """
        node n1
        node n2
        ns a terminating
        ns b
        pod a/web n1 app=web terminating
        pod b/client n2
        """,
        policy("p", CLOSED),
        """
        b/client -> a/web 80 : deny
        a/web -> b/client 80 : deny
        """,
    ),
)
