"""What the step from one rule set to the next means for connections that live, and for addresses that change hands.

What is the very same object in both is passed over: of all that a rule set holds, that is nearly everything.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from nodewall.model.address import Address
from nodewall.model.policy import Action
from nodewall.model.ruleset import AddressGroup, Endpoint, Match, NodeRuleSet, PortGroup, RuleClass
from nodewall.render.reuse import unlike

G = TypeVar("G", AddressGroup, PortGroup)
Owner = tuple[str, str]
"""(namespace, pod)"""


def owners(content: NodeRuleSet) -> dict[Address, Owner]:
    return _owners(content.endpoints)


def _owners(endpoints: Iterable[Endpoint]) -> dict[Address, Owner]:
    return {address: (pod.namespace, pod.pod) for pod in endpoints for address in pod.addresses}


def departed(old: NodeRuleSet, new: NodeRuleSet) -> frozenset[Address]:
    """Addresses that left their pod: nobody's now, or another pod's."""
    gone, come = unlike(old.endpoints, new.endpoints)
    after = _owners(come)
    return frozenset(address for address, owner in _owners(gone).items() if after.get(address) != owner)


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
    gone, come = unlike(old.endpoints, new.endpoints)
    before = {(pod.namespace, pod.pod): pod for pod in gone}
    staying = [(before[owner], pod) for pod in come if (owner := (pod.namespace, pod.pod)) in before]
    if any((was.ingress, was.egress) != (now.ingress, now.egress) for was, now in staying):
        return True
    others = frozenset(_other_classes(old, new))
    return bool(others) and not others.isdisjoint(_classes_of_staying(old, new))


def _other_classes(old: NodeRuleSet, new: NodeRuleSet) -> Iterator[str]:
    """The classes that decide otherwise than before, or that were not there, or are not any more."""
    gone, come = ({each.name: each for each in classes} for classes in unlike(old.classes, new.classes))
    for name in gone.keys() | come.keys():
        was, now = gone.get(name), come.get(name)
        if was is not now and (was is None or now is None or _verdicts(was) != _verdicts(now)):
            yield name


def _classes_of_staying(old: NodeRuleSet, new: NodeRuleSet) -> set[str]:
    before = {(pod.namespace, pod.pod) for pod in old.endpoints}
    staying = (pod for pod in new.endpoints if (pod.namespace, pod.pod) in before)
    return {name for pod in staying for name in (pod.ingress, pod.egress)}


def _verdicts(rule_class: RuleClass) -> tuple[object, ...]:
    """What decides in a class; what only records does not."""
    rules = tuple((rule.tier, rule.action, rule.match) for rule in rule_class.rules)
    return (rule_class.direction, rules, rule_class.isolation is not None)


# --- members ----------------------------------------------------------------------------------------------------------


def _members_matter(old: NodeRuleSet, new: NodeRuleSet) -> bool:
    """A group that rules use lost a member, or one that rules deny or pass on gained one."""
    lost, gained = _moved(old, new)
    return bool(_uses(new, lost) or _uses(new, gained) & {Action.DENY, Action.PASS})


def looser(old: NodeRuleSet, new: NodeRuleSet) -> bool:
    """Whether a packet that ``old`` denied might be let in by ``new``, of which nothing but members differs."""
    lost, gained = _moved(old, new)
    return bool(_uses(new, gained) & {Action.ACCEPT, Action.PASS} or _uses(new, lost) & {Action.DENY, Action.PASS})


@dataclass(frozen=True, slots=True)
class _Groups:
    """Names of groups."""

    addresses: frozenset[str]
    ports: frozenset[str]

    def are_named_by(self, match: Match) -> bool:
        return not (self.addresses.isdisjoint(match.groups) and self.ports.isdisjoint(match.port_groups))


def _moved(old: NodeRuleSet, new: NodeRuleSet) -> tuple[_Groups, _Groups]:
    """(groups that lost a member, groups that gained one), of those that are in both."""
    addresses = list(_by_name(old.groups, new.groups, lambda group: group.addresses))
    ports = list(_by_name(old.port_groups, new.port_groups, lambda group: group.members))
    lost, gained = (
        [frozenset(each[0] for each in kind if each[which]) for kind in (addresses, ports)] for which in (1, 2)
    )
    return _Groups(*lost), _Groups(*gained)


def _by_name(
    old: tuple[G, ...], new: tuple[G, ...], members: Callable[[G], tuple[object, ...]]
) -> Iterator[tuple[str, bool, bool]]:
    """(name, whether it lost a member, whether it gained one) of each group that is not the same object."""
    gone, come = unlike(old, new)
    after = {group.name: group for group in come}
    for was in gone:
        if was.name in after:
            left, joined = map(frozenset, unlike(members(was), members(after[was.name])))
            yield was.name, bool(left - joined), bool(joined - left)


def _uses(content: NodeRuleSet, groups: _Groups) -> frozenset[Action]:
    """What is done to those whom rules find in these groups."""
    if not groups.addresses and not groups.ports:
        return frozenset()
    rules = (rule for each in content.classes for rule in each.rules)
    return frozenset(rule.action for rule in rules if groups.are_named_by(rule.match))
