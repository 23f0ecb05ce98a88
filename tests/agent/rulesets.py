"""NodeRuleSets for the agent's tests: small, whole, and different where a test needs it."""

from ipaddress import IPv4Network, IPv6Network

from nodewall.agent.decide import RuleSet
from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, Kind, Tier
from nodewall.model.ruleset import AddressGroup, Endpoint, Isolation, Match, NodeRuleSet, Rule, RuleClass, RuleRef

NODE = "n1"


def content(*peers: str, pods: tuple[str, ...] = ("10.0.1.10", "fd00:1::10")) -> NodeRuleSet:
    """One isolated local pod with these addresses, which lets the peers in."""
    return NodeRuleSet(
        node=NODE,
        groups=(AddressGroup("peers", "role=peer", tuple(sorted(map(Address, peers)))),),
        classes=(
            RuleClass(
                "web",
                Direction.INGRESS,
                (Rule("r1", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=("peers",), any_port=True)),),
                Isolation("i1", ("shop/web",), 1),
            ),
        ),
        endpoints=(Endpoint("shop", "web-1", tuple(map(Address, pods)), ingress="web"),) if pods else (),
        rules=(
            RuleRef("i1", Kind.NETWORK_POLICY, "shop", "web", Direction.INGRESS, ""),
            RuleRef("r1", Kind.NETWORK_POLICY, "shop", "web", Direction.INGRESS, "ingress[0]"),
        ),
        pod_cidrs=(IPv4Network("10.0.1.0/24"), IPv6Network("fd00:1::/64")),
    )


def broken() -> NodeRuleSet:
    """It names a class that it does not hold, so it cannot be drawn."""
    return NodeRuleSet(node=NODE, endpoints=(Endpoint("shop", "web-1", (Address("10.0.1.10"),), ingress="nowhere"),))


def ruleset(generation: int, held: NodeRuleSet | None = None, *, uid: str = "u1", digest: str = "") -> RuleSet:
    """A NodeRuleSet as it comes from the API; its digest says its generation unless given."""
    return RuleSet(uid, generation, digest or f"d{generation}", held or content(), b'{"generation": %d}' % generation)
