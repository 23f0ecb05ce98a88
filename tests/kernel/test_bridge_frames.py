"""What pods on one bridge can send each other below IP: which frames reach the IP hooks, and which do not.

The way around by a VLAN tag is the reason for a finding of the agent (`agent/bypass.py`), whose command closes it.
"""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fcntl import ioctl

import pytest

from e2e import netns
from e2e.waiting import until
from nodewall.agent import bypass
from nodewall.model.address import Address
from nodewall.model.policy import Direction
from nodewall.model.ruleset import Endpoint, Isolation, NodeRuleSet, RuleClass
from nodewall.render import Settings, render, replace
from tests.kernel import nft
from tests.kernel.packets import UDP, Packet, encode

pytestmark = pytest.mark.kernel

PORT = 9
ADDRESSES = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd00:9::1", "fd00:9::2")}
ETHERTYPE = {4: 0x0800, 6: 0x86DD}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_GET_HARDWARE_ADDRESS = 0x8927
CLOSED = NodeRuleSet(
    node="n1",
    classes=(RuleClass("in", Direction.INGRESS, (), Isolation("i", ("a/b",), 1)),),
    endpoints=(Endpoint("a", "two", tuple(Address(two) for _, two in ADDRESSES.values()), ingress="in"),),
)


@dataclass(frozen=True)
class Pods:
    """Two pods on the bridge of a node; the second one listens on ``ear``, by family."""

    node: str
    one: str
    wire: socket.socket
    ears: dict[int, socket.socket]
    hardware: bytes

    def reaches(self, family: int, tags: bytes) -> bool:
        """Whether the second one gets a datagram whose frame carries these tags."""
        source, destination = ADDRESSES[family]
        kind = struct.pack("!H", ETHERTYPE[family])
        frame = self.hardware + b"\x02\0\0\0\0\x77" + tags + kind
        self.wire.send(frame + encode(Packet(source, destination, UDP, dport=PORT), 1, 4321))
        try:
            return bool(self.ears[family].recv(99))
        except TimeoutError:
            return False


@pytest.fixture
def pods() -> Iterator[Pods]:
    node, one, two = names = [f"nw-frames-{what}-{os.getpid()}" for what in ("node", "one", "two")]
    try:
        for name in names:
            netns.add(name)
            netns.set_sysctls(name, {"ipv6/conf/default/disable_ipv6": 0})
        netns.batch(node, ["link add br0 type bridge", "link set br0 up"])
        switch(node, dict.fromkeys((*bypass.SWITCHES.values(), bypass.TAGGED), 0))
        for i, (pod, link) in enumerate(((one, "pod0"), (two, "pod1"))):
            netns.batch(node, [f"link add {link} type veth peer name eth0 netns {pod}"])
            netns.batch(node, [f"link set {link} master br0", f"link set {link} up"])
            nets = [f"address add {ADDRESSES[4][i]}/24 dev eth0", f"address add {ADDRESSES[6][i]}/64 dev eth0 nodad"]
            netns.batch(pod, ["link set eth0 up", *nets])
        made = Pods(node, one, netns.inside(one, _wire), netns.inside(two, _ears), netns.inside(two, _hardware))
        until("the bridge forwards", lambda: made.reaches(4, b"") and made.reaches(6, b""), within=10)
        yield made
        for each in (made.wire, *made.ears.values()):
            each.close()
    finally:
        for name in names:
            netns.delete(name)


def switch(node: str, values: dict[str, int]) -> None:
    netns.set_sysctls(node, {f"bridge/{name}": value for name, value in values.items()})


def _wire() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.bind(("eth0", 0))
    return made


def _ears() -> dict[int, socket.socket]:
    made = {}
    for family, (_, two) in ADDRESSES.items():
        made[family] = socket.socket(FAMILIES[family], socket.SOCK_DGRAM)
        made[family].bind((two, PORT))
        made[family].settimeout(0.2)
    return made


def _hardware() -> bytes:
    with socket.socket() as any_socket:
        return bytes(ioctl(any_socket.fileno(), _GET_HARDWARE_ADDRESS, struct.pack("256s", b"eth0"))[18:24])


def tag(*numbers: int, outer: int = 0x8100) -> bytes:
    """VLAN tags, the outer one of this kind."""
    return b"".join(struct.pack("!HH", outer if i == 0 else 0x8100, number) for i, number in enumerate(numbers))


UNTAGGED, PRIORITY, ONE, SERVICE, TWO = b"", tag(0xE000), tag(5), tag(0, outer=0x88A8), tag(0, 0, outer=0x88A8)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_agent_says_about_a_bridge_is_so(pods: Pods, family: int) -> None:
    """With all switches off nothing is judged; then only what carries a tag is not; then nothing passes."""
    nft.load(pods.node, replace(render(CLOSED, Settings())).json())
    assert pods.reaches(family, UNTAGGED)
    switch(pods.node, dict.fromkeys(bypass.SWITCHES.values(), 1))
    assert not pods.reaches(family, UNTAGGED)
    assert [pods.reaches(family, tags) for tags in (PRIORITY, SERVICE)] == [True, True]
    switch(pods.node, {bypass.TAGGED: 1})
    assert [pods.reaches(family, tags) for tags in (UNTAGGED, PRIORITY, SERVICE, ONE)] == [False] * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_two_tags_are_beyond_any_switch(pods: Pods, family: int) -> None:
    """The kernel has none for them, so docs/agent.md says what is left: pods without NET_RAW, or no bridge."""
    nft.load(pods.node, replace(render(CLOSED, Settings())).json())
    switch(pods.node, dict.fromkeys((*bypass.SWITCHES.values(), bypass.TAGGED), 1))
    assert pods.reaches(family, TWO)
