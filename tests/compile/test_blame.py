"""A failure of the compiler names the policy that it is about, wherever in the batch it comes up."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from nodewall.compile.blame import PolicyError
from nodewall.compile.changes import Change, Input
from nodewall.compile.incremental import Compiler
from nodewall.model.address import Address
from nodewall.model.cluster import LogWish, Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import (
    ANYONE,
    SAME_NAMESPACE,
    Action,
    AllowRule,
    Kind,
    NetworkPolicy,
    PodPeer,
    PolicyRef,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)

UNFORESEEN = cast("Any", object())
"""What no reader makes, in place of what nobody foresaw."""
NODE = Change(Input.NODE, "n1", Node("n1"))
POD = Change(Input.POD, ("shop", "web"), Pod("shop", "web", node="n1", addresses=(Address("10.0.0.1"),)))


def tiered(name: str, rule: TierRule, priority: int = 1) -> TierPolicy:
    return TierPolicy(
        Kind.CLUSTER_EXTENDED, "", name, Tier.ADMIN, priority, Subject(EVERYTHING), ingress=(rule,), egress=()
    )


def taken(policy: TierPolicy | NetworkPolicy) -> Change:
    if isinstance(policy, NetworkPolicy):
        return Change(Input.NETWORK_POLICY, (policy.namespace, policy.name), policy)
    return Change(Input.TIER_POLICY, policy.ref, policy)


GOOD = tiered("good", TierRule(0, Action.DENY, ANYONE))
BROKEN_AT_ONCE = tiered("bad", TierRule(0, Action.DENY, (UNFORESEEN,)))
BROKEN_ON_A_POD = tiered("bad", TierRule(0, Action.DENY, (PodPeer(SAME_NAMESPACE, UNFORESEEN),)))
BROKEN_IN_COMPANY = tiered("bad", TierRule(0, Action.DENY, ANYONE), priority=UNFORESEEN)


@pytest.mark.parametrize("bad", [BROKEN_AT_ONCE, BROKEN_ON_A_POD, BROKEN_IN_COMPANY])
def test_the_policy_is_named(bad: TierPolicy) -> None:
    compiler = Compiler()
    compiler.apply([NODE, taken(GOOD)])
    with pytest.raises(PolicyError) as failure:
        compiler.apply([taken(bad), POD])
    assert failure.value.ref in {bad.ref, GOOD.ref} if bad is BROKEN_IN_COMPANY else failure.value.ref == bad.ref
    assert failure.value.__cause__ is not None


class Fickle(tuple[Any, ...]):
    """Peers that can be read until they cannot."""

    __slots__ = ()
    broken = False

    def __iter__(self) -> Iterator[Any]:
        if Fickle.broken:
            raise RuntimeError("not again")
        return super().__iter__()


def test_a_namespace_that_brings_it_up_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its annotation makes the policies of the namespace anew."""
    compiler = Compiler()
    compiler.apply([taken(NetworkPolicy("shop", "bad", ingress=(AllowRule(0, Fickle()),)))])
    monkeypatch.setattr(Fickle, "broken", True)
    with pytest.raises(PolicyError) as failure:
        compiler.apply([Change(Input.NAMESPACE, "shop", Namespace("shop", log=LogWish.ALL))])
    assert failure.value.ref == PolicyRef(Kind.NETWORK_POLICY, "shop", "bad")
