"""NodeRuleSet to table. docs/nftables-layout.md says why each hook, priority and set is as it is.

What cost goes by is what changed. A table remembers what it was drawn from (``drawn.Drawn``). The next one looks for
what is not the very same object any more, draws what depends on it, and takes over the rest. The first table follows
an empty one in the same way, so there is one way to draw.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter

from nodewall.model.address import Address
from nodewall.model.errors import BadInputError
from nodewall.model.policy import Direction, Tier
from nodewall.model.ruleset import Endpoint, NodeRuleSet, RuleClass
from nodewall.render import base, names
from nodewall.render.classes import draw_class
from nodewall.render.draft import Draft, Fragment, GroupKey
from nodewall.render.drawn import Base, Drawn, Part, PartKey
from nodewall.render.expressions import CONTINUE, Jump
from nodewall.render.folding import affordable
from nodewall.render.groups import GroupSets
from nodewall.render.members import address_set, port_set
from nodewall.render.pods import FAMILIES, Pods, class_of
from nodewall.render.reuse import spliced, updated
from nodewall.render.settings import Settings
from nodewall.render.table import ADDRESS_TYPE, EVERYTHING_ELSE, Element, Table, VerdictMap, Way
from nodewall.render.union import Change, united


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

WAYS = tuple((entry, family) for family in FAMILIES for entry in (EGRESS, INGRESS, HOST))

_NAMES = 1 << 12
"""Names of chains kept: those of more classes than a node has."""


def render(ruleset: NodeRuleSet, settings: Settings | None = None, previous: Table | None = None) -> Table:
    """The whole table for a rule set. Equal input gives an equal table, whatever the ``previous`` one: that only
    saves work.

    Raises BadInputError when the rule set names a class or a group that it does not hold, holds two of one name, gives
    one address to two pods, or has anything but addresses where addresses belong: an agent then keeps the last good
    table.
    """
    before = previous.drawn if previous is not None and isinstance(previous.drawn, Drawn) else Drawn()
    return _Rendering(ruleset, settings or Settings(), before).table()


class _Rendering:
    """One rule set being rendered."""

    def __init__(self, ruleset: NodeRuleSet, settings: Settings, before: Drawn) -> None:
        self._ruleset, self._before = ruleset, before
        self._settings = affordable(settings, len(ruleset.classes))
        self._classes, self._other_classes = before.classes.follow(ruleset.classes)
        self._refs, self._other_refs = before.refs.follow(ruleset.rules)
        drawn = before.groups.things, before.sized.things
        self._groups = GroupSets(before.address_groups, ruleset.groups, drawn, address_set)
        self._ports = GroupSets(before.port_groups, ruleset.port_groups, (before.ports.things,), port_set)
        self._followed = {family: before.pods[family].follow(ruleset.endpoints) for family in FAMILIES}
        self._others: dict[PartKey, Part | None] = {}
        """The parts that are not what they were; None: no longer there."""

    def table(self) -> Table:
        self._judge()
        parts = updated(self._before.parts, self._others)
        own = self._base(parts)
        drawn = replace(
            self._before,
            settings=self._settings,
            classes=self._classes,
            refs=self._refs,
            address_groups=self._groups.index,
            port_groups=self._ports.index,
            pods={family: pods for family, (pods, _) in self._followed.items()},
            base=own,
            parts=parts,
            dispatches=dict(self._dispatch(entry, family, parts, own) for entry, family in WAYS),
        )
        drawn = united(self._before, drawn, Change(*self._fragments(own), self._groups, self._ports))
        return replace(drawn.table, drawn=drawn)

    def _fragments(self, own: Base) -> tuple[list[Fragment], list[Fragment]]:
        """(those that are not in the table any more, those that are new)."""
        before = self._before
        gone = [before.parts[key].fragment for key in self._others if key in before.parts]
        come = [part.fragment for part in self._others.values() if part]
        if own is before.base:
            return gone, come
        return [*gone, *((before.base.fragment,) if before.base else ())], [own.fragment, *come]

    # --- classes ------------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Find the parts that are not what they were, and draw them."""
        alike = _of_classes(self._before.settings) == _of_classes(self._settings)
        for entry, family in WAYS:
            was = self._before.pods[family].classes[entry.direction]
            now = self._followed[family][0].classes[entry.direction]
            for name in was - now:
                self._put((entry.chain, family, name), None)
            for name in sorted((now - was) | (now & self._other_classes) if alike else now):
                self._put((entry.chain, family, name), self._class(entry, name), anew=not alike)
        resized = {key for key in self._groups.changed() if key in self._before.sized.things}
        for key, part in self._before.parts.items() if resized or self._other_refs else ():
            if key not in self._others and self._is_stale(part.fragment, resized):
                self._put(key, part.judged, anew=True)

    def _class(self, entry: Entry, name: str) -> RuleClass | None:
        found = self._classes.by_name.get(name)
        if found is None or found.direction is not entry.direction:
            raise BadInputError(
                f"no {entry.direction} class is named {name!r}", subject="NodeRuleSet", path="endpoints"
            )
        return host_class(found) if entry is HOST else found

    def _put(self, key: PartKey, judged: RuleClass | None, *, anew: bool = False) -> None:
        """``judged`` None: nothing of the class is judged here."""
        known = self._before.parts.get(key)
        if judged is None:
            self._others |= {key: None} if known else {}
        elif anew or known is None or known.judged != judged:
            draft = Draft(_of_classes(self._settings), self._refs.by_name, self._size)
            draw_class(_chain(key), judged, key[1], draft)
            self._others[key] = Part(judged, draft.fragment())

    def _is_stale(self, fragment: Fragment, resized: AbstractSet[GroupKey]) -> bool:
        """Whether chains would not be drawn as they are: the comments in them, or what of them is folded."""
        refs, sizes = fragment.refs, fragment.sizes
        told = any(refs[rule_id] != self._refs.by_name.get(rule_id) for rule_id in refs.keys() & self._other_refs)
        return told or any(sizes[key] != self._size(*key) for key in sizes.keys() & resized)

    def _size(self, name: str, family: int) -> int:
        return len(self._groups((name, family)).elements)

    # --- the way to them ----------------------------------------------------------------------------------------------

    def _dispatch(self, entry: Entry, family: int, parts: Mapping[PartKey, Part], own: Base) -> tuple[str, VerdictMap]:
        """(name, the map from local addresses to the chains of their classes, and from all others to the guard's).

        Pods that nothing judges are in it: they are no strangers.
        """
        name = f"{entry.map}{family}"
        before = self._before.dispatches.get(name) or VerdictMap(name, (ADDRESS_TYPE[family],))
        pods, moved = self._followed[family]
        ways = {key[2] for key in self._others if key[:2] == (entry.chain, family)}
        concerned = {**moved, **(_owned_by(ways, pods, entry) if ways else {})}
        elements: dict[str, tuple[Element, Way] | None] = dict.fromkeys(concerned)
        for address, owner in concerned.items():
            if owner:
                key = entry.chain, family, class_of(owner, entry.direction)
                elements[address] = address, Jump(_chain(key)) if key in parts else CONTINUE
        strangers = own.strangers.get(name)
        if strangers != (self._before.base and self._before.base.strangers.get(name)):
            elements[EVERYTHING_ELSE] = (EVERYTHING_ELSE, Jump(strangers)) if strangers else None
        return name, replace(before, elements=spliced(before.elements, elements, itemgetter(0))) if elements else before

    def _base(self, parts: Mapping[PartKey, Part]) -> Base:
        known = self._before.base
        closes = any(part.denies for key, part in parts.items() if key[0] == HOST.chain)
        depends = self._settings, self._ruleset.pod_cidrs, closes
        if known and (known.settings, known.pod_cidrs, known.closes_node) == depends:
            return known
        draft = Draft(self._settings, self._refs.by_name)
        # It sees no more of the rule set than what decides whether it is drawn anew.
        seen = NodeRuleSet(self._ruleset.node, pod_cidrs=self._ruleset.pod_cidrs)
        strangers = base.draw(seen, draft, closes_node=closes)
        return Base(*depends, draft.fragment(), strangers)


def host_class(egress: RuleClass) -> RuleClass | None:
    """What of an egress class is judged towards the own node, or None where nothing is (semantics 44).

    NetworkPolicy never denies it; for an isolated pod its implicit accept comes before Baseline.
    """
    skipped = {Tier.NETWORK_POLICY, Tier.BASELINE} if egress.isolation else {Tier.NETWORK_POLICY}
    rules = tuple(rule for rule in egress.rules if rule.tier not in skipped)
    return replace(egress, rules=rules, isolation=None) if rules or egress.audits else None


def _of_classes(settings: Settings) -> Settings:
    """Without what is the base chains' alone. Classes see no others, so none can change that they are drawn by."""
    return replace(settings, table="", guard=None, strict=None, pod_links=(), foreign_veths=None)


def _owned_by(classes: AbstractSet[str], pods: Pods, entry: Entry) -> dict[Address, Endpoint]:
    return {address: owner for address, owner in pods.owners.items() if class_of(owner, entry.direction) in classes}


@lru_cache(_NAMES)
def _chain(key: PartKey) -> str:
    """The chain that the packets of a class come to."""
    hook, family, name = key
    return names.name(f"{hook}{family}", name)
