"""NetworkPolicies in the words of the cases: short functions that return the objects a user would write."""

from typing import Any

from e2e.api import Object

INGRESS, EGRESS = "Ingress", "Egress"


def network_policy(namespace: str, name: str, spec: dict[str, Any]) -> Object:
    """The object; an absent podSelector is every pod of the namespace."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {}, **spec},
    }


def deny(namespace: str, *directions: str) -> Object:
    """Every pod isolated in these directions, nothing allowed."""
    return network_policy(namespace, f"deny-{'-'.join(directions).lower()}", {"policyTypes": list(directions)})


def allow_all(namespace: str, direction: str) -> Object:
    """Every pod isolated in this direction, everything allowed."""
    return network_policy(
        namespace, f"allow-all-{direction.lower()}", {"policyTypes": [direction], direction.lower(): [{}]}
    )


def ingress(namespace: str, name: str, *rules: dict[str, Any], pods: dict[str, str] | None = None) -> Object:
    """Pods with these labels (all without) isolated for ingress but for these rules."""
    spec = {"podSelector": labels(**(pods or {})), "policyTypes": [INGRESS], "ingress": list(rules)}
    return network_policy(namespace, name, spec)


def egress(namespace: str, name: str, *rules: dict[str, Any], pods: dict[str, str] | None = None) -> Object:
    """Pods with these labels (all without) isolated for egress but for these rules."""
    spec = {"podSelector": labels(**(pods or {})), "policyTypes": [EGRESS], "egress": list(rules)}
    return network_policy(namespace, name, spec)


def labels(**match: str) -> dict[str, Any]:
    """A selector of these labels; of everything without any."""
    return {"matchLabels": match} if match else {}


def port(number: int, protocol: str = "TCP") -> list[dict[str, Any]]:
    """The `ports` of a rule with one port."""
    return [{"port": number, "protocol": protocol}]
