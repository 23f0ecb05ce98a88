"""Groups that many nodes use are held apart: rule sets name them, and mean what they meant when they held them."""

from collections.abc import Iterable
from dataclasses import replace
from math import log10
from random import Random

import pytest
from hypothesis import settings

from nodewall.compile import Change, Compiler, Dirty, Input, Operations, Settings, compile_all
from nodewall.compile.changes import Reason
from nodewall.compile.sharing import BIG, EMPTIEST, FULLEST, MOST_PARTS, parts_for
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState, Namespace, Node
from nodewall.model.errors import BadInputError
from nodewall.model.labels import EVERYTHING, Labels
from nodewall.model.policy import PodPeer, PortName
from nodewall.model.ruleset import AddressGroup, GroupPart, NodeRuleSet, PartKey, PortGroup, SharedGroup
from nodewall.model.shared import merged, whole
from tests.compile.test_incremental import Life
from tests.compile.world import TCP, allow, at_ports, from_peers, labelled, pod, policy

EVERYBODY = policy("shop/all", EVERYTHING, ingress=allow(from_peers(PodPeer(EVERYTHING))))
"""Each pod of the shop lets in every pod of the cluster."""


class Sharing:
    """A compiler, and the parts that it has told: what the API would hold."""

    def __init__(self, above: int | None, life: Compiler | None = None) -> None:
        self.compiler = life or Compiler(Settings(share_above=above))
        self.parts: dict[PartKey, GroupPart] = {}

    def apply(self, changes: Iterable[Change]) -> Dirty:
        dirty = self.compiler.apply(changes)
        self.take()
        for node in dirty:
            self.compiler.ruleset(node)
        return dirty

    def take(self) -> list[PartKey]:
        """Write what changed; returns it."""
        told = {part.key: part for part in self.compiler.parts()}
        self.parts |= told
        shared = self.compiler.shared
        self.parts = {key: part for key, part in self.parts.items() if shared.get(key[0]) == key[1]}
        return list(told)

    def whole(self, node: str) -> NodeRuleSet:
        """What the node's agent makes of its rule set."""
        return whole(self.compiler.ruleset(node), self.gather)

    def gather(self, group: SharedGroup) -> AddressGroup | PortGroup:
        return merged([self.parts[group.name, group.parts, index] for index in range(group.parts)])


class SharedLife(Life):
    """As ``Life``, with every group shared that more than one node uses."""

    above = 1

    def __init__(self) -> None:
        super().__init__()
        self.compiler = Compiler(Settings(share_above=self.above))
        self.sharing = Sharing(None, self.compiler)

    def _compare(self, dirty: Dirty, after: dict[str, NodeRuleSet]) -> None:
        """Where nothing but members of shared groups changed, nobody has to be told."""
        before = {node: rule_set for node, rule_set in self.seen.items() if node in after}
        self.sharing.take()
        self.seen = {node: self.compiler.ruleset(node) for node in after}
        for node, expected in after.items():
            assert self.sharing.whole(node) == expected
            assert node in dirty or before.get(node) == self.seen[node], f"{node} has changed and was not reported"
        assert all(len(part.content.description) for part in self.sharing.parts.values())

    seen: dict[str, NodeRuleSet] = {}  # noqa: RUF012 - replaced, never changed


class AllSharedLife(SharedLife):
    """With every group shared."""

    above = 0


for _life in (SharedLife, AllSharedLife):
    _life.TestCase.settings = settings(max_examples=25, stateful_step_count=10, deadline=None)
TestSharedLife = SharedLife.TestCase
TestAllSharedLife = AllSharedLife.TestCase


# -- when a group is shared


def cluster(nodes: int, pods: int = 1) -> list[Change]:
    """So many nodes with so many pods each, all of one namespace and selected by ``EVERYBODY``."""
    made = [Change(Input.NAMESPACE, "shop", Namespace("shop"))]
    made += [Change(Input.NODE, f"n{number}", Node(f"n{number}")) for number in range(nodes)]
    made += [shop(number, node=number % nodes) for number in range(nodes * pods)]
    return [*made, Change(Input.NETWORK_POLICY, ("shop", "all"), EVERYBODY)]


def shop(number: int, node: int) -> Change:
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    made = pod(f"shop/p{number}", [address, f"fd00::{number:x}"], f"n{node}", ["http:8080/TCP"])
    return Change(Input.POD, made.key, made)


def gone(number: int) -> Change:
    return Change(Input.POD, ("shop", f"p{number}"), None)


def test_a_small_cluster_has_none() -> None:
    here = Sharing(3)
    here.apply(cluster(3))
    assert (here.compiler.shared, here.parts) == ({}, {})
    assert here.compiler.ruleset("n0") == here.whole("n0")


def test_beyond_the_number_of_nodes_the_group_is_apart() -> None:
    here = Sharing(3)
    here.apply(cluster(4))
    (group,) = here.compiler.shared
    rule_set = here.compiler.ruleset("n0")
    assert (rule_set.groups, rule_set.shared) == ((), (SharedGroup(group, 1),))
    assert len(here.parts) == 1


def test_it_does_not_go_to_and_fro() -> None:
    """Shared by the fourth node, it stays so until only half as many as the limit use it."""
    here = Sharing(4)
    here.apply(cluster(4))
    assert not here.compiler.shared
    fifth = [Change(Input.NODE, "n4", Node("n4")), shop(4, node=4)]
    for _ in range(3):
        here.apply(fifth)
        assert here.compiler.shared, "five nodes use it"
        here.apply([gone(4)])
        assert here.compiler.shared, "four do, and that is not yet few"
    here.apply([gone(3)])
    assert here.compiler.shared
    dirty = here.apply([gone(2)])
    assert not here.compiler.shared
    assert dirty.keys() >= {"n0", "n1"}, "they hold its members again"
    assert here.compiler.ruleset("n0").groups[0].addresses == ("10.0.0.0", "10.0.0.1", "fd00::0", "fd00::1")


@pytest.mark.parametrize("anew", [False, True])
def test_a_large_cluster_shares_what_a_fiftieth_of_it_uses(anew: bool) -> None:
    here = Sharing(0)
    nodes = [Change(Input.NODE, f"n{number}", Node(f"n{number}")) for number in range(200)]
    for batch in ([*nodes, *cluster(4)],) if anew else (nodes, cluster(4)):
        here.apply(batch)
    assert not here.compiler.shared, "of 200 nodes 4 use it, and all 200 would be told of each change"
    here.apply([shop(4, node=4)])
    assert here.compiler.shared


def test_a_big_group_is_apart_however_few_use_it() -> None:
    here = Sharing(1000)
    here.apply(cluster(2, BIG // 4))
    assert not here.compiler.shared, "two addresses per pod: just not too many"
    here.apply([shop(BIG, node=0)])
    assert here.compiler.shared


def test_port_groups_are_shared_as_well() -> None:
    named = policy("shop/named", EVERYTHING, egress=allow(at_ports(PortName("http", TCP))))
    here = Sharing(1)
    here.apply([*cluster(3), Change(Input.NETWORK_POLICY, ("shop", "named"), named)])
    rule_set = here.compiler.ruleset("n0")
    assert (len(rule_set.shared), len(rule_set.shared_ports), rule_set.port_groups) == (1, 1, ())
    assert len(here.whole("n0").port_groups[0].members) == 6


# -- parts


def test_the_number_of_parts_follows_the_size_at_a_distance() -> None:
    assert [parts_for(size) for size in (0, FULLEST, FULLEST + 1, 2 * FULLEST + 1)] == [1, 1, 2, 4]
    parts, seen = 1, []
    for size in (FULLEST + 1, FULLEST - 1, 2 * EMPTIEST, 2 * EMPTIEST - 1):
        parts = parts_for(size, parts)
        seen.append(parts)
    assert seen == [2, 2, 2, 1]
    assert parts_for(10**9) == MOST_PARTS


def test_members_are_spread_evenly() -> None:
    """However alike they are: neighbours in one network, as pods of a cluster are."""
    here = Sharing(0)
    here.apply(cluster(40, 200))
    sizes = [len(part.content.addresses) for part in here.parts.values() if isinstance(part.content, AddressGroup)]
    assert len(sizes) == parts_for(16_000) == 64
    assert sum(sizes) == 16_000
    assert max(sizes) < 1.4 * FULLEST


def test_a_group_that_grows_beyond_its_parts_is_laid_out_anew() -> None:
    here = Sharing(0)
    here.apply(cluster(4, FULLEST // 8))
    (name,) = here.compiler.shared
    assert here.compiler.shared == {name: 1}
    dirty = here.apply([shop(10_000, node=0)])
    assert here.compiler.shared == {name: 2}
    assert dirty.keys() == {"n0", "n1", "n2", "n3"}
    assert len(here.whole("n1").groups[0].addresses) == FULLEST + 2


def test_who_puts_together_what_is_no_group_is_told() -> None:
    ports = GroupPart(PortGroup("g", "", ()), 2, 0)
    addresses = GroupPart(AddressGroup("g", "", ()), 2, 1)
    for parts in ([ports, addresses], [addresses, ports]):
        with pytest.raises(BadInputError, match="both"):
            merged(parts)


# -- what one pod costs


@pytest.mark.parametrize("nodes", [100, 1000])
def test_a_pod_that_joins_touches_its_node_and_a_part_per_address(nodes: int) -> None:
    """100 or 1,000 nodes, all of which use the group: written are one rule set and two parts, not 100 or 1,000."""
    apart, held = Sharing(50), Sharing(None)
    for here in (apart, held):
        here.apply(cluster(nodes, 2))
    newcomer = shop(5000, node=7)
    before = apart.compiler.operations.parts
    dirty = apart.compiler.apply([newcomer])
    assert dirty.keys() == {"n7"}
    assert len(apart.take()) == apart.compiler.operations.parts - before <= 2
    assert held.apply([newcomer]).keys() == {f"n{number}" for number in range(nodes)}


def test_who_has_not_been_asked_for_yet_is_told_of_members_as_well() -> None:
    """What a node got from another controller may hold the group itself, and is not compared at once."""
    here = Sharing(1)
    here.compiler.apply(cluster(4))
    here.compiler.ruleset("n1")
    assert here.compiler.apply([gone(0)]) == {"n0": Reason.CHANGED} | dict.fromkeys(("n2", "n3"), Reason.PEER_REMOVED)


def test_the_work_of_a_change_does_not_grow_with_the_group() -> None:
    costs = []
    for nodes in (60, 600):
        here = Sharing(50)
        here.apply(cluster(nodes, 10))
        before = _count(here.compiler.operations)
        here.apply([shop(20_000, node=0)])
        here.apply([gone(20_000)])
        costs.append(_count(here.compiler.operations) - before)
    assert log10(costs[1] / costs[0]) <= 0.1, costs


def _count(operations: Operations) -> int:
    return operations.parts + operations.nodes + operations.fed + operations.groups + operations.selectors


def test_a_pod_that_moves_between_groups_changes_both_in_one_batch() -> None:
    """What is told together is written together: nobody sees the pod in both groups, or in none."""
    red, blue = (labelled(team=name) for name in ("red", "blue"))
    made = [
        Change(Input.NETWORK_POLICY, ("shop", name), policy(f"shop/{name}", EVERYTHING, ingress=allow(peers)))
        for name, peers in (
            ("red", from_peers(PodPeer(EVERYTHING, red))),
            ("blue", from_peers(PodPeer(EVERYTHING, blue))),
        )
    ]
    here = Sharing(1)
    here.apply([*cluster(3), *made])
    mover = replace(pod("shop/p0", ["10.0.0.0", "fd00::0"], "n0", ["http:8080/TCP"]), labels=Labels({"team": "red"}))
    here.apply([Change(Input.POD, mover.key, mover)])
    here.compiler.apply([Change(Input.POD, mover.key, replace(mover, labels=Labels({"team": "blue"})))])
    changed = here.take()
    assert len({group for group, _, _ in changed}) == 2
    members = {name: group.addresses for name, group in ((each.description, each) for each in here.whole("n1").groups)}
    assert [Address("10.0.0.0") in found for name, found in sorted(members.items()) if "team" in name] == [True, False]


def test_parts_are_the_same_whatever_the_order_of_events() -> None:
    """So that a controller that starts anew writes nothing."""
    changes = cluster(3, 300)
    found = []
    for seed in (1, 2):
        here = Sharing(1)
        here.apply(Random(seed).sample(changes, len(changes)))  # noqa: S311 - no secret
        found.append(here.parts)
    assert found[0] == found[1]


def test_offline_nothing_is_shared() -> None:
    here = Sharing(1)
    here.apply(cluster(3))
    assert all(not each.shared for each in compile_all(_state(cluster(3))).values())
    assert here.whole("n0") == compile_all(_state(cluster(3)))["n0"]


def _state(changes: list[Change]) -> ClusterState:
    found: dict[str, dict[object, object]] = {}
    for change in changes:
        found.setdefault(change.kind.value, {})[change.key] = change.new
    return ClusterState(**found)  # type: ignore[arg-type]
