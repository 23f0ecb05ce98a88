"""The table while it is being drawn: what several rules share is drawn once."""

import re
from collections.abc import Iterable, Mapping

from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import AddressGroup, NodeRuleSet, PortGroup, RuleRef
from nodewall.render import names
from nodewall.render.expressions import Operand, Proto, SetRef, Tuple, as_text
from nodewall.render.settings import Settings
from nodewall.render.spans import Span, address_element
from nodewall.render.table import Chain, Rule, Set, Table, VerdictMap

ADDRESS_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
PROTOCOL_NUMBER = {"TCP": 6, "UDP": 17, "SCTP": 132}

_ADDRESSES = {4: re.compile(r"[0-9. ]*\Z"), 6: re.compile(r"[0-9a-f:. ]*\Z")}


class Draft:
    """Collects the objects of one table. The one mutable value of this package; it never leaves ``layout.render``."""

    def __init__(self, ruleset: NodeRuleSet, settings: Settings) -> None:
        self.settings = settings
        self._groups: Mapping[str, AddressGroup] = {group.name: group for group in ruleset.groups}
        self._port_groups: Mapping[str, PortGroup] = {group.name: group for group in ruleset.port_groups}
        self._refs: Mapping[str, RuleRef] = {ref.id: ref for ref in ruleset.rules}
        self._counters: set[str] = set()
        self._sets: dict[str, Set] = {}
        self._maps: dict[str, VerdictMap] = {}
        self._chains: dict[str, Chain] = {}

    def table(self) -> Table:
        return Table(
            self.settings.table,
            tuple(sorted(self._counters)),
            tuple(self._sets[name] for name in sorted(self._sets)),
            tuple(self._maps[name] for name in sorted(self._maps)),
            tuple(self._chains[name] for name in sorted(self._chains)),
        )

    # --- chains and counters ------------------------------------------------------------------------------------------

    def chain(self, chain: Chain) -> str:
        """Add a chain; returns its name. A second one of the same name must say the same."""
        known = self._chains.setdefault(chain.name, chain)
        if known != chain:
            raise BadInputError(f"two different chains would be named {chain.name}", subject="NodeRuleSet")
        return chain.name

    def counter(self, name: str) -> str:
        self._counters.add(name)
        return name

    def rule_counter(self, rule_id: str) -> str:
        """The counter of a rule's hits, whatever number of nft rules it takes."""
        return self.counter(names.name("r", rule_id))

    def comment(self, rule_id: str) -> str:
        """Which policy a rule id stands for, for people who read the table."""
        ref = self._refs.get(rule_id)
        if ref is None:
            return names.comment(rule_id)
        policy = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
        return names.comment(f"{ref.kind} {policy} {ref.rule}")

    # --- sets ---------------------------------------------------------------------------------------------------------

    def map(self, name: str, family: int, elements: Mapping[str, str]) -> str:
        _check_addresses(elements, family, name)
        self._maps[name] = VerdictMap(name, ADDRESS_TYPE[family], tuple(sorted(elements.items())))
        return name

    def addresses(self, name: str, family: int, addresses: Iterable[str], about: str = "") -> SetRef:
        """A hash set of addresses of one family, edited in place."""
        if name not in self._sets:
            members = tuple(addresses)
            _check_addresses(members, family, name)
            self._sets[name] = Set(name, (ADDRESS_TYPE[family],), members, about=about)
        return SetRef(name)

    def group(self, group_name: str, family: int) -> SetRef:
        """The addresses of one family in an address group. No members: a set that matches nothing, never no
        restriction.
        """
        group = self._groups.get(group_name)
        if group is None:
            raise BadInputError(f"no address group is named {group_name!r}", subject="NodeRuleSet")
        name = names.name(f"g{family}", group_name)
        if name in self._sets:
            return SetRef(name)
        return self.addresses(name, family, of_family(group.addresses, family), group.description)

    def port_group(self, group_name: str, family: int) -> SetRef:
        """The (address, protocol, port) triples of one family in a port group."""
        group = self._port_groups.get(group_name)
        if group is None:
            raise BadInputError(f"no port group is named {group_name!r}", subject="NodeRuleSet")
        name = names.name(f"s{family}", group_name)
        if name not in self._sets:
            members = [member for member in group.members if (":" in member.address) == (family == 6)]
            _check_addresses((member.address for member in members), family, name)
            elements = sorted((member.address, PROTOCOL_NUMBER[member.protocol], member.port) for member in members)
            self._sets[name] = Set(
                name,
                (ADDRESS_TYPE[family], "inet_proto", "inet_service"),
                tuple(Tuple((address, Proto(number), port)) for address, number, port in dict.fromkeys(elements)),
                about=group.description,
            )
        return SetRef(name)

    def self_pairs(self, family: int, pairs: Iterable[tuple[str, str]]) -> SetRef:
        """(source, destination) of a pod that reaches itself: nft cannot compare two fields of a packet."""
        kind = ADDRESS_TYPE[family]
        name = f"self{family}"
        self._sets[name] = Set(name, (kind, kind), tuple(map(Tuple, pairs)))
        return SetRef(name)

    def links(self, name: str, links: Iterable[Operand]) -> SetRef:
        self._sets[name] = Set(name, ("ifname",), tuple(links))
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
        held = Set(name, types, elements, interval=True)
        if self._sets.setdefault(name, held) != held:
            raise BadInputError(f"two different sets would be named {name}", subject="NodeRuleSet")
        return SetRef(name)


def of_family(addresses: Iterable[str], family: int) -> tuple[str, ...]:
    return tuple(address for address in addresses if (":" in address) == (family == 6))


def rule(*statements: object, comment: str = "") -> Rule:
    """A rule; None among the statements is left out."""
    return Rule(tuple(statement for statement in statements if statement is not None), comment)  # type: ignore[misc]


def _check_addresses(addresses: Iterable[str], family: int, where: str) -> None:
    """libnftables would ask the DNS for a member that is no address, and take ``@x`` for a set."""
    if not _ADDRESSES[family].match(" ".join(addresses)):
        raise BadInputError("a member is not an address of its family", subject="NodeRuleSet", path=where)
