"""Node, loopback, Services: statements 42 to 47."""

from tests.truth.case import Case
from tests.truth.worlds import TWO_NODES, policy

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
)
