"""Node, loopback, Services: statements 42 to 47."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, cluster_policy, policy

CLOSED = "{podSelector: {}, policyTypes: [Ingress, Egress]}"

CASES = (
    Case(
        "the own node reaches an isolated pod, another node does not",
        (42, 43, 45),
        """
        node n1
        node n2
        ns a
        pod a/web n1 app=web
        pod a/there n2 app=web
        pod a/host n1 hostNetwork
        """,
        policy("p", CLOSED),
        """
        node:n1 a/host -> a/web 80 53/UDP : allow
        node:n2 -> a/web 80 53/UDP : deny
        node:n2 -> a/there 80 : allow
        node:n1 a/host -> a/there 80 : deny
        """,
    ),
    Case(
        "a NetworkPolicy never closes the way to the pod's own node",
        (44,),
        TWO_NODES,
        policy("p", CLOSED),
        """
        a/web -> node:n1 80 53/UDP : allow
        a/web -> node:n2 80 53/UDP : deny
        """,
    ),
    Case(
        "a pod reaches its own address, directly and through its Service",
        (46,),
        TWO_NODES,
        policy("p", CLOSED),
        """
        a/web -> a/web 80 80@svc : allow
        a/near -> a/web 80 : deny
        """,
    ),
    *(
        Case(
            f"{what} towards the pod's own node",
            (44,),
            TWO_NODES,
            cluster_policy(
                "p",
                f"{{tier: {tier}, priority: 1, subject: {{namespaces: {{}}}}, egress: [{{action: Deny, to: [{peer}],"
                " protocols: [{tcp: {destinationPort: {number: 10250}}}]}]}",
            )
            + more,
            f"""
            a/web -> node:n1 10250 : {verdict}
            a/web -> node:n1 10251 53/UDP : allow
            a/web a/far -> node:n2 10250 : {other}
            """,
        )
        for what, tier, peer, more, verdict, other in (
            ("an Admin deny by nodes holds", "Admin", "{nodes: {}}", "", "deny", "deny"),
            (
                "an Admin deny by networks holds for an isolated pod too",
                "Admin",
                "{networks: [192.168.0.0/24, 'fd00:f::/64']}",
                policy(
                    "np",
                    "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports:"
                    " [{port: 10250}]}]}",
                ),
                "deny",
                "deny",
            ),
            ("a Baseline deny holds for a pod that nobody isolates", "Baseline", "{nodes: {}}", "", "deny", "deny"),
        )
    ),
    Case(
        "for an isolated pod Baseline is not judged towards its own node",
        (44,),
        TWO_NODES,
        cluster_policy(
            "p",
            "{tier: Baseline, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {}}]}]}",
        )
        + policy("np", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}"),
        """
        a/web -> node:n1 80 : allow
        a/near -> node:n1 80 : deny
        a/web -> node:n2 80 : deny
        """,
    ),
    Case(
        "a Service whose endpoint is the node itself",
        (44, 47),
        """
        node n1
        node n2
        ns a
        ns default
        pod a/web n1
        pod a/far n2
        slice default/kubernetes default/kubernetes 192.168.0.1 6443/TCP
        """,
        cluster_policy(
            "p",
            "{tier: Admin, priority: 1, subject: {namespaces: {}},"
            " egress: [{action: Deny, to: [{services: [{namespace: default, name: kubernetes}]}]}]}",
        ),
        """
        a/web a/far -> ip:192.168.0.1 6443 : deny
        a/web a/far -> ip:192.168.0.1 6444 : allow
        a/web a/far -> ip:fd00:f::1 6443 : allow
        """,
    ),
    Case(
        "explicit rules never close the way from the own node",
        (42, 44),
        TWO_NODES,
        cluster_policy(
            "p",
            "{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{nodes: {}},"
            " {networks: [0.0.0.0/0, '::/0']}]}]}",
        ),
        """
        node:n1 -> a/web 80 53/UDP : allow
        node:n2 -> a/web 80 53/UDP : deny
        node:n2 -> a/far 80 : allow
        """,
    ),
    *(
        Case(
            f"a pod that reaches itself through its Service is judged by {tier} rules",
            (46,),
            TWO_NODES,
            cluster_policy(
                "p",
                f"{{tier: {tier}, priority: 1, subject: {{namespaces: {{}}}}, {direction}:"
                f" [{{action: Deny, {end}: [{{sameNamespace: {{}}}}]}}]}}",
            ),
            """
            a/web -> a/web 80@svc : deny
            a/web -> a/web 80 : allow
            b/far -> b/far 80@svc : deny
            """,
        )
        for tier, direction, end in (("Admin", "ingress", "from"), ("Baseline", "egress", "to"))
    ),
    Case(
        "for an isolated pod Baseline is not judged when it reaches itself",
        (46,),
        TWO_NODES,
        cluster_policy(
            "p",
            "{tier: Baseline, priority: 1, subject: {namespaces: {}},"
            " ingress: [{action: Deny, from: [{namespaces: {}}]}], egress: [{action: Deny, to: [{namespaces: {}}]}]}",
        )
        + policy("np", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}"),
        """
        a/web -> a/web 80@svc : allow
        a/near -> a/near 80@svc : deny
        """,
    ),
)
