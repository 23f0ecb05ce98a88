"""Whatever somebody does to our table, the agent puts it right within a second, and tells who it was."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from e2e import netns
from tests.agent.node import Node, on_node, until
from tests.agent.rulesets import content
from tests.agent.test_agent import in_force
from tests.agent.test_drift import HANDS

pytestmark = pytest.mark.kernel

WITHIN = 1.0


async def settled(node: Node) -> str:
    """The table once the agent has looked around and drawn what it found."""
    await in_force(node, "10.0.2.1")
    await asyncio.sleep(1.2)  # its listing of better times is not what is tested here
    return node.table()


@pytest.mark.parametrize("text", HANDS.values(), ids=HANDS)
def test_a_hand_on_the_table_is_undone(text: str, namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        good = await settled(node)
        started = time.monotonic()
        node.nft(text)
        await until(lambda: node.table() == good, "it is repaired", WITHIN)
        assert time.monotonic() - started < WITHIN
        await until(lambda: node.condition("Degraded").get("reason") == "Drift", "the condition tells")
        assert re.search(r"changed by nft \(pid \d+\); repaired \(once", node.condition("Degraded")["message"])
        assert node.condition("Applied")["status"] == "True"
        assert "nodewall_agent_drift_repairs_total 1.0" in (await node.http("/metrics"))[1]

    on_node(namespace, tmp_path, work)


def test_the_table_is_repaired_from_disk_while_the_api_server_is_away(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        good = await settled(node)
        await node.stop()
        await node.api.refuse_connections()
        await node.start()
        await until(lambda: any("cannot be watched" in line for line in node.messages()[-5:]), "it runs")
        node.nft("flush ruleset")
        await until(lambda: node.table() == good, "it is repaired", WITHIN)

    on_node(namespace, tmp_path, work)


IPTABLES = "*nat\n:KUBE-SERVICES - [0:0]\n-F KUBE-SERVICES\n-A KUBE-SERVICES -d 10.96.0.{n}/32 -j ACCEPT\nCOMMIT\n"
NFTABLES = (
    "add table ip kube-proxy; add chain ip kube-proxy services; flush chain ip kube-proxy services; "
    "add rule ip kube-proxy services ip daddr 10.96.0.{n} accept"
)


def test_other_owners_in_a_loop_neither_lose_a_rule_nor_are_listed(namespace: str, tmp_path: Path) -> None:
    async def other(node: Node, number: int) -> None:
        for command, text in (("iptables-restore -n", IPTABLES), ("nft -f -", NFTABLES)):
            process = await asyncio.create_subprocess_exec(
                *netns.argv(node.namespace), *command.split(), stdin=asyncio.subprocess.PIPE
            )
            await process.communicate(text.replace("{n}", str(number)).encode())
            assert process.returncode == 0

    async def work(node: Node) -> None:
        await settled(node)
        for number in range(1, 31):
            node.publish(content("10.0.2.1", f"10.0.3.{number}"))
            await other(node, number)
        await until(node.applied, "the last rule set is applied")
        assert "10.0.3.30" in node.table()
        process = await asyncio.create_subprocess_exec(
            *netns.argv(node.namespace), "nft", "list", "ruleset", stdout=asyncio.subprocess.PIPE
        )
        listed = (await process.communicate())[0].decode()
        assert listed.count("10.96.0.30") == 2
        assert node.condition("Degraded")["status"] == "False"
        assert "nodewall_agent_drift_repairs_total 0.0" in (await node.http("/metrics"))[1]

    on_node(namespace, tmp_path, work)
