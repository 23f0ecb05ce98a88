"""One context of libnftables for as long as the process, in a thread of its own: seen from inside, and from /proc."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nftables
import pytest

from nodewall.render import Settings, render, replace
from tests.agent.node import Node, on_node, until
from tests.agent.rulesets import content
from tests.agent.test_agent_verdicts import SEED, applies, change
from tests.agent.test_kernel import TABLE, chain, commands, in_namespace
from tests.agent.updates import Cluster

pytestmark = pytest.mark.kernel

TRANSACTIONS = 40
MANY = tuple(f"10.{a}.{b}.{c}" for a in (2, 3, 4) for b in range(64) for c in range(1, 201))
"""38,400 peers: a transaction that is in C for some tenths of a second."""


class Watched:
    """What Python's module asks of libnftables itself, for all contexts: who calls, and who is in there just now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.contexts = 0
        self.callers: Counter[int] = Counter()
        self.inside = 0
        monkeypatch.setattr(nftables.Nftables, "__init__", self._counting(nftables.Nftables.__init__))

    def _counting(self, make: Callable[..., None]) -> Callable[..., None]:
        def made(library: Any, *arguments: Any) -> None:
            make(library, *arguments)
            self.contexts += 1
            library.nft_run_cmd_from_buffer = self._noting(library.nft_run_cmd_from_buffer)

        return made

    def _noting(self, run: Callable[..., int]) -> Callable[..., int]:
        def noted(*arguments: Any) -> int:
            self.callers[threading.get_ident()] += 1
            self.inside += 1
            try:
                return run(*arguments)
            finally:
                self.inside -= 1

        return noted


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_many_transactions_are_one_context_in_one_thread_that_is_not_the_loops(
    namespace: str, watched: Watched
) -> None:
    async def work(kernel: Any) -> int:
        before = watched.callers.total()
        for number in range(TRANSACTIONS):
            await kernel.apply(commands({"add": {"table": TABLE}}, chain(f"c_{number}")))
            await kernel.apply(commands(chain(f"d_{number}")))  # this one goes past libnftables
        assert watched.callers.total() == before + TRANSACTIONS
        return threading.get_ident()

    loops = in_namespace(namespace, work)
    assert watched.contexts == 1
    assert len(watched.callers) == 1
    assert loops not in watched.callers


def test_the_loop_goes_on_turning_while_a_big_transaction_is_in_c(namespace: str, watched: Watched) -> None:
    async def work(kernel: Any) -> int:
        whole = replace(render(content(*MANY), Settings())).json()
        return await turns_during(lambda: kernel.apply(whole), watched)

    assert in_namespace(namespace, work) >= 100


async def turns_during(work: Callable[[], Awaitable[None]], watched: Watched) -> int:
    """How often the loop turned while somebody was in C."""
    turns = 0
    doing = asyncio.ensure_future(work())
    while not doing.done():
        turns += bool(watched.inside)
        await asyncio.sleep(0)
    await doing
    return turns


def test_an_agent_keeps_its_sockets_to_nftables_through_many_updates(namespace: str, tmp_path: Path) -> None:
    """From outside: a context that were made anew would have another one."""

    async def work(node: Node) -> None:
        cluster = Cluster(random.Random(SEED))  # noqa: S311 - the same each time
        node.publish(cluster.content())
        await node.start()
        await until(node.applied, "the first rule set is applied")
        assert node.process
        before = netfilter_sockets(node.process.pid)
        assert before
        await change(node, cluster, TRANSACTIONS)
        assert await applies(node) > TRANSACTIONS * 0.7
        assert netfilter_sockets(node.process.pid) == before

    on_node(namespace, tmp_path, work)


NETFILTER = "12"


def netfilter_sockets(process: int) -> set[str]:
    """The inodes of the process's netlink sockets to netfilter. Called in its network namespace."""
    rows = [line.split() for line in Path(f"/proc/{process}/net/netlink").read_text().splitlines()[1:]]
    known = {row[-1] for row in rows if row[1] == NETFILTER}
    links = (each.readlink() for each in Path(f"/proc/{process}/fd").iterdir())
    return {str(each)[len("socket:[") : -1] for each in links if str(each).startswith("socket:[")} & known
