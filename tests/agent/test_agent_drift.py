"""Whatever somebody does to our table, the agent puts it right within a second, and tells who it was."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from e2e import netns
from e2e.command import run
from nodewall.agent.drift import Ears
from nodewall.agent.kernel import Kernel
from nodewall.agent.loop import Inbox
from nodewall.agent.sentinel import Sentinel
from nodewall.kube.clock import SystemClock
from tests.agent.node import Node, on_node, until
from tests.agent.others import OWNERS, Owner
from tests.agent.rulesets import content
from tests.agent.test_agent import in_force
from tests.agent.test_drift import HANDS, WHOLE

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


ROUNDS = 15


async def write(namespace: str, owner: Owner, number: int) -> None:
    """One round of another owner."""
    process = await asyncio.create_subprocess_exec(
        *netns.argv(namespace), *owner.command.split(), stdin=asyncio.subprocess.PIPE
    )
    await process.communicate(owner.load(number).encode())
    assert process.returncode == 0


def listed(namespace: str) -> str:
    return run([*netns.argv(namespace), "nft", "list", "ruleset"])


def test_other_owners_in_a_loop_neither_lose_a_rule_nor_take_one(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await settled(node)
        for number in range(1, ROUNDS):
            node.publish(content("10.0.2.1", f"10.0.3.{number}"))
            await asyncio.gather(*(write(node.namespace, owner, number) for owner in OWNERS.values()))
        await until(node.applied, "the last rule set is applied")
        assert f"10.0.3.{ROUNDS - 1}" in node.table()
        everything = await asyncio.to_thread(listed, node.namespace)
        for owner in OWNERS.values():
            for kept in owner.keeps(ROUNDS - 1):
                assert kept in everything
        assert node.condition("Degraded")["status"] == "False"
        assert "nodewall_agent_drift_repairs_total 0.0" in (await node.http("/metrics"))[1]
        kinds = [line["fields"]["kind"] for line in node.log if line["message"] == "rule set applied"]
        assert kinds.count("replace") == 1

    on_node(namespace, tmp_path, work)


class Counted:
    """A kernel whose listings are counted."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self.listings = kernel, 0

    @property
    def commits(self) -> int:
        return self._kernel.commits

    async def fingerprint(self) -> str:
        self.listings += 1
        return await self._kernel.fingerprint()

    async def generation(self) -> int:
        return await self._kernel.generation()


@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS)
def test_whatever_others_do_to_their_tables_ours_is_not_listed(owner: Owner, namespace: str) -> None:
    """But for the one listing of a quiet moment after our own last change."""

    async def work() -> None:
        kernel = await Kernel.open()
        counted, inbox = Counted(kernel), Inbox()
        sentinel = Sentinel(counted, inbox, SystemClock(), Ears)
        async with asyncio.TaskGroup() as tasks:
            guard = tasks.create_task(sentinel.run())
            await kernel.apply(WHOLE)
            sentinel.applied(None)
            await until_listed(counted)
            for number in range(ROUNDS):
                await write(namespace, owner, number)
            assert counted.listings == 1
            assert inbox.take()[0] == []
            await write(namespace, Owner("nft -f -", lambda _: "add chain inet nodewall x\n", lambda _: []), 0)
            await until(lambda: inbox.take()[0], "but what is done to ours is heard", 1)
            guard.cancel()
        kernel.close()

    netns.inside(namespace, lambda: asyncio.run(work()))


async def until_listed(counted: Counted) -> None:
    await until(lambda: counted.listings, "the listing of a quiet moment", 6)
