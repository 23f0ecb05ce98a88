"""The verdict log as a whole, on a real kernel: it survives a slow reader, a taken group and its own end."""

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from e2e import netns
from nodewall.agent.decide import RuleSet, Target
from nodewall.agent.flowlog import Flowlog, Place
from nodewall.agent.flowlog_fold import CAPACITY
from nodewall.agent.flowlog_socket import Group
from nodewall.agent.loop import Times
from nodewall.kube.clock import SystemClock
from nodewall.model.address import Address
from nodewall.model.policy import Direction, Kind
from nodewall.model.ruleset import Endpoint, Isolation, NodeRuleSet, RuleClass, RuleLog, RuleRef
from nodewall.render import Settings, render
from nodewall.telemetry import metrics
from nodewall.telemetry.metrics import Metrics
from tests.flowlog.test_kernel import come, send
from tests.kernel import nft

pytestmark = pytest.mark.kernel

T = TypeVar("T")
RULES = """
table inet nodewall {
    counter r_iso { }
    chain out {
        type filter hook output priority 0; policy accept;
        udp dport >= 1000 counter name r_iso
        udp dport >= 2000 log prefix "deny:iso" group 5577 snaplen 64
    }
}
"""
"""Ports from 2000 on are on record; from 1000 on they are hits without a record."""


def ruleset(pod: str) -> NodeRuleSet:
    return NodeRuleSet(
        "n1",
        classes=(RuleClass("i", Direction.INGRESS, (), Isolation("iso", ("shop/p",), 1, RuleLog(10, 20))),),
        endpoints=(Endpoint("shop", pod, (Address("127.0.0.1"),), "i"),),
        rules=(RuleRef("other", Kind.NETWORK_POLICY, "shop", "p", Direction.INGRESS, "ingress[0]"),),
    )


def target(content: NodeRuleSet) -> Target:
    return Target(RuleSet("u", 1, "d", content), Settings(), render(content, Settings()))


class Printer:
    """Keeps what is printed. ``closed``: it takes nothing until it is set, or it is told to stop."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.open, self.stopped, self.broken = threading.Event(), threading.Event(), False
        self.asked = threading.Event()
        self.open.set()

    def write(self, lines: Sequence[bytes]) -> int:
        if self.broken:
            raise BrokenPipeError
        self.asked.set()
        while not self.open.wait(0.01):
            if self.stopped.is_set():
                return 0
        self.lines += map(json.loads, lines)
        return len(lines)

    def stop(self) -> None:
        self.stopped.set()

    def told(self) -> int:
        return sum(line["count"] + line.get("suppressed", 0) for line in self.lines)


@pytest.fixture
def place() -> Iterator[str]:
    name = f"nw-verdicts-{os.getpid()}"
    netns.add(name)
    try:
        nft.load_text(name, RULES)
        yield name
    finally:
        netns.delete(name)


def inside(place: str, work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    return netns.inside(place, lambda: asyncio.run(main()))


@asynccontextmanager
async def running(
    folder: Path, printer: Printer, counts: Metrics | None = None, clock: SystemClock | None = None
) -> "Any":
    measured, clock = counts or Metrics(metrics.AGENT, "0"), clock or SystemClock()
    flowlog = Flowlog(Place("n1", folder), printer, measured, Times(clock, lambda: 1_700_000_000.0))
    await flowlog.begin(ruleset("web"))
    work = asyncio.create_task(flowlog.run())
    await asyncio.sleep(0)
    try:
        yield flowlog
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert work.cancelled()


def counted(counts: Metrics, name: str) -> float:
    found = [line for line in counts.exposition().decode().splitlines() if line.startswith(f"nodewall_agent_{name}")]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_what_is_left_is_written_at_the_end(place: str, tmp_path: Path) -> None:
    printer, counts = Printer(), Metrics(metrics.AGENT, "0")

    async def work() -> None:
        async with running(tmp_path, printer, counts):
            send(2000, 3)

    inside(place, work)
    (line,) = printer.lines
    assert (line["count"], line["destination"]["pod_name"]) == (3, "web")
    assert counted(counts, "log_records_total") == 3


def test_hits_without_a_record_are_told_by_whoever_comes_after(place: str, tmp_path: Path) -> None:
    async def work() -> None:
        for _ in range(2):
            async with running(tmp_path, printer):
                send(1000, 5)
                send(2000, 2)
            send(1000, 7)

    printer = Printer()
    inside(place, work)
    assert json.loads((tmp_path / "verdict-counts.json").read_bytes()) == {"iso": 4}
    assert printer.told() == 4  # the rest is for the next one to tell


class HastyClock(SystemClock):
    """Sleeps a fiftieth of what it is asked to."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 50)


def test_hits_without_a_record_are_counted_as_told(place: str, tmp_path: Path) -> None:
    printer, counts = Printer(), Metrics(metrics.AGENT, "0")

    async def work() -> None:
        async with running(tmp_path, printer, counts, HastyClock()):
            send(1000, 5)
            send(2000, 2)
            await come(lambda: printer.told() == 7)

    inside(place, work)
    assert (counted(counts, "log_records_total"), counted(counts, "log_records_suppressed_total")) == (2, 5)


@pytest.mark.parametrize("loss", ["kernel", "crowded"])
def test_what_comes_faster_than_it_is_read_is_counted_by_where_it_got_lost(
    place: str, tmp_path: Path, loss: str
) -> None:
    """In the kernel, when nobody reads at all; with us, when too many differ."""
    printer, counts, sent = Printer(), Metrics(metrics.AGENT, "0"), 20_000

    async def work() -> None:
        async with running(tmp_path, printer, counts):
            if loss == "kernel":
                send(2000, sent)  # the loop does not turn meanwhile
            for port in range(2000, 2000 + 2 * CAPACITY):
                send(port)
                await asyncio.sleep(0)
            async with asyncio.timeout(10):
                while not counted(counts, f'log_records_lost_total{{loss="{loss}"}}'):
                    send(2000)
                    await asyncio.sleep(0.05)

    inside(place, work)
    assert counted(counts, f'log_records_lost_total{{loss="{loss}"}}') > 100


def test_a_reader_that_sleeps_costs_records_and_not_memory(place: str, tmp_path: Path) -> None:
    printer, counts = Printer(), Metrics(metrics.AGENT, "0")

    async def work() -> None:
        async with running(tmp_path, printer, counts):
            printer.open.clear()
            for port in range(2000, 2000 + 2 * CAPACITY):
                send(port)
                if port % 64 == 0:
                    await asyncio.sleep(0)
            await come(lambda: counted(counts, 'log_records_lost_total{loss="crowded"}') > 0)
            await asyncio.sleep(1.2)  # a window: everything is due, and nothing goes out
            printer.open.set()
            await come(lambda: bool(printer.lines))

    inside(place, work)
    lost = counted(counts, "log_records_lost_total")
    assert len(printer.lines) <= 2 * CAPACITY
    assert len(printer.lines) + lost == 2 * CAPACITY
    assert json.loads((tmp_path / "verdict-counts.json").read_bytes())["iso"] == len(printer.lines)


def test_what_nobody_took_until_the_end_is_for_the_next_one_to_tell(place: str, tmp_path: Path) -> None:
    printer, counts = Printer(), Metrics(metrics.AGENT, "0")
    printer.open.clear()

    async def work() -> None:
        async with running(tmp_path, printer, counts):
            send(2000, 4)
            await come(printer.asked.is_set)

    inside(place, work)
    assert printer.lines == []
    assert counted(counts, "log_records_total") == 0
    assert counted(counts, 'log_records_lost_total{loss="output"}') == 4
    assert json.loads((tmp_path / "verdict-counts.json").read_bytes()) == {"iso": 0}


def test_a_reader_that_is_gone_is_counted(place: str, tmp_path: Path) -> None:
    printer, counts = Printer(), Metrics(metrics.AGENT, "0")
    printer.broken = True

    async def work() -> None:
        async with running(tmp_path, printer, counts):
            send(2000, 4)

    inside(place, work)
    assert counted(counts, 'log_records_lost_total{loss="output"}') == 4
    assert counted(counts, "log_records_total") == 0
    assert json.loads((tmp_path / "verdict-counts.json").read_bytes()) == {"iso": 0}


def test_a_group_that_another_program_has_is_taken_when_it_is_free(place: str, tmp_path: Path) -> None:
    printer = Printer()

    async def work() -> None:
        with ExitStack() as other:
            other.enter_context(Group(5577, 64, lambda _: None, lambda _: None))
            async with running(tmp_path, printer):
                other.close()
                async with asyncio.timeout(10):
                    while not printer.lines:
                        send(2000)
                        await asyncio.sleep(0.1)

    inside(place, work)
    assert printer.lines[0]["rule_id"] == "iso"


def test_names_are_those_of_the_rule_set_in_force(place: str, tmp_path: Path) -> None:
    printer = Printer()

    async def work() -> None:
        async with running(tmp_path, printer) as flowlog:
            send(2000)
            await come(lambda: bool(printer.lines))
            flowlog.applied(target(ruleset("other")))
            send(2000)
            await come(lambda: len(printer.lines) == 2)

    inside(place, work)
    assert [line["source"]["pod_name"] for line in printer.lines] == ["web", "other"]


def test_a_damaged_file_is_as_good_as_none(place: str, tmp_path: Path) -> None:
    (tmp_path / "verdict-counts.json").write_text("[1, 2")
    printer = Printer()

    async def work() -> None:
        async with running(tmp_path, printer):
            send(2000)

    inside(place, work)
    assert printer.told() == 1


def test_what_is_no_record_of_ours_is_passed_over(place: str, tmp_path: Path) -> None:
    nft.load_text(place, 'insert rule inet nodewall out udp dport 3000 log prefix "[UFW] " group 5577 accept')
    printer = Printer()

    async def work() -> None:
        async with running(tmp_path, printer):
            send(3000)
            send(2000)

    inside(place, work)
    assert [line["l4"]["UDP"]["destination_port"] for line in printer.lines] == [2000]
