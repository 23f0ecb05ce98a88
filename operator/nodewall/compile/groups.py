"""Groups: what a selector stands for right now, under a name that depends on the selector alone.

Rules refer to groups by name, so a pod that comes or goes edits a group and no rule; and every rule and class that uses
the same selector shares one group. The model's own peers are the keys: frozen, canonical, and hashed for the name.
"""

from dataclasses import dataclass

from nodewall.compile.names import name
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import (
    AnyPort,
    NamespaceNames,
    NodePeer,
    NumericPort,
    PodPeer,
    PortName,
    SameNamespace,
    ServiceAccountPeer,
    ServicePeer,
)

GroupKey = PodPeer | ServiceAccountPeer | ServicePeer | NodePeer
"""An address group; a ``PodPeer`` among them never says sameNamespace (see ``in_namespace``)."""

LONGEST_DESCRIPTION = 250
"""Characters. A selector may have a megabyte of values, and no rule set is to be full of what decides nothing."""

PodSet = PodPeer | ServiceAccountPeer
ANY_POD = PodPeer(EVERYTHING)


@dataclass(frozen=True, slots=True)
class NamedPorts:
    """An egress port name on each of these pods that exposes it: (address, port) pairs, never a cross product (31)."""

    pods: PodSet
    port: PortName


@dataclass(frozen=True, slots=True)
class ServicePorts:
    """The ready endpoints of a Service with their target ports, as far as ``ports`` covers them."""

    service: ServicePeer
    ports: tuple[NumericPort, ...] | AnyPort


PortGroupKey = NamedPorts | ServicePorts


def group_name(key: GroupKey) -> str:
    return name("g", key)


def port_group_name(key: PortGroupKey) -> str:
    return name("p", key)


def in_namespace(key: GroupKey, namespace: str) -> GroupKey:
    """``key`` as it is meant by a rule that protects a pod of ``namespace``."""
    if isinstance(key, PodPeer) and isinstance(key.namespaces, SameNamespace):
        return PodPeer(NamespaceNames((namespace,)), key.pods)
    return key


def ports_in_namespace(key: PortGroupKey, namespace: str) -> PortGroupKey:
    """``key`` as it is meant by a rule that protects a pod of ``namespace``."""
    if isinstance(key, NamedPorts):
        pods = in_namespace(key.pods, namespace)
        return NamedPorts(pods, key.port) if isinstance(pods, PodPeer) else key
    return key


def describe(key: GroupKey) -> str:
    """For the reader of a rule set; nothing is decided by it."""
    return _short(_in_words(key))


def _in_words(key: GroupKey) -> str:
    match key:
        case ServiceAccountPeer():
            return f"pods of service account {key.namespace}/{key.name}"
        case ServicePeer():
            return f"endpoints of service {key.namespace}/{key.name}"
        case NodePeer():
            return f"nodes {key.nodes}"
        case PodPeer(NamespaceNames(names)):
            return f"pods {key.pods} in {','.join(names)}"
    return f"pods {key.pods} in namespaces {key.namespaces}"


def describe_ports(key: PortGroupKey) -> str:
    """For the reader of a rule set; nothing is decided by it."""
    if isinstance(key, ServicePorts):
        return f"ports of service {key.service.namespace}/{key.service.name}"
    protocol = f"/{key.port.protocol}" if key.port.protocol else ""
    return _short(f"port {key.port.name}{protocol} of {describe(key.pods)}")


def _short(words: str) -> str:
    return words if len(words) <= LONGEST_DESCRIPTION else f"{words[: LONGEST_DESCRIPTION - 3]}..."
