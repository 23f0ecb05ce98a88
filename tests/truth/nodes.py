"""The nodes of a cluster, each with the table that its agent would apply, in the real kernel.

A packet between two pods arrives when the tables of both their nodes let it through. Each node stands alone: what is
not local to it is out in the world.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from nodewall.compile import Change, Compiler, Input
from nodewall.compile import Settings as Choice
from nodewall.model.cluster import ClusterState, Phase, Pod
from nodewall.render import Settings, Transaction, render, replace
from tests.kernel.checker import Checker, Outcome
from tests.kernel.packets import Packet
from tests.truth.flows import Flow, nodes_on_the_way
from tests.truth.wire import all_received

_SETTINGS = Settings()


class Nodes:
    """One checker per node. ``judged`` counts packets."""

    def __init__(self, checkers: Mapping[str, Checker]) -> None:
        self._checkers = checkers
        self.judged = 0

    def program(self, state: ClusterState, settings: Settings = _SETTINGS, *, share: bool = False) -> None:
        """Compile as the controller does, publish, read, render and load what every node of ``state`` needs.

        ``share``: each group is held apart from the rule sets.
        """
        compiler = Compiler(Choice(share_above=0 if share else None))
        compiler.apply(changes(ClusterState(), state))
        for name, received in all_received(compiler).items():
            self.change(state, name, replace(render(received, settings)))

    def change(self, state: ClusterState, name: str, change: Transaction | None) -> None:
        """Make the node ``name`` one of ``state``, with this change of its table."""
        checker = self._checkers[name]
        local = [pod.addresses for pod in state.pods.values() if pod.node == name and _has_link(pod)]
        checker.arrange(local, own=state.nodes[name].addresses)
        if change is not None:
            checker.load(change.json())

    def namespace(self, name: str) -> str:
        """The network namespace of a node."""
        return self._checkers[name].router.name

    def outcomes(self, name: str, flows: Sequence[Flow]) -> list[Outcome]:
        """What one node does with the packets: passes, drops or rejects."""
        return self.raw_outcomes(name, list(map(_packet, flows)))

    def raw_outcomes(self, name: str, packets: Sequence[Packet]) -> list[Outcome]:
        self.judged += len(packets)
        return self._checkers[name].outcomes(packets)

    def verdicts(self, state: ClusterState, flows: Sequence[Flow]) -> list[bool]:
        """For each packet: do all nodes on its way let it through?"""
        ways = [nodes_on_the_way(state, flow) for flow in flows]
        passed = [True] * len(flows)
        for name, checker in self._checkers.items():
            indexes = [index for index, way in enumerate(ways) if name in way]
            self.judged += len(indexes)
            for index, verdict in zip(indexes, checker.verdicts(_packet(flows[i]) for i in indexes), strict=True):
                passed[index] &= verdict
        return passed


def changes(old: ClusterState, new: ClusterState) -> Iterator[Change]:
    """What a controller would be told."""
    for kind in Input:
        before: dict[Any, Any] = dict(getattr(old, kind.value))
        after: dict[Any, Any] = dict(getattr(new, kind.value))
        for key in before | after:
            if before.get(key) != after.get(key):
                yield Change(kind, key, after.get(key))


def _has_link(pod: Pod) -> bool:
    return not pod.host_network and pod.phase is not Phase.FINISHED


def _packet(flow: Flow) -> Packet:
    traffic = flow.traffic
    return Packet(
        flow.source,
        flow.destination,
        traffic.protocol,
        dport=max(traffic.port, 0),
        icmp_type=max(traffic.icmp_type, 0),
        icmp_code=max(traffic.icmp_code, 0),
    )


@contextmanager
def nodes(*names: str) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes({name: stack.enter_context(Checker()) for name in names})
