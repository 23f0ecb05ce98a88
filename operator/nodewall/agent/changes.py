"""What the step from one rule set to the next means for connections that live, and for addresses that change hands.

What is the very same object in both is passed over: of all that a rule set holds, that is nearly everything.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
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
    lost, gained = _lost(old, new), _lost(new, old)
    return bool(_uses(new, lost) or _uses(new, gained) & {Action.DENY, Action.PASS})


def looser(old: NodeRuleSet, new: NodeRuleSet) -> bool:
    """Whether a packet that ``old`` denied might be let in by ``new``, of which nothing but members differs."""
    lost, gained = _lost(old, new), _lost(new, old)
    return bool(_uses(new, gained) & {Action.ACCEPT, Action.PASS} or _uses(new, lost) & {Action.DENY, Action.PASS})


Names = tuple[frozenset[str], frozenset[str]]
"""(of address groups, of port groups)"""


def _lost(old: NodeRuleSet, new: NodeRuleSet) -> Names:
    """Groups that are in both, and of which ``new`` misses a member."""
    return (
        _smaller(old.groups, new.groups, lambda group: group.addresses),
        _smaller(old.port_groups, new.port_groups, lambda group: group.members),
    )


def _smaller(old: tuple[G, ...], new: tuple[G, ...], members: Callable[[G], tuple[object, ...]]) -> frozenset[str]:
    gone, come = unlike(old, new)
    after = {group.name: group for group in come}
    return frozenset(was.name for was in gone if was.name in after and _misses(members(after[was.name]), members(was)))


def _misses(members: tuple[object, ...], those: tuple[object, ...]) -> bool:
    """Whether one of ``those`` is not among the members."""
    left, joined = unlike(those, members)
    return bool(set(left) - set(joined))


def _uses(content: NodeRuleSet, names: Names) -> frozenset[Action]:
    """What is done to those whom rules find in these groups."""
    if not any(names):
        return frozenset()
    return frozenset(rule.action for each in content.classes for rule in each.rules if _names_one(rule.match, names))


def _names_one(match: Match, names: Names) -> bool:
    groups, port_groups = names
    return not (groups.isdisjoint(match.groups) and port_groups.isdisjoint(match.port_groups))
