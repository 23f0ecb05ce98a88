"""The table as text for people, and for ``nft -f`` where there is no agent.

Text is injectable, so nothing reaches it unchecked: names are ours (``names.checked``), strings are quoted after
``names.plain``, and addresses, numbers and nft's own words are all the rest there is.
"""

from collections.abc import Iterable, Iterator

from nodewall.render.expressions import as_text
from nodewall.render.names import COMMENT_BYTES, checked, plain, quoted
from nodewall.render.table import FAMILY, Chain, Rule, Set, Table, VerdictMap


def text(table: Table) -> str:
    """A script that replaces the table as a whole, like ``transaction.replace``."""
    own = f"{FAMILY} {checked(table.name)}"
    return "\n".join([f"add table {own}", f"delete table {own}", f"table {own} {{", *_body(table), "}", ""])


def _body(table: Table) -> Iterator[str]:
    for counter in table.counters:
        yield f"\tcounter {checked(counter)} {{ }}"
    for chain in table.chains:
        yield from _chain(chain)
    for held in table.sets:
        yield from _set(held)
    for verdict_map in table.maps:
        yield from _map(verdict_map)


def _set(held: Set) -> Iterator[str]:
    if held.about:
        yield f"\t# {plain(held.about, COMMENT_BYTES)}"
    yield f"\tset {checked(held.name)} {{"
    yield f"\t\ttype {' . '.join(held.types)}"
    if held.interval:
        yield "\t\tflags interval"
    yield from _elements(map(as_text, held.elements))
    yield "\t}"


def _map(verdict_map: VerdictMap) -> Iterator[str]:
    yield f"\tmap {checked(verdict_map.name)} {{"
    yield f"\t\ttype {' . '.join(verdict_map.types)} : verdict"
    yield from _elements(f"{as_text(key)} : {verdict}" for key, verdict in verdict_map.elements)
    yield "\t}"


def _elements(elements: Iterable[str]) -> Iterator[str]:
    joined = ",\n\t\t\t".join(elements)
    if joined:
        yield f"\t\telements = {{\n\t\t\t{joined}\n\t\t}}"


def _chain(chain: Chain) -> Iterator[str]:
    yield f"\tchain {checked(chain.name)} {{"
    if chain.hook:
        yield f"\t\ttype filter hook {chain.hook.hook} priority {chain.hook.priority}; policy accept;"
    for rule in chain.rules:
        yield f"\t\t{_rule(rule)}"
    yield "\t}"


def _rule(rule: Rule) -> str:
    words = [str(statement) for statement in rule.statements]
    return " ".join([*words, f"comment {quoted(rule.comment)}"] if rule.comment else words)
