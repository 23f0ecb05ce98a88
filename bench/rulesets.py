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
    """Every class has rules of its own, and every rule a group of its own with so many members.

    With as many classes as pods no two pods are under the same policies: that is the most objects that so many
    elements can be in.
    """

    pods: int
    classes: int
    rules: int
    members: int

    def __str__(self) -> str:
        return f"{self.pods} pods in {self.classes} classes x {self.rules} rules x {self.members} peers"


def rule_set(shape: Shape) -> NodeRuleSet:
    classes = tuple(_rule_class(number, shape.rules) for number in range(shape.classes))
    return NodeRuleSet(
        node="node",
        groups=tuple(_group(number, rule, shape) for number in range(shape.classes) for rule in range(shape.rules)),
        classes=classes,
        endpoints=tuple(_endpoint(pod, classes[pod % shape.classes].name) for pod in range(shape.pods)),
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
    first, (pod, *pods) = before.classes[0], before.endpoints
    group = replace(before.groups[0], name="g9999x999")
    added = replace(first.rules[0], id="r9999x999", match=Match(groups=(group.name,), ports=(PORT,)))
    other = replace(first, name="c9999", rules=(*first.rules, added))
    return replace(
        before,
        groups=(*before.groups, group),
        classes=(*before.classes, other),
        endpoints=(replace(pod, ingress=other.name), *pods),
        rules=(*before.rules, _ref(added.id)),
    )


def _group(number: int, rule: int, shape: Shape) -> AddressGroup:
    first = (number * shape.rules + rule) * shape.members
    members = sorted(address(first + member, net=11) for member in range(shape.members))
    return AddressGroup(f"g{number:04}x{rule:03}", f"pods app={number}, rule={rule}", tuple(members))


def _rule_class(number: int, rules: int) -> RuleClass:
    names = [f"{number:04}x{rule:03}" for rule in range(rules)]
    judged = (
        Rule(f"r{name}", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=(f"g{name}",), ports=(PORT,)))
        for name in names
    )
    isolation = Isolation(f"i{number:04}", (f"shop/policy-{number}",), 1)
    return RuleClass(f"c{number:04}", Direction.INGRESS, tuple(judged), isolation)


def _endpoint(pod: int, ingress: str) -> Endpoint:
    return Endpoint("shop", f"pod-{pod:04}", (address(pod + 10),), ingress)


def _ref(rule_id: str) -> RuleRef:
    return RuleRef(rule_id, Kind.NETWORK_POLICY, "shop", f"policy-{rule_id}", Direction.INGRESS, "ingress[0]")
