"""A part of the table while it is being drawn: what several rules share is drawn once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import RuleRef
from nodewall.render import names
from nodewall.render.expressions import Operand, SetRef, Statement, Tuple, as_text
from nodewall.render.settings import Settings
from nodewall.render.spans import Span, address_element
from nodewall.render.table import ADDRESS_TYPE, Chain, Rule, Set

Thing = TypeVar("Thing", Chain, Set)
GroupKey = tuple[str, int]
"""(name of an address group or a port group, family)"""

_NAMES = 1 << 14
"""Names of sets kept, because each drawing asks for all of them again. More groups than that only cost time."""

PortKey = tuple[int, int]
"""(protocol number, port)"""


@dataclass(frozen=True, slots=True)
class FoldEntry:
    """Members of ``group`` (None: whoever) on ``ports`` (None: every one) go to ``chain``."""

    group: str | None
    ports: tuple[PortKey, ...] | None
    chain: str


@dataclass(frozen=True, slots=True)
class Fold:
    """A verdict map that stands for many rules. Its entries are of one shape; the first that holds a key has it."""

    name: str
    family: int
    entries: tuple[FoldEntry, ...]


@dataclass(frozen=True, slots=True)
class Fragment:
    """Some chains and all that they name.

    ``refs`` are the rule references that their comments were made of, ``sizes`` the numbers of group members that their
    folding was decided by.
    """

    chains: tuple[Chain, ...]
    counters: tuple[str, ...]
    sets: tuple[Set, ...]
    groups: tuple[GroupKey, ...]
    port_groups: tuple[GroupKey, ...]
    refs: Mapping[str, RuleRef | None]
    folds: tuple[Fold, ...]
    sizes: Mapping[GroupKey, int]


class Draft:
    """Collects one fragment. The one mutable value of this package; it never leaves the function that made it."""

    def __init__(
        self,
        settings: Settings,
        refs: Mapping[str, RuleRef],
        size: Callable[[str, int], int] = lambda _group, _family: 0,
    ) -> None:
        self.settings = settings
        self._size = size
        self._folds: list[Fold] = []
        self._sizes: dict[GroupKey, int] = {}
        self._known_refs = refs
        self._refs: dict[str, RuleRef | None] = {}
        self._counters: set[str] = set()
        self._sets: dict[str, Set] = {}
        self._chains: dict[str, Chain] = {}
        self._groups: dict[GroupKey, None] = {}
        self._port_groups: dict[GroupKey, None] = {}

    def fragment(self) -> Fragment:
        return Fragment(
            tuple(self._chains.values()),
            tuple(self._counters),
            tuple(self._sets.values()),
            tuple(self._groups),
            tuple(self._port_groups),
            self._refs,
            tuple(self._folds),
            self._sizes,
        )

    # --- chains and counters ------------------------------------------------------------------------------------------

    def chain(self, chain: Chain) -> str:
        """Add a chain; returns its name. A second one of the same name must say the same."""
        add(self._chains, chain)
        return chain.name

    def counter(self, name: str) -> str:
        self._counters.add(name)
        return name

    def rule_counter(self, rule_id: str) -> str:
        """The counter of a rule's hits, whatever number of nft rules it takes."""
        return self.counter(names.name("r", rule_id))

    def comment(self, rule_id: str) -> str:
        """Which policy a rule id stands for, for people who read the table."""
        ref = self._known_refs.get(rule_id)
        self._refs[rule_id] = ref
        if ref is None:
            return names.comment(rule_id)
        policy = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
        return names.comment(f"{ref.kind} {policy} {ref.rule}")

    # --- sets ---------------------------------------------------------------------------------------------------------

    def group(self, group: str, family: int) -> SetRef:
        """The addresses of one family in an address group."""
        self._groups[group, family] = None
        return SetRef(group_set(group, family))

    def port_group(self, group: str, family: int) -> SetRef:
        """The (address, protocol, port) triples of one family in a port group."""
        self._port_groups[group, family] = None
        return SetRef(port_group_set(group, family))

    def size(self, group: str, family: int) -> int:
        """How many members of one family an address group has."""
        return self._sizes.setdefault((group, family), self._size(group, family))

    def fold(self, fold: Fold) -> str:
        """A verdict map for many rules; returns its name."""
        self._folds.append(fold)
        return fold.name

    def links(self, name: str, links: Iterable[Operand]) -> SetRef:
        add(self._sets, Set(name, ("ifname",), tuple(links)))
        return SetRef(name)

    def within(self, spans: tuple[Span, ...], family: int) -> Operand:
        """Disjoint addresses: one span as it is, several as a set named by content."""
        elements = tuple(address_element(span, family) for span in spans)
        if len(elements) == 1:
            return elements[0]
        return self._by_content(f"n{family}", (ADDRESS_TYPE[family],), elements)

    def port_spans(self, elements: tuple[Tuple, ...]) -> SetRef:
        """Disjoint (protocol, ports), named by content."""
        return self._by_content("p", ("inet_proto", "inet_service"), elements)

    def _by_content(self, prefix: str, types: tuple[str, ...], elements: tuple[Operand, ...]) -> SetRef:
        name = f"{prefix}_{names.digest(','.join(map(as_text, elements)))}"
        add(self._sets, Set(name, types, elements, interval=True))
        return SetRef(name)


def add(things: dict[str, Thing], thing: Thing) -> None:
    """Keep a thing under its name. BadInputError: another one has the name, and keeping either would be wrong."""
    known = things.setdefault(thing.name, thing)
    if known is not thing and known != thing:
        raise BadInputError(f"two different objects would be named {thing.name}", subject="NodeRuleSet")


@lru_cache(_NAMES)
def group_set(group: str, family: int) -> str:
    return names.name(f"g{family}", group)


@lru_cache(_NAMES)
def port_group_set(group: str, family: int) -> str:
    return names.name(f"s{family}", group)


def rule(*statements: Statement, comment: str = "") -> Rule:
    return Rule(statements, comment)
