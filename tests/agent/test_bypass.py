"""Ways around the hooks are found, and said with the command to run."""

import pytest

from nodewall.agent.bypass import Switches, bypasses
from nodewall.agent.links import Link, Route, Surroundings, pod_links
from nodewall.agent.setup import Links
from nodewall.model.address import Address

LINKS = {
    1: Link("lo"),
    2: Link("eth0"),
    3: Link("cni0", "bridge"),
    4: Link("veth1", "veth"),
    5: Link("mac0", "macvlan"),
    6: Link("docker0", "bridge"),
}
ON = Switches({4: True, 6: True}, {}, tagged=True)
OFF = Switches({4: False, 6: False}, {}, tagged=False)
HALF = Switches({4: True, 6: False}, {}, tagged=True)
UNTAGGED = Switches({4: True, 6: True}, {}, tagged=False)
UNLOADED = Switches(None, {}, tagged=False)
BY_BRIDGE = Switches({4: False, 6: False}, {("cni0", 4): True, ("cni0", 6): True}, tagged=True)


def world(extra: dict[int, Link] | None = None, **routes: Route) -> Surroundings:
    addresses = {"v4": "10.0.1.1", "v6": "fd00:1::1"}
    return Surroundings(
        LINKS | (extra or {}), frozenset({2}), {Address(addresses[name]): route for name, route in routes.items()}
    )


BRIDGED = Route(3, direct=True)
ROWS = {
    "routed": (world(v4=Route(4, direct=True)), OFF, []),
    "bridged, on": (world(v4=BRIDGED, v6=BRIDGED), ON, []),
    "bridged, on for the bridge": (world(v4=BRIDGED, v6=BRIDGED), BY_BRIDGE, []),
    "bridged, off": (
        world(v4=BRIDGED, v6=BRIDGED),
        OFF,
        [
            "cni0",
            "IPv4 and IPv6",
            "sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1 net.bridge.",
        ],
    ),
    "bridged, on but for tags": (
        world(v4=BRIDGED),
        UNTAGGED,
        ["cni0", "VLAN tag", "run: sysctl -w net.bridge.bridge-nf-filter-vlan-tagged=1"],
    ),
    "routed, on but for tags": (world(v4=Route(4, direct=True)), UNTAGGED, []),
    "bridged, half": (
        world(v4=BRIDGED, v6=BRIDGED),
        HALF,
        ["for IPv6", "run: sysctl -w net.bridge.bridge-nf-call-ip6tables=1"],
    ),
    "bridged, half, the other half link-local only": (world(v4=BRIDGED), HALF, ["for IPv6"]),
    "bridged, half, the other half unused": (
        world(v6=BRIDGED),
        Switches({4: False, 6: True}, {}, tagged=True),
        [],
    ),
    "bridged, not loaded": (world(v4=BRIDGED), UNLOADED, ["run: modprobe br_netfilter && sysctl -w"]),
    "somebody else's bridge": (world(v4=Route(4, direct=True)), UNLOADED, []),
    "not here yet": (world(v4=Route(2, direct=False)), OFF, []),
    "on the uplink": (world(v4=Route(2, direct=True)), ON, ["eth0 itself", "ip -d link show eth0"]),
    "macvlan": (world(v4=Route(5, direct=True)), ON, ["mac0 itself (macvlan)"]),
    "a link that no rule can name": (
        world({7: Link("br+lan", "veth")}, v4=Route(7, direct=True)),
        ON,
        ["spoofed sources from the link 'br+lan'", "ip link set dev NAME name NEWNAME"],
    ),
    "ipvs": (world({7: Link("kube-ipvs0", "dummy")}), ON, ["IPVS", "mode: nftables", "ip link delete kube-ipvs0"]),
}


@pytest.mark.parametrize(("found", "switches", "parts"), ROWS.values(), ids=ROWS)
def test_bypasses(found: Surroundings, switches: Switches, parts: list[str]) -> None:
    said = bypasses(found, switches)
    assert len(said) == bool(parts)
    for part in parts:
        assert part in said[0]
    assert all("\n" not in each for each in said)


FOUND = {
    "routed": (world(v4=Route(4, direct=True)), Links(("veth1",), (), ())),
    "the way out is a veth": (
        world({2: Link("eth0", "veth")}, v4=Route(4, direct=True)),
        Links(("veth1",), (), ("eth0",)),
    ),
    "the way out has a name that no rule can say": (
        world({2: Link("eth0+", "veth")}, v4=Route(4, direct=True)),
        Links(("veth1",)),
    ),
    "bridged": (world(v4=BRIDGED), Links(("cni0",), ("cni0",))),
    "by a gateway": (world(v4=Route(4, direct=False)), Links()),
    "the uplink is never a pod's": (world(v4=Route(2, direct=True)), Links()),
    "loopback is never a pod's": (world(v4=Route(1, direct=True)), Links()),
    "a link that is gone": (world(v4=Route(99, direct=True)), Links()),
    "a shared kind": (world(v4=Route(5, direct=True)), Links()),
    "two": (world(v4=BRIDGED, v6=Route(4, direct=True)), Links(("cni0", "veth1"), ("cni0",), ())),
}


@pytest.mark.parametrize(("found", "links"), FOUND.values(), ids=FOUND)
def test_pod_links(found: Surroundings, links: Links) -> None:
    assert pod_links(found) == links


def test_a_link_that_no_rule_can_name_is_left_out() -> None:
    routes = {"v4": Route(7, direct=True), "v6": Route(4, direct=True)}
    assert pod_links(world({7: Link("br+lan", "bridge")}, **routes)) == Links(("veth1",), (), ())
