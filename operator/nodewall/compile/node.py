"""From scratch: a whole cluster state to the rule sets of its nodes.

Plain on purpose. The offline verbs use it, and the incremental ``Compiler`` is held against it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from nodewall.compile.classes import BoundClass, Subject, bind_class
from nodewall.compile.groups import GroupKey, PortGroupKey, describe, describe_ports
from nodewall.compile.selectors import matches, namespace_matches
from nodewall.compile.settings import Settings
from nodewall.compile.snapshot import Snapshot
from nodewall.compile.templates import Templates, of_network_policy, of_tier_policy
from nodewall.model.cluster import ClusterState, LogWish, Pod
from nodewall.model.labels import Labels
from nodewall.model.policy import Direction, NetworkPolicy, Nobody, TierPolicy
from nodewall.model.ruleset import AddressGroup, Endpoint, NodeRuleSet, PortGroup

_DEFAULTS = Settings()


def compile_node(state: ClusterState, node: str, settings: Settings = _DEFAULTS) -> NodeRuleSet:
    """The rule set of one node. ``node`` need not be a known Node: the pods that are bound to it count."""
    return _Compilation(state, settings).node(node)


def compile_all(
    state: ClusterState, settings: Settings = _DEFAULTS, nodes: Iterable[str] | None = None
) -> dict[str, NodeRuleSet]:
    """The rule set of every Node of ``state``, or of these nodes only, by name."""
    compilation = _Compilation(state, settings)
    return {name: compilation.node(name) for name in sorted(state.nodes if nodes is None else nodes)}


class _Compilation:
    """One state being compiled; remembers groups and classes that several nodes share."""

    def __init__(self, state: ClusterState, settings: Settings) -> None:
        self._state, self._settings = state, settings
        self._snapshot = Snapshot(state)
        self._groups: dict[str, AddressGroup] = {}
        self._port_groups: dict[str, PortGroup] = {}
        self._local: dict[tuple[str, Direction], list[tuple[NetworkPolicy, Templates]]] = defaultdict(list)
        self._tiers: dict[Direction, list[tuple[TierPolicy, Templates]]] = defaultdict(list)
        self._prepare()

    def _prepare(self) -> None:
        for direction in Direction:
            for local in self._state.network_policies.values():
                wish = self._wish(local.namespace)
                if found := of_network_policy(local, direction, wish, self._settings):
                    self._local[local.namespace, direction].append((local, found))
            for tiered in self._state.tier_policies.values():
                if found := of_tier_policy(tiered, direction):
                    self._tiers[direction].append((tiered, found))

    def _wish(self, namespace: str) -> LogWish:
        found = self._state.namespaces.get(namespace)
        return (found and found.log) or self._settings.log_default

    def node(self, name: str) -> NodeRuleSet:
        node = self._state.nodes.get(name)
        labels = node.labels if node else Labels()
        pods = [(pod, self._classes(pod, labels)) for pod in self._snapshot.by_node.get(name, ())]
        classes = {each.value.name: each for _, found in pods for each in found.values() if each}
        groups = {name: key for each in classes.values() for name, key in each.groups}
        port_groups = {name: key for each in classes.values() for name, key in each.port_groups}
        refs = {ref.id: ref for each in classes.values() for ref in each.refs}
        return NodeRuleSet(
            node=name,
            groups=tuple(self._group(name, groups[name]) for name in sorted(groups)),
            port_groups=tuple(self._port_group(name, port_groups[name]) for name in sorted(port_groups)),
            classes=tuple(classes[name].value for name in sorted(classes)),
            endpoints=tuple(self._endpoint(pod, found) for pod, found in pods),
            rules=tuple(refs[id_] for id_ in sorted(refs)),
            pod_cidrs=tuple(sorted(set(node.pod_cidrs), key=str)) if node else (),
        )

    def _classes(self, pod: Pod, node: Labels) -> dict[Direction, BoundClass | None]:
        subject = Subject(pod.namespace, pod.ports, self._wish(pod.namespace))
        return {
            direction: bind_class(direction, self._policies(direction, pod, node), subject, self._settings)
            for direction in Direction
        }

    def _policies(self, direction: Direction, pod: Pod, node: Labels) -> Iterator[Templates]:
        local = self._local.get((pod.namespace, direction), ())
        yield from (found for policy, found in local if matches(policy.pods, pod.labels))
        namespace = self._snapshot.namespace_labels(pod.namespace)
        yield from (found for policy, found in self._tiers[direction] if selects(policy, pod, namespace, node))

    def _group(self, name: str, key: GroupKey) -> AddressGroup:
        if name not in self._groups:
            self._groups[name] = AddressGroup(name, describe(key), self._snapshot.addresses(key))
        return self._groups[name]

    def _port_group(self, name: str, key: PortGroupKey) -> PortGroup:
        if name not in self._port_groups:
            self._port_groups[name] = PortGroup(name, describe_ports(key), self._snapshot.port_members(key))
        return self._port_groups[name]

    def _endpoint(self, pod: Pod, classes: dict[Direction, BoundClass | None]) -> Endpoint:
        names = {direction: found.value.name if found else "" for direction, found in classes.items()}
        owned = self._snapshot.owned[pod.key]
        return Endpoint(pod.namespace, pod.name, owned, names[Direction.INGRESS], names[Direction.EGRESS])


def selects(policy: TierPolicy, pod: Pod, namespace: Labels, node: Labels) -> bool:
    """Whether the policy is about this pod (which is not on the host network), on this node."""
    if isinstance(policy.subject, Nobody):
        return False
    if policy.nodes is not None and not matches(policy.nodes, node):
        return False
    subject = policy.subject
    return namespace_matches(subject.namespaces, pod.namespace, namespace) and matches(subject.pods, pod.labels)
