"""One node, two pods and the world, for tests of what the base chains do.

``POD`` is what a test is about, ``OTHER`` a pod that no policy selects, ``UNKNOWN`` one that the rule set does not
list.
"""

from ipaddress import ip_network

from nodewall.model.address import Address
from nodewall.model.policy import Direction
from nodewall.model.ruleset import AddressGroup, Endpoint, NodeRuleSet, RuleClass
from nodewall.render import Settings, render, replace
from tests.kernel.checker import Checker, Outcome
from tests.kernel.packets import Packet

POD, OTHER, UNKNOWN, OWN, WORLD, FRIEND = (
    tuple(map(Address, both))
    for both in (
        ("10.0.1.10", "fd00:1::a"),
        ("10.0.1.11", "fd00:1::b"),
        ("10.0.1.12", "fd00:1::c"),
        ("192.0.2.1", "fd00:f::1"),
        ("203.0.113.7", "2001:db8::7"),
        ("203.0.113.8", "2001:db8::8"),
    )
)
POD_LINK, OTHER_LINK, UNKNOWN_LINK, WORLD_LINK = "pod0", "pod1", "pod2", "world"
FAMILIES = (0, 1)
"""Index of the address of a family in each of the pairs above."""

PASSED, REJECTED, DROPPED = Outcome


def ruleset(ingress: RuleClass | None = None, egress: RuleClass | None = None) -> NodeRuleSet:
    """Both pods, with what is judged for ``POD``; a group named friend."""
    names = {one.direction: one.name for one in (ingress, egress) if one}
    endpoints = (
        Endpoint("a", "pod", POD, names.get(Direction.INGRESS, ""), names.get(Direction.EGRESS, "")),
        Endpoint("a", "other", OTHER),
    )
    return NodeRuleSet(
        "n1",
        (AddressGroup("friend", "friend", FRIEND),),
        (),
        tuple(one for one in (ingress, egress) if one),
        endpoints,
        (),
        (ip_network("10.0.1.0/24"), ip_network("fd00:1::/64")),
    )


def programmed(checker: Checker, rules: NodeRuleSet, settings: Settings | None = None) -> Checker:
    checker.load(replace(render(rules, settings)).json())
    checker.arrange([POD, OTHER, UNKNOWN], OWN)
    return checker


def both_families(
    source: tuple[Address, ...], destination: tuple[Address, ...], proto: int = 6, dport: int = 80, link: str = ""
) -> list[Packet]:
    return [Packet(source[i], destination[i], proto, dport, link=link) for i in FAMILIES]
