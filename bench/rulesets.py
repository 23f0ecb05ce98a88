"""Rule sets of one node, of any size, and what they look like after one change."""

from dataclasses import dataclass, replace
from ipaddress import ip_network

from bench.clusters import address
from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, Kind, PortRange, Protocol, Tier
from nodewall.model.ruleset import AddressGroup, Endpoint, Isolation, Match, NodeRuleSet, Rule, RuleClass, RuleRef

POD_CIDR = ip_network("10.0.0.0/16")
STRANGER = address(0, net=12)
PORT = PortRange(Protocol.TCP, 80, 80)


@dataclass(frozen=True, slots=True)
class Shape:
    """Every pod has a class of its own, every rule a group of its own: the most that so many elements can be."""

    pods: int
    rules: int
    members: int

    def __str__(self) -> str:
        return f"{self.pods} pods x {self.rules} rules x {self.members} peers"


def rule_set(shape: Shape) -> NodeRuleSet:
    classes = tuple(_rule_class(pod, shape.rules) for pod in range(shape.pods))
    return NodeRuleSet(
        node="node",
        groups=tuple(_group(pod, rule, shape) for pod in range(shape.pods) for rule in range(shape.rules)),
        classes=classes,
        endpoints=tuple(_endpoint(pod, one.name) for pod, one in enumerate(classes)),
        rules=tuple(_ref(rule.id) for one in classes for rule in one.rules),
        pod_cidrs=(POD_CIDR,),
    )


def with_pod(before: NodeRuleSet) -> NodeRuleSet:
    """A pod more: in the class of the first, and in one group."""
    joining = _endpoint(len(before.endpoints), before.classes[0].name)
    return replace(with_peer(before, joining.addresses[0]), endpoints=(*before.endpoints, joining))


def with_peer(before: NodeRuleSet, joining: Address = STRANGER) -> NodeRuleSet:
    """A peer more, in the first group."""
    first, *others = before.groups
    members = tuple(sorted((*first.addresses, joining)))
    return replace(before, groups=(replace(first, addresses=members), *others))


def with_policy(before: NodeRuleSet) -> NodeRuleSet:
    """A policy more that selects the first pod: one rule with a group of its own, and so another class."""
    (first, *classes), (pod, *pods) = before.classes, before.endpoints
    group = replace(before.groups[0], name="g9999x999")
    added = replace(first.rules[0], id="r9999x999", match=Match(groups=(group.name,), ports=(PORT,)))
    other = replace(first, name="c9999", rules=(*first.rules, added))
    return replace(
        before,
        groups=(*before.groups, group),
        classes=(*classes, other),
        endpoints=(replace(pod, ingress=other.name), *pods),
        rules=(*before.rules, _ref(added.id)),
    )


def _group(pod: int, rule: int, shape: Shape) -> AddressGroup:
    first = (pod * shape.rules + rule) * shape.members
    members = sorted(address(first + member, net=11) for member in range(shape.members))
    return AddressGroup(f"g{pod:04}x{rule:03}", f"pods app={pod}, rule={rule}", tuple(members))


def _rule_class(pod: int, rules: int) -> RuleClass:
    names = [f"{pod:04}x{rule:03}" for rule in range(rules)]
    judged = (
        Rule(f"r{name}", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=(f"g{name}",), ports=(PORT,)))
        for name in names
    )
    return RuleClass(f"c{pod:04}", Direction.INGRESS, tuple(judged), Isolation(f"i{pod:04}", (f"shop/p{pod}",), 1))


def _endpoint(pod: int, ingress: str) -> Endpoint:
    return Endpoint("shop", f"pod-{pod:04}", (address(pod + 10),), ingress)


def _ref(rule_id: str) -> RuleRef:
    return RuleRef(rule_id, Kind.NETWORK_POLICY, "shop", f"policy-{rule_id}", Direction.INGRESS, "ingress[0]")
