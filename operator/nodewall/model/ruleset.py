"""A node's rule set: all that its agent needs to know, and nothing else.

A packet is judged for the egress of its source and for the ingress of its destination, each by the class of the local
pod that owns the address. Within a class the tiers are walked in order (``Tier``); rules of a tier other than
NetworkPolicy are an ordered list where the first match decides, NetworkPolicy rules are a union of Accepts followed by
a deny when ``isolation`` is set.
"""

from dataclasses import dataclass

from nodewall.model.address import Address, IpBlock, Network
from nodewall.model.policy import Action, DenyWith, Direction, Kind, NumericPort, Protocol, Tier


@dataclass(frozen=True, slots=True)
class AddressGroup:
    """Addresses of the pods, nodes or endpoints that one selector stands for, sorted. No members: matches nothing."""

    name: str
    description: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, order=True)
class PortMember:
    address: Address
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class PortGroup:
    """(address, protocol, port) triples of destinations: an egress named port, or a Service's endpoints. Never a cross
    product.
    """

    name: str
    description: str
    members: tuple[PortMember, ...]


@dataclass(frozen=True, slots=True, order=True)
class SharedGroup:
    """A group whose members are in ``parts`` objects that many nodes share, and not in the rule set."""

    name: str
    parts: int


PartKey = tuple[str, int, int]
"""(group, parts, part): the name of the group, in how many parts it is held, and which of them, from 0."""


@dataclass(frozen=True, slots=True)
class GroupPart:
    """One of ``parts`` pieces of a shared group: ``content`` has its name, and the members that fall into the piece."""

    content: AddressGroup | PortGroup
    parts: int
    part: int

    @property
    def key(self) -> PartKey:
        return self.content.name, self.parts, self.part


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule matches.

    ``(any_peer or peer in groups or peer in blocks) and (any_port or port in ports)``, or (egress only) the
    destination's (address, protocol, port) in one of ``port_groups``. The peer is the source in ingress, the
    destination in egress. Group fields hold names. Everything empty and nothing "any": matches no packet.
    """

    any_peer: bool = False
    groups: tuple[str, ...] = ()
    blocks: tuple[IpBlock, ...] = ()
    any_port: bool = False
    ports: tuple[NumericPort, ...] = ()
    port_groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleLog:
    """Record the first packet of connections that this rule decides: at most ``rate`` per second, with ``burst``."""

    rate: int
    burst: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a class. ``id`` names it in ``NodeRuleSet.rules``, nft comments and log records. ``log`` None:
    unrecorded.
    """

    id: str
    tier: Tier
    action: Action
    match: Match
    deny_with: DenyWith = DenyWith.DROP
    log: RuleLog | None = None


@dataclass(frozen=True, slots=True)
class Isolation:
    """The deny that ends the NetworkPolicy tier. ``policies`` are those that isolate ("namespace/name", sorted, at
    most 8), ``count`` how many there are in all."""

    id: str
    policies: tuple[str, ...]
    count: int
    log: RuleLog | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """A policy in Audit mode, judged alone: the first matching rule is its would-be verdict, and changes nothing."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class RuleClass:
    """Pods with the same effective rules in one direction. ``rules`` are in order of evaluation (tier, then order in
    it).
    """

    name: str
    direction: Direction
    rules: tuple[Rule, ...] = ()
    isolation: Isolation | None = None
    audits: tuple[Audit, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A local pod, selected by a policy or not. A class name of "" means that nothing is judged in that direction."""

    namespace: str
    pod: str
    addresses: tuple[Address, ...]
    ingress: str = ""
    egress: str = ""


@dataclass(frozen=True, slots=True)
class RuleRef:
    """Where a rule id comes from: ``rule`` is its name, or its place (``ingress[0]``); ``label`` is the user's log
    label.
    """

    id: str
    kind: Kind
    namespace: str
    name: str
    direction: Direction
    rule: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class NodeRuleSet:
    """One object, one atomic unit for a node. All tuples sorted by name or id, so that equal input gives equal
    bytes.

    ``shared`` and ``shared_ports`` are groups whose members are elsewhere, as they were at ``revision`` or later.
    """

    node: str
    groups: tuple[AddressGroup, ...] = ()
    port_groups: tuple[PortGroup, ...] = ()
    classes: tuple[RuleClass, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    rules: tuple[RuleRef, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()
    shared: tuple[SharedGroup, ...] = ()
    shared_ports: tuple[SharedGroup, ...] = ()
    revision: int = 0
