"""The class of a pod in one direction: all that decides about its packets there, in order of evaluation."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace

from nodewall.compile.groups import GroupKey, PortGroupKey
from nodewall.compile.names import isolation_id, naming
from nodewall.compile.settings import Settings
from nodewall.compile.stepwise import at_once
from nodewall.compile.templates import Bound, Templates, bound
from nodewall.model.cluster import ContainerPort, LogWish
from nodewall.model.policy import Direction, Tier
from nodewall.model.ruleset import Audit, Isolation, RuleClass, RuleRef

_NAMED_POLICIES = 8
_PREFIX = {Direction.INGRESS: "i", Direction.EGRESS: "e"}


@dataclass(frozen=True, slots=True)
class BoundClass:
    """A class with everything that a rule set must hold beside it."""

    value: RuleClass
    groups: tuple[tuple[str, GroupKey], ...]
    port_groups: tuple[tuple[str, PortGroupKey], ...]
    refs: tuple[RuleRef, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """What of a pod shapes its classes, once the policies that select it are known."""

    namespace: str
    ports: tuple[ContainerPort, ...]
    wish: LogWish


def bind_class(
    direction: Direction, policies: Iterable[Templates], subject: Subject, settings: Settings
) -> BoundClass | None:
    """The class of a pod that these policies select. None: nothing is judged in this direction."""
    return at_once(binding(direction, policies, subject, settings))


def binding(
    direction: Direction, policies: Iterable[Templates], subject: Subject, settings: Settings
) -> Generator[None, None, BoundClass | None]:
    """``bind_class`` in small steps: a thousand policies may select one pod."""
    ordered = sorted(policies, key=lambda each: each.order)
    isolation = _isolation(direction, ordered, subject, settings)
    enforced = [each for each in ordered if not each.audit and not (isolation and each.tier == Tier.BASELINE)]
    rules = list[Bound]()
    for policy in enforced:
        yield from _bind_into(rules, policy, subject)
    audits = list[list[Bound]]()
    for policy in ordered:
        if policy.audit:
            audits.append([])
            yield from _bind_into(audits[-1], policy, subject)
    value = RuleClass(
        name="",
        direction=direction,
        rules=tuple(each.rule for each in rules),
        isolation=isolation,
        audits=tuple(Audit(tuple(each.rule for each in audit)) for audit in audits if audit),
    )
    if not (value.rules or value.isolation or value.audits):
        return None
    named = replace(value, name=(yield from naming(_PREFIX[direction], value)))
    return _with_references(named, [*rules, *(rule for audit in audits for rule in audit)])


def _bind_into(found: list[Bound], policy: Templates, subject: Subject) -> Iterator[None]:
    for each in bound(policy.rules, subject.namespace, subject.ports):
        found.append(each)
        yield


def _isolation(
    direction: Direction, ordered: list[Templates], subject: Subject, settings: Settings
) -> Isolation | None:
    """The deny that ends the NetworkPolicy tier: Baseline is never reached behind it, in this direction."""
    policies = tuple(f"{each.policy.namespace}/{each.policy.name}" for each in ordered if each.isolates)
    if not policies:
        return None
    log = settings.log if subject.wish in (LogWish.DENY, LogWish.ALL) else None
    id_ = isolation_id(subject.namespace, direction, policies)
    return Isolation(id_, policies[:_NAMED_POLICIES], len(policies), log)


def _with_references(value: RuleClass, rules: list[Bound]) -> BoundClass:
    groups = {name: key for rule in rules for name, key in rule.groups}
    port_groups = {name: key for rule in rules for name, key in rule.port_groups}
    refs = {rule.ref.id: rule.ref for rule in rules}
    return BoundClass(value, tuple(groups.items()), tuple(port_groups.items()), tuple(refs.values()))
