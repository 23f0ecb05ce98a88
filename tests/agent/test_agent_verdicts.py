"""No packet is judged wrongly, whatever changes and whatever happens to the agent."""

import asyncio
import random
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.agent.node import Node, on_node, until
from tests.agent.pods import Tally, pods, traffic
from tests.agent.updates import KINDS, Cluster

pytestmark = pytest.mark.kernel

SEED = 7
QUICK, LONG = 80, 1000


def judged(namespace: str, folder: Path, work: Callable[[Node, Cluster], Awaitable[None]]) -> Tally:
    """Traffic runs from the first applied rule set until the work is done."""
    cluster = Cluster(random.Random(SEED))  # noqa: S311 - the same each time

    async def main(node: Node) -> Tally:
        node.publish(cluster.content())
        await node.start()
        await until(node.applied, "the first rule set is applied")
        with traffic(names) as tally:
            await work(node, cluster)
        return tally

    with pods(namespace) as names:
        tally = on_node(namespace, folder, main)
    print(f"{sum(tally.tried.values())} attempts, {tally.echoes} echoes")  # noqa: T201 - shown with -s
    return tally


def check(tally: Tally, least: int) -> None:
    assert tally.broken == []
    assert tally.wrong() == {}
    assert min(tally.tried.values()) >= least
    assert tally.echoes >= least


async def applies(node: Node) -> int:
    found = re.search(r'applies_total\{[^}]*"done"\} ([0-9.]+)', (await node.http("/metrics"))[1])
    return int(float(found[1])) if found else 0


async def change(node: Node, cluster: Cluster, times: int) -> None:
    """So many changes, each applied before the next comes, so that none is skipped."""
    for _ in range(times):
        before = await applies(node)
        cluster.step()
        node.publish(cluster.content())
        for _ in range(200):
            if await applies(node) > before:
                break
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("times", [QUICK, pytest.param(LONG, marks=pytest.mark.soak)])
def test_updates_of_every_kind(times: int, namespace: str, tmp_path: Path) -> None:
    async def work(node: Node, cluster: Cluster) -> None:
        await change(node, cluster, times)
        await until(node.applied, "the last change is applied")
        assert await applies(node) > times * 0.7

    check(judged(namespace, tmp_path, work), times)


@pytest.mark.parametrize("times", [4, pytest.param(50, marks=pytest.mark.soak)])
def test_an_agent_that_is_killed_at_any_instant(times: int, namespace: str, tmp_path: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311 - the same each time

    async def work(node: Node, cluster: Cluster) -> None:
        for _ in range(times):
            changes = asyncio.create_task(change(node, cluster, 1000))
            await asyncio.sleep(chance.uniform(0.1, 1.5))
            await node.stop(signal.SIGKILL)
            changes.cancel()
            cluster.step()
            node.publish(cluster.content())
            await asyncio.sleep(chance.uniform(0, 0.3))
            await node.start()
        await until(node.applied, "the last change is applied")

    check(judged(namespace, tmp_path, work), 100)


@pytest.mark.parametrize("seconds", [2, pytest.param(600, marks=pytest.mark.soak)])
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGTERM], ids=["frozen", "stopped"])
def test_an_agent_that_is_away_for_long(how: signal.Signals, seconds: int, namespace: str, tmp_path: Path) -> None:
    """The table goes on by itself; what was missed comes in one step."""

    async def work(node: Node, cluster: Cluster) -> None:
        assert node.process
        if how is signal.SIGTERM:
            await node.stop()
        else:
            node.process.send_signal(how)
        for _ in range(40):
            cluster.step()
            node.publish(cluster.content())
            await asyncio.sleep(seconds / 40)
        assert not node.applied()
        if how is signal.SIGTERM:
            await node.start()
        else:
            node.process.send_signal(signal.SIGCONT)
        await until(node.applied, "the last change is applied", 45)
        await change(node, cluster, 3)

    check(judged(namespace, tmp_path, work), 50)


OLD_LAYOUT = """
delete table inet nodewall
table inet nodewall {
  set shut4 { type ipv4_addr; elements = { 10.0.1.3 }; }
  set shut6 { type ipv6_addr; elements = { fd00:1::3 }; }
  chain filter_forward {
    type filter hook forward priority -5; policy accept;
    ct state established accept
    ip daddr @shut4 drop
    ip6 daddr @shut6 drop
  }
}
"""


def test_an_upgrade_from_another_layout_of_the_table(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node, cluster: Cluster) -> None:
        await node.stop()
        node.nft(OLD_LAYOUT)
        await asyncio.sleep(0.3)
        await node.start()
        await until(lambda: "filter_forward" not in node.table(), "the new layout is in force")
        await change(node, cluster, 3)
        await asyncio.sleep(0.3)

    check(judged(namespace, tmp_path, work), 50)


def test_every_kind_of_change_happens_in_the_quick_run() -> None:
    cluster = Cluster(random.Random(SEED))  # noqa: S311 - the same each time
    assert {cluster.step() for _ in range(QUICK)} == set(KINDS)


def test_the_tally_sees_a_gap(namespace: str, tmp_path: Path) -> None:
    """The measure itself: a table that is away for a moment, and one that is closed for a moment, are both seen."""

    async def work(node: Node, _cluster: Cluster) -> None:
        await node.stop()
        table = node.table()
        node.nft("delete table inet nodewall")
        await asyncio.sleep(0.2)
        node.nft(table)
        node.nft("insert rule inet nodewall forward ip daddr 10.0.1.2 drop")
        await asyncio.sleep(0.2)

    tally = judged(namespace, tmp_path, work)
    assert tally.broken
    assert {key[0] for key in tally.wrong()} == {"open", "shut"}
