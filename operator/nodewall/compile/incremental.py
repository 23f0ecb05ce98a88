"""The compiler that lives as long as the controller: it is told what changed and knows which nodes that concerns.

This is the one mutable cell of the core. What it answers equals ``compile_all`` of the same state, byte for byte, but
the work is that of the change: a pod touches the groups that mean it, its own classes and the nodes that need these
groups; a policy the pods that it selects; a namespace label the pods of that namespace, under the selectors that ask
for the label.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakValueDictionary

from nodewall.compile.addresses import selectable
from nodewall.compile.blame import PolicyError, culprit
from nodewall.compile.changes import Change, Dirty, Input, Reason
from nodewall.compile.claims import Claims
from nodewall.compile.classes import BoundClass, Subject, binding
from nodewall.compile.feeding import Feeding
from nodewall.compile.groups import GroupKey, PortGroupKey
from nodewall.compile.matching import Matching
from nodewall.compile.members import Group
from nodewall.compile.nodes import Nodes
from nodewall.compile.operations import Operations
from nodewall.compile.placing import Placing
from nodewall.compile.records import Cell, Classes, PodRecord, PolicyRecord, Profile
from nodewall.compile.settings import Settings
from nodewall.compile.sharing import Sharing
from nodewall.compile.stepwise import at_once
from nodewall.compile.templates import Templates, of_network_policy, of_tier_policy, references
from nodewall.model.cluster import EndpointSlice, LogWish, Namespace, NamespacedName, Node, Pod
from nodewall.model.policy import (
    Direction,
    Kind,
    Mode,
    NamespaceNames,
    NetworkPolicy,
    Nobody,
    PodPeer,
    PolicyRef,
    TierPolicy,
)
from nodewall.model.ruleset import Endpoint, GroupPart, NodeRuleSet

_DEFAULTS = Settings()


class Compiler:
    """Feed it ``Change``s, read ``ruleset(node)`` for each node that they made dirty."""

    def __init__(self, settings: Settings = _DEFAULTS) -> None:
        self.operations = Operations()
        self._settings = settings
        self._matching = Matching(self.operations)
        self._nodes = Nodes(self.operations)
        self._feeding = Feeding(self._matching, self._nodes, self.operations)
        self._sharing = Sharing(settings.share_above, self.operations)
        self._placing = Placing(self._feeding, self._sharing)
        self._claims = Claims()
        self._pods: dict[NamespacedName, PodRecord] = {}
        self._policies: dict[PolicyRef, PolicyRecord] = {}
        self._local_policies: dict[str, dict[PolicyRef, NetworkPolicy]] = {}
        self._wishes: dict[str, LogWish] = {}
        self._slices: dict[NamespacedName, EndpointSlice] = {}
        self._profiles: WeakValueDictionary[tuple[str, frozenset[PolicyRecord]], Profile] = WeakValueDictionary()
        self._stale_cells: dict[Cell, None] = {}
        self._stale_pods: dict[NamespacedName, None] = {}
        self._marks: dict[str, Reason] = {}
        self._published: set[str] = set()
        self._unread: set[str] = set()  # what such a node has from before may hold its groups in another form
        self._unfinished = False
        self._take: Mapping[Input, Callable[[Any, Any], Iterator[None]]] = {
            Input.POD: self._take_pod,
            Input.NAMESPACE: self._take_namespace,
            Input.NODE: self._take_node,
            Input.SERVICE: self._take_service,
            Input.SLICE: self._take_slice,
            Input.NETWORK_POLICY: self._take_network_policy,
            Input.TIER_POLICY: self._take_policy,
        }

    # --- what the controller uses

    def apply(self, changes: Iterable[Change]) -> Dirty:
        """All of ``steps`` at once."""
        return at_once(self.steps(changes))

    def steps(self, changes: Iterable[Change]) -> Generator[None, None, Dirty]:
        """The same work in small steps. At each ``yield`` the caller may do something else, but read no rule set.

        ``RuntimeError`` when an earlier call was not driven to its end: nothing can be said about half a batch.
        ``PolicyError`` for a failure that is one policy's; after any failure this compiler is of no use any more.
        """
        self._refuse_half_a_batch()
        self._unfinished = True
        for change in changes:
            yield from self._take[change.kind](change.key, change.new)
            yield
        yield from self._classify_all()
        yield from self._mark_groups()
        dirty = self._told()
        yield from self._feeding.sweep()
        self._unfinished = False
        return dirty

    def ruleset(self, node: str) -> NodeRuleSet:
        """The rule set of a known Node; ``KeyError`` for any other."""
        return at_once(self.assembling(node))

    def assembling(self, node: str) -> Generator[None, None, NodeRuleSet]:
        """``ruleset`` in steps: the next changes have to wait until it is driven to its end."""
        self._refuse_half_a_batch()
        self._unread.discard(node)
        return (yield from self._placing.assembling(self._nodes[node]))

    def parts(self) -> Iterator[GroupPart]:
        """The parts of shared groups that changed since this was asked last. In steps: the next changes have to wait
        until it is driven to its end.
        """
        self._refuse_half_a_batch()
        return self._sharing.changed()

    @property
    def shared(self) -> dict[str, int]:
        """In how many parts each group is that is shared."""
        return self._sharing.layouts

    @property
    def nodes(self) -> frozenset[str]:
        """The Nodes that have a rule set."""
        return frozenset(self._published)

    def _refuse_half_a_batch(self) -> None:
        if self._unfinished:
            raise RuntimeError("changes have been taken in half: drive steps() to its end")

    # --- pods

    def _take_pod(self, key: NamespacedName, new: Pod | None) -> Iterator[None]:
        record = self._pods.get(key)
        old = record.pod if record else None
        if old == new:
            return
        record = self._pods.setdefault(key, PodRecord())
        concerned = {key: record} | self._rivals(old, new)
        for each in concerned.values():
            self._feeding.withdraw(each)
        self._claims.replace(old, new)
        self._settle(key, record, new)
        for name, each in concerned.items():
            each.owned = self._claims.owned(each.pod) if each.pod else ()
            self._feeding.feed(each)
            self._stale_pods[name] = None
            yield

    def _rivals(self, old: Pod | None, new: Pod | None) -> dict[NamespacedName, PodRecord]:
        """The pods that claim the same addresses, now or then: they may gain or lose some."""
        addresses = {address for pod in (old, new) if pod for address in pod.addresses}
        return {pod.key: self._pods[pod.key] for address in addresses for pod in self._claims.claimants(address)}

    def _settle(self, key: NamespacedName, record: PodRecord, new: Pod | None) -> None:
        """Put the pod into its cell; a finished pod and one on the host network have none."""
        cell = self._matching.cell(new.namespace, new.labels) if new and selectable(new) else None
        before = record.cell
        record.pod, record.cell = new, cell
        if cell is before:
            return
        if cell:
            cell.pods[key] = record
        if before:
            del before.pods[key]
            self._matching.leave(before)

    # --- namespaces, nodes, slices

    def _take_namespace(self, name: str, new: Namespace | None) -> Iterator[None]:
        for cell, scope, linked in self._matching.namespace(name, new):
            if scope.subjects:
                self._stale_cells[cell] = None
            for record in cell.pods.values() if scope.groups else ():
                (self._feeding.join if linked else self._feeding.part)(scope, record)
            yield
        yield from self._take_wish(name, new.log if new else None)

    def _take_wish(self, namespace: str, wish: LogWish | None) -> Iterator[None]:
        before = self._wish(namespace)
        self._wishes.pop(namespace, None)
        if wish:
            self._wishes[namespace] = wish
        if self._wish(namespace) is not before:
            for ref, policy in list(self._local_policies.get(namespace, {}).items()):
                yield from self._replace(ref, policy)

    def _wish(self, namespace: str) -> LogWish:
        return self._wishes.get(namespace, self._settings.log_default)

    def _take_node(self, name: str, new: Node | None) -> Iterator[None]:
        old = self._nodes.get(name)
        if old == new:
            return
        crossed, moved = self._nodes.replace(name, new)
        self._feeding.refill(moved)
        if any(scope.subjects for scope in crossed):
            self._stale_pods.update(dict.fromkeys(self._placing.local(name)))
        if new is None:
            self._mark(name, Reason.GONE)
        elif old is None and self._placing.local(name):
            self._mark(name, Reason.NEW_POD)
        elif old is None or old.pod_cidrs != new.pod_cidrs:
            self._mark(name, Reason.CHANGED)
        yield

    def _take_service(self, *_: object) -> Iterator[None]:
        """Verdicts fall after DNAT: a Service is nothing but its slices."""
        yield from ()

    def _take_slice(self, key: NamespacedName, new: EndpointSlice | None) -> Iterator[None]:
        old = self._slices.pop(key, None)
        if new:
            self._slices[key] = new
        if old != new:
            yield from self._feeding.slice(key, old, new)

    # --- policies

    def _take_network_policy(self, key: NamespacedName, new: NetworkPolicy | None) -> Iterator[None]:
        local = self._local_policies.setdefault(key[0], {})
        ref = PolicyRef(Kind.NETWORK_POLICY, *key)
        local.pop(ref, None)
        if new:
            local[ref] = new
        if not local:
            del self._local_policies[key[0]]
        yield from self._take_policy(ref, new)

    def _take_policy(self, ref: PolicyRef, new: NetworkPolicy | TierPolicy | None) -> Iterator[None]:
        old = self._policies.get(ref)
        if (old.value if old else None) != new:
            yield from self._replace(ref, new)

    def _replace(self, ref: PolicyRef, new: NetworkPolicy | TierPolicy | None) -> Iterator[None]:
        """What the new one holds is taken before the old one lets go, so that what both hold is not made again."""
        try:
            record = (yield from self._record(new)) if new else None
        except Exception as error:
            raise PolicyError(ref) from error
        old = self._policies.pop(ref, None)
        if old:
            yield from self._about(old)
            del old.scope.subjects[ref]
            if old.nodes:
                del old.nodes.subjects[ref]
        if record:
            self._policies[ref] = record
            record.scope.subjects[ref] = record
            if record.nodes:
                record.nodes.subjects[ref] = record
            yield from self._about(record)
        if old:
            yield from self._release(old)

    def _about(self, record: PolicyRecord) -> Iterator[None]:
        for cell in record.scope.cells:
            self._stale_cells[cell] = None
            yield

    def _record(self, policy: NetworkPolicy | TierPolicy) -> Generator[None, None, PolicyRecord | None]:
        """None: the policy is in force for nobody."""
        subject = _subject(policy)
        if subject is None:
            return None
        scope = yield from self._matching.acquire(subject)
        templates = {each: found for each in Direction if (found := self._templates(policy, each))}
        named = dict[str, GroupKey | PortGroupKey]()
        for each in templates.values():
            named.update(references(each.rules))
        for name, key in named.items():
            yield from self._feeding.acquire(name, key)
        where = policy.nodes if isinstance(policy, TierPolicy) else None
        nodes = None if where is None else self._nodes.acquire(where)
        return PolicyRecord(policy, templates, scope, nodes, frozenset(named))

    def _release(self, record: PolicyRecord) -> Iterator[None]:
        for name in record.groups:
            self._feeding.release(name)
        yield from self._matching.release(record.scope)
        if record.nodes:
            self._nodes.release(record.nodes)

    def _templates(self, policy: NetworkPolicy | TierPolicy, direction: Direction) -> Templates | None:
        if isinstance(policy, TierPolicy):
            return of_tier_policy(policy, direction)
        return of_network_policy(policy, direction, self._wish(policy.namespace), self._settings)

    # --- classes

    def _classify_all(self) -> Iterator[None]:
        """Once per batch, however many changes concern a pod."""
        for cell in self._stale_cells:
            cell.profile = None
            self._stale_pods.update(dict.fromkeys(cell.pods))
            yield
        self._stale_cells.clear()
        for key in self._stale_pods:
            yield from self._classify(key, self._pods[key])
            yield
        self._stale_pods.clear()

    def _classify(self, key: NamespacedName, record: PodRecord) -> Iterator[None]:
        self.operations.classified += 1
        endpoint, classes = None, list[BoundClass]()
        if record.pod and record.cell and record.owned:
            found = yield from self._classes(record.pod, record.cell)
            classes = [each for each in found if each]
            endpoint = Endpoint(*key, record.owned, *(each.value.name if each else "" for each in found))
        node = record.pod.node if record.pod else ""
        if endpoint != record.endpoint or (endpoint and node != record.node):
            self._mark_move(record, node, endpoint)
            yield from self._placing.move(key, record, node, endpoint, classes)
        if record.pod is None:
            del self._pods[key]

    def _classes(self, pod: Pod, cell: Cell) -> Generator[None, None, Classes]:
        profile = cell.profile
        if profile is None:
            profile = cell.profile = self._profile(cell)
        if not profile.policies:
            return None, None
        here = tuple(pod.node in each.names for each in profile.nodes)
        variant = (pod.ports if profile.named else (), here)
        if variant not in profile.made:
            profile.made[variant] = yield from self._bound(pod, profile)
        return profile.made[variant]

    def _profile(self, cell: Cell) -> Profile:
        """Cells that the same policies select share one, as long as any of them is there."""
        policies = frozenset(record for scope in cell.scopes for record in scope.subjects.values())
        return self._profiles.setdefault((cell.namespace, policies), Profile(policies))

    def _bound(self, pod: Pod, profile: Profile) -> Generator[None, None, Classes]:
        self.operations.classes += 1
        admitted = [each for each in profile.policies if each.nodes is None or pod.node in each.nodes.names]
        subject = Subject(pod.namespace, pod.ports, self._wish(pod.namespace))
        ingress = yield from self._bind(Direction.INGRESS, admitted, subject)
        egress = yield from self._bind(Direction.EGRESS, admitted, subject)
        return ingress, egress

    def _bind(
        self, direction: Direction, admitted: list[PolicyRecord], subject: Subject
    ) -> Generator[None, None, BoundClass | None]:
        together = [each.templates[direction] for each in admitted if direction in each.templates]
        try:
            return (yield from binding(direction, together, subject, self._settings))
        except Exception as error:
            ref = yield from culprit(lambda some: binding(direction, some, subject, self._settings), together)
            if ref:
                raise PolicyError(ref) from error
            raise

    # --- which nodes are dirty

    def _mark_move(self, record: PodRecord, node: str, endpoint: Endpoint | None) -> None:
        before = record.endpoint.addresses if record.endpoint and record.node == node else ()
        if record.endpoint:
            self._mark(record.node, Reason.CHANGED)
        if endpoint:
            self._mark(node, Reason.CHANGED if set(endpoint.addresses) <= set(before) else Reason.NEW_POD)

    def _mark(self, node: str, reason: Reason) -> None:
        self._marks[node] = min(reason, self._marks.get(node, reason))

    def _mark_groups(self) -> Iterator[None]:
        changed = self._feeding.changed()
        for group in dict.fromkeys((*changed, *self._feeding.spread())):
            yield from self._turn(group)
        for group in changed:
            reason = Reason.PEER_REMOVED if group.removed else Reason.CHANGED
            for node in group.nodes.keys() & self._unread if self._sharing.follow(group) else group.nodes:
                self._mark(node, reason)
            group.settle()
            yield

    def _turn(self, group: Group) -> Iterator[None]:
        """Hold the group in the form that its users and its size ask for; the rule sets that have it say so."""
        wanted = self._sharing.wanted(group, len(self._nodes))
        if wanted == self._sharing.parts(group.name):
            return
        yield from self._sharing.turn(group, wanted)
        for node in group.nodes:
            self._mark(node, Reason.CHANGED)

    def _told(self) -> Dirty:
        dirty = {node: self._outcome(node, reason) for node, reason in self._marks.items() if self._concerns(node)}
        self._marks.clear()
        self._unread.update(node for node in dirty if node in self._nodes and node not in self._published)
        self._unread.difference_update(node for node in dirty if node not in self._nodes)
        self._published.update(node for node in dirty if node in self._nodes)
        self._published.difference_update(node for node in dirty if node not in self._nodes)
        self.operations.nodes += len(dirty)
        return dirty

    def _concerns(self, node: str) -> bool:
        """Pods may be bound to a Node that nobody has seen: it has no rule set yet."""
        return node in self._nodes or node in self._published

    def _outcome(self, node: str, reason: Reason) -> Reason:
        return reason if node in self._nodes else Reason.GONE


def _subject(policy: NetworkPolicy | TierPolicy) -> PodPeer | None:
    if isinstance(policy, NetworkPolicy):
        return PodPeer(NamespaceNames((policy.namespace,)), policy.pods)
    if policy.mode is Mode.DISABLED or isinstance(policy.subject, Nobody):
        return None
    return PodPeer(policy.subject.namespaces, policy.subject.pods)
