"""Selectors: statements 14 to 21."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, policy

WEB = "podSelector: {matchLabels: {app: web}}"


def from_(peers: str, namespace: str = "a") -> str:
    return policy("p", f"{{{WEB}, ingress: [{{from: [{peers}]}}]}}", namespace)


CASES = (
    *(
        Case(
            f"a podSelector that is {name} selects every pod of the namespace",
            (14,),
            TWO_NODES,
            policy("p", f"{{{spec}policyTypes: [Ingress]}}"),
            """
            b/near b/far -> a/web a/near a/far 80 : deny
            a/near -> a/far a/web 80 : deny
            a/near -> b/web b/far 80 : allow
            """,
        )
        for name, spec in (("empty", "podSelector: {}, "), ("absent", ""))
    ),
    Case(
        "an empty peer podSelector is all pods of the policy's namespace",
        (15, 17),
        TWO_NODES,
        from_("{podSelector: {}}"),
        """
        a/near a/far -> a/web 80 : allow
        b/near b/far b/web ip:203.0.113.7 ip:2001:db8::7 -> a/web 80 : deny
        """,
    ),
    Case(
        "an empty namespaceSelector is all pods everywhere and nobody outside",
        (15,),
        TWO_NODES,
        from_("{namespaceSelector: {}}"),
        """
        a/near a/far b/near b/far b/web -> a/web 80 : allow
        ip:203.0.113.7 ip:2001:db8::7 ip:10.0.1.200 -> a/web 80 : deny
        node:n2 -> a/web 80 : deny
        """,
    ),
    Case(
        "an empty namespaceSelector in egress",
        (15,),
        TWO_NODES,
        policy("p", f"{{{WEB}, policyTypes: [Egress], egress: [{{to: [{{namespaceSelector: {{}}}}]}}]}}"),
        """
        a/web -> a/near b/far 80 : allow
        a/web -> ip:203.0.113.7 ip:2001:db8::7 node:n2 80 : deny
        """,
    ),
    Case(
        "both selectors in one peer are AND",
        (16,),
        TWO_NODES,
        from_("{namespaceSelector: {matchLabels: {team: green}}, podSelector: {matchLabels: {app: client}}}"),
        """
        b/near b/far -> a/web 80 : allow
        b/web a/near a/far -> a/web 80 : deny
        """,
    ),
    Case(
        "two peers are OR",
        (16, 17),
        TWO_NODES,
        from_("{namespaceSelector: {matchLabels: {team: green}}}, {podSelector: {matchLabels: {app: client}}}"),
        """
        b/near b/far b/web a/near a/far -> a/web 80 : allow
        ip:203.0.113.7 -> a/web 80 : deny
        """,
    ),
    Case(
        "a peer podSelector never reaches an equally labelled pod elsewhere",
        (17,),
        TWO_NODES,
        from_("{podSelector: {matchLabels: {app: client}}}"),
        """
        a/near a/far -> a/web 80 : allow
        b/near b/far -> a/web 80 : deny
        """,
    ),
    *(
        Case(
            f"{operator} holds for pods without the key",
            (18,),
            """
            node n1
            ns a
            pod a/web n1 app=web
            pod a/none n1 other=x
            pod a/x n1 role=x
            pod a/y n1 role=y
            """,
            policy("p", f"{{{WEB}, ingress: [{{from: [{{podSelector: {{matchExpressions: [{expression}]}}}}]}}]}}"),
            probes,
        )
        for operator, expression, probes in (
            (
                "NotIn",
                "{key: role, operator: NotIn, values: [x]}",
                "a/none a/y -> a/web 80 : allow\na/x -> a/web 80 : deny",
            ),
            (
                "DoesNotExist",
                "{key: role, operator: DoesNotExist}",
                "a/none -> a/web 80 : allow\na/x a/y -> a/web 80 : deny",
            ),
        )
    ),
    Case(
        "In and Exists need the key, labels and expressions are AND",
        (18,),
        """
        node n1
        ns a
        pod a/web n1 app=web
        pod a/one n1 app=client role=x tier=t
        pod a/two n1 app=client role=y tier=t
        pod a/three n1 app=client role=z tier=t
        pod a/four n1 app=client role=x
        pod a/five n1 role=x tier=t
        """,
        from_(
            "{podSelector: {matchLabels: {app: client}, matchExpressions: "
            "[{key: role, operator: In, values: [x, 'y']}, {key: tier, operator: Exists}]}}"
        ),
        """
        a/one a/two -> a/web 80 : allow
        a/three a/four a/five -> a/web 80 : deny
        """,
    ),
    Case(
        "the name label of a namespace works as a selector",
        (19,),
        TWO_NODES,
        from_("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: b}}}"),
        """
        b/near b/far -> a/web 80 : allow
        a/near a/far -> a/web 80 : deny
        """,
    ),
    Case(
        "pod labels never pass for namespace labels",
        (19,),
        """
        node n1
        ns a
        ns b team=green
        pod a/web n1 app=web
        pod a/liar n1 team=green kubernetes.io/metadata.name=b
        pod b/honest n1 app=client
        """,
        from_("{namespaceSelector: {matchLabels: {team: green, kubernetes.io/metadata.name: b}}}"),
        """
        b/honest -> a/web 80 : allow
        a/liar -> a/web 80 : deny
        """,
    ),
    Case(
        "a broken peer selector admits nobody, still isolates, and touches no other policy",
        (21,),
        TWO_NODES,
        from_("{podSelector: {matchExpressions: [{key: app, operator: Near, values: [x]}]}}")
        + policy("ok", "{podSelector: {matchLabels: {app: client}}, ingress: [{}]}"),
        """
        a/near a/far b/near -> a/web 80 : deny
        b/near b/far -> a/near a/far 80 : allow
        """,
        broken=True,
    ),
    Case(
        "a broken subject selector isolates its whole namespace in the directions it names",
        (21,),
        TWO_NODES,
        policy("p", "{podSelector: {matchLabels: {'not a key': x}}, policyTypes: [Ingress], ingress: [{}]}"),
        """
        b/near b/far a/near -> a/web 80 : deny
        b/near -> a/near 80 : deny
        a/web a/near -> b/web 80 : allow
        b/near -> b/far 80 : allow
        """,
        broken=True,
    ),
)
