"""Our one nft table as a frozen value: two tables are equal exactly when the kernel would judge every packet alike."""

from dataclasses import dataclass, field

from nodewall.render.expressions import Goto, Jump, Operand, Statement, Verdict

FAMILY = "inet"

ADDRESS_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}

Element = Operand
"""A member of a set: an address, a span, or the parts of a concatenated key."""

Way = Jump | Goto | Verdict
"""Where a verdict map leads: to a chain, or on in the same one (CONTINUE)."""

EVERYTHING_ELSE = "*"
"""The key of a map for whatever is none of its other keys (since Linux 5.13)."""


@dataclass(frozen=True, slots=True)
class Set:
    """A named set. ``types`` are nft's names of the key's parts.

    ``interval`` sets hold disjoint spans and carry a hash of their content in the name: they are swapped, never
    edited, because an edit costs the size of the set. The others are hash sets, edited in place. ``about`` is for the
    reader of the text.
    """

    name: str
    types: tuple[str, ...]
    elements: tuple[Element, ...] = ()
    interval: bool = False
    about: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """Key -> where to go on. A hash map, edited in place."""

    name: str
    types: tuple[str, ...]
    elements: tuple[tuple[Element, Way], ...] = ()


Holder = Set | VerdictMap
Held = Element | tuple[Element, Way]
"""What a holder holds."""


@dataclass(frozen=True, slots=True)
class Rule:
    statements: tuple[Statement, ...]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain hangs. Every base chain of ours lets pass what no rule decides."""

    hook: str
    priority: int


@dataclass(frozen=True, slots=True)
class Chain:
    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Everything sorted by name; rules in order of evaluation. ``drawn`` is what the layout remembers for the next
    one.
    """

    name: str
    counters: tuple[str, ...] = ()
    sets: tuple[Set, ...] = ()
    maps: tuple[VerdictMap, ...] = ()
    chains: tuple[Chain, ...] = ()
    drawn: object = field(default=None, compare=False, repr=False)

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Whatever holds elements."""
        return (*self.sets, *self.maps)

    @property
    def size(self) -> int:
        """How many elements the sets and maps hold in all."""
        return sum(len(holder.elements) for holder in self.holders)
