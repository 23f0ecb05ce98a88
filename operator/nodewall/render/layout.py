"""NodeRuleSet to table. docs/nftables-layout.md says why each hook, priority and set is as it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from nodewall.model.errors import BadInputError
from nodewall.model.policy import Direction, Tier
from nodewall.model.ruleset import Endpoint, NodeRuleSet, RuleClass
from nodewall.render import base, names
from nodewall.render.classes import draw_class
from nodewall.render.draft import Draft, of_family
from nodewall.render.settings import Settings
from nodewall.render.table import Table

FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True)
class Entry:
    """A verdict map and the chains it leads to: pods' classes in one direction, on one hook."""

    map: str
    chain: str
    direction: Direction


ENTRIES = (
    Entry("egress", "eg", Direction.EGRESS),
    Entry("ingress", "in", Direction.INGRESS),
)
HOST = Entry("host", "host", Direction.EGRESS)
"""Explicit egress rules towards the own node, on the input hook."""


def render(ruleset: NodeRuleSet, settings: Settings | None = None) -> Table:
    """The whole table for a rule set. Equal input gives an equal table.

    Raises BadInputError when the rule set names a class or a group that it does not hold, gives one address to two
    pods, or holds anything but addresses where addresses belong: an agent then keeps the last good table.
    """
    draft = Draft(ruleset, settings or Settings())
    classes = {rule_class.name: rule_class for rule_class in ruleset.classes}
    for family in FAMILIES:
        owners = _owners(ruleset, family)
        draft.addresses(f"local{family}", family, owners)
        draft.self_pairs(family, _own_pairs(ruleset, family))
        for entry in ENTRIES:
            _dispatch(entry, owners, classes, family, draft)
        explicit = {name: host_class(rule_class) for name, rule_class in classes.items()}
        _dispatch(HOST, owners, explicit, family, draft)
    base.draw(ruleset, draft)
    return draft.table()


def host_class(egress: RuleClass) -> RuleClass | None:
    """What of an egress class is judged towards the own node, or None where nothing is (semantics 44).

    NetworkPolicy never denies it; for an isolated pod its implicit accept comes before Baseline.
    """
    skipped = {Tier.NETWORK_POLICY, Tier.BASELINE} if egress.isolation else {Tier.NETWORK_POLICY}
    rules = tuple(rule for rule in egress.rules if rule.tier not in skipped)
    return replace(egress, rules=rules, isolation=None) if rules or egress.audits else None


def _owners(ruleset: NodeRuleSet, family: int) -> dict[str, Endpoint]:
    """Every local address of one family, sorted, with its endpoint."""
    pairs = [(address, endpoint) for endpoint in ruleset.endpoints for address in of_family(endpoint.addresses, family)]
    owners = dict(sorted(pairs, key=lambda pair: pair[0]))
    if len(owners) < len(pairs):
        raise BadInputError("two endpoints have the same address", subject="NodeRuleSet", path="endpoints")
    return owners


def _own_pairs(ruleset: NodeRuleSet, family: int) -> list[tuple[str, str]]:
    own = [of_family(endpoint.addresses, family) for endpoint in ruleset.endpoints]
    return sorted(pair for addresses in own for pair in product(addresses, addresses))


def _dispatch(
    entry: Entry, owners: Mapping[str, Endpoint], classes: Mapping[str, RuleClass | None], family: int, draft: Draft
) -> None:
    chains = dict(_used_chains(entry, owners, classes, family, draft))
    elements = {
        address: chains[name] for address, endpoint in owners.items() if (name := _class_of(endpoint, entry)) in chains
    }
    draft.map(f"{entry.map}{family}", family, elements)


def _used_chains(
    entry: Entry, owners: Mapping[str, Endpoint], classes: Mapping[str, RuleClass | None], family: int, draft: Draft
) -> Iterator[tuple[str, str]]:
    """(class, chain) of every class that a local address of this family has, and that judges anything."""
    for name in sorted({_class_of(endpoint, entry) for endpoint in owners.values()} - {""}):
        if name not in classes:
            raise BadInputError(f"no class is named {name!r}", subject="NodeRuleSet", path="endpoints")
        rule_class = classes[name]
        if rule_class is None:
            continue
        if rule_class.direction is not entry.direction:
            raise BadInputError(f"class {name!r} is of the other direction", subject="NodeRuleSet", path="endpoints")
        yield name, draw_class(names.name(f"{entry.chain}{family}", name), rule_class, family, draft)


def _class_of(endpoint: Endpoint, entry: Entry) -> str:
    return endpoint.egress if entry.direction is Direction.EGRESS else endpoint.ingress
