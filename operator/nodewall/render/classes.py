"""The chains of one rule class: what is judged in one direction for the pods that share the class.

A class chain is entered by a jump from a base chain, so ``return`` is what lets a packet on to the other direction:

    Accept  return, or goto a chain that logs and returns
    Pass    goto the chain where the next tier begins
    Deny    drop, or goto a chain that logs, and drops or rejects
    Audit   jump to a chain without any verdict, before everything else
    (end)   falls off the chain, which is a return: nothing decided, accepted

``accept`` would skip the other direction's judgement, and so would a ``goto`` from a base chain.
tests/render/test_structure.py walks the chains and proves that neither occurs.

There is one set of chains per class and family: a packet passes only rules that its family can match.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from nodewall.model.policy import Action, DenyWith, Direction, Tier
from nodewall.model.ruleset import Audit, Isolation, Rule, RuleClass, RuleLog
from nodewall.render import names, table
from nodewall.render.draft import Draft, rule
from nodewall.render.expressions import (
    DROP,
    RETURN,
    Count,
    Fields,
    Goto,
    Is,
    Jump,
    Limit,
    Log,
    Meta,
    Payload,
    Proto,
    Reject,
    SetRef,
    Statement,
)
from nodewall.render.folding import fold
from nodewall.render.matches import IP, alternatives
from nodewall.render.names import WOULD, Recorded
from nodewall.render.table import Chain

TIER_NAME = {Tier.ADMIN: "admin", Tier.NAMESPACE: "namespace", Tier.NETWORK_POLICY: "policy", Tier.BASELINE: "baseline"}

REJECT_TCP = (Is(Meta("l4proto"), Proto(6)), Reject(tcp_reset=True))
REJECT_OTHER = (Reject(),)


@dataclass(frozen=True, slots=True)
class Section:
    """The rules of one tier, and the deny that ends it when it is NetworkPolicy's and isolates."""

    tier: Tier
    rules: tuple[Rule, ...]
    isolation: Isolation | None = None

    @property
    def passes(self) -> bool:
        return any(rule.action is Action.PASS for rule in self.rules)


def draw_class(entry: str, rule_class: RuleClass, family: int, draft: Draft) -> str:
    """Add the chains of a class for one family; returns the name of the one to jump to."""
    rules: list[table.Rule] = [_audit(audit, rule_class, family, draft) for audit in rule_class.audits]
    name = entry
    sections = _sections(rule_class)
    for index, section in enumerate(sections):
        following = sections[index + 1] if index + 1 < len(sections) else None
        after = f"{entry}_{TIER_NAME[following.tier]}" if following else ""
        lookups, left = _folded(entry, section, (rule_class.direction, family), draft)
        rules += (*lookups, *_section(left, rule_class, family, after, draft))
        if section.passes and after:
            draft.chain(Chain(name, (*rules, rule(Goto(after)))))
            name, rules = after, []
    draft.chain(Chain(name, tuple(rules)))
    return entry


def _sections(rule_class: RuleClass) -> tuple[Section, ...]:
    """The tiers that hold anything, in order. Isolation ends evaluation, so nothing comes after it."""
    isolation = rule_class.isolation
    last = Tier.NETWORK_POLICY if isolation else Tier.BASELINE
    sections = (
        Section(
            tier,
            tuple(rule for rule in rule_class.rules if rule.tier is tier),
            isolation if tier is Tier.NETWORK_POLICY else None,
        )
        for tier in Tier
        if tier <= last
    )
    return tuple(section for section in sections if section.rules or section.isolation)


def _section(section: Section, rule_class: RuleClass, family: int, after: str, draft: Draft) -> Iterator[table.Rule]:
    for judged in section.rules:
        for alternative in alternatives(judged.match, rule_class.direction, family, draft):
            yield rule(*alternative, *_end(judged, after, draft), comment=draft.comment(judged.id))
    if section.isolation:
        yield rule(Goto(_isolation(section.isolation, draft)), comment=_isolating(section.isolation))


def _folded(
    entry: str, section: Section, ends: tuple[Direction, int], draft: Draft
) -> tuple[tuple[table.Rule, ...], Section]:
    """Lookups that stand for many rules of the section, and the section without those."""
    if section.tier is not Tier.NETWORK_POLICY:
        return (), section
    folded = fold(entry, section.rules, ends, lambda judged: _accept(judged, draft), draft)
    return folded.lookups, replace(section, rules=folded.left)


def _end(judged: Rule, after: str, draft: Draft) -> tuple[Statement, ...]:
    """What happens to a packet that the rule matches. ``after`` is the next tier's chain, "" where there is none."""
    count = Count(draft.rule_counter(judged.id))
    match judged.action, judged.deny_with:
        case Action.PASS, _:
            return (count, Goto(after) if after else RETURN)
        case Action.ACCEPT, _:
            return (Goto(_accept(judged, draft)),) if judged.log else (count, RETURN)
        case _, DenyWith.REJECT:
            return (Goto(_deny(judged, draft)),) if judged.log else (count, Goto(refuse_chain(draft)))
    return (Goto(_deny(judged, draft)),) if judged.log else (count, DROP)


def _accept(judged: Rule, draft: Draft) -> str:
    end = rule(Count(draft.rule_counter(judged.id)), RETURN, comment=draft.comment(judged.id))
    name = _shared("accept", judged.id, judged.log)
    return draft.chain(Chain(name, (*_logged(Recorded.ACCEPT, judged.id, judged.log, draft), end)))


def _deny(judged: Rule, draft: Draft) -> str:
    """Log, then deny: two rules, or a packet over the limit would go on."""
    rejects = judged.deny_with is DenyWith.REJECT
    end = rule(Count(draft.rule_counter(judged.id)), Goto(refuse_chain(draft)) if rejects else DROP)
    name = _shared("reject" if rejects else "drop", judged.id, judged.log)
    return draft.chain(Chain(name, (*_logged(Recorded.DENY, judged.id, judged.log, draft), end)))


def _shared(kind: str, rule_id: str, log: RuleLog | None) -> str:
    """The name of a chain that a rule's classes and families share, so that its rate is one. It says all that the
    chain does: a rule id is short enough for somebody to find a second rule with the same one."""
    name = names.name(kind, rule_id)
    return f"{name}_{log.rate}_{log.burst}" if log else name


def refuse_chain(draft: Draft) -> str:
    """A client that is refused fails at once: TCP by a reset, everything else by port-unreachable."""
    return draft.chain(Chain("refuse", (rule(*REJECT_TCP), rule(*REJECT_OTHER))))


def _isolation(isolation: Isolation, draft: Draft) -> str:
    """NetworkPolicy's deny. A pod that reaches itself through a Service is exempt: an accept, which ends evaluation."""
    end = rule(Count(draft.rule_counter(isolation.id)), DROP)
    records = _logged(Recorded.DENY, isolation.id, isolation.log, draft)
    rules = (*(_hairpin(family) for family in (4, 6)), *records, end)
    return draft.chain(Chain(_shared("isolate", isolation.id, isolation.log), rules))


def _hairpin(family: int) -> table.Rule:
    addresses = Fields((Payload(IP[family], "saddr"), Payload(IP[family], "daddr")))
    return rule(Is(addresses, SetRef(f"self{family}")), RETURN)


def _isolating(isolation: Isolation) -> str:
    more = isolation.count - len(isolation.policies)
    return names.comment(f"isolated by {', '.join(isolation.policies)}{f' and {more} more' if more > 0 else ''}")


def _logged(verdict: Recorded, rule_id: str, log: RuleLog | None, draft: Draft) -> Iterator[table.Rule]:
    if log:
        settings = draft.settings
        record = Log(names.log_prefix(verdict, rule_id), settings.nflog_group, settings.snaplen)
        yield rule(Limit(max(log.rate, 1), max(log.burst, 1)), record)


# --- Audit ------------------------------------------------------------------------------------------------------------


def _audit(audit: Audit, rule_class: RuleClass, family: int, draft: Draft) -> table.Rule:
    """A jump to the policy's own chain: it logs and counts the first match, and decides nothing."""
    rules = tuple(_audited(audit.rules, rule_class, family, draft))
    content = "\n".join(str(statement) for judged in rules for statement in judged.statements)
    name = draft.chain(Chain(f"audit{family}_{names.digest(content)}", rules))
    return rule(Jump(name), comment=draft.comment(audit.rules[0].id) if audit.rules else "")


def _audited(rules: Iterable[Rule], rule_class: RuleClass, family: int, draft: Draft) -> Iterator[table.Rule]:
    for judged in rules:
        for alternative in alternatives(judged.match, rule_class.direction, family, draft):
            yield rule(*alternative, Goto(_would(judged, draft)), comment=draft.comment(judged.id))


def _would(judged: Rule, draft: Draft) -> str:
    count = rule(Count(draft.rule_counter(judged.id)))
    name = _shared(WOULD[judged.action], judged.id, judged.log)
    return draft.chain(Chain(name, (*_logged(WOULD[judged.action], judged.id, judged.log, draft), count)))
