"""Links and routes as a real kernel tells them."""

import subprocess
from pathlib import Path

import pytest

from e2e import netns
from nodewall.agent import bypass, links
from nodewall.agent.links import Route
from nodewall.agent.setup import Links
from nodewall.model.address import Address

pytestmark = pytest.mark.kernel

NODE = (
    "link add cni0 type bridge",
    "link set cni0 up",
    "address add 10.0.1.1/24 dev cni0",
    "address add fd00:1::1/64 dev cni0 nodad",
    "link add veth1 type veth peer name peer1",
    "link set veth1 up",
    "route add 10.0.3.5/32 dev veth1",
    "link add eth0 type veth peer name wire0",
    "link set eth0 up",
    "address add 192.168.0.2/24 dev eth0",
    "route add default via 192.168.0.1",
    "route add blackhole 10.66.0.0/16",
)


def survey(name: str, *addresses: str) -> links.Surroundings:
    return netns.inside(name, lambda: links.survey(map(Address, addresses)))


def test_pod_links_are_found_and_others_are_not(namespace: str) -> None:
    netns.batch(namespace, NODE)
    found = survey(namespace, "10.0.1.9", "fd00:1::9", "10.0.3.5", "8.8.8.8", "fd99::1", "10.0.1.1", "10.66.0.1")
    named = {address: (found.links[route.link].name, route.direct) for address, route in found.routes.items()}
    assert named == {
        "10.0.1.9": ("cni0", True),
        "fd00:1::9": ("cni0", True),
        "10.0.3.5": ("veth1", True),
        "8.8.8.8": ("eth0", False),
    }
    assert {found.links[index].name for index in found.uplinks} == {"eth0"}
    assert links.pod_links(found) == Links(("cni0", "veth1"), ("cni0",), ("eth0",))


def test_a_pod_on_the_uplink_is_no_pod_link(namespace: str) -> None:
    netns.batch(namespace, NODE)
    found = survey(namespace, "192.168.0.77")
    assert list(found.routes.values()) == [Route(next(iter(found.uplinks)), direct=True)]
    assert links.pod_links(found) == Links()


def test_a_node_without_any_route(namespace: str) -> None:
    found = survey(namespace, "10.0.1.9")
    assert (found.routes, found.uplinks) == ({}, frozenset())


def _sysctl(name: str, file: str, value: int) -> None:
    netns.inside(name, lambda: Path(f"/proc/sys/net/bridge/{file}").write_text(str(value)))


@pytest.mark.parametrize(("v4", "v6", "tagged"), [(0, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)])
def test_the_switches_of_the_bridge_filter_are_read(v4: int, v6: int, tagged: int, namespace: str) -> None:
    netns.batch(namespace, NODE)
    _sysctl(namespace, "bridge-nf-call-iptables", v4)
    _sysctl(namespace, "bridge-nf-call-ip6tables", v6)
    _sysctl(namespace, "bridge-nf-filter-vlan-tagged", tagged)
    found = survey(namespace, "10.0.1.9", "fd00:1::9")
    switches = netns.inside(namespace, lambda: bypass.kernel_switches(found))
    assert (switches.on("cni0", 4), switches.on("cni0", 6)) == (bool(v4), bool(v6))
    said = bypass.bypasses(found, switches)
    assert len(said) == (0 if v4 and v6 and tagged else 1)
    for command in (each.partition("run: ")[2].split() for each in said):
        subprocess.run([*netns.argv(namespace), *command], check=True, capture_output=True)
    switches = netns.inside(namespace, lambda: bypass.kernel_switches(found))
    assert bypass.bypasses(found, switches) == []
