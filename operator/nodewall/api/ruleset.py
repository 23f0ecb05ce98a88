"""NodeRuleSet <-> its JSON.

Equal rule sets are equal bytes, and the digest is of those bytes: whoever reads a spec can tell whether it is whole.
Reading refuses what it does not know or cannot trust, all of it, because half a rule set judges packets wrongly.
"""

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain as joined
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from nodewall.api.addresses import address, network
from nodewall.api.cluster import Body
from nodewall.api.parsed import Report, convert, mapping, meta_of
from nodewall.api.parsed import decode as decode_body
from nodewall.api.rulesetwire import (
    AddressGroupWire,
    AuditWire,
    BlockWire,
    ClassWire,
    EndpointWire,
    IsolationWire,
    LogWire,
    NodeRuleSetSpec,
    PortGroupWire,
    RuleRefWire,
    RuleWire,
    SharedGroupWire,
)
from nodewall.compile.stepwise import at_once
from nodewall.model.address import Address, IpBlock, Network
from nodewall.model.errors import BadInputError
from nodewall.model.policy import (
    Action,
    DenyWith,
    Direction,
    Icmp,
    IpProtocol,
    Kind,
    NumericPort,
    PortRange,
    Protocol,
    Tier,
)
from nodewall.model.ruleset import (
    AddressGroup,
    Audit,
    Endpoint,
    Isolation,
    Match,
    NodeRuleSet,
    PortGroup,
    PortMember,
    Rule,
    RuleClass,
    RuleLog,
    RuleRef,
    SharedGroup,
)

API_VERSION, KIND = "nodewall.io/v1alpha1", "NodeRuleSet"
T = TypeVar("T")
V = TypeVar("V")
W = TypeVar("W")
_ENTRIES = 64
"""Of a list, encoded at a time. Most are not longer, and are encoded with all else in one go."""


class RuleSetError(BadInputError):
    """A NodeRuleSet that cannot be used as a whole, so none of it is."""


# --- model -> JSON ----------------------------------------------------------------------------------------------------


def encode(ruleset: NodeRuleSet) -> dict[str, Any]:
    """The spec, with its digest."""
    spec: dict[str, Any] = msgspec.json.decode(encode_json(ruleset)[1])
    return spec


def encode_json(ruleset: NodeRuleSet) -> tuple[str, bytes]:
    """(digest, the spec as JSON). Equal rule sets give equal bytes."""
    return at_once(encoding(ruleset))


def encoding(ruleset: NodeRuleSet) -> Generator[None, None, tuple[str, bytes]]:
    """``encode_json`` in small steps. What is left for the last one is copying and hashing: a millisecond for a
    megabyte.
    """
    body = canonical((yield from _spec(ruleset)))
    digest = sha256(body).hexdigest()
    return digest, b'{"digest":"%s",%s' % (digest.encode(), body[1:])


_BLOCKS = attrgetter("match.blocks")
_SHORTEST_BLOCK = len(b'{"cidr":"::/0"},')


def least_size(ruleset: NodeRuleSet) -> int:
    """Bytes that it takes at least, from what can be counted: to encode very many blocks is a lot of work."""
    return _SHORTEST_BLOCK * sum(map(len, map(_BLOCKS, _rules_of(ruleset.classes))))


def _rules_of(classes: Sequence[RuleClass]) -> Iterator[Rule]:
    """Those that are audited too."""
    audits = joined.from_iterable(map(attrgetter("audits"), classes))
    return joined.from_iterable(map(attrgetter("rules"), joined(classes, audits)))


def digest_of(spec: object) -> str:
    """The digest of what is really in a decoded spec, whatever it states; "" for what is no JSON object."""
    if not isinstance(spec, dict):
        return ""
    try:
        body = canonical({key: value for key, value in spec.items() if key != "digest"})
    except OverflowError:  # a number that no spec of ours has
        return ""
    return sha256(body).hexdigest()


CHANGED_AT = "nodewall.io/changed-at"
"""Annotation of the object: when the change happened that its spec was written for, RFC 3339 with microseconds. No part
of the content, so it makes no object another one."""


HELD = "nodewall.io/held"
"""Annotation of the object: why it is older than what its policies ask for; no such annotation while it is not."""


def document(ruleset: NodeRuleSet) -> dict[str, Any]:
    """The object as a user would apply it."""
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": ruleset.node}, "spec": encode(ruleset)}


def canonical(value: object) -> bytes:
    """Equal values are equal bytes."""
    return msgspec.json.encode(value, order="sorted")


def _spec(ruleset: NodeRuleSet) -> Generator[None, None, dict[str, Any]]:
    """Everything but the digest."""
    own = yield from _own(ruleset)
    return own | _shared(ruleset)


def _shared(ruleset: NodeRuleSet) -> dict[str, Any]:
    """What refers to groups elsewhere; nothing without any, so that a small cluster's objects have no such fields."""
    wires = [SharedGroupWire(one.name, "Addresses", one.parts) for one in ruleset.shared]
    wires += [SharedGroupWire(one.name, "Destinations", one.parts) for one in ruleset.shared_ports]
    found: dict[str, Any] = {"sharedGroups": wires} if wires else {}
    return found | ({"groupsRevision": ruleset.revision} if ruleset.revision else {})


def _own(ruleset: NodeRuleSet) -> Generator[None, None, dict[str, Any]]:
    return {
        "addressGroups": (yield from _listed(ruleset.groups, _group_wires)),
        "portGroups": (yield from _port_groups(ruleset.port_groups)),
        "classes": (yield from _classes(ruleset.classes)),
        "endpoints": (yield from _listed(ruleset.endpoints, _endpoint_wires)),
        "policies": (yield from _listed(ruleset.rules, _ref_wires)),
        "podCIDRs": [str(one) for one in ruleset.pod_cidrs],
    }


def _listed(values: Sequence[V], wires: Callable[[Sequence[V]], object]) -> Generator[None, None, Any]:
    """A list on the wire. A long one is JSON already, made of some entries at a time."""
    if len(values) <= _ENTRIES:
        return wires(values)
    parts = list[bytes]()
    for start in range(0, len(values), _ENTRIES):
        parts.append(canonical(wires(values[start : start + _ENTRIES]))[1:-1])
        yield
    return msgspec.Raw(b"[" + b",".join(parts) + b"]")


def _group_wires(groups: Sequence[AddressGroup]) -> list[AddressGroupWire]:
    return [AddressGroupWire(one.name, one.description, list(one.addresses)) for one in groups]


def _port_groups(groups: Sequence[PortGroup]) -> Generator[None, None, list[PortGroupWire]]:
    found = list[PortGroupWire]()
    for one in groups:
        found.append(PortGroupWire(one.name, one.description, (yield from _listed(one.members, _member_texts))))
        yield
    return found


def _member_texts(members: Sequence[PortMember]) -> list[str]:
    return [member_text(one) for one in members]


def _endpoint_wires(endpoints: Sequence[Endpoint]) -> list[EndpointWire]:
    return [EndpointWire(one.namespace, one.pod, list(one.addresses), one.ingress, one.egress) for one in endpoints]


def member_text(member: PortMember) -> str:
    """``10.0.0.1/TCP/80``"""
    return f"{member.address}/{member.protocol}/{member.port}"


def _classes(classes: Sequence[RuleClass]) -> Generator[None, None, list[ClassWire]]:
    found = list[ClassWire]()
    for one in classes:
        if _weight(one) <= _ENTRIES:  # what most are: without the cost of steps
            found.append(_class_wire(one, _rule_wires(one.rules), _audit_wires(one.audits)))
        else:
            rules = yield from _listed_in_steps(one.rules, _rule_steps)
            found.append(_class_wire(one, rules, (yield from _listed_in_steps(one.audits, _audit_steps))))
        yield
    return found


def _weight(one: RuleClass) -> int:
    """Rules and blocks: the rules of few audits may be many, and the blocks of one rule."""
    rules = tuple(_rules_of([one]))
    return len(one.audits) + len(rules) + sum(map(len, map(_BLOCKS, rules)))


def _listed_in_steps(
    values: Sequence[V], wire: Callable[[V], Generator[None, None, object]]
) -> Generator[None, None, Any]:
    """As ``_listed``, of entries that may be long themselves."""
    if not values:
        return []
    parts = list[bytes]()
    for start in range(0, len(values), _ENTRIES):
        wires = list[object]()
        for value in values[start : start + _ENTRIES]:
            wires.append((yield from wire(value)))
        parts.append(canonical(wires)[1:-1])
        yield
    return msgspec.Raw(b"[" + b",".join(parts) + b"]")


def _rule_steps(rule: Rule) -> Generator[None, None, RuleWire]:
    return _rule_wire(rule, (yield from _listed(rule.match.blocks, _block_wires)))


def _audit_steps(audit: Audit) -> Generator[None, None, AuditWire]:
    return AuditWire((yield from _listed_in_steps(audit.rules, _rule_steps)))


def _class_wire(one: RuleClass, rules: list[RuleWire], audits: list[AuditWire]) -> ClassWire:
    isolation = None if one.isolation is None else _isolation_wire(one.isolation)
    return ClassWire(one.name, one.direction.value, rules, isolation, audits)


def _audit_wires(audits: Sequence[Audit]) -> list[AuditWire]:
    return [AuditWire(_rule_wires(one.rules)) for one in audits]


def _isolation_wire(one: Isolation) -> IsolationWire:
    return IsolationWire(one.id, list(one.policies), one.count, _log_wire(one.log))


def _log_wire(log: RuleLog | None) -> LogWire | None:
    return None if log is None else LogWire(log.rate, log.burst)


def _rule_wires(rules: Sequence[Rule]) -> list[RuleWire]:
    return [_rule_wire(one, _block_wires(one.match.blocks)) for one in rules]


def _block_wires(blocks: Sequence[IpBlock]) -> list[BlockWire]:
    return [BlockWire(str(one.cidr), [str(each) for each in one.excepts]) for one in blocks]


def _rule_wire(rule: Rule, blocks: list[BlockWire]) -> RuleWire:
    return RuleWire(
        id=rule.id,
        tier=_TIER_NAMES[rule.tier],
        action=rule.action.value,
        any_peer=rule.match.any_peer,
        any_port=rule.match.any_port,
        groups=list(rule.match.groups),
        blocks=blocks,
        ports=[port_text(one) for one in rule.match.ports],
        port_groups=list(rule.match.port_groups),
        deny_with=rule.deny_with.value,
        log=_log_wire(rule.log),
    )


def port_text(port: NumericPort) -> str:
    """``TCP``, ``TCP/80``, ``UDP/5000-5999``, ``ICMP``, ``ICMP/8``, ``ICMPv6/128/0`` or ``IP/47``."""
    if isinstance(port, PortRange):
        if port.whole:
            return port.protocol
        return f"{port.protocol}/{port.first}" + ("" if port.first == port.last else f"-{port.last}")
    if isinstance(port, IpProtocol):
        return f"IP/{port.number}"
    return "/".join([_ICMP_NAMES[port.family], *(str(one) for one in (port.type, port.code) if one >= 0)])


def _ref_wires(refs: Sequence[RuleRef]) -> list[RuleRefWire]:
    return [
        RuleRefWire(
            id=one.id,
            kind=one.kind.value,
            name=one.name,
            direction=one.direction.value,
            rule=one.rule,
            namespace=one.namespace,
            label=one.label,
        )
        for one in refs
    ]


_TIER_NAMES: dict[Tier, Any] = {
    Tier.ADMIN: "Admin",
    Tier.NAMESPACE: "Namespace",
    Tier.NETWORK_POLICY: "NetworkPolicy",
    Tier.BASELINE: "Baseline",
}
_TIERS: dict[str, Tier] = {name: tier for tier, name in _TIER_NAMES.items()}
_ICMP_NAMES = {4: "ICMP", 6: "ICMPv6"}
_ICMP_FAMILIES = {name: number for number, name in _ICMP_NAMES.items()}


# --- JSON -> model ----------------------------------------------------------------------------------------------------


def decode(body: Body) -> NodeRuleSet:
    """:raises RuleSetError: unknown fields, a digest that is not that of the content, names that lead nowhere."""
    raw = decode_body(body)
    node = meta_of(raw, namespaced=False).name
    try:
        return _decode_spec(node, raw.get("spec"))
    except Unusable as error:
        raise RuleSetError(error.message, subject=f"{KIND} {node}", path=error.path) from None


def stated_digest(body: Body) -> str:
    """The digest that the object states; "" where it states none."""
    found = mapping(decode_body(body).get("spec")).get("digest")
    return found if isinstance(found, str) else ""


class Unusable(Exception):  # noqa: N818 - turned into RuleSetError, with the node's name, at the one exit
    """What is wrong with a spec, and where."""

    def __init__(self, path: str, message: str) -> None:
        self.path, self.message = path, message
        super().__init__(message)


def _decode_spec(node: str, raw: object) -> NodeRuleSet:
    report = Report()
    wire = convert(raw, NodeRuleSetSpec, "spec", report)
    if wire is None:
        raise Unusable(report.problems[0].path, report.problems[0].message)
    if wire.digest != digest_of(raw):
        raise Unusable("spec.digest", "is not the digest of the rest; the object was changed, or is of another version")
    lists = {name: _each(getattr(wire, one.field), one.read, f"spec.{name}") for name, one in ENTRIES.items()}
    return of_lists(node, lists, wire.groups_revision)


def of_lists(node: str, lists: Mapping[str, tuple[Any, ...]], revision: int) -> NodeRuleSet:
    """The rule set that holds what was read of each of ``ENTRIES``. Raises Unusable when a name leads nowhere."""
    shared: tuple[SharedGroupWire, ...] = lists["sharedGroups"]
    ruleset = NodeRuleSet(
        node=node,
        groups=lists["addressGroups"],
        port_groups=lists["portGroups"],
        classes=lists["classes"],
        endpoints=lists["endpoints"],
        rules=lists["policies"],
        pod_cidrs=lists["podCIDRs"],
        shared=_shared_groups(shared, "Addresses"),
        shared_ports=_shared_groups(shared, "Destinations"),
        revision=revision,
    )
    _check_names(ruleset)
    return ruleset


def _each(wires: Iterable[W], read: Callable[[W, str], T], at: str) -> tuple[T, ...]:
    return tuple(read(one, f"{at}[{index}]") for index, one in enumerate(wires))


def _address(text: str, at: str) -> Address:
    found = address(text)
    if found != text:
        raise Unusable(at, f"{text!r} is not an IP address in its canonical spelling")
    return Address(text)


def _network(text: str, at: str) -> Network:
    found = network(text)
    if found is None or str(found) != text:
        raise Unusable(at, f"{text!r} is not a CIDR in its canonical spelling")
    return found


def _group(wire: AddressGroupWire, at: str) -> AddressGroup:
    return AddressGroup(wire.name, wire.description, _each(wire.addresses, _address, f"{at}.addresses"))


def _group_again(wire: AddressGroupWire, was: AddressGroup) -> AddressGroup:
    known = dict(zip(was.addresses, was.addresses, strict=True))
    addresses = [known.get(text) or _address(text, "") for text in wire.addresses]  # type: ignore[call-overload]
    return AddressGroup(wire.name, wire.description, tuple(addresses))


def _port_group(wire: PortGroupWire, at: str) -> PortGroup:
    return PortGroup(wire.name, wire.description, _each(wire.members, _member, f"{at}.members"))


def _port_group_again(wire: PortGroupWire, was: PortGroup) -> PortGroup:
    known = {member_text(one): one for one in was.members}
    return PortGroup(
        wire.name, wire.description, tuple([known.get(text) or _member(text, "") for text in wire.members])
    )


def _shared_groups(wires: Iterable[SharedGroupWire], holds: str) -> tuple[SharedGroup, ...]:
    return tuple(SharedGroup(one.name, one.parts) for one in wires if one.holds == holds)


def _member(text: str, at: str) -> PortMember:
    parts = text.split("/")
    port = _port("/".join(parts[1:]), at) if len(parts) == 3 else None
    if not isinstance(port, PortRange) or port.first != port.last:
        raise Unusable(at, f"{text!r} is not like 10.0.0.1/TCP/80")
    return PortMember(_address(parts[0], at), port.protocol, port.first)


_PORTS = re.compile(r"(?P<protocol>TCP|UDP|SCTP)(?:/(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?)?", re.ASCII)
_ICMPS = re.compile(r"(?P<family>ICMP|ICMPv6)(?:/(?P<type>[0-9]{1,3})(?:/(?P<code>[0-9]{1,3}))?)?", re.ASCII)
_NUMBER = re.compile(r"IP/(?P<number>[0-9]{1,3})", re.ASCII)


def _port(text: str, at: str) -> NumericPort:
    for form, read in ((_PORTS, _port_range), (_ICMPS, _icmp), (_NUMBER, _ip_protocol)):
        found = form.fullmatch(text)
        port = read(found.groupdict()) if found else None
        if port is not None and port_text(port) == text:
            return port
    raise Unusable(at, f"{text!r} is not like TCP/80, TCP/80-90, ICMP/8/0 or IP/47")


def _port_range(found: Mapping[str, str | None]) -> PortRange | None:
    protocol = Protocol(found["protocol"] or "")
    if found["first"] is None:
        return PortRange(protocol)
    first = int(found["first"])
    last = int(found["last"] or first)
    return PortRange(protocol, first, last) if first <= last <= 65535 else None


def _icmp(found: Mapping[str, str | None]) -> Icmp | None:
    kind, code = int(found["type"] or -1), int(found["code"] or -1)
    return Icmp(_ICMP_FAMILIES[found["family"] or ""], kind, code) if max(kind, code) <= 255 else None


def _ip_protocol(found: Mapping[str, str | None]) -> IpProtocol | None:
    number = int(found["number"] or 0)
    return IpProtocol(number) if number <= 255 else None


def _class(wire: ClassWire, at: str) -> RuleClass:
    return RuleClass(
        name=wire.name,
        direction=Direction(wire.direction),
        rules=_each(wire.rules, _rule, f"{at}.rules"),
        isolation=None if wire.isolation is None else _isolation(wire.isolation),
        audits=_each(wire.audits, _audit, f"{at}.audits"),
    )


def _isolation(wire: IsolationWire) -> Isolation:
    return Isolation(wire.id, tuple(wire.policies), wire.count, _log(wire.log))


def _audit(wire: AuditWire, at: str) -> Audit:
    return Audit(_each(wire.rules, _rule, f"{at}.rules"))


def _log(wire: LogWire | None) -> RuleLog | None:
    return None if wire is None else RuleLog(wire.rate, wire.burst)


def _rule(wire: RuleWire, at: str) -> Rule:
    match = Match(
        any_peer=wire.any_peer,
        groups=tuple(wire.groups),
        blocks=_each(wire.blocks, _block, f"{at}.blocks"),
        any_port=wire.any_port,
        ports=_each(wire.ports, _port, f"{at}.ports"),
        port_groups=tuple(wire.port_groups),
    )
    return Rule(
        id=wire.id,
        tier=_TIERS[wire.tier],
        action=Action(wire.action),
        match=match,
        deny_with=DenyWith(wire.deny_with),
        log=_log(wire.log),
    )


def _block(wire: BlockWire, at: str) -> IpBlock:
    return IpBlock(_network(wire.cidr, f"{at}.cidr"), _each(wire.except_, _network, f"{at}.except"))


def _endpoint(wire: EndpointWire, at: str) -> Endpoint:
    addresses = _each(wire.addresses, _address, f"{at}.addresses")
    return Endpoint(wire.namespace, wire.pod, addresses, wire.ingress, wire.egress)


def _ref(wire: RuleRefWire, _at: str) -> RuleRef:
    return RuleRef(
        id=wire.id,
        kind=Kind(wire.kind),
        namespace=wire.namespace,
        name=wire.name,
        direction=Direction(wire.direction),
        rule=wire.rule,
        label=wire.label,
    )


def _as_it_is(wire: W, _at: str) -> W:
    return wire


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of one of the spec's lists: the list's ``field`` in ``NodeRuleSetSpec``, what the entry is on the wire,
    and what reads it (wire, path); that raises Unusable.

    ``again`` reads (wire, what the entry of that name was before): members that it had are known to be some, and stay
    the same objects.
    """

    field: str
    form: Any
    read: Callable[[Any, str], Any]
    again: Callable[[Any, Any], Any] | None = None


ENTRIES: Mapping[str, Entry] = {
    "addressGroups": Entry("address_groups", AddressGroupWire, _group, _group_again),
    "portGroups": Entry("port_groups", PortGroupWire, _port_group, _port_group_again),
    "classes": Entry("classes", ClassWire, _class),
    "endpoints": Entry("endpoints", EndpointWire, _endpoint),
    "policies": Entry("policies", RuleRefWire, _ref),
    "podCIDRs": Entry("pod_cidrs", str, _network),
    "sharedGroups": Entry("shared_groups", SharedGroupWire, _as_it_is),
}
"""By the name of the list."""


def read_address(text: str) -> Address | None:
    """None unless it is an address in its canonical spelling."""
    return Address(text) if address(text) == text else None


def read_member(text: str) -> PortMember | None:
    """The opposite of ``member_text``; None for what that would not write."""
    try:
        return _member(text, "")
    except Unusable:
        return None


# --- names ------------------------------------------------------------------------------------------------------------


def _check_names(ruleset: NodeRuleSet) -> None:
    """Every name leads to exactly one thing, and a pod's class judges the direction that it is named for."""
    groups = _unique(_names(ruleset.groups, ruleset.shared), "spec.addressGroups")
    port_groups = _unique(_names(ruleset.port_groups, ruleset.shared_ports), "spec.portGroups")
    refs = _unique((one.id for one in ruleset.rules), "spec.policies")
    _unique((one.name for one in ruleset.classes), "spec.classes")
    for index, one in enumerate(ruleset.classes):
        for rule in joined(one.rules, *(audit.rules for audit in one.audits)):
            match = rule.match
            if rule.id in refs and groups.issuperset(match.groups) and port_groups.issuperset(match.port_groups):
                continue  # which is so for thousands, with every change
            at = f"spec.classes[{index}].rules"
            _known([rule.id], refs, at, "policies")
            _known(match.groups, groups, at, "addressGroups")
            _known(match.port_groups, port_groups, at, "portGroups")
    _check_endpoints(ruleset)


def _names(held: Iterable[AddressGroup | PortGroup], shared: Iterable[SharedGroup]) -> list[str]:
    return [*(one.name for one in held), *(one.name for one in shared)]


def _check_endpoints(ruleset: NodeRuleSet) -> None:
    classes = {
        direction: frozenset(one.name for one in ruleset.classes if one.direction is direction) | {""}
        for direction in Direction
    }
    for index, one in enumerate(ruleset.endpoints):
        if one.ingress in classes[Direction.INGRESS] and one.egress in classes[Direction.EGRESS]:
            continue
        _known([one.ingress], classes[Direction.INGRESS], f"spec.endpoints[{index}].ingress", "ingress classes")
        _known([one.egress], classes[Direction.EGRESS], f"spec.endpoints[{index}].egress", "egress classes")
    _unique((each for one in ruleset.endpoints for each in one.addresses), "spec.endpoints", "address")


def _unique(names: Iterable[str], at: str, what: str = "name") -> frozenset[str]:
    each = list(names)
    found = frozenset(each)
    if len(found) != len(each):
        repeated = next(name for name, count in Counter(each).items() if count > 1)
        raise Unusable(at, f"{what} {repeated!r} stands there twice")
    return found


def _known(names: Iterable[str], known: frozenset[str], at: str, where: str) -> None:
    for name in names:
        if name not in known:
            raise Unusable(at, f"{name!r} is not among the {where}")
