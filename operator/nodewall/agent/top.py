"""``nodewall top``, run where the agent runs: how often each policy decided here, as the kernel counts it now.

The counters are the table's own and are read on demand. They begin anew when the table is replaced (a start of the
agent, a repair), so they say what is busy, and not what has ever been.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodewall.agent import flowlog_counters as counters
from nodewall.agent.flowlog_lines import Names
from nodewall.agent.kernel import TABLE
from nodewall.agent.saved import Saved
from nodewall.api import ruleset
from nodewall.model.errors import BadInputError
from nodewall.model.policy import Kind
from nodewall.model.ruleset import RuleRef
from nodewall.telemetry.lines import one_line

NOBODY = "-"


@dataclass(frozen=True, slots=True)
class Hits:
    """One policy's, or one rule's. ``verdicts``: packets by what was done to them."""

    policy: str
    rule: str
    packets: int
    verdicts: Mapping[str, int]


def read(directory: Path, *, by_rule: bool) -> list[Hits]:
    """The most hit first. Raises BadInputError: this is no node where an agent runs, or not with its rights."""
    names = Names(_saved(directory))
    try:
        there, packets = counters.has_table(), counters.by_rule(counters.read())
    except counters.CountersError as error:
        raise BadInputError(
            f"{error}; `top` runs in the agent's pod: kubectl exec -n nodewall-system POD -- nodewall top"
        ) from None
    if not there:
        raise BadInputError(f"there is no table {TABLE} in this kernel, so nothing is enforced or counted here")
    return ranked(packets, names, by_rule=by_rule)


def _saved(directory: Path) -> Any:
    try:
        source = Saved(directory).load()
    except OSError as error:
        raise BadInputError(error.strerror or str(error), source=str(directory)) from None
    if source is None:
        raise BadInputError("no rule set has been applied here; `top` runs in the agent's pod", source=str(directory))
    return ruleset.decode(source)


def ranked(packets: Mapping[str, int], names: Names, *, by_rule: bool) -> list[Hits]:
    found: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for rule_id, count in packets.items():
        for policy, rule in _whose(rule_id, names):
            found[policy, rule if by_rule else ""][_verdict(rule_id, names)] += count
    hits = (Hits(policy, rule, each.total(), dict(sorted(each.items()))) for (policy, rule), each in found.items())
    return sorted(hits, key=lambda each: (-each.packets, each.policy, each.rule))


def _verdict(rule_id: str, names: Names) -> str:
    found = names.verdicts.get(rule_id)
    return found.value if found else "pass" if names.knows(rule_id) else NOBODY


def _whose(rule_id: str, names: Names) -> Iterator[tuple[str, str]]:
    """(policy, rule). What several policies isolate together is a hit of each of them that is named."""
    if rule_id in names.isolations:
        isolation, direction = names.isolations[rule_id]
        for each in isolation.policies:
            yield f"{Kind.NETWORK_POLICY} {each}", f"{direction.lower()} isolation"
    elif rule_id in names.refs:
        ref = names.refs[rule_id]
        where = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
        yield f"{ref.kind} {where}", _rule(ref)
    else:
        yield NOBODY, rule_id


def _rule(ref: RuleRef) -> str:
    """The name of a rule says nothing of its direction; the place of one without a name does: ``ingress[0]``."""
    direction = ref.direction.lower()
    return ref.rule if ref.rule.startswith(f"{direction}[") else f"{direction} {ref.rule}"


def text(found: list[Hits], *, by_rule: bool) -> str:
    if not found:
        return "no rule here counts\n"
    rows = [("PACKETS", "POLICY", *(("RULE",) if by_rule else ()), "VERDICTS")]
    for each in found:
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in each.verdicts.items())
        rows.append((str(each.packets), each.policy, *((each.rule,) if by_rule else ()), verdicts))
    shown = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in shown)


def as_objects(found: list[Hits]) -> list[dict[str, Any]]:
    return [
        {"policy": each.policy, "rule": each.rule, "packets": each.packets, "verdicts": dict(each.verdicts)}
        for each in found
    ]
