"""Whatever happens in whatever order, the incremental compiler says what compiling from scratch says."""

from collections import Counter
from dataclasses import replace
from gc import get_referents
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from nodewall.compile import Change, Compiler, Dirty, Input, Operations, Reason, compile_all
from nodewall.model.cluster import ClusterState, Namespace, Node
from nodewall.model.labels import Labels
from nodewall.model.policy import PolicyRef
from nodewall.model.ruleset import NodeRuleSet
from tests.compile import generate

PAIRS = [(namespace, name) for namespace in generate.NAMESPACES for name in generate.NAMES]
TIER_KEYS = [(kind, name) for kind in generate.TIER_KINDS for name in ("p", "q")]


def _changes(kind: Input, keys: list[Any], strategy: Any) -> st.SearchStrategy[Change]:
    """An object of a kind is made, changed or removed."""

    def of(key: Any) -> st.SearchStrategy[Change]:
        made = strategy(*key) if isinstance(key, tuple) else strategy(key)
        return st.one_of(made, made, made, st.none()).map(lambda new: Change(kind, key, new))

    return st.sampled_from(keys).flatmap(of)


def _tier_changes() -> st.SearchStrategy[Change]:
    """The namespace of a namespaced policy is drawn, so only its value knows the key."""
    made = st.sampled_from(TIER_KEYS).flatmap(lambda key: generate.tier_policies(*key))
    gone = st.sampled_from(
        [PolicyRef(kind, each, name) for kind, name in TIER_KEYS for each in ("", *generate.NAMESPACES)]
    )
    return st.one_of(
        made.map(lambda policy: Change(Input.TIER_POLICY, policy.ref, policy)),
        gone.map(lambda ref: Change(Input.TIER_POLICY, ref, None)),
    )


POD = _changes(Input.POD, PAIRS, generate.pods)
NAMESPACE = _changes(Input.NAMESPACE, list(generate.NAMESPACES), generate.namespaces)
NODE = _changes(Input.NODE, list(generate.NODES), generate.nodes)
SLICE = _changes(Input.SLICE, PAIRS[:4], generate.slices)
POLICY = _changes(Input.NETWORK_POLICY, PAIRS, generate.network_policies)
TIER = _tier_changes()
ANY = st.one_of(POD, POD, POD, NAMESPACE, NODE, SLICE, POLICY, POLICY, TIER, TIER)


class Life(RuleBasedStateMachine):
    """A cluster's life: batches of changes, after each of which both compilers are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.compiler = Compiler()
        self.inputs: dict[Input, dict[Any, Any]] = {kind: {} for kind in Input}
        self.before: dict[str, NodeRuleSet] = {}

    @initialize(state=generate.clusters(), chance=st.randoms(use_true_random=False))
    def list_all(self, state: ClusterState, chance: Random) -> None:
        """A populated cluster, listed in any order, so that what follows has something to change."""
        listed = [Change(kind, key, value) for kind in Input for key, value in getattr(state, kind.value).items()]
        self.batch(chance.sample(listed, len(listed)))

    @rule(change=POD)
    def pod(self, change: Change) -> None:
        self.batch([change])

    @rule(change=NAMESPACE)
    def namespace(self, change: Change) -> None:
        self.batch([change])

    @rule(change=NODE)
    def node(self, change: Change) -> None:
        self.batch([change])

    @rule(name=st.sampled_from(generate.NAMESPACES), labels=generate.labels)
    def relabel_namespace(self, name: str, labels: Labels) -> None:
        old = self.inputs[Input.NAMESPACE].get(name, Namespace(name))
        self.batch([Change(Input.NAMESPACE, name, replace(old, labels=labels))])

    @rule(name=st.sampled_from(generate.NODES), labels=generate.labels)
    def relabel_node(self, name: str, labels: Labels) -> None:
        old = self.inputs[Input.NODE].get(name, Node(name))
        self.batch([Change(Input.NODE, name, replace(old, labels=labels))])

    @rule(change=SLICE)
    def slice(self, change: Change) -> None:
        self.batch([change])

    @rule(change=POLICY)
    def network_policy(self, change: Change) -> None:
        self.batch([change])

    @rule(change=TIER)
    def tier_policy(self, change: Change) -> None:
        self.batch([change])

    @rule(changes=st.lists(ANY, min_size=2, max_size=5))
    def several(self, changes: list[Change]) -> None:
        self.batch(changes)

    def batch(self, changes: list[Change]) -> None:
        for change in changes:
            if change.new is None:
                self.inputs[change.kind].pop(change.key, None)
            else:
                self.inputs[change.kind][change.key] = change.new
        dirty = self.compiler.apply(changes)
        after = compile_all(ClusterState(**{kind.value: values for kind, values in self.inputs.items()}))
        self._compare(dirty, after)
        self.before = after

    def teardown(self) -> None:
        """What is gone leaves nothing behind."""
        self.batch([Change(kind, key, None) for kind, values in self.inputs.items() for key in list(values)])
        assert held(self.compiler) == held(Compiler())

    def _compare(self, dirty: Dirty, after: dict[str, NodeRuleSet]) -> None:
        assert self.compiler.nodes == after.keys()
        for name in after.keys() | self.before.keys():
            if name in after:
                assert self.compiler.ruleset(name) == after[name]
            if name not in dirty:
                assert after.get(name) == self.before.get(name), f"{name} has changed and was not reported"
            self._check_reason(dirty.get(name), self.before.get(name), after.get(name))

    def _check_reason(self, reason: Reason | None, old: NodeRuleSet | None, new: NodeRuleSet | None) -> None:
        assert (reason is Reason.GONE) == (old is not None and new is None)
        if new and _addresses(new) - (_addresses(old) if old else set()):
            assert reason is Reason.NEW_POD
        elif old and new and _lost(old, new):
            assert reason is Reason.PEER_REMOVED or reason is Reason.NEW_POD


def held(compiler: Compiler) -> Counter[str]:
    """What a compiler holds on to, by type; counters are no holdings."""
    found: dict[int, object] = {}
    waiting: list[object] = [compiler]
    while waiting:
        one = waiting.pop()
        kept = isinstance(one, dict | list | tuple | set) or type(one).__module__.startswith("nodewall.")
        if kept and id(one) not in found and not isinstance(one, type | Operations):
            found[id(one)] = one
            waiting.extend(get_referents(one))
    return Counter(type(one).__name__ for one in found.values() if not isinstance(one, tuple))


def _addresses(ruleset: NodeRuleSet) -> set[Any]:
    return {(each.namespace, each.pod, address) for each in ruleset.endpoints for address in each.addresses}


def _lost(old: NodeRuleSet, new: NodeRuleSet) -> bool:
    """A group that both use has lost a member."""
    now = {each.name: set(each.addresses) for each in new.groups}
    return any(each.name in now and set(each.addresses) - now[each.name] for each in old.groups)


Life.TestCase.settings = settings(max_examples=50, stateful_step_count=10, deadline=None)
TestLife = Life.TestCase
