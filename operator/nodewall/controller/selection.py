"""Which pods policies are about, and which policies stand in each other's way: for their status.

The compiler decides what holds; this only counts, and so that a pod that comes or goes costs little: each policy has
a count per node and no list of pods (a hundred policies about 100,000 pods each would be a gigabyte), and only
policies of the pod's namespace and cluster-wide ones are asked about it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from nodewall.compile.node import selects
from nodewall.compile.selectors import namespace_labels
from nodewall.controller.store import Store
from nodewall.model.cluster import Phase, Pod
from nodewall.model.labels import Labels
from nodewall.model.policy import Direction, Mode, PolicyRef, TierPolicy, evaluation_order

_NO_LABELS = Labels()

MOST_RIVALS = 10
"""Of one policy, of whom anybody is told: a thousand of equal priority are half a million pairs."""


class Selections:
    """Selected pods by node, for each policy. Told of every change, after the store has it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._policies: defaultdict[str, dict[PolicyRef, TierPolicy]] = defaultdict(dict)
        self._counts: dict[PolicyRef, Counter[str]] = {}

    def policy(self, ref: PolicyRef, policy: TierPolicy | None) -> None:
        """Another spec is in force under this name, or none."""
        self._counts.pop(ref, None)
        if policy is None:
            self._policies[ref.namespace].pop(ref, None)
        else:
            self._policies[ref.namespace][ref] = policy

    def pod(self, old: Pod | None, new: Pod | None) -> None:
        """A pod came, changed or went."""
        for pod, step in ((old, -1), (new, 1)):
            if pod is not None and counts(pod):
                self._add(pod, step)

    def namespace(self) -> None:
        """The labels of some namespace changed: whoever selects by them has to count anew."""
        for ref in self._policies[""]:
            self._counts.pop(ref, None)

    def node(self) -> None:
        """The labels of some node changed."""
        for policies in self._policies.values():
            for ref, policy in policies.items():
                if policy.nodes is not None:
                    self._counts.pop(ref, None)

    def by_node(self, ref: PolicyRef) -> Mapping[str, int]:
        """How many pods the policy selects on each node that has some."""
        found = self._counts.get(ref)
        if found is None:
            policy = self._policies[ref.namespace].get(ref)
            found = self._counts[ref] = Counter() if policy is None else Counter(self._nodes_of(policy))
        return found

    def _add(self, pod: Pod, step: int) -> None:
        about = _about(pod, self._store)
        for namespace in {pod.namespace, ""}:
            for ref, policy in self._policies[namespace].items():
                known = self._counts.get(ref)
                if known is None or not about(policy):  # not counted yet, so counted later with all others
                    continue
                known[pod.node] += step
                if not known[pod.node]:
                    del known[pod.node]

    def _nodes_of(self, policy: TierPolicy) -> Iterator[str]:
        """The node of each selected pod. Pods with equal labels are asked about once."""
        namespaces = [policy.namespace] if policy.namespace else self._store.namespaces_with_pods()
        for namespace in namespaces:
            known: dict[tuple[Labels, str], bool] = {}
            for pod in filter(counts, self._store.pods_of(namespace)):
                key = (pod.labels, pod.node if policy.nodes is not None else "")
                if key not in known:
                    known[key] = _about(pod, self._store)(policy)
                if known[key]:
                    yield pod.node


def counts(pod: Pod) -> bool:
    """Whether a policy can be about the pod at all: it is on a node, has addresses of its own, and has not finished."""
    return bool(pod.node) and not pod.host_network and pod.phase is not Phase.FINISHED


def _about(pod: Pod, store: Store) -> Callable[[TierPolicy], bool]:
    node = store.state.nodes.get(pod.node)
    node_labels = node.labels if node else _NO_LABELS
    namespace = namespace_labels(pod.namespace, store.state.namespaces.get(pod.namespace))
    return lambda policy: selects(policy, pod, namespace, node_labels)


def conflicts(policies: Collection[TierPolicy], store: Store) -> dict[PolicyRef, tuple[PolicyRef, ...]]:
    """Among policies of one tier and priority: who is judged after whom about the same pod in the same direction. Of
    whom there are more than ``MOST_RIVALS``, the first of some pod.
    """
    found: defaultdict[PolicyRef, set[PolicyRef]] = defaultdict(set)
    local = _by_namespace(each for each in sorted(policies, key=evaluation_order) if each.mode is Mode.ENFORCE)
    for pod in _kinds_of_pods([each for some in local.values() for each in some], store):
        about = _about(pod, store)
        judging = [each for each in _meeting(local, pod.namespace) if about(each)]
        for direction in Direction:
            before: list[PolicyRef] = []
            for each in judging:
                if not each.rules(direction):
                    continue
                if before and len(found[each.ref]) < MOST_RIVALS:
                    found[each.ref].update(before)
                if len(before) < MOST_RIVALS:
                    before.append(each.ref)
    return {ref: tuple(sorted(rivals)[:MOST_RIVALS]) for ref, rivals in found.items()}


def _by_namespace(policies: Iterable[TierPolicy]) -> dict[str, list[TierPolicy]]:
    found: defaultdict[str, list[TierPolicy]] = defaultdict(list)
    for each in policies:
        found[each.namespace].append(each)
    return dict(found)


def _meeting(local: Mapping[str, list[TierPolicy]], namespace: str) -> Iterator[TierPolicy]:
    """Those that may be about pods of a namespace, in order: all of a tier have a namespace, or none has."""
    yield from local.get("", ())
    yield from local.get(namespace, ())


def _kinds_of_pods(policies: Collection[TierPolicy], store: Store) -> Iterator[Pod]:
    """One pod of each kind that these policies could tell apart, where two of them may meet."""
    by_node = any(policy.nodes is not None for policy in policies)
    number = Counter(policy.namespace for policy in policies)
    here = (name for name in sorted(number) if number[name] + number[""] > 1)
    for namespace in store.namespaces_with_pods() if number[""] else here:
        pods = filter(counts, store.pods_of(namespace))
        yield from {(pod.labels, pod.node if by_node else ""): pod for pod in pods}.values()
