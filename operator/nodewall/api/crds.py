"""The custom resource definitions of our kinds, generated from their wire structures.

What an API server asks of a schema that msgspec's JSON Schema does not give: no references, no null types, no
``default`` (it would be written into users' objects), no empty ``required`` (every re-apply would say "configured").
Lists are atomic: the map and set kinds cost the API server two to five times as much.

``nodewall crds --directory DIR`` writes them; a test fails when the ones in ``crds/`` are stale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nodewall.api import labels, tierwire
from nodewall.api.rulesetwire import (
    AddressGroupWire,
    ClassWire,
    EndpointWire,
    NodeRuleSetSpec,
    PeerGroupSpec,
    PortGroupWire,
    RuleRefWire,
)
from nodewall.api.status import NodeRuleSetStatus, PolicyStatus
from nodewall.api.tierwire import ClusterExtendedNetworkPolicySpec, ExtendedNetworkPolicySpec
from nodewall.api.yamltext import write as write_yaml

GROUP, VERSION = "nodewall.io", "v1alpha1"
Schema = dict[str, Any]


# --- what CEL refuses at the door -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """A CEL rule, and what to write instead."""

    rule: str
    message: str


def _exactly_one(form: type[msgspec.Struct], advice: str) -> Check:
    names = [one.encode_name for one in msgspec.structs.fields(form)]
    given = " + ".join(f"(has(self.{_cel(name)}) ? 1 : 0)" for name in names)
    return Check(f"{given} == 1", f"must have exactly one of {', '.join(names)}; {advice}")


_RESERVED = frozenset({"as", "break", "const", "for", "function", "if", "in", "namespace", "package"})


def _cel(name: str) -> str:
    """A field name in CEL, where some words are reserved."""
    return f"__{name}__" if name in _RESERVED else name


def _except_checks() -> tuple[Check, ...]:
    """Item by item rather than with ``all``: only so the first few stay within the cost budget. The condition tells
    the rest.
    """
    inside = "cidr(self.cidr).containsCIDR(cidr({0})) && cidr({0}).prefixLength() > cidr(self.cidr).prefixLength()"
    readable = "!isCIDR(self.cidr) || !isCIDR({0}) || "
    each = [
        f"(size(self.except) <= {index} || {(readable + '(' + inside + ')').format(f'self.except[{index}]')})"
        for index in range(EXCEPTS_CHECKED)
    ]
    return (
        Check(
            f"!has(self.except) || ({' && '.join(each)})",
            "each of except must be a part of cidr and smaller than it; leave out those that are not",
        ),
    )


EXCEPTS_CHECKED = 5
_IS_CIDR = Check("isCIDR(self)", "must be a CIDR; write one like 10.0.0.0/8 or fd00::/8")
_FOR_EACH = "write an entry of its own for each"
_FIELDLESS = "has(peer.nodes) || has(peer.networks) || has(peer.ipBlock) || has(peer.domainNames)"

CHECKS: Mapping[type[msgspec.Struct], Sequence[Check]] = {
    tierwire.Subject: (_exactly_one(tierwire.Subject, "for every pod write namespaces: {}"),),
    tierwire.IngressPeer: (_exactly_one(tierwire.IngressPeer, _FOR_EACH),),
    tierwire.EgressPeer: (_exactly_one(tierwire.EgressPeer, _FOR_EACH),),
    tierwire.TrafficProtocol: (
        _exactly_one(tierwire.TrafficProtocol, _FOR_EACH),
        Check(
            "!has(self.destinationNamedPort) || self.destinationNamedPort.matches('^[a-z0-9-]*[a-z][a-z0-9-]*$')",
            "destinationNamedPort must be a container port's name: a-z, 0-9 and hyphens, with a letter among them",
        ),
    ),
    tierwire.DestinationPort: (_exactly_one(tierwire.DestinationPort, "for every port leave out protocols"),),
    tierwire.PortRange: (Check("self.start <= self.end", "start must not be after end; write the smaller one first"),),
    tierwire.Transport: (
        Check("has(self.destinationPort)", "must have destinationPort; for all of TCP write ipProtocol: 6, of UDP 17"),
    ),
    tierwire.Icmp: (Check("!has(self.code) || has(self.type)", "code needs a type beside it"),),
    tierwire.IpBlock: _except_checks(),
    tierwire.EgressRule: (
        Check(
            f"!has(self.protocols) || !self.to.exists(peer, {_FIELDLESS}) || "
            "!self.protocols.exists(protocol, has(protocol.destinationNamedPort))",
            "destinationNamedPort must not stand beside nodes, networks, ipBlock or domainNames, which have no port "
            "names; write a number, or a rule of its own",
        ),
        Check(
            "!has(self.protocols) || !self.to.exists(peer, has(peer.services))",
            "protocols must be left out beside services, which bring their own ports; write a rule of its own",
        ),
    ),
}


# --- structures -> structural schemas ---------------------------------------------------------------------------------

_COMPONENT = "#/$defs/{name}"
_DROPPED = frozenset({"title", "default", "anyOf", "$ref", "additionalProperties", "required", "properties", "items"})


def schema(form: type[msgspec.Struct]) -> Schema:
    """The structural schema of a wire structure."""
    (root,), components = msgspec.json.schema_components([form], ref_template=_COMPONENT)
    return _structural(root, components)


def _structural(raw: Mapping[str, Any], components: Mapping[str, Any]) -> Schema:
    """``raw`` with everything inlined, in the words of a custom resource definition."""
    raw = _resolved(raw, components)
    found: Schema = {key: value for key, value in raw.items() if key not in _DROPPED}
    if "description" in found:
        found["description"] = " ".join(found["description"].split())  # its indent depends on Python's version
    if "enum" in found:
        found["type"] = "string"
    if "properties" in raw:
        found["properties"] = {name: _structural(one, components) for name, one in raw["properties"].items()}
    elif isinstance(raw.get("additionalProperties"), dict):
        found["additionalProperties"] = _structural(raw["additionalProperties"], components)
    if raw.get("required"):
        found["required"] = list(raw["required"])
    if "items" in raw:
        items = _resolved(raw["items"], components)
        if items.get("title") in _UNCHECKED:
            return _unchecked(found["description"], items["properties"])
        found["items"] = _structural(items, components)
        found["x-kubernetes-list-type"] = "atomic"
    return found | _extensions(raw.get("title", ""), found)


def _resolved(raw: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """One level of references and "or null" merged into the schema; the outer description wins."""
    merged = dict(raw)
    while "$ref" in merged or "anyOf" in merged:
        inner = [one for one in merged.pop("anyOf", ()) if one != {"type": "null"}]
        if "$ref" in merged:
            inner.append(components[merged.pop("$ref").rsplit("/", 1)[-1]])
        if len(inner) != 1:
            raise AssertionError(f"no structural schema for {raw}")
        merged = {**inner[0], **merged}
    return merged


_UNCHECKED = frozenset(
    each.__name__ for each in (AddressGroupWire, PortGroupWire, ClassWire, EndpointWire, RuleRefWire)
)
"""Entries of lists that the API server stores as they come. Only our controller writes them, each agent checks every
field and the digest of all, and to have half a megabyte checked field by field was half of what a write cost (ADR 10).
"""


def _unchecked(description: str, fields: Mapping[str, Any]) -> Schema:
    shape = f"A list; each entry has {', '.join(fields)}. Checked by the agent."
    return {"description": f"{description} {shape}", "x-kubernetes-preserve-unknown-fields": True}


_CHECKS_BY_TITLE = {form.__name__: checks for form, checks in CHECKS.items()}
_ATOMIC = frozenset(each.__name__ for each in (labels.LabelSelector, NodeRuleSetSpec, PeerGroupSpec))
"""What a writer writes as a whole. Without it a field that somebody adds to a spec of ours would be that one's, and our
own apply, which does not name it, would leave it there for ever."""


def _extensions(title: str, found: Schema) -> Schema:
    extensions: Schema = {}
    checks = list(_CHECKS_BY_TITLE.get(title, ()))
    if found.get("maxLength") == tierwire.CIDR_LENGTH:
        checks.append(_IS_CIDR)
    if checks:
        extensions["x-kubernetes-validations"] = [{"rule": one.rule, "message": one.message} for one in checks]
    if title in _ATOMIC:
        extensions["x-kubernetes-map-type"] = "atomic"
    return extensions


# --- definitions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column. ``wide``: with ``-o wide`` only."""

    name: str
    path: str
    type: str
    description: str
    wide: bool = False

    def document(self) -> Schema:
        """Without zero values, which are not stored: each re-apply would say "configured"."""
        return {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
            **({"priority": 1} if self.wide else {}),
        }


@dataclass(frozen=True, slots=True)
class Definition:
    """One of our kinds. ``status`` None: nobody reports on it."""

    kind: str
    plural: str
    short: str
    namespaced: bool
    description: str
    spec: type[msgspec.Struct]
    status: type[msgspec.Struct] | None
    columns: tuple[Column, ...]


def _condition(kind: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].status'


AGE = Column("Age", ".metadata.creationTimestamp", "date", "Since when the object exists.")
_TIER = Column("Tier", ".spec.tier", "string", "When it is judged.")
_POLICY = (
    Column("Priority", ".spec.priority", "integer", "Order in the tier; a lower one is judged first."),
    Column("Mode", ".spec.mode", "string", "Enforce when empty."),
    Column("Pods", ".status.selectedPods", "integer", "Pods that the policy is about."),
    Column("Accepted", _condition("Accepted"), "string", "Whether every part could be read."),
    Column("Programmed", _condition("Programmed"), "string", "Whether every node concerned enforces it."),
    Column("Nodes", ".status.nodes.desired", "integer", "Nodes that own selected pods.", wide=True),
    AGE,
)
_RULE_SET = (
    Column("Pods", ".status.pods", "integer", "Pods of the node."),
    Column("Policies", ".status.policies", "integer", "Policies that concern them."),
    Column("Rules", ".status.rules", "integer", "Rules of these policies."),
    Column("Addresses", ".status.addresses", "integer", "Addresses in all address groups."),
    Column("Applied", _condition("Applied"), "string", "Whether the node enforces the generation that it has seen."),
    Column(
        "Held",
        r".metadata.annotations.nodewall\.io/held",
        "string",
        "Why this is an older rule set than the policies ask for; empty while it is not.",
    ),
    Column("Generation", ".metadata.generation", "integer", "The newest spec."),
    Column("Seen", ".status.observedGeneration", "integer", "What Applied is about; behind when the agent is."),
    Column("Degraded", _condition("Degraded"), "string", "Whether something may bypass it.", wide=True),
    Column("Applied-At", ".status.appliedAt", "date", "Since when it is enforced.", wide=True),
    Column("Digest", ".status.appliedDigest", "string", "Digest of what is enforced.", wide=True),
    AGE,
)

_PEER_GROUP = (
    Column("Group", ".spec.group", "string", "The group that this is a part of."),
    Column("Parts", ".spec.parts", "integer", "In how many parts the group is."),
    Column("Revision", ".spec.revision", "integer", "With which revision it was written."),
    Column("Selector", ".spec.description", "string", "What the members are.", wide=True),
    AGE,
)

DEFINITIONS = (
    Definition(
        "NodeRuleSet",
        "noderulesets",
        "nrs",
        namespaced=False,
        description="What one node enforces, and whether it does. Named like the node; made by the controller.",
        spec=NodeRuleSetSpec,
        status=NodeRuleSetStatus,
        columns=_RULE_SET,
    ),
    Definition(
        "PeerGroup",
        "peergroups",
        "pg",
        namespaced=False,
        description="A part of a group of peers that very many nodes use. Made by the controller; small clusters have "
        "none.",
        spec=PeerGroupSpec,
        status=None,
        columns=_PEER_GROUP,
    ),
    Definition(
        "ExtendedNetworkPolicy",
        "extendednetworkpolicies",
        "xnp",
        namespaced=True,
        description="Ordered rules with explicit deny for pods of its namespace, judged before every NetworkPolicy.",
        spec=ExtendedNetworkPolicySpec,
        status=PolicyStatus,
        columns=_POLICY,
    ),
    Definition(
        "ClusterExtendedNetworkPolicy",
        "clusterextendednetworkpolicies",
        "cxnp",
        namespaced=False,
        description="Ordered rules with explicit deny for pods anywhere, judged before (Admin) or after (Baseline) "
        "those of namespaces.",
        spec=ClusterExtendedNetworkPolicySpec,
        status=PolicyStatus,
        columns=(_TIER, *_POLICY),
    ),
)


def definition(one: Definition) -> Schema:
    """The CustomResourceDefinition object."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{one.plural}.{GROUP}", "labels": {"app.kubernetes.io/name": "nodewall"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": one.kind,
                "listKind": f"{one.kind}List",
                "plural": one.plural,
                "singular": one.kind.lower(),
                "shortNames": [one.short],
                "categories": ["nodewall"],
            },
            "scope": "Namespaced" if one.namespaced else "Cluster",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    **({"subresources": {"status": {}}} if one.status else {}),
                    "additionalPrinterColumns": [column.document() for column in one.columns],
                    "schema": {"openAPIV3Schema": _object(one)},
                }
            ],
        },
    }


def _object(one: Definition) -> Schema:
    return {
        "description": one.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": {"type": "object"},
            "spec": schema(one.spec),
            **({"status": schema(one.status)} if one.status else {}),
        },
    }


_HEADER = "# Generated from operator/nodewall/api by `nodewall crds --directory crds`; edit it there.\n"


def files() -> dict[str, str]:
    """File name -> YAML."""
    return {
        f"{GROUP}_{one.plural}.yaml": _HEADER + write_yaml([definition(one)], width=120, explicit_start=False)
        for one in DEFINITIONS
    }


def write(directory: Path) -> None:
    """Write one file per kind. :raises OSError:"""
    for name, content in files().items():
        (directory / name).write_text(content, encoding="utf-8")
