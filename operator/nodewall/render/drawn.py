"""What a table was drawn from, and how: what the next one can take over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from nodewall.model.address import Network
from nodewall.model.policy import Action
from nodewall.model.ruleset import AddressGroup, PortGroup, RuleClass, RuleRef
from nodewall.render.draft import Fold, Fragment, GroupKey
from nodewall.render.pods import FAMILIES, Pods, nobody
from nodewall.render.reuse import Index, Pool
from nodewall.render.settings import Settings
from nodewall.render.table import Chain, Set, Table, VerdictMap

PartKey = tuple[str, int, str]
"""(what the names of the hook's class chains begin with, family, name of the class)"""


@dataclass(frozen=True, slots=True)
class Part:
    """What of a class is judged on one hook in one family, and how it is drawn."""

    judged: RuleClass
    fragment: Fragment

    @property
    def denies(self) -> bool:
        return any(rule.action is Action.DENY for rule in self.judged.rules)


@dataclass(frozen=True, slots=True)
class Base:
    """The base chains, and all that they depend on.

    ``strangers``: by the name of a dispatch map the chain for all addresses that it does not list.
    """

    settings: Settings
    pod_cidrs: tuple[Network, ...]
    closes_node: bool
    fragment: Fragment
    strangers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FoldedMap:
    """A fold as it is drawn, and the groups whose members are in it."""

    fold: Fold
    reads: frozenset[GroupKey]
    map: VerdictMap


def _by_name() -> Index[Any]:
    return Index(attrgetter("name"))


def _by_id() -> Index[Any]:
    return Index(attrgetter("id"))


@dataclass(frozen=True, slots=True)
class Drawn:
    """Everything by the name or the key that the next table finds it by.

    ``groups`` and ``ports`` are the sets of groups that rules name, ``sized`` those of groups whose size a folding was
    decided by; ``sets`` are all in the table. ``table`` is the table itself, without this.
    """

    settings: Settings = field(default_factory=Settings)
    classes: Index[RuleClass] = field(default_factory=_by_name)
    refs: Index[RuleRef] = field(default_factory=_by_id)
    address_groups: Index[AddressGroup] = field(default_factory=_by_name)
    port_groups: Index[PortGroup] = field(default_factory=_by_name)
    pods: Mapping[int, Pods] = field(default_factory=lambda: {family: nobody(family) for family in FAMILIES})
    base: Base | None = None
    parts: Mapping[PartKey, Part] = field(default_factory=dict)
    counters: Pool[str, str] = field(default_factory=Pool)
    chains: Pool[str, Chain] = field(default_factory=Pool)
    groups: Pool[GroupKey, Set] = field(default_factory=Pool)
    sized: Pool[GroupKey, Set] = field(default_factory=Pool)
    ports: Pool[GroupKey, Set] = field(default_factory=Pool)
    sets: Pool[str, Set] = field(default_factory=Pool)
    dispatches: Mapping[str, VerdictMap] = field(default_factory=dict)
    folds: Mapping[str, FoldedMap] = field(default_factory=dict)
    table: Table = field(default_factory=lambda: Table(""))
