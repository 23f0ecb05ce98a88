"""What the step from one rule set to the next means for connections that live, and for addresses that change hands."""

from collections.abc import Iterator
from dataclasses import replace

from nodewall.model.address import Address
from nodewall.model.policy import Action
from nodewall.model.ruleset import NodeRuleSet, Rule, RuleClass

Owner = tuple[str, str]
"""(namespace, pod)"""


def owners(content: NodeRuleSet) -> dict[Address, Owner]:
    return {address: (pod.namespace, pod.pod) for pod in content.endpoints for address in pod.addresses}


def departed(old: NodeRuleSet, new: NodeRuleSet) -> frozenset[Address]:
    """Addresses that left their pod: nobody's now, or another pod's."""
    after = owners(new)
    return frozenset(address for address, owner in owners(old).items() if after.get(address) != owner)


def handed_on(old: NodeRuleSet, new: NodeRuleSet) -> frozenset[Address]:
    """Addresses that another pod owns now. Its predecessor's connections have to go first (semantics 60)."""
    return departed(old, new) & owners(new).keys()


def without(content: NodeRuleSet, addresses: frozenset[Address]) -> NodeRuleSet:
    """The rule set in which nobody owns these addresses."""
    kept = (
        replace(pod, addresses=tuple(each for each in pod.addresses if each not in addresses))
        for pod in content.endpoints
    )
    return replace(content, endpoints=tuple(pod for pod in kept if pod.addresses))


def stricter(old: NodeRuleSet, new: NodeRuleSet) -> bool:
    """Whether a connection that ``old`` accepted might be denied by ``new``. In doubt, yes.

    No is said only where it is plain: pods come or go here, and what rules accept gains members. Each yes costs every
    live connection one more walk through the rules.
    """
    return _judged_otherwise(old, new) or _members_matter(old, new)


def _judged_otherwise(old: NodeRuleSet, new: NodeRuleSet) -> bool:
    """A pod that stays is in another class, or its class is not what it was."""
    before = {(pod.namespace, pod.pod): pod for pod in old.endpoints}
    staying = [(before[owner], pod) for pod in new.endpoints if (owner := (pod.namespace, pod.pod)) in before]
    if any((was.ingress, was.egress) != (now.ingress, now.egress) for was, now in staying):
        return True
    classes_before = {each.name: _verdicts(each) for each in old.classes}
    classes_after = {each.name: _verdicts(each) for each in new.classes}
    used = {name for _, pod in staying for name in (pod.ingress, pod.egress)}
    return any(classes_before.get(name) != classes_after.get(name) for name in used)


def _verdicts(rule_class: RuleClass) -> tuple[object, ...]:
    """What decides in a class; what only records does not."""
    rules = tuple((rule.tier, rule.action, rule.match) for rule in rule_class.rules)
    return (rule_class.direction, rules, rule_class.isolation is not None)


def _members_matter(old: NodeRuleSet, new: NodeRuleSet) -> bool:
    """A group that rules use lost a member, or one that rules deny or pass on gained one."""
    lost, gained = _moved(old, new)
    others = _used(new, {Action.DENY, Action.PASS})
    return bool(lost & (_used(new, {Action.ACCEPT}) | others) or gained & others)


def looser(old: NodeRuleSet, new: NodeRuleSet) -> bool:
    """Whether a packet that ``old`` denied might be let in by ``new``, of which nothing but members differs."""
    lost, gained = _moved(old, new)
    return bool(gained & _used(new, {Action.ACCEPT, Action.PASS}) or lost & _used(new, {Action.DENY, Action.PASS}))


def _moved(old: NodeRuleSet, new: NodeRuleSet) -> tuple[set[str], set[str]]:
    """(groups that lost a member, groups that gained one), of those that are in both."""
    before, after = _members(old), _members(new)
    # What was put together before is the very same tuple.
    changed = {name for name in before.keys() & after.keys() if before[name] is not after[name]}
    lost = {name for name in changed if set(before[name]) - set(after[name])}
    gained = {name for name in changed if set(after[name]) - set(before[name])}
    return lost, gained


def _members(content: NodeRuleSet) -> dict[str, tuple[object, ...]]:
    groups: dict[str, tuple[object, ...]] = {f"addresses {group.name}": group.addresses for group in content.groups}
    return groups | {f"ports {group.name}": group.members for group in content.port_groups}


def _used(content: NodeRuleSet, actions: set[Action]) -> frozenset[str]:
    rules = (rule for each in content.classes for rule in each.rules if rule.action in actions)
    return frozenset(name for rule in rules for name in _names(rule))


def _names(rule: Rule) -> Iterator[str]:
    yield from (f"addresses {name}" for name in rule.match.groups)
    yield from (f"ports {name}" for name in rule.match.port_groups)
