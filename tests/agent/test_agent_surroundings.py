"""The agent sees the links that its pods are behind, and what would carry their packets around the table."""

import asyncio
import signal
from pathlib import Path

import pytest

from e2e import netns
from nodewall.agent.loop import Inbox
from nodewall.agent.saved import FILE
from nodewall.agent.surroundings import BRIEF, PAUSE, Lookout
from tests.agent.node import Node, on_node, until
from tests.agent.rulesets import content
from tests.agent.test_links import NODE

pytestmark = pytest.mark.kernel


def switch(node: Node, value: int) -> None:
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-filter-vlan-tagged"):
        file = Path("/proc/sys/net/bridge") / name
        netns.inside(node.namespace, lambda file=file: file.write_text(str(value)))  # type: ignore[misc]


def test_a_bypass_degrades_until_its_command_was_run(namespace: str, tmp_path: Path) -> None:
    netns.batch(namespace, NODE)

    async def work(node: Node) -> None:
        switch(node, 0)
        node.publish(content("10.0.2.1"))
        await node.start()
        await until(lambda: node.condition("Degraded").get("reason") == "Bypass", "it is found")
        message = node.condition("Degraded")["message"]
        assert "bridge cni0" in message
        assert "run: sysctl -w net.bridge.bridge-nf-call-iptables=1" in message
        assert node.condition("Applied")["status"] == "True"
        switch(node, 1)
        await until(lambda: node.condition("Degraded")["status"] == "False", "it is mended", 20)

    on_node(namespace, tmp_path, work)


def test_links_of_pods_are_found_and_followed(namespace: str, tmp_path: Path) -> None:
    netns.batch(namespace, NODE)

    async def work(node: Node) -> None:
        node.publish(content("10.0.2.1", pods=("10.0.1.10", "10.0.3.5")))
        await node.start()
        await until(lambda: '"cni0"' in node.table() and '"veth1"' in node.table(), "both links are in the table")
        netns.batch(namespace, ("link add veth2 type veth peer name peer2", "link set veth2 up"))
        netns.batch(namespace, ("route replace 10.0.3.5/32 dev veth2",))
        await until(lambda: '"veth2"' in node.table() and '"veth1"' not in node.table(), "the new link is", 5)

    on_node(namespace, tmp_path, work)


def test_a_restart_knows_the_links_at_once(namespace: str, tmp_path: Path) -> None:
    """Or a pod could use a borrowed or a link-local address between the first table of the run and the second."""
    netns.batch(namespace, NODE)

    async def work(node: Node) -> None:
        node.publish(content("10.0.2.1", pods=("10.0.1.10", "10.0.3.5")))
        await node.start()
        await until(lambda: '"cni0"' in node.table(), "the link is in the table")
        await until((tmp_path / "state" / FILE).exists, "the rule set is on disk")
        await node.stop(signal.SIGKILL)
        node.nft("add chain inet nodewall of_the_last_run")
        await node.start()
        await until(lambda: "of_the_last_run" not in node.table(), "the table is replaced")
        for _ in range(20):  # until the first look around is over
            assert '"cni0"' in node.table()
            await asyncio.sleep(0.1)

    on_node(namespace, tmp_path, work)


class Sleeps:
    """A clock whose first sleep never ends, and which says how long it was to be."""

    def __init__(self) -> None:
        self.asked = asyncio.get_running_loop().create_future()

    def monotonic(self) -> float:
        return 0.0

    def chance(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.asked.set_result(seconds)
        await asyncio.Event().wait()


@pytest.mark.parametrize(("pods", "pause"), [((), BRIEF), (("10.0.1.10",), PAUSE)])
def test_the_links_of_the_first_pods_are_looked_for_at_once(pods: tuple[str, ...], pause: float) -> None:
    """After that a look a second: each asks for the route to every pod."""

    async def work() -> None:
        clock = Sleeps()
        lookout = Lookout(Inbox(), clock)
        lookout.first_links(content("10.0.2.1", pods=pods))
        task = asyncio.create_task(lookout.run())
        assert await clock.asked == pause
        task.cancel()

    asyncio.run(work())


WAYS_AROUND = {
    "kube-proxy in IPVS mode": (
        ("link add kube-ipvs0 type bridge",),
        ("link del kube-ipvs0",),
        "10.0.3.5",
        "ip link delete kube-ipvs0",
    ),
    "a pod on the uplink, as behind macvlan or ipvlan": (
        ("route replace 192.168.0.77/32 dev eth0",),
        ("route replace 192.168.0.77/32 dev veth1",),
        "192.168.0.77",
        "ip -d link show eth0",
    ),
}


@pytest.mark.parametrize(("come", "go", "pod", "command"), WAYS_AROUND.values(), ids=WAYS_AROUND)
def test_a_way_around_is_seen_as_long_as_it_is_there(
    come: tuple[str, ...], go: tuple[str, ...], pod: str, command: str, namespace: str, tmp_path: Path
) -> None:
    """Real links. What a node with macvlan or ipvlan looks like from outside of its pods: their kinds are told by a
    row of ``test_bypass``, since not every kernel has them.
    """
    netns.batch(namespace, NODE)

    async def work(node: Node) -> None:
        netns.batch(namespace, ("route add 192.168.0.77/32 dev veth1",))
        node.publish(content("10.0.2.1", pods=(pod,)))
        await node.start("--pod-cidrs=10.0.3.0/24,192.168.0.0/24,fd00:1::/64")
        await until(node.applied, "the rule set is applied")
        await until(lambda: node.condition("Degraded").get("status") == "False", "nothing is wrong")
        netns.batch(namespace, come)
        await until(lambda: node.condition("Degraded").get("reason") == "Bypass", "it is found", 5)
        assert command in node.condition("Degraded")["message"]
        assert node.condition("Applied")["status"] == "True"
        netns.batch(namespace, go)
        await until(lambda: node.condition("Degraded")["status"] == "False", "it is mended", 5)

    on_node(namespace, tmp_path, work)
