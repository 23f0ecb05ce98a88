"""A list of nft commands that is applied whole or not at all."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain as joined
from typing import Literal

from nodewall.render.expressions import Json, as_json
from nodewall.render.table import FAMILY, Chain, Held, Holder, Rule, Set, Table, VerdictMap


@dataclass(frozen=True, slots=True)
class Command:
    """One entry of libnftables' JSON schema: a verb on an object of one table, or on elements of one set or map."""

    verb: Literal["add", "delete", "flush"]
    kind: Literal["table", "counter", "set", "map", "chain", "rule", "element"]
    table: str
    subject: Holder | Chain | str = ""
    rule: Rule | None = None
    elements: tuple[Held, ...] = ()

    @property
    def operations(self) -> int:
        """How much work it is for the kernel: its elements, or one."""
        return max(len(self.elements), 1)

    def json(self) -> Json:
        return {self.verb: {self.kind: {"family": FAMILY, **self._body()}}}

    def _body(self) -> Json:
        if self.kind == "table":
            return {"name": self.table}
        name = self.subject if isinstance(self.subject, str) else self.subject.name
        if self.rule is not None:
            comment = {"comment": self.rule.comment} if self.rule.comment else {}
            expr = [statement.json() for statement in self.rule.statements]
            return {"table": self.table, "chain": name, "expr": expr, **comment}
        body = {"table": self.table, "name": name}
        if self.kind == "element":
            return body | {"elem": list(map(_element, self.elements))}
        return body | _definition(self.subject) if self.verb == "add" else body


@dataclass(frozen=True, slots=True)
class Transaction:
    commands: tuple[Command, ...]

    @property
    def operations(self) -> int:
        """Elements plus every other command: what the cost is proportional to."""
        return sum(command.operations for command in self.commands)

    def json(self) -> Json:
        """What libnftables' ``json_cmd`` takes."""
        return {"nftables": [command.json() for command in self.commands]}


def replace(table: Table) -> Transaction:
    """The table as given, whatever was there before; nothing when it is already so, in the packets' eyes."""
    return Transaction(
        (
            Command("add", "table", table.name),
            Command("delete", "table", table.name),
            Command("add", "table", table.name),
            *create(table.name, table.counters, table.holders, table.chains),
        )
    )


def create(
    table: str, counters: Iterable[str], holders: Iterable[Holder], chains: Iterable[Chain]
) -> Iterator[Command]:
    """Add objects so that each is there before the first that names it.

    Chains come empty and first, because elements of verdict maps name them; then rules, which name sets, maps and
    chains.
    """
    holders, chains = tuple(holders), tuple(chains)
    return joined(
        (Command("add", "counter", table, counter) for counter in counters),
        (Command("add", "chain", table, chain) for chain in chains),
        (Command("add", _kind(holder), table, holder) for holder in holders),
        (Command("add", "element", table, holder, elements=holder.elements) for holder in holders if holder.elements),
        (command for chain in chains for command in add_rules(table, chain)),
    )


def add_rules(table: str, chain: Chain) -> Iterator[Command]:
    return (Command("add", "rule", table, chain, rule=rule) for rule in chain.rules)


def _kind(holder: Holder) -> Literal["set", "map"]:
    return "map" if isinstance(holder, VerdictMap) else "set"


def _definition(subject: Holder | Chain | str) -> Json:
    match subject:
        case Set(types=types, interval=interval):
            return {"type": _key_type(types)} | ({"flags": ["interval"]} if interval else {})
        case VerdictMap(types=types):
            return {"type": _key_type(types), "map": "verdict"}
        case Chain(hook=hook) if hook:
            return {"type": "filter", "hook": hook.hook, "prio": hook.priority, "policy": "accept"}
    return {}


def _key_type(types: tuple[str, ...]) -> str | list[str]:
    return types[0] if len(types) == 1 else list(types)


def _element(element: Held) -> Json:
    if isinstance(element, tuple):
        return [as_json(element[0]), element[1].json()]
    return as_json(element)
