"""YAML or JSON files -> a cluster state, for the verbs that need no cluster.

A file is a wish, so it is held to what an API server would take: whatever it would refuse ends the reading with one
line that names file, object and field. What it would default is defaulted by the readers. What a file leaves out of a
cluster is implied as far as it can be: a namespace that is only mentioned exists, with its name label.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nodewall.api.cluster import NAME_LABEL
from nodewall.api.kinds import BY_KIND, Resource
from nodewall.api.parsed import InvalidObjectError
from nodewall.api.validate import refusals
from nodewall.api.yamltext import YamlError, documents
from nodewall.model.cluster import ClusterState, Namespace
from nodewall.model.errors import BadInputError, Problem
from nodewall.model.labels import Labels
from nodewall.model.policy import NetworkPolicy, TierPolicy

LARGEST = 256 << 20
"""Bytes of one text."""


@dataclass(frozen=True, slots=True)
class Source:
    """A text and what to call it in messages."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """One object. ``place`` names it where it has no name of its own."""

    source: str
    place: str
    value: dict[str, Any]

    @property
    def subject(self) -> str:
        metadata = self.value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
        kind = self.value.get("kind")
        if not isinstance(kind, str) or not isinstance(name, str) or not name:
            return self.place
        return f"{_line(kind)} {_line(f'{namespace}/{name}' if isinstance(namespace, str) and namespace else name)}"

    def refuse(self, message: str, path: str = "") -> BadInputError:
        return BadInputError(_line(message), source=self.source, subject=self.subject, path=_line(path))


@dataclass(frozen=True, slots=True)
class Loaded:
    """``problems`` are parts that an API server would store and nodewall cannot use, each with the object's name.

    ``skipped`` counts the objects of known kinds that no policy depends on.
    """

    state: ClusterState
    problems: tuple[tuple[str, Problem], ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)


def load(sources: Iterable[Source]) -> Loaded:
    """:raises BadInputError: one line that names the file, the object and the field."""
    tables: dict[str, dict[Any, Any]] = {kind: {} for kind in BY_KIND}
    problems: list[tuple[str, Problem]] = []
    skipped: Counter[str] = Counter()
    for one in (document for source in sources for document in read(source)):
        resource = _resource(one)
        if resource is None:
            skipped[str(one.value["kind"])] += 1
            continue
        problems += ((one.subject, problem) for problem in _take(one, resource, tables[resource.kind]))
    return Loaded(_state(tables), tuple(problems), dict(sorted(skipped.items())))


def _take(one: Document, resource: Resource, table: dict[Any, Any]) -> Iterable[Problem]:
    """Put the object into its table; returns the problems that an API server would not mind."""
    try:
        refused, tolerated, parsed = refusals(resource, one.value)
    except InvalidObjectError as error:
        raise one.refuse(error.message, error.path) from None
    if refused:
        raise one.refuse(refused[0].message, refused[0].path)
    key = (parsed.meta.namespace, parsed.meta.name)
    if key in table:
        raise one.refuse("is given twice")
    table[key] = parsed.value
    return tolerated


# --- text -> objects --------------------------------------------------------------------------------------------------


def read(source: Source) -> Iterator[Document]:
    """The objects of a text, those inside of lists too. :raises BadInputError:"""
    if len(source.content) > LARGEST:
        raise BadInputError(f"larger than {LARGEST >> 20} MiB", source=source.name)
    try:
        text = source.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"not UTF-8 at byte {error.start}", source=source.name) from None
    for index, value in enumerate(_values(text, source.name)):
        place = f"document {index + 1}"
        if value is None:
            continue  # an empty document
        if not isinstance(value, dict):
            raise BadInputError("not an object", source=source.name, subject=place)
        yield from _unlisted(Document(source.name, place, value))


def _values(text: str, name: str) -> Iterator[Any]:
    if text.lstrip()[:1] in ("{", "["):
        try:
            yield from _json_values(text)
        except ValueError:
            pass  # flow YAML begins like JSON
        except RecursionError:
            raise BadInputError("nested too deeply", source=name) from None
        else:
            return
    try:
        yield from documents(text)
    except YamlError as error:
        raise BadInputError(_line(str(error)), source=name) from None


def _json_values(text: str) -> list[Any]:
    """One JSON value, or several one after the other."""
    try:
        return [msgspec.json.decode(text)]
    except msgspec.DecodeError:
        pass
    decoder, values, position = json.JSONDecoder(), [], 0
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        values.append(value)
        position = len(text) - len(text[position:].lstrip())
    return values


def _unlisted(one: Document) -> Iterator[Document]:
    """The items of a ``List``, and of a ``PodList`` and the like, whose items may leave out what they are."""
    kind, items = one.value.get("kind"), one.value.get("items")
    if not isinstance(kind, str) or not kind.endswith("List") or "items" not in one.value:
        yield one
        return
    implied = {} if kind == "List" else {"kind": kind[: -len("List")], "apiVersion": one.value.get("apiVersion")}
    if not isinstance(items, list | None):
        raise one.refuse("expected a list", "items")
    for index, item in enumerate(items or ()):
        if not isinstance(item, dict):
            raise one.refuse("not an object", f"items[{index}]")
        yield from _unlisted(Document(one.source, f"{one.place} items[{index}]", {**implied, **item}))


# --- objects -> state -------------------------------------------------------------------------------------------------


def _resource(one: Document) -> Resource | None:
    """How to read the object; None for one that no policy depends on."""
    kind, version = one.value.get("kind"), one.value.get("apiVersion")
    if not isinstance(kind, str) or not kind:
        raise one.refuse("must be given", "kind")
    if not isinstance(version, str) or not version:
        raise one.refuse("must be given", "apiVersion")
    if kind in BY_KIND:
        if version != BY_KIND[kind].api_version:
            raise one.refuse(f"{version!r} must be {BY_KIND[kind].api_version}", "apiVersion")
        return BY_KIND[kind]
    if kind not in OTHER_KINDS.get(version.rpartition("/")[0], frozenset()):
        raise one.refuse(f"unknown kind {kind!r} of {version!r}", "kind")
    return None


def _state(tables: Mapping[str, Mapping[tuple[str, str], Any]]) -> ClusterState:
    policies: list[NetworkPolicy] = list(tables["NetworkPolicy"].values())
    tiered: list[TierPolicy] = [
        policy
        for kind in ("ExtendedNetworkPolicy", "ClusterExtendedNetworkPolicy", "ClusterNetworkPolicy")
        for policy in tables[kind].values()
    ]
    mentioned = {namespace for table in tables.values() for namespace, _ in table if namespace}
    namespaces = {name: value for (_, name), value in tables["Namespace"].items()}
    return ClusterState(
        pods=tables["Pod"],
        namespaces={name: _implied_namespace(name) for name in sorted(mentioned)} | namespaces,
        nodes={name: value for (_, name), value in tables["Node"].items()},
        services=tables["Service"],
        slices=tables["EndpointSlice"],
        network_policies={(one.namespace, one.name): one for one in policies},
        tier_policies={one.ref: one for one in tiered},
    )


def _implied_namespace(name: str) -> Namespace:
    return Namespace(name, Labels({NAME_LABEL: name}))


def _line(text: str) -> str:
    """Text of a file within one line of a message, and of a bearable length."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return shown if len(shown) <= 300 else shown[:297] + "..."


_OTHER_KINDS = {
    "": "Binding ConfigMap Endpoints Event LimitRange PersistentVolume PersistentVolumeClaim PodTemplate "
    "ReplicationController ResourceQuota Secret ServiceAccount",
    "admissionregistration.k8s.io": "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding "
    "MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding "
    "ValidatingWebhookConfiguration",
    "apiextensions.k8s.io": "CustomResourceDefinition",
    "apiregistration.k8s.io": "APIService",
    "apps": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
    "autoscaling": "HorizontalPodAutoscaler",
    "batch": "CronJob Job",
    "certificates.k8s.io": "CertificateSigningRequest ClusterTrustBundle PodCertificateRequest",
    "coordination.k8s.io": "Lease LeaseCandidate",
    "events.k8s.io": "Event",
    "flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
    "gateway.networking.k8s.io": "BackendTLSPolicy GRPCRoute Gateway GatewayClass HTTPRoute ReferenceGrant TCPRoute "
    "TLSRoute UDPRoute",
    "networking.k8s.io": "IPAddress Ingress IngressClass ServiceCIDR",
    "node.k8s.io": "RuntimeClass",
    "nodewall.io": "NodeRuleSet",
    "policy": "PodDisruptionBudget",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "resource.k8s.io": "DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice",
    "scheduling.k8s.io": "PriorityClass",
    "storage.k8s.io": "CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass",
}
OTHER_KINDS: Mapping[str, frozenset[str]] = {group: frozenset(kinds.split()) for group, kinds in _OTHER_KINDS.items()}
"""Kinds that a file may hold and no policy depends on, by API group."""
