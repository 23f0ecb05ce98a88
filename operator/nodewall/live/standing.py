"""Whether a node enforces what the live objects mean: what is compiled from them, held against what the node has.

A policy's part in a rule set is compared, not the rule set's digest: other policies and pods come and go all the time.
What the operator chose about records is no part of a verdict and not known here, so it is left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nodewall.evaluate.matching import can_be_selected, is_subject, on_matching_node, selects
from nodewall.live.cluster import NodeReport
from nodewall.model.cluster import ClusterState, Pod
from nodewall.model.policy import NOBODY, Kind, NetworkPolicy, PolicyRef, TierPolicy
from nodewall.model.ruleset import Endpoint, Isolation, NodeRuleSet, Rule, RuleClass

PodKey = tuple[str, str]
Part = Mapping[PodKey, Any]
"""What is judged for each pod that a policy is about, as comparable values."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One node. ``why`` says what is missing where it is not in force; ``degraded`` what weakens it all the same."""

    node: str
    pods: int
    in_force: bool
    why: str = ""
    degraded: str = ""


def standings(
    compiled: Mapping[str, NodeRuleSet], reports: Mapping[str, NodeReport], policy: PolicyRef | None = None
) -> list[Standing]:
    """Of the nodes where the policy matters (every one without a policy): where it has pods, and where a rule set
    still holds it.
    """
    found = (_standing(node, compiled.get(node), reports.get(node), policy) for node in sorted({*compiled, *reports}))
    return [each for each in found if each]


def _standing(
    node: str, compiled: NodeRuleSet | None, report: NodeReport | None, policy: PolicyRef | None
) -> Standing | None:
    wanted = part(compiled, policy) if compiled else {}
    held = part(report.content, policy) if report and report.content else {}
    if policy and not wanted and not held:
        return None
    why = _why(compiled is not None, wanted == held, report)
    return Standing(node, len(wanted), not why, why, report.degraded if report else "")


def _why(known: bool, same: bool, report: NodeReport | None) -> str:
    if report is None:
        return "it has no rule set yet; does the controller run?"
    if report.content is None:
        return f"its rule set cannot be read: {report.problem}"
    if not same:
        return "its rule set does not say this yet" if known else "its rule set is still there, and its node is not"
    if report.unapplied or report.applied_digest != report.digest:
        return f"its agent has not applied its rule set: {report.unapplied or 'an older one is in force'}"
    return "its agent has not said yet that it has the newest members of its groups" if report.behind else ""


def part(ruleset: NodeRuleSet, policy: PolicyRef | None) -> Part:
    """What the rule set says about the pods of a policy; about all pods without one."""
    classes = {each.name: each for each in ruleset.classes}
    ours = frozenset(ref.id for ref in ruleset.rules if policy is None or _is(ref, policy))
    book = _Book(ruleset)
    found = {(pod.namespace, pod.pod): _of_pod(pod, classes, ours, policy, book) for pod in ruleset.endpoints}
    return {key: value for key, value in found.items() if policy is None or any(value[1:])}


def about(state: ClusterState, policy: PolicyRef) -> set[str]:
    """The nodes of the pods that the policy selects. Empty for a policy that is not there."""
    local = state.network_policies.get((policy.namespace, policy.name))
    if policy.kind is Kind.NETWORK_POLICY:
        return {pod.node for pod in _pods(state) if local and _selected(local, pod)}
    tiered = state.tier_policies.get(policy)
    return {pod.node for pod in _pods(state) if tiered and _subject(state, tiered, pod)}


def _pods(state: ClusterState) -> Iterator[Pod]:
    return (pod for pod in state.pods.values() if pod.node and can_be_selected(pod))


def _selected(policy: NetworkPolicy, pod: Pod) -> bool:
    return policy.namespace == pod.namespace and selects(policy.pods, pod.labels)


def _subject(state: ClusterState, policy: TierPolicy, pod: Pod) -> bool:
    return (
        policy.subject is not NOBODY and is_subject(state, policy.subject, pod) and on_matching_node(state, policy, pod)
    )


def _is(ref: Any, policy: PolicyRef) -> bool:
    return (ref.kind, ref.namespace, ref.name) == (policy.kind, policy.namespace, policy.name)


class _Book:
    """Members of the groups, once each."""

    def __init__(self, ruleset: NodeRuleSet) -> None:
        self.groups = {each.name: each.addresses for each in ruleset.groups}
        self.port_groups = {each.name: each.members for each in ruleset.port_groups}


def _of_pod(
    pod: Endpoint, classes: Mapping[str, RuleClass], ours: frozenset[str], policy: PolicyRef | None, book: _Book
) -> tuple[Any, ...]:
    sides = (tuple(_of_class(classes.get(name), ours, policy, book)) for name in (pod.ingress, pod.egress))
    return (frozenset(pod.addresses), *sides)


def _of_class(found: RuleClass | None, ours: frozenset[str], policy: PolicyRef | None, book: _Book) -> Iterator[Any]:
    if found is None:
        return
    yield from _rules(found.rules, ours, book)
    for audit in found.audits:
        yield from (("audit", each) for each in _rules(audit.rules, ours, book))
    if found.isolation and _isolates(found.isolation, policy):
        yield found.isolation.id


def _rules(rules: Iterable[Rule], ours: frozenset[str], book: _Book) -> Iterator[Any]:
    """Rules without what they record, and with the members of their groups beside the names."""
    for rule in rules:
        if rule.id in ours:
            groups = tuple(book.groups.get(name, ()) for name in rule.match.groups)
            port_groups = tuple(book.port_groups.get(name, ()) for name in rule.match.port_groups)
            yield replace(rule, log=None), groups, port_groups


def _isolates(isolation: Isolation, policy: PolicyRef | None) -> bool:
    """All that isolate a pod are of its namespace. Of more than eight the rest is not named, and may be any."""
    if policy is None:
        return True
    if policy.kind is not Kind.NETWORK_POLICY:
        return False
    ours = [each for each in isolation.policies if each.startswith(f"{policy.namespace}/")]
    return f"{policy.namespace}/{policy.name}" in ours or (bool(ours) and isolation.count > len(isolation.policies))
