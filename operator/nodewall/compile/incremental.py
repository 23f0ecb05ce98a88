"""The compiler that lives as long as the controller: it is told what changed and knows which nodes that concerns.

This is the one mutable cell of the core. What it answers equals ``compile_all`` of the same state, byte for byte.
"""

from collections.abc import Generator, Iterable
from typing import Any

from nodewall.compile.changes import Change, Dirty, Input, Reason
from nodewall.compile.node import compile_all
from nodewall.compile.settings import Settings
from nodewall.model.cluster import ClusterState
from nodewall.model.ruleset import NodeRuleSet

_DEFAULTS = Settings()


class Compiler:
    """Feed it ``Change``s, read ``ruleset(node)`` for each node that they made dirty."""

    def __init__(self, settings: Settings = _DEFAULTS) -> None:
        self._settings = settings
        self._inputs: dict[Input, dict[Any, Any]] = {kind: {} for kind in Input}
        self._rulesets: dict[str, NodeRuleSet] = {}

    def apply(self, changes: Iterable[Change]) -> Dirty:
        """All of ``steps`` at once."""
        steps = self.steps(changes)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                dirty: Dirty = done.value
                return dirty

    def steps(self, changes: Iterable[Change]) -> Generator[None, None, Dirty]:
        """The same work in small steps: the caller may do something else at each ``yield``, but read no rule set."""
        for change in changes:
            self._set(change)
            yield
        before, self._rulesets = self._rulesets, compile_all(self._state(), self._settings)
        return {node: reason for node in before | self._rulesets if (reason := self._reason(before, node)) is not None}

    def ruleset(self, node: str) -> NodeRuleSet:
        """The rule set of a known Node; ``KeyError`` for any other."""
        return self._rulesets[node]

    @property
    def nodes(self) -> frozenset[str]:
        """The Nodes that have a rule set."""
        return frozenset(self._rulesets)

    def _state(self) -> ClusterState:
        return ClusterState(**{kind.value: self._inputs[kind] for kind in Input})

    def _set(self, change: Change) -> None:
        if change.new is None:
            self._inputs[change.kind].pop(change.key, None)
        else:
            self._inputs[change.kind][change.key] = change.new

    def _reason(self, before: dict[str, NodeRuleSet], node: str) -> Reason | None:
        old, new = before.get(node), self._rulesets.get(node)
        if old == new:
            return None
        if new is None:
            return Reason.GONE
        if old is None:
            return Reason.NEW_POD if new.endpoints else Reason.CHANGED
        if {(each.namespace, each.pod) for each in new.endpoints} - {
            (each.namespace, each.pod) for each in old.endpoints
        }:
            return Reason.NEW_POD
        remaining = {group.name: set(group.addresses) for group in new.groups}
        lost = any(set(group.addresses) - remaining.get(group.name, set()) for group in old.groups)
        return Reason.PEER_REMOVED if lost else Reason.CHANGED
