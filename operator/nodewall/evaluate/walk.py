"""The walk through the tiers (semantics.md, "Order of evaluation"), once for each end of the connection."""

from collections.abc import Iterator

from nodewall.evaluate.matching import is_subject, on_matching_node, rule_matches, selects
from nodewall.evaluate.packet import Packet, PodParty, Situation
from nodewall.evaluate.result import TIER_NAMES, Explanation, Judgement, Step
from nodewall.model.cluster import ClusterState, Phase
from nodewall.model.policy import (
    NOBODY,
    Action,
    Direction,
    Mode,
    NetworkPolicy,
    Tier,
    TierPolicy,
    TierRule,
    evaluation_order,
)


def evaluate(state: ClusterState, packet: Packet) -> Explanation:
    """The verdict on one packet, with every step that led to it."""
    if _is_itself(packet) and not packet.via_service:
        return _explanation(packet, True, (), "a pod's traffic to its own address never leaves the pod")
    judgements = tuple(_judgements(state, packet))
    note = "" if judgements else "neither end is a pod that policies can select: nothing is judged"
    return _explanation(packet, all(j.allowed for j in judgements), judgements, note)


def _explanation(packet: Packet, allowed: bool, judgements: tuple[Judgement, ...], note: str) -> Explanation:
    return Explanation(str(packet.source), str(packet.destination), str(packet.traffic), allowed, judgements, note)


def _is_itself(packet: Packet) -> bool:
    source, destination = packet.source, packet.destination
    return isinstance(source, PodParty) and isinstance(destination, PodParty) and source.pod.key == destination.pod.key


def _judgements(state: ClusterState, packet: Packet) -> Iterator[Judgement]:
    ends = (
        (Direction.EGRESS, packet.source, packet.destination),
        (Direction.INGRESS, packet.destination, packet.source),
    )
    for direction, own, other in ends:
        if isinstance(own, PodParty) and own.pod.phase is not Phase.FINISHED:
            yield _judge(Situation(state, own.pod, other, packet.traffic, direction, _is_itself(packet)))


def _judge(situation: Situation) -> Judgement:
    direction, subject = situation.direction, f"pod {situation.subject.namespace}/{situation.subject.name}"
    if direction is Direction.INGRESS and situation.peer_is_own_node:
        step = Step(None, Action.ACCEPT, f"{situation.peer} is the pod's own node, which always reaches it")
        return Judgement(direction, subject, True, (step,))
    steps = tuple(_walk(situation))
    return Judgement(direction, subject, steps[-1].verdict is not Action.DENY, steps, tuple(_audits(situation)))


def _walk(situation: Situation) -> Iterator[Step]:
    """Steps up to and including the one that decides."""
    for tier in Tier:
        step = _network_policies(situation) if tier is Tier.NETWORK_POLICY else _tier(situation, tier)
        yield step
        if step.verdict in (Action.ACCEPT, Action.DENY):
            return
    yield Step(None, Action.ACCEPT, "no policy decides: allowed")


# --- ordered tiers ----------------------------------------------------------------------------------------------------


def _about(situation: Situation, mode: Mode) -> list[TierPolicy]:
    """Policies of the ordered tiers that are about the subject, in order of evaluation."""
    state, pod = situation.state, situation.subject
    found = [
        policy
        for policy in state.tier_policies.values()
        if policy.mode is mode
        and policy.subject is not NOBODY
        and is_subject(state, policy.subject, pod)
        and on_matching_node(state, policy, pod)
    ]
    return sorted(found, key=evaluation_order)


def _first_match(situation: Situation, policy: TierPolicy) -> TierRule | None:
    rules = policy.rules(situation.direction)
    return next((rule for rule in rules if rule_matches(situation, rule.peers, rule.ports)), None)


def _rule_name(rule: TierRule, direction: Direction) -> str:
    return rule.name or f"{direction.lower()}[{rule.index}]"


def _tier(situation: Situation, tier: Tier) -> Step:
    policies = [policy for policy in _about(situation, Mode.ENFORCE) if policy.tier is tier]
    for policy in policies:
        rule = _first_match(situation, policy)
        if rule is not None:
            name = _rule_name(rule, situation.direction)
            return Step(tier, rule.action, f"{policy.ref} rule {name}: {rule.action}", policy.ref, name)
    looked_at = f"none of {len(policies)} policies matches" if policies else "no policy is about this pod"
    return Step(tier, None, f"{TIER_NAMES[tier]} tier: {looked_at}")


def _audits(situation: Situation) -> Iterator[Step]:
    """Each policy in Audit mode alone, as if it were enforced: its first match is its would-be verdict."""
    for policy in _about(situation, Mode.AUDIT):
        rule = _first_match(situation, policy)
        if rule is None:
            continue
        name = _rule_name(rule, situation.direction)
        yield Step(policy.tier, rule.action, f"{policy.ref} rule {name} would {rule.action}", policy.ref, name)


# --- NetworkPolicy ----------------------------------------------------------------------------------------------------


def _isolating(situation: Situation) -> list[NetworkPolicy]:
    """The NetworkPolicies that isolate the subject in this direction, by name."""
    pod = situation.subject
    if pod.host_network:
        return []
    found = [
        policy
        for policy in situation.state.network_policies.values()
        if policy.namespace == pod.namespace
        and policy.rules(situation.direction) is not None
        and selects(policy.pods, pod.labels)
    ]
    return sorted(found, key=lambda policy: policy.name)


def _allowed_by(situation: Situation, policies: list[NetworkPolicy]) -> Step | None:
    """NetworkPolicies are a union: any rule of any of them is enough (9)."""
    for policy in policies:
        for rule in policy.rules(situation.direction) or ():
            if rule_matches(situation, rule.peers, rule.ports):
                name = f"{situation.direction.lower()}[{rule.index}]"
                return Step(Tier.NETWORK_POLICY, Action.ACCEPT, f"{policy.ref} {name} allows it", policy.ref, name)
    return None


def _network_policies(situation: Situation) -> Step:
    tier, direction = Tier.NETWORK_POLICY, situation.direction.lower()
    policies = _isolating(situation)
    if not policies:
        return Step(tier, None, f"NetworkPolicy: none isolates the pod for {direction}")
    allowed = _allowed_by(situation, policies)
    if allowed is not None:
        return allowed
    if situation.direction is Direction.EGRESS and situation.peer_is_own_node:
        return Step(tier, Action.ACCEPT, "a NetworkPolicy never closes the way to the pod's own node")
    if situation.hairpin:
        return Step(tier, Action.ACCEPT, "a NetworkPolicy never closes a pod's way to itself")
    names = ", ".join(f"{policy.namespace}/{policy.name}" for policy in policies)
    return Step(tier, Action.DENY, f"isolated for {direction} by {names}, and no rule allows it", policies[0].ref)
