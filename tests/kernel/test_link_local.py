"""Every pod has a link-local address that no rule set lists: it is no way past the policies."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace as changed

import pytest

from e2e import netns
from e2e.waiting import until
from nodewall.model.policy import Action, Direction, Tier
from nodewall.model.ruleset import Audit, Isolation, Rule, RuleClass
from nodewall.render import Settings, render, replace
from tests.kernel import nft
from tests.kernel.checker import Checker
from tests.kernel.packets import UDP, Packet
from tests.kernel.scenes import DROPPED, OWN, PASSED, POD_LINK, programmed, ruleset
from tests.render.rulesets import ANYTHING

pytestmark = pytest.mark.kernel

LINKS = Settings(pod_links=("pod0", "pod1"))
NO_EGRESS = RuleClass("eg", Direction.EGRESS, (Rule("r", Tier.ADMIN, Action.DENY, ANYTHING),))
ISOLATED = Isolation("i", ("a/b",), 1)
PORT = 7000


def _to_node(icmp_type: int = 0) -> Packet:
    if icmp_type:
        return Packet("fe80::99", OWN[1], 58, icmp_type=icmp_type, hop_limit=255, link=POD_LINK)
    return Packet("fe80::99", OWN[1], UDP, dport=53, link=POD_LINK)


def test_no_way_to_the_own_node_that_rules_deny(checker: Checker) -> None:
    assert programmed(checker, ruleset(), LINKS).outcomes([_to_node()]) == [PASSED]
    programmed(checker, ruleset(egress=NO_EGRESS), LINKS)
    assert checker.outcomes([_to_node(), _to_node(icmp_type=135)]) == [DROPPED, PASSED]


@pytest.mark.parametrize(
    "changes", [{"rules": (), "isolation": ISOLATED}, {"rules": (), "audits": (Audit(NO_EGRESS.rules),)}]
)
def test_who_closes_nothing_of_the_node_closes_nothing_here(checker: Checker, changes: dict[str, object]) -> None:
    rules = ruleset(egress=changed(NO_EGRESS, **changes))  # type: ignore[arg-type]
    assert programmed(checker, rules, LINKS).outcomes([_to_node()]) == [PASSED]


ONE, TWO = "fe80::1", "fe80::2"


@pytest.fixture
def bridge() -> Iterator[tuple[str, str, str]]:
    """A node and two pods on its bridge, whose packets br_netfilter shows to the IP hooks."""
    node, one, two = names = [f"nw-bridge-{what}-{os.getpid()}" for what in ("node", "one", "two")]
    try:
        for name in names:
            netns.add(name)
            netns.set_sysctls(name, {"ipv6/conf/default/disable_ipv6": 0})
        netns.batch(node, ["link add br0 type bridge", "link set br0 up"])
        netns.set_sysctls(node, {f"bridge/bridge-nf-call-{name}": 1 for name in ("iptables", "ip6tables")})
        for pod, link, address in ((one, "pod0", ONE), (two, "pod1", TWO)):
            netns.batch(node, [f"link add {link} type veth peer name eth0 netns {pod}"])
            netns.batch(node, [f"link set {link} master br0", f"link set {link} up"])
            netns.batch(pod, ["link set eth0 up", f"address add {address}/64 dev eth0 nodad"])
        yield node, one, two
    finally:
        for name in names:
            netns.delete(name)


def test_pods_on_one_bridge_do_not_meet(bridge: tuple[str, str, str]) -> None:
    """Whose table knows the bridge as one that pods are behind; another bridge is none of its business."""
    node, one, two = bridge
    nft.load(node, replace(render(ruleset(), LINKS)).json())
    until("they meet", lambda: _do_meet(one, two), within=10)
    nft.load(node, replace(render(ruleset(), Settings(pod_links=("br0",)))).json())
    assert not _do_meet(one, two)
    assert nft.counters(node)["unlisted"] > 0


def _do_meet(one: str, two: str) -> bool:
    try:
        with netns.inside(one, lambda: socket.create_server(("::", PORT), family=socket.AF_INET6)):
            netns.inside(two, lambda: socket.create_connection((f"{ONE}%eth0", PORT), timeout=1)).close()
    except OSError:
        return False
    return True
