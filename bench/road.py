"""A router to send packets through, once per layout of rules, and what a packet costs it.

Wall-clock time says nothing on a machine that others use. A packet that is sent into a veth is forwarded, judged and
delivered in the sender's own processor time before the call returns; so the sender's time is the cost, and the median
of many short windows is little disturbed by others. What the kernel puts off to its softirq thread is counted as well.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from socket import AF_NETLINK, SOCK_RAW, if_nametoindex, socket
from struct import pack, unpack_from

from bench.frames import Burst, packet_socket
from e2e import netns
from tests.kernel.router import WORLD, Router, router

CLIENTS, SERVERS = "pod0", "pod1"
"""Links."""
_FLUSH_CONNTRACK = pack("=IHHIIBBH", 20, 1 << 8 | 2, 1 | 4, 1, 0, 0, 0, 0)
_NETFILTER = 12

Rules = Callable[[str], None]
"""Puts a layout's rules into the network namespace of this name."""


@dataclass(frozen=True, slots=True)
class Road:
    """One router with its rules. ``links`` are the indexes of the clients' and the servers' link."""

    name: str
    made: Router
    sender: socket
    conntrack: socket
    links: tuple[int, int]

    def drive(self, burst: Burst) -> int:
        """Nanoseconds of processor time; conntrack is empty at first."""
        self.forget()
        started = time.thread_time_ns()
        burst.send(self.sender, *self.links)
        return time.thread_time_ns() - started

    def arrived(self) -> int:
        """Packets that came out of it so far."""
        return netns.inside(self.made.around, _received)

    def forget(self) -> None:
        """All connections. OSError when the kernel refuses."""
        self.conntrack.send(_FLUSH_CONNTRACK)
        (error,) = unpack_from("=i", self.conntrack.recv(4096), 16)
        if error:
            raise OSError(-error, os.strerror(-error))


@contextmanager
def roads(layouts: Mapping[str, Rules], clients: Sequence[str], servers: Sequence[str]) -> Iterator[list[Road]]:
    """A road per layout, all alike but for the rules; clients that are no pods are out in the world."""
    with ExitStack() as stack:
        yield [_road(stack, name, rules, clients, servers) for name, rules in layouts.items()]


def _road(stack: ExitStack, name: str, rules: Rules, clients: Sequence[str], servers: Sequence[str]) -> Road:
    made = stack.enter_context(router(pod_links=2))
    made.arrange(dict.fromkeys(clients, CLIENTS) | dict.fromkeys(servers, SERVERS), set())
    netns.set_sysctls(made.name, {"netfilter/nf_conntrack_checksum": 0})
    rules(made.name)
    sender = stack.enter_context(netns.inside(made.around, packet_socket))
    conntrack = stack.enter_context(netns.inside(made.name, lambda: socket(AF_NETLINK, SOCK_RAW, _NETFILTER)))
    near = CLIENTS if clients else WORLD
    links = netns.inside(made.around, lambda: (if_nametoindex(near), if_nametoindex(SERVERS)))
    return Road(name, made, sender, conntrack, links)


def windows(driven: Sequence[Road], burst: Burst, count: int, denied: int = 0) -> dict[str, list[float]]:
    """Nanoseconds per packet of each road, ``count`` windows each, in turns.

    AssertionError when a road lets not everything through but those that are ``denied``: what is dropped is not
    comparable.
    """
    for road in driven:
        before = road.arrived()
        road.drive(burst)
        came = road.arrived() - before
        assert came >= len(burst) - denied, f"{road.name}: {came} of {len(burst)} packets came through"
    found = in_turns({road.name: partial(road.drive, burst) for road in driven}, count)
    return {name: [spent / len(burst) for spent in each] for name, each in found.items()}


def in_turns(drives: Mapping[str, Callable[[], int]], count: int) -> dict[str, list[int]]:
    """What each returns, in nanoseconds, and what the kernel puts off meanwhile; ``count`` times, in turns, after one
    that warms up. The order changes from turn to turn: who comes after whom finds another cache.
    """
    found: dict[str, list[int]] = {name: [] for name in drives}
    order, dice = list(drives.items()), Random(count)  # noqa: S311 - the same in each run
    with _on_one_cpu() as put_off:
        for drive in drives.values():
            drive()
        for _ in range(count):
            dice.shuffle(order)
            for name, drive in order:
                before = put_off()
                spent = drive()
                found[name].append(spent + put_off() - before)
    return found


@contextmanager
def _on_one_cpu() -> Iterator[Callable[[], int]]:
    """Yields how long this processor's softirq thread has run, in nanoseconds."""
    allowed = os.sched_getaffinity(0)
    cpu = max(allowed)
    schedstat = _softirq_thread(cpu) / "schedstat"
    os.sched_setaffinity(0, {cpu})
    try:
        yield lambda: int(schedstat.read_text().split()[0])
    finally:
        os.sched_setaffinity(0, allowed)


def _softirq_thread(cpu: int) -> Path:
    for found in Path("/proc").glob("[0-9]*/comm"):
        if found.read_text().strip() == f"ksoftirqd/{cpu}":
            return found.parent
    raise LookupError(f"there is no ksoftirqd/{cpu}")


def _received() -> int:
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return sum(int(line.split(":")[1].split()[1]) for line in lines if ":" in line)
