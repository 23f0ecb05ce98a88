"""NodeRuleSet to table. docs/nftables-layout.md says why each hook, priority and set is as it is.

What cost goes by is what changed: a class or a group that is as it was in the table before keeps what was drawn for it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeVar, cast

from nodewall.model.errors import BadInputError
from nodewall.model.policy import Action, Direction, Tier
from nodewall.model.ruleset import AddressGroup, Endpoint, NodeRuleSet, PortGroup, RuleClass
from nodewall.render import base, names
from nodewall.render.classes import draw_class
from nodewall.render.draft import Draft, Fold, Fragment, GroupKey, add, group_set, port_group_set
from nodewall.render.expressions import Jump, Tuple
from nodewall.render.folding import fold_map
from nodewall.render.members import address_set, check_addresses, of_family, port_set
from nodewall.render.settings import Settings
from nodewall.render.table import ADDRESS_TYPE, Chain, Set, Table, VerdictMap

FAMILIES = (4, 6)
Group = TypeVar("Group", AddressGroup, PortGroup)


@dataclass(frozen=True, slots=True)
class Entry:
    """A verdict map and the chains it leads to: pods' classes in one direction, on one hook."""

    map: str
    chain: str
    direction: Direction


EGRESS = Entry("egress", "eg", Direction.EGRESS)
INGRESS = Entry("ingress", "in", Direction.INGRESS)
HOST = Entry("host", "host", Direction.EGRESS)
"""Explicit egress rules towards the own node, on the input hook."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a table was drawn from, for the next one: classes by entry chain, groups by set, folds by map."""

    settings: Settings = field(default_factory=Settings)
    classes: Mapping[str, tuple[RuleClass, Fragment]] = field(default_factory=dict)
    groups: Mapping[str, tuple[AddressGroup | PortGroup, Set]] = field(default_factory=dict)
    folds: Mapping[str, tuple[Fold, tuple[Set, ...], VerdictMap]] = field(default_factory=dict)


def render(ruleset: NodeRuleSet, settings: Settings | None = None, previous: Table | None = None) -> Table:
    """The whole table for a rule set. Equal input gives an equal table, whatever the ``previous`` one: that only
    saves work.

    Raises BadInputError when the rule set names a class or a group that it does not hold, gives one address to two
    pods, or holds anything but addresses where addresses belong: an agent then keeps the last good table.
    """
    before = previous.drawn if previous is not None and isinstance(previous.drawn, Drawn) else Drawn()
    return _Rendering(ruleset, settings or Settings(), before).table()


class _Rendering:
    """One rule set being rendered."""

    def __init__(self, ruleset: NodeRuleSet, settings: Settings, before: Drawn) -> None:
        self._ruleset, self._settings, self._before = ruleset, settings, before
        self._refs = {ref.id: ref for ref in ruleset.rules}
        self._classes = {one.name: one for one in ruleset.classes}
        self._address_groups = {group.name: group for group in ruleset.groups}
        self._port_groups = {group.name: group for group in ruleset.port_groups}
        self._drawn: dict[str, tuple[RuleClass, Fragment]] = {}
        self._groups: dict[str, tuple[AddressGroup | PortGroup, Set]] = {}
        self._folds: dict[str, tuple[Fold, tuple[Set, ...], VerdictMap]] = {}
        self._maps: list[VerdictMap] = []
        self._sets: dict[str, Set] = {}

    def table(self) -> Table:
        for family in FAMILIES:
            owners = _owners(self._ruleset, family)
            self._local(owners, family)
            for entry in (EGRESS, INGRESS, HOST):
                self._maps.append(self._dispatch(entry, owners, family))
        draft = Draft(self._settings, self._refs)
        base.draw(self._ruleset, draft, closes_node=self._closes_node())
        return self._assembled([draft.fragment(), *(fragment for _, fragment in self._drawn.values())])

    def _closes_node(self) -> bool:
        """Whether a rule denies some pod anything of its own node."""
        hosts = (judged for name, (judged, _) in self._drawn.items() if name.startswith(HOST.chain))
        return any(rule.action is Action.DENY for judged in hosts for rule in judged.rules)

    def _local(self, owners: Mapping[str, Endpoint], family: int) -> None:
        """All local addresses, and the pairs that mean a pod itself: nft cannot compare two fields of a packet."""
        kind = ADDRESS_TYPE[family]
        check_addresses(owners, family, "endpoints")
        own = [of_family(endpoint.addresses, family) for endpoint in self._ruleset.endpoints]
        pairs = sorted(pair for addresses in own for pair in product(addresses, addresses))
        add(self._sets, Set(f"local{family}", (kind,), tuple(owners)))
        add(self._sets, Set(f"self{family}", (kind, kind), tuple(map(Tuple, pairs))))

    def _dispatch(self, entry: Entry, owners: Mapping[str, Endpoint], family: int) -> VerdictMap:
        names_used = sorted({_class_of(endpoint, entry) for endpoint in owners.values()} - {""})
        jumps = {name: Jump(chain) for name in names_used if (chain := self._class_chain(entry, name, family))}
        found = ((address, jumps.get(_class_of(endpoint, entry))) for address, endpoint in owners.items())
        elements = tuple((address, jump) for address, jump in found if jump)
        return VerdictMap(f"{entry.map}{family}", (ADDRESS_TYPE[family],), elements)

    def _class_chain(self, entry: Entry, name: str, family: int) -> str:
        """The chain of a class; "" when nothing of it is judged here."""
        judged = self._class(entry, name)
        if judged is None:
            return ""
        chain = names.name(f"{entry.chain}{family}", name)
        known = self._before.classes.get(chain)
        fragment = known[1] if known and self._still_so(judged, *known) else self._draw(chain, judged, family)
        self._drawn[chain] = (judged, fragment)
        return chain

    def _class(self, entry: Entry, name: str) -> RuleClass | None:
        found = self._classes.get(name)
        if found is None or found.direction is not entry.direction:
            raise BadInputError(
                f"no {entry.direction} class is named {name!r}", subject="NodeRuleSet", path="endpoints"
            )
        return host_class(found) if entry is HOST else found

    def _still_so(self, judged: RuleClass, was: RuleClass, fragment: Fragment) -> bool:
        before, now = self._before.settings, self._settings
        return (
            (judged is was or judged == was)
            and _of_classes(before) == _of_classes(now)
            and [self._refs.get(rule_id) for rule_id, _ in fragment.refs] == [ref for _, ref in fragment.refs]
            and all(self._size(*key) == size for key, size in fragment.sizes)
        )

    def _draw(self, chain: str, judged: RuleClass, family: int) -> Fragment:
        draft = Draft(self._settings, self._refs, self._size)
        draw_class(chain, judged, family, draft)
        return draft.fragment()

    def _assembled(self, fragments: Iterable[Fragment]) -> Table:
        fragments = tuple(fragments)
        chains: dict[str, Chain] = {}
        for fragment in fragments:
            for chain in fragment.chains:
                add(chains, chain)
            for held in fragment.sets:
                add(self._sets, held)
        for name, family in dict.fromkeys(key for fragment in fragments for key in fragment.groups):
            add(self._sets, self._addresses(name, family))
        for name, family in dict.fromkeys(key for fragment in fragments for key in fragment.port_groups):
            add(self._sets, self._ports(name, family))
        self._maps += [self._fold(fold) for fragment in fragments for fold in fragment.folds]
        return Table(
            self._settings.table,
            tuple(sorted({counter for fragment in fragments for counter in fragment.counters})),
            tuple(self._sets[name] for name in sorted(self._sets)),
            tuple(sorted(self._maps, key=lambda held: held.name)),
            tuple(chains[name] for name in sorted(chains)),
            Drawn(self._settings, self._drawn, self._groups, self._folds),
        )

    def _addresses(self, name: str, family: int) -> Set:
        return self._group(group_set(name, family), self._address_groups.get(name), address_set, (name, family))

    def _ports(self, name: str, family: int) -> Set:
        return self._group(port_group_set(name, family), self._port_groups.get(name), port_set, (name, family))

    def _group(self, held: str, group: Group | None, draw: Callable[[Group, int], Set], key: GroupKey) -> Set:
        """The set of a group: drawn before in this table, or in the one before, or now."""
        if group is None:
            raise BadInputError(f"no group is named {key[0]!r}", subject="NodeRuleSet", path="classes")
        was = self._groups.get(held) or self._before.groups.get(held)
        if was is None or not (was[0] is group or was[0] == group):
            was = group, draw(group, key[1])
        self._groups[held] = was
        return was[1]

    def _size(self, name: str, family: int) -> int:
        return len(self._addresses(name, family).elements)

    def _fold(self, fold: Fold) -> VerdictMap:
        groups = sorted({entry.group for entry in fold.entries if entry.group is not None})
        sets = tuple(self._addresses(group, fold.family) for group in groups)
        was = self._before.folds.get(fold.name)
        if was is None or was[0] != fold or any(old is not new for old, new in zip(was[1], sets, strict=True)):
            members = {group: cast("tuple[str, ...]", held.elements) for group, held in zip(groups, sets, strict=True)}
            was = fold, sets, fold_map(fold, members)
        self._folds[fold.name] = was
        return was[2]


def host_class(egress: RuleClass) -> RuleClass | None:
    """What of an egress class is judged towards the own node, or None where nothing is (semantics 44).

    NetworkPolicy never denies it; for an isolated pod its implicit accept comes before Baseline.
    """
    skipped = {Tier.NETWORK_POLICY, Tier.BASELINE} if egress.isolation else {Tier.NETWORK_POLICY}
    rules = tuple(rule for rule in egress.rules if rule.tier not in skipped)
    return replace(egress, rules=rules, isolation=None) if rules or egress.audits else None


def _of_classes(settings: Settings) -> tuple[object, ...]:
    """The settings that a class is drawn by; the others are the base chains'."""
    return settings.nflog_group, settings.snaplen, settings.fold_from, settings.fold_limit


def _owners(ruleset: NodeRuleSet, family: int) -> dict[str, Endpoint]:
    """Every local address of one family, sorted, with its endpoint."""
    pairs = [(address, endpoint) for endpoint in ruleset.endpoints for address in of_family(endpoint.addresses, family)]
    owners = dict(sorted(pairs, key=lambda pair: pair[0]))
    if len(owners) < len(pairs):
        raise BadInputError("two endpoints have the same address", subject="NodeRuleSet", path="endpoints")
    return owners


def _class_of(endpoint: Endpoint, entry: Entry) -> str:
    return endpoint.egress if entry.direction is Direction.EGRESS else endpoint.ingress
