"""No compile keeps the event loop for more than 20 ms, however large the cluster: by a clock that counts.

The clock goes by what the compiler does and by nothing else: the machine and whoever else uses it do not matter. What
an operation costs was measured (1 to 5 microseconds; 20 to 100 for a class of a few rules), and is rounded up.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from nodewall.compile.changes import Change, Input
from nodewall.compile.incremental import Compiler
from nodewall.controller.quarantine import Quarantine
from nodewall.kube.clock import Breath
from nodewall.model.address import Address
from nodewall.model.cluster import LogWish, Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING, Labels
from nodewall.model.policy import AllowRule, NetworkPolicy, PodPeer
from tests.controller.test_quarantine import Watcher

LIMIT = 0.020
OPERATION, CLASS, STEP = 10e-6, 200e-6, 1e-6
"""Seconds."""
NAMESPACES = 50


def cluster(pods: int) -> Iterator[Change]:
    """Every namespace hears all of the cluster."""
    yield from (Change(Input.NODE, f"n{number}", Node(f"n{number}")) for number in range(10))
    for number in range(NAMESPACES):
        name = f"ns{number}"
        yield Change(Input.NAMESPACE, name, Namespace(name))
        policy = NetworkPolicy(name, "wide", ingress=(AllowRule(0, (PodPeer(EVERYTHING),)),))
        yield Change(Input.NETWORK_POLICY, (name, "wide"), policy)
    for number in range(pods):
        yield pod(number)


def pod(number: int, net: int = 10) -> Change:
    namespace, name = f"ns{number % NAMESPACES}", f"p{number}"
    address = Address(f"{net}.0.{number >> 8}.{number & 255}")
    labels = Labels({"app": f"a{number % 4}"})
    return Change(
        Input.POD, (namespace, name), Pod(namespace, name, labels=labels, node=f"n{number % 10}", addresses=(address,))
    )


CHANGES: dict[str, Callable[[], Change]] = {
    "a policy about everybody": lambda: Change(
        Input.NETWORK_POLICY, ("ns0", "more"), NetworkPolicy("ns0", "more", ingress=(AllowRule(0, ()),))
    ),
    "a wide group anew": lambda: Change(Input.NETWORK_POLICY, ("ns0", "wide"), None),
    "a namespace's wish": lambda: Change(Input.NAMESPACE, "ns0", Namespace("ns0", log=LogWish.ALL)),
    "a pod": lambda: pod(7, net=11),
    "a node": lambda: Change(Input.NODE, "n0", None),
}


class Counted:
    """A clock that the work of one compiler moves."""

    def __init__(self) -> None:
        self.compiler = Compiler()
        self.steps = 0

    def monotonic(self) -> float:
        done = self.compiler.operations
        plain = done.selectors + done.fed + done.classified + done.groups + done.nodes
        return plain * OPERATION + done.classes * CLASS + self.steps * STEP

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)

    def chance(self) -> float:
        return 0.0


async def longest_stretch(clock: Counted, quarantine: Quarantine, changes: list[Change]) -> float:
    """Seconds for which nobody else had a turn, when the changes are taken in as the loop does it."""
    turns = [clock.monotonic()]

    async def others() -> None:
        while True:
            turns.append(clock.monotonic())
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    breath = Breath(clock)
    for _ in quarantine.steps(changes):
        clock.steps += 1
        await breath.take()
    turns.append(clock.monotonic())
    task.cancel()
    return max(after - before for before, after in pairwise(turns))


@pytest.mark.parametrize("pods", [500, 5_000])
async def test_others_have_their_turn(pods: int) -> None:
    clock = Counted()
    quarantine = Quarantine(lambda: clock.compiler, Watcher(), clock)
    found = {"all of it": await longest_stretch(clock, quarantine, list(cluster(pods)))}
    total = clock.monotonic()
    for name, change in CHANGES.items():
        found[name] = await longest_stretch(clock, quarantine, [change()])
    assert {name: stretch for name, stretch in found.items() if stretch > LIMIT} == {}
    assert total > 5 * LIMIT * pods / 5_000, "there was something to interrupt"
