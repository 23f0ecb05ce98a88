"""Which pods a policy is about, and which policies stand in each other's way: for their status. Pure."""

from collections import Counter
from collections.abc import Iterable

from nodewall.compile.node import selects
from nodewall.compile.selectors import namespace_labels
from nodewall.model.cluster import ClusterState, NamespacedName, Phase, Pod
from nodewall.model.labels import Labels
from nodewall.model.policy import Direction, Mode, PolicyRef, TierPolicy, evaluation_order

Pods = frozenset[NamespacedName]


def selected(policy: TierPolicy, candidates: Iterable[Pod], state: ClusterState) -> Pods:
    """The pods among ``candidates`` that the policy is about, as soon as they are on a node and until they finished."""
    return frozenset(
        pod.key
        for pod in candidates
        if pod.node and not pod.host_network and pod.phase is not Phase.FINISHED and _about(policy, pod, state)
    )


def _about(policy: TierPolicy, pod: Pod, state: ClusterState) -> bool:
    node = state.nodes.get(pod.node)
    namespace = namespace_labels(pod.namespace, state.namespaces.get(pod.namespace))
    return selects(policy, pod, namespace, node.labels if node else Labels())


def by_node(pods: Pods, state: ClusterState) -> Counter[str]:
    """How many of these pods are on each node that has some."""
    return Counter(state.pods[key].node for key in pods)


def rivals(policy: TierPolicy, others: Iterable[tuple[TierPolicy, Pods]], pods: Pods) -> tuple[PolicyRef, ...]:
    """Policies of the same tier and priority that are judged before this one, about some of the same ``pods``."""
    return tuple(
        sorted(other.ref for other, theirs in others if not pods.isdisjoint(theirs) and _overrules(other, policy))
    )


def _overrules(other: TierPolicy, policy: TierPolicy) -> bool:
    same_place = (other.tier, other.priority) == (policy.tier, policy.priority)
    in_force = Mode.ENFORCE is other.mode is policy.mode
    same_direction = any(other.rules(each) and policy.rules(each) for each in Direction)
    return same_place and in_force and same_direction and evaluation_order(other) < evaluation_order(policy)
