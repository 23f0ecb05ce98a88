"""Ten thousand policies over all priorities of a tier keep their order (statement 58)."""

from collections.abc import Iterator
from functools import cache
from ipaddress import ip_network
from random import Random

import pytest

from nodewall.compile import compile_all
from nodewall.evaluate import Packet, Traffic, evaluate, party_of_address
from nodewall.model.address import Address, IpBlock
from nodewall.model.cluster import ClusterState, Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import Action, Kind, Subject, Tier, TierPolicy, TierRule
from tests.property.reading import passes
from tests.truth.flows import Flow
from tests.truth.nodes import Nodes

POLICIES, PRIORITIES = 10_000, 1001
POD = Address("10.0.1.10")
ASKED = tuple(Address(f"203.0.113.{number}") for number in range(200))
_ACTIONS = (Action.ACCEPT, Action.DENY)


def _policies() -> Iterator[TierPolicy]:
    """Each about one of the addresses, so that fifty of them quarrel about each; every priority occurs."""
    chance = Random(58)  # noqa: S311 - the same ones every time
    for number in range(POLICIES):
        address = chance.choice(ASKED)
        rule = TierRule(0, chance.choice(_ACTIONS), (IpBlock(ip_network(address)),))
        yield TierPolicy(
            kind=chance.choice((Kind.CLUSTER, Kind.CLUSTER_EXTENDED)),
            namespace="",
            name=f"p{chance.randrange(10**9)}-{number}",
            tier=Tier.ADMIN,
            priority=number % PRIORITIES if number < PRIORITIES else chance.randrange(PRIORITIES),
            subject=Subject(EVERYTHING),
            ingress=(rule,),
        )


@cache
def _state() -> ClusterState:
    policies = list(_policies())
    Random(1).shuffle(policies)  # noqa: S311
    pod = Pod("a", "web", node="n1", addresses=(POD,))
    return ClusterState(
        pods={pod.key: pod},
        namespaces={"a": Namespace("a")},
        nodes={name: Node(name) for name in ("n1", "n2")},
        tier_policies={policy.ref: policy for policy in policies},
    )


def _first_word() -> dict[Address, bool]:
    """What the first policy about each address says: priority, then our kind before the other, then the name."""
    found: dict[Address, tuple[tuple[int, bool, str], bool]] = {}
    for policy in _state().tier_policies.values():
        (rule,) = policy.ingress
        (block,) = rule.peers  # type: ignore[misc]
        address = Address(str(block.cidr.network_address))  # type: ignore[union-attr]
        place = (policy.priority, policy.kind is Kind.CLUSTER, policy.name)
        if address not in found or place < found[address][0]:
            found[address] = (place, rule.action is Action.ACCEPT)
    return {address: said for address, (_, said) in found.items()}


def _flow(source: Address) -> Flow:
    return Flow(source, POD, Traffic(6, 80))


def test_every_priority_and_quarrels_occur() -> None:
    said = _first_word()
    assert {policy.priority for policy in _state().tier_policies.values()} == set(range(PRIORITIES))
    assert set(said) == set(ASKED)
    assert 50 < sum(said.values()) < 150


def test_the_evaluator_keeps_their_order() -> None:
    state, pod = _state(), party_of_address(_state(), POD)
    answers = {
        source: evaluate(state, Packet(party_of_address(state, source), pod, Traffic(6, 80))).allowed
        for source in ASKED[:30]
    }
    assert answers == {source: said for source, said in _first_word().items() if source in answers}


def test_compiled_rules_keep_their_order() -> None:
    ruleset = compile_all(_state())["n1"]
    assert {source: passes(ruleset, _flow(source), frozenset()) for source in ASKED} == _first_word()


@pytest.mark.kernel
def test_the_kernel_keeps_their_order(cluster: Nodes) -> None:
    cluster.program(_state())
    passed = cluster.verdicts(_state(), [_flow(source) for source in ASKED])
    assert dict(zip(ASKED, passed, strict=True)) == _first_word()
