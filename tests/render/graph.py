"""The chains of a table as a graph, read from the commands that libnftables gets."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nodewall.render import Table, replace

TERMINAL = {"accept", "drop", "reject", "return", "queue"}


@dataclass(slots=True)
class Chain:
    """``verdicts``: which ends its rules have; ``jumps`` and ``gotos``: the chains it names, verdict maps followed."""

    base: bool
    verdicts: set[str] = field(default_factory=set)
    jumps: set[str] = field(default_factory=set)
    gotos: set[str] = field(default_factory=set)

    @property
    def leads_to(self) -> set[str]:
        return self.jumps | self.gotos


def graph(table: Table) -> dict[str, Chain]:
    commands = [command["add"] for command in replace(table).json()["nftables"] if "add" in command]
    chains = {c["chain"]["name"]: Chain("hook" in c["chain"]) for c in commands if "chain" in c}
    maps: dict[str, list[Any]] = {}
    for command in commands:
        if "element" in command:
            maps.setdefault("@" + command["element"]["name"], []).extend(command["element"]["elem"])
    for command in commands:
        if "rule" in command:
            for statement in command["rule"]["expr"]:
                _read(statement, chains[command["rule"]["chain"]], maps)
    return chains


def _read(statement: dict[str, Any], chain: Chain, maps: dict[str, list[Any]]) -> None:
    ((kind, value),) = statement.items()
    if kind == "vmap":
        for _, verdict in maps.get(value["data"], ()):
            _read(verdict, chain, maps)
    elif kind == "jump":
        chain.jumps.add(value["target"])
    elif kind == "goto":
        chain.gotos.add(value["target"])
    elif kind in TERMINAL:
        chain.verdicts.add(kind)


def reached(chains: dict[str, Chain], start: set[str], *, by_jump: bool) -> set[str]:
    """``start`` and what gotos (and jumps, when asked) lead to from there."""
    found: set[str] = set()
    left = list(start)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += chains[name].leads_to if by_jump else chains[name].gotos
    return found


def paths(chains: dict[str, Chain], name: str, walked: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every way down from a chain; a cycle fails."""
    assert name not in walked, f"cycle: {walked} -> {name}"
    here = (*walked, name)
    yield here
    for following in chains[name].leads_to:
        yield from paths(chains, following, here)
