"""A policy's rules, ready but for what depends on the pod that they protect.

Two things do: the pod's namespace (``sameNamespace``) and, in ingress, the port names that it exposes. Every other rule
is bound once per policy, whatever the number of pods.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TypeVar

from nodewall.compile.groups import (
    ANY_POD,
    GroupKey,
    NamedPorts,
    PortGroupKey,
    ServicePorts,
    group_name,
    in_namespace,
    port_group_name,
    ports_in_namespace,
)
from nodewall.compile.names import rule_id
from nodewall.compile.ports import canonical, resolved
from nodewall.compile.settings import Settings
from nodewall.model.address import IpBlock
from nodewall.model.cluster import ContainerPort, LogWish
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    Action,
    AllowRule,
    Anyone,
    AnyPort,
    DenyWith,
    Direction,
    Mode,
    NetworkPolicy,
    NumericPort,
    Peers,
    PodPeer,
    PolicyRef,
    PortName,
    Ports,
    SameNamespace,
    ServiceAccountPeer,
    ServicePeer,
    Tier,
    TierPolicy,
    TierRule,
    evaluation_order,
)
from nodewall.model.ruleset import Match, Rule, RuleLog, RuleRef

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Bound:
    """A rule as it protects a pod, with the groups that it refers to by name."""

    rule: Rule
    ref: RuleRef
    groups: tuple[tuple[str, GroupKey], ...]
    port_groups: tuple[tuple[str, PortGroupKey], ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A rule that each pod binds. ``names`` (ingress) resolve on the pod; the groups may say sameNamespace.

    ``rule.match`` holds what no pod can change, and no groups yet.
    """

    rule: Rule
    ref: RuleRef
    groups: tuple[GroupKey, ...] = ()
    names: tuple[PortName, ...] = ()
    port_groups: tuple[PortGroupKey, ...] = ()

    @property
    def depends_on_namespace(self) -> bool:
        pods = (*self.groups, *(each.pods for each in self.port_groups if isinstance(each, NamedPorts)))
        return any(isinstance(each, PodPeer) and isinstance(each.namespaces, SameNamespace) for each in pods)


@dataclass(frozen=True, slots=True)
class Templates:
    """One policy in one direction. ``order`` sorts the policies of a pod; ``isolates``: it closes the pod."""

    policy: PolicyRef
    order: tuple[int, int, int, str, str]
    rules: tuple[Bound | Template, ...]
    isolates: bool = False
    audit: bool = False

    @property
    def tier(self) -> int:
        return self.order[0]

    @property
    def named(self) -> bool:
        """Whether the ports of the protected pod matter."""
        return any(isinstance(each, Template) and each.names for each in self.rules)


# --- from policies ----------------------------------------------------------------------------------------------------


def of_network_policy(
    policy: NetworkPolicy, direction: Direction, wish: LogWish, settings: Settings
) -> Templates | None:
    """None: the policy does not isolate in this direction, so its section there has no effect (semantics 2)."""
    rules = policy.rules(direction)
    if rules is None:
        return None
    log = settings.log if wish in (LogWish.ACCEPT, LogWish.ALL) else None
    templates = (_template(policy.ref, direction, each, _accept(policy.ref, direction, each, log)) for each in rules)
    order = (Tier.NETWORK_POLICY, 0, 0, policy.namespace, policy.name)
    return Templates(policy.ref, order, _bound_early(templates), isolates=True)


def _accept(ref: PolicyRef, direction: Direction, rule: AllowRule, log: RuleLog | None) -> Rule:
    return Rule(rule_id(ref, direction, rule.index), Tier.NETWORK_POLICY, Action.ACCEPT, _match(rule), log=log)


def of_tier_policy(policy: TierPolicy, direction: Direction) -> Templates | None:
    """None: the policy does nothing in this direction."""
    rules = policy.rules(direction)
    if not rules or policy.mode is Mode.DISABLED:
        return None
    templates = (_template(policy.ref, direction, each, _tier_rule(policy, direction, each)) for each in rules)
    return Templates(policy.ref, evaluation_order(policy), _bound_early(templates), audit=policy.mode is Mode.AUDIT)


def _tier_rule(policy: TierPolicy, direction: Direction, rule: TierRule) -> Rule:
    return Rule(
        id=rule_id(policy.ref, direction, rule.index),
        tier=policy.tier,
        action=rule.action,
        match=_match(rule),
        deny_with=rule.deny_with if rule.action is Action.DENY else DenyWith.DROP,
        log=RuleLog(rule.logging.rate, rule.logging.burst) if _recorded(policy.mode, rule) else None,
    )


def _recorded(mode: Mode, rule: TierRule) -> bool:
    """A record is all that an Audit policy does: without one it would be as if disabled."""
    wanted = {Action.ACCEPT: rule.logging.accept, Action.DENY: rule.logging.deny, Action.PASS: False}
    return mode is Mode.AUDIT or wanted[rule.action]


def _match(rule: AllowRule | TierRule) -> Match:
    numeric, _ = _split(rule.ports)
    return Match(
        any_peer=rule.peers is ANYONE, blocks=_blocks(rule.peers), any_port=rule.ports is ANY_PORT, ports=numeric
    )


def _template(policy: PolicyRef, direction: Direction, rule: AllowRule | TierRule, bare: Rule) -> Template:
    egress = direction is Direction.EGRESS
    return Template(
        rule=bare,
        ref=_ref(policy, direction, rule, bare.id),
        groups=tuple(_groups(rule.peers, egress)),
        names=() if egress else _split(rule.ports)[1],
        port_groups=tuple(_port_groups(rule.peers, rule.ports)) if egress else (),
    )


def _ref(policy: PolicyRef, direction: Direction, rule: AllowRule | TierRule, id_: str) -> RuleRef:
    place = f"{direction.lower()}[{rule.index}]"
    name, label = (rule.name, rule.logging.label) if isinstance(rule, TierRule) else ("", "")
    return RuleRef(id_, policy.kind, policy.namespace, policy.name, direction, name or place, label)


def _split(ports: Ports) -> tuple[tuple[NumericPort, ...], tuple[PortName, ...]]:
    if isinstance(ports, AnyPort):
        return (), ()
    names = tuple(dict.fromkeys(each for each in ports if isinstance(each, PortName)))
    return canonical(each for each in ports if not isinstance(each, PortName)), names


def _blocks(peers: Peers) -> tuple[IpBlock, ...]:
    if isinstance(peers, Anyone):
        return ()
    blocks = (each for each in peers if isinstance(each, IpBlock))
    return tuple(sorted({IpBlock(each.cidr, tuple(sorted(set(each.excepts), key=str))) for each in blocks}, key=str))


def _groups(peers: Peers, egress: bool) -> Iterator[GroupKey]:
    """Peers that stand for addresses whatever the port; in egress a Service does not, it means its target ports."""
    for peer in () if isinstance(peers, Anyone) else peers:
        if not isinstance(peer, IpBlock) and not (egress and isinstance(peer, ServicePeer)):
            yield peer


def _port_groups(peers: Peers, ports: Ports) -> Iterator[PortGroupKey]:
    """Of an egress rule. Blocks, networks and nodes are not here: they expose no names (semantics 33)."""
    numeric, names = _split(ports)
    for peer in (ANY_POD,) if isinstance(peers, Anyone) else peers:
        if isinstance(peer, PodPeer | ServiceAccountPeer):
            yield from (NamedPorts(peer, each) for each in names)
        elif isinstance(peer, ServicePeer):
            yield ServicePorts(peer, ANY_PORT if isinstance(ports, AnyPort) else numeric)


# --- for a pod --------------------------------------------------------------------------------------------------------


def bound(rules: Iterable[Bound | Template], namespace: str, exposed: tuple[ContainerPort, ...]) -> Iterator[Bound]:
    """The rules as they protect a pod of ``namespace`` that exposes these ports, without those that match nothing."""
    for each in rules:
        found = each if isinstance(each, Bound) else _bind(each, namespace, exposed)
        if found:
            yield found


def _bound_early(templates: Iterable[Template]) -> tuple[Bound | Template, ...]:
    early = (each if each.names or each.depends_on_namespace else _bind(each, "", ()) for each in templates)
    return tuple(each for each in early if each)


def _bind(template: Template, namespace: str, exposed: tuple[ContainerPort, ...]) -> Bound | None:
    fixed = template.rule.match
    groups = _by_name(group_name, (in_namespace(each, namespace) for each in template.groups))
    port_groups = _by_name(port_group_name, (ports_in_namespace(each, namespace) for each in template.port_groups))
    ports = canonical((*fixed.ports, *resolved(template.names, exposed))) if template.names else fixed.ports
    somebody = fixed.any_peer or groups or fixed.blocks
    if not (somebody and (fixed.any_port or ports)):  # one half alone matches nothing, so neither is worth a byte
        fixed, groups, ports = Match(), (), ()
    match = replace(fixed, groups=_names(groups), ports=ports, port_groups=_names(port_groups))
    if match == Match():
        return None
    return Bound(replace(template.rule, match=match), template.ref, groups, port_groups)


def _by_name(namer: Callable[[K], str], keys: Iterable[K]) -> tuple[tuple[str, K], ...]:
    named = {namer(key): key for key in keys}
    return tuple(sorted(named.items(), key=itemgetter(0)))


def _names(named: tuple[tuple[str, object], ...]) -> tuple[str, ...]:
    return tuple(name for name, _ in named)


def references(rules: Iterable[Bound | Template]) -> Iterator[tuple[str, GroupKey | PortGroupKey]]:
    """The groups that rules name whichever pod they protect."""
    for each in rules:
        if isinstance(each, Bound):
            yield from each.groups
            yield from each.port_groups
        else:
            yield from ((group_name(key), key) for key in each.groups if in_namespace(key, "") == key)
            yield from ((port_group_name(key), key) for key in each.port_groups if ports_in_namespace(key, "") == key)
