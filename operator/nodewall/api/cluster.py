"""Pods, Namespaces, Nodes, Services and EndpointSlices: the few fields that policies depend on.

A cluster can have 100,000 pods of 6 KB each, so a body goes straight from bytes into a small structure that skips the
rest. An API server cannot have stored wrong types in these kinds; where a file (or a future version) has them, the
field in question is left out and reported, and everything else of the object is kept.
"""

import types
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from sys import intern
from typing import Any, Union, get_args, get_origin

import msgspec

from nodewall.api.addresses import address, network
from nodewall.api.labels import shared_labels
from nodewall.api.parsed import InvalidObjectError, Meta, Parsed, Projection, Report, decode, located
from nodewall.model.address import Address, Network
from nodewall.model.cluster import (
    ContainerPort,
    EndpointSlice,
    LogWish,
    Namespace,
    Node,
    Phase,
    Pod,
    Service,
)
from nodewall.model.labels import Labels
from nodewall.model.policy import Protocol

Body = bytes | memoryview | msgspec.Raw | Mapping[str, Any]
"""An object as JSON text, or already decoded."""

LOG_ANNOTATION = "nodewall.io/log"
NAME_LABEL = "kubernetes.io/metadata.name"
SERVICE_LABEL = "kubernetes.io/service-name"


# --- the wire ---------------------------------------------------------------------------------------------------------


class ObjectMeta(Projection, frozen=True, gc=False):
    name: str = ""
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class AnnotatedMeta(ObjectMeta, frozen=True, gc=False):
    annotations: dict[str, str] | None = None


class ContainerPortWire(Projection, frozen=True, gc=False):
    name: str | None = None
    container_port: int | None = None
    protocol: str | None = None


class Container(Projection, frozen=True, gc=False):
    ports: list[ContainerPortWire] | None = None


class InitContainer(Container, frozen=True, gc=False):
    restart_policy: str | None = None


class PodSpec(Projection, frozen=True, gc=False):
    node_name: str | None = None
    host_network: bool | None = None
    service_account_name: str | None = None
    containers: list[Container] | None = None
    init_containers: list[InitContainer] | None = None


class PodIp(Projection, frozen=True, gc=False):
    ip: str | None = None


class PodStatus(Projection, frozen=True, gc=False):
    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    pod_ips: list[PodIp] | None = msgspec.field(default=None, name="podIPs")


class PodWire(Projection, frozen=True, gc=False):
    metadata: ObjectMeta | None = None
    spec: PodSpec | None = None
    status: PodStatus | None = None


class NamespaceStatus(Projection, frozen=True, gc=False):
    phase: str | None = None


class NamespaceWire(Projection, frozen=True, gc=False):
    metadata: AnnotatedMeta | None = None
    status: NamespaceStatus | None = None


class NodeSpec(Projection, frozen=True, gc=False):
    pod_cidr: str | None = msgspec.field(default=None, name="podCIDR")
    pod_cidrs: list[str] | None = msgspec.field(default=None, name="podCIDRs")


class NodeAddress(Projection, frozen=True, gc=False):
    type: str | None = None
    address: str | None = None


class NodeStatus(Projection, frozen=True, gc=False):
    addresses: list[NodeAddress] | None = None


class NodeWire(Projection, frozen=True, gc=False):
    metadata: ObjectMeta | None = None
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class ServiceSpec(Projection, frozen=True, gc=False):
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")


class ServiceWire(Projection, frozen=True, gc=False):
    metadata: ObjectMeta | None = None
    spec: ServiceSpec | None = None


class EndpointConditions(Projection, frozen=True, gc=False):
    ready: bool | None = None


class Endpoint(Projection, frozen=True, gc=False):
    addresses: list[str] | None = None
    conditions: EndpointConditions | None = None


class EndpointPort(Projection, frozen=True, gc=False):
    protocol: str | None = None
    port: int | None = None


class EndpointSliceWire(Projection, frozen=True, gc=False):
    metadata: ObjectMeta | None = None
    address_type: str | None = None
    endpoints: list[Endpoint] | None = None
    ports: list[EndpointPort] | None = None


# --- bytes -> wire ----------------------------------------------------------------------------------------------------


class _Reader:
    """Decodes one wire form, fast when its types are right and field by field when not."""

    __slots__ = ("_decode", "_form", "_namespaced")

    def __init__(self, form: type[Any], *, namespaced: bool) -> None:
        self._form, self._namespaced = form, namespaced
        self._decode: Callable[[Any], Any] = msgspec.json.Decoder(form).decode

    def __call__(self, body: Body, report: Report) -> tuple[Any, Meta]:
        try:
            wire = msgspec.convert(body, self._form) if isinstance(body, dict) else self._decode(body)
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
            RecursionError,
        ):  # wrong types, or not even JSON: decode() tells
            wire = salvage(decode(body), self._form, "", report)
        return wire, self._meta(wire.metadata)

    def _meta(self, metadata: ObjectMeta | None) -> Meta:
        if metadata is None or not metadata.name:
            raise InvalidObjectError("must have a name", path="metadata.name")
        return Meta(
            name=metadata.name,
            namespace=intern(metadata.namespace or "default") if self._namespaced else "",
            uid=metadata.uid or "",
            generation=metadata.generation or 0,
            resource_version=metadata.resource_version or "",
        )


def salvage(raw: object, form: type[Any], at: str, report: Report) -> Any:
    """``raw`` as the structure ``form`` (all of whose fields have defaults), without the fields that do not fit."""
    if not isinstance(raw, dict):
        report.add(at, "expected an object")
        return form()
    kept = {}
    for one in msgspec.structs.fields(form):
        value = raw.get(one.encode_name)
        if value is not None:
            kept[one.name] = _salvage_value(value, one.type, f"{at}.{one.encode_name}".lstrip("."), report)
    return form(**{name: value for name, value in kept.items() if value is not None})


def _salvage_value(raw: object, form: Any, at: str, report: Report) -> Any:
    try:
        return msgspec.convert(raw, form)
    except msgspec.ValidationError as error:
        inner = next(one for one in _alternatives(form) if one is not types.NoneType)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(raw, dict):
            return salvage(raw, inner, at, report)
        if get_origin(inner) is list and isinstance(raw, list):
            (item,) = get_args(inner)
            found = [_salvage_value(one, item, f"{at}[{index}]", report) for index, one in enumerate(raw)]
            return [one for one in found if one is not None]
        if get_origin(inner) is dict and isinstance(raw, dict):
            return _salvage_strings(raw, at, report)
        report.add(*located(error, at))
        return None


def _alternatives(form: Any) -> tuple[Any, ...]:
    return get_args(form) if get_origin(form) in (Union, types.UnionType) else (form,)


def _salvage_strings(raw: Mapping[str, object], at: str, report: Report) -> dict[str, str]:
    for key, value in raw.items():
        if value is not None and not isinstance(value, str):
            report.add(f"{at}[{key!r}]", "expected 'str'")
    return {key: value or "" for key, value in raw.items() if value is None or isinstance(value, str)}


_read_pod = _Reader(PodWire, namespaced=True)
_read_namespace = _Reader(NamespaceWire, namespaced=False)
_read_node = _Reader(NodeWire, namespaced=False)
_read_service = _Reader(ServiceWire, namespaced=True)
_read_slice = _Reader(EndpointSliceWire, namespaced=True)


# --- wire -> model ----------------------------------------------------------------------------------------------------

_PHASES = {"Pending": Phase.PENDING, "Succeeded": Phase.FINISHED, "Failed": Phase.FINISHED}
"""Every other phase ("Unknown", one that is not given) counts as running: such a pod may own its address."""
_PROTOCOLS: dict[str, Protocol] = {str(protocol): protocol for protocol in Protocol}


def read_pod(body: Body) -> Parsed[Pod]:
    """:raises InvalidObjectError: no object with a name."""
    report = Report()
    wire, meta = _read_pod(body, report)
    spec, status, metadata = wire.spec or _NO_POD_SPEC, wire.status or _NO_POD_STATUS, wire.metadata
    pod = Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        labels=_labels(metadata),
        node=intern(spec.node_name or ""),
        addresses=_pod_addresses(status, report),
        ports=_pod_ports(spec, report),
        service_account=intern(spec.service_account_name or "default"),
        host_network=bool(spec.host_network),
        phase=_PHASES.get(status.phase or "", Phase.RUNNING),
        terminating=metadata.deletion_timestamp is not None,
        created=metadata.creation_timestamp or "",
    )
    return Parsed(pod, meta, tuple(report.problems))


_NO_POD_SPEC = PodSpec()
_NO_POD_STATUS = PodStatus()
_NO_LABELS = Labels()


def _labels(metadata: ObjectMeta) -> Labels:
    return shared_labels(tuple(metadata.labels.items())) if metadata.labels else _NO_LABELS


def _pod_addresses(status: PodStatus, report: Report) -> tuple[Address, ...]:
    listed = [one.ip for one in status.pod_ips or ()]
    return _addresses(listed if any(listed) else [status.pod_ip], "status.podIPs", report)


def _addresses(texts: Iterable[str | None], at: str, report: Report) -> tuple[Address, ...]:
    """Canonical and without repeats, in the order given. What is empty is not there yet."""
    found: dict[Address, None] = {}
    for index, one in enumerate(texts):
        if not one:
            continue
        canonical = address(one)
        if canonical is None:
            report.add(f"{at}[{index}]", f"{one!r} is not an IP address")
        else:
            found[canonical] = None
    return tuple(found)


def _pod_ports(spec: PodSpec, report: Report) -> tuple[ContainerPort, ...]:
    """Named ports of the containers that run as long as the pod does: the containers and the sidecars."""
    sidecars = [one for one in spec.init_containers or () if one.restart_policy == "Always"]
    named = [
        (port.name, port.protocol, port.container_port)
        for container in [*(spec.containers or ()), *sidecars]
        for port in container.ports or ()
        if port.name
    ]
    return _shared_ports(tuple(named), report) if named else ()


def _shared_ports(named: tuple[tuple[str, str | None, int | None], ...], report: Report) -> tuple[ContainerPort, ...]:
    read = _read_often if len(named) <= _FEW else _container_ports
    ports, problems = read(named)
    for path, message in problems:
        report.add(path, message)
    return ports


def _container_ports(
    named: tuple[tuple[str, str | None, int | None], ...],
) -> tuple[tuple[ContainerPort, ...], tuple[tuple[str, str], ...]]:
    ports, problems = [], []
    for name, text, number in named:
        protocol = _PROTOCOLS.get(text or "TCP")
        if protocol is None or number is None or not 1 <= number <= 65535:
            problems.append(
                ("spec.containers", f"port {name!r} needs a containerPort of 1..65535 and TCP, UDP or SCTP")
            )
        else:
            ports.append(ContainerPort(intern(name), protocol, number))
    return tuple(ports), tuple(problems)


_FEW = 32
"""Ports that are worth to be remembered. A pod may have ten thousand, others each time."""
_read_often = lru_cache(maxsize=1 << 12)(_container_ports)
"""Pods of one workload expose the same ports: one tuple for all of them."""


def read_namespace(body: Body) -> Parsed[Namespace]:
    """:raises InvalidObjectError: no object with a name."""
    report = Report()
    wire, meta = _read_namespace(body, report)
    metadata = wire.metadata
    labels = {**(metadata.labels or {}), NAME_LABEL: meta.name}
    phase = wire.status.phase if wire.status else None
    namespace = Namespace(
        name=meta.name,
        labels=Labels(labels),
        terminating=metadata.deletion_timestamp is not None or phase == "Terminating",
        log=_log_wish(metadata.annotations or {}, report),
    )
    return Parsed(namespace, meta, tuple(report.problems))


def _log_wish(annotations: Mapping[str, str], report: Report) -> LogWish | None:
    wish = annotations.get(LOG_ANNOTATION)
    if wish is None:
        return None
    if wish not in _LOG_WISHES:
        report.add(f"metadata.annotations[{LOG_ANNOTATION}]", f"{wish!r} must be Deny, Accept, All or None")
    return _LOG_WISHES.get(wish)


_LOG_WISHES: dict[str, LogWish] = {str(wish): wish for wish in LogWish}


def read_node(body: Body) -> Parsed[Node]:
    """:raises InvalidObjectError: no object with a name."""
    report = Report()
    wire, meta = _read_node(body, report)
    listed = wire.status.addresses or () if wire.status else ()
    addresses = [one.address if one.type in ("InternalIP", "ExternalIP") else None for one in listed]
    node = Node(
        name=meta.name,
        uid=meta.uid,
        labels=_labels(wire.metadata),
        addresses=_addresses(addresses, "status.addresses", report),
        pod_cidrs=_pod_cidrs(wire.spec or NodeSpec(), report),
    )
    return Parsed(node, meta, tuple(report.problems))


def _pod_cidrs(spec: NodeSpec, report: Report) -> tuple[Network, ...]:
    found: dict[Network, None] = {}
    for index, one in enumerate(spec.pod_cidrs or ([spec.pod_cidr] if spec.pod_cidr else [])):
        block = network(one)
        if block is None:
            report.add(f"spec.podCIDRs[{index}]", f"{one!r} is not a CIDR")
        else:
            found[block] = None
    return tuple(found)


def read_service(body: Body) -> Parsed[Service]:
    """:raises InvalidObjectError: no object with a name."""
    report = Report()
    wire, meta = _read_service(body, report)
    spec = wire.spec or ServiceSpec()
    listed = spec.cluster_ips or [spec.cluster_ip]
    addresses = _addresses([None if one == "None" else one for one in listed], "spec.clusterIPs", report)
    return Parsed(Service(meta.namespace, meta.name, addresses), meta, tuple(report.problems))


def read_endpoint_slice(body: Body) -> Parsed[EndpointSlice]:
    """The ready endpoints only; readiness that is not given counts as ready. ``service`` is "" for a slice of no
    Service.

    :raises InvalidObjectError: no object with a name.
    """
    report = Report()
    wire, meta = _read_slice(body, report)
    found: dict[Address, None] = {}
    for index, endpoint in enumerate(wire.endpoints or () if wire.address_type != "FQDN" else ()):
        if endpoint.conditions is None or endpoint.conditions.ready is not False:
            found.update(dict.fromkeys(_addresses(endpoint.addresses or [], f"endpoints[{index}].addresses", report)))
    value = EndpointSlice(
        namespace=meta.namespace,
        name=meta.name,
        service=(wire.metadata.labels or {}).get(SERVICE_LABEL, ""),
        addresses=tuple(found),
        ports=_endpoint_ports(wire.ports or [], report),
    )
    return Parsed(value, meta, tuple(report.problems))


def _endpoint_ports(wires: list[EndpointPort], report: Report) -> tuple[tuple[Protocol, int], ...]:
    ports: dict[tuple[Protocol, int], None] = {}
    for index, one in enumerate(wires):
        protocol = _PROTOCOLS.get(one.protocol or "TCP")
        if one.port is None:
            continue  # a slice that somebody keeps by hand for a Service without ports
        if protocol is None or not 1 <= one.port <= 65535:
            report.add(f"ports[{index}]", "needs a port of 1..65535 and TCP, UDP or SCTP")
        else:
            ports[(protocol, one.port)] = None
    return tuple(ports)
