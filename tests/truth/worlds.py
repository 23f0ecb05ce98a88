"""Worlds and policies that several tables use."""

TWO_NODES = """
    node n1
    node n2
    ns a team=blue
    ns b team=green
    pod a/web n1 app=web http=80
    pod a/near n1 app=client
    pod a/far n2 app=client
    pod b/web n2 app=web http=80
    pod b/near n1 app=client
    pod b/far n2 app=client
"""

OUTSIDE = "ip:203.0.113.7 ip:2001:db8::7"


def policy(name: str, spec: str, namespace: str = "a") -> str:
    """A NetworkPolicy document; ``spec`` is YAML flow style."""
    return (
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )


def cluster_policy(name: str, spec: str, kind: str = "ClusterExtendedNetworkPolicy") -> str:
    """A cluster-wide policy of ours, or (``kind``) a ClusterNetworkPolicy; ``spec`` is YAML flow style."""
    version = "policy.networking.k8s.io/v1alpha2" if kind == "ClusterNetworkPolicy" else "nodewall.io/v1alpha1"
    return f"---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def extended_policy(name: str, spec: str, namespace: str = "a") -> str:
    """An ExtendedNetworkPolicy document; ``spec`` is YAML flow style."""
    return (
        "---\napiVersion: nodewall.io/v1alpha1\nkind: ExtendedNetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
