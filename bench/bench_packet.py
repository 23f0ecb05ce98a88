"""What a new connection costs the node that judges it, beside other ways to judge it and none at all.

In processor time. `connection.*` is a short connection with the sockets at both ends, `packet.*` nine packets that make
one and `syn.*` the first of them, which is the one that walks the rules: what the router does, and no socket.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from bench.clusters import address
from bench.ends import ends
from bench.frames import PACKETS, Burst, Flow, connections, openings
from bench.layouts import Policies, chain_per_pod, conntrack_only, linear, nothing, ours, unchecked
from bench.measure import Result, Together, paired
from bench.road import Road, Rules, in_turns, roads, windows
from tests.kernel.router import ROUTER_MAC

PODS = (10, 100, 1_000)
POLICIES = (1, 5, 20, 50, 100)
PEERS = (100, 10_000, 50_000)
MEMBERS = 100
"""Of each policy's group, where policies are counted."""
WHOLE, CONNECTIONS, OPENINGS = 500, 1_500, 6_000
"""In a window of 30 to 50 ms: with sockets, without, and first packets alone."""
WINDOWS = 15
BUILDS = 3
"""Of each road, with so many windows each: where the kernel happens to put a table makes a point of difference."""
SCALES = {"connection": ("us/connection", 1e-3), "packet": ("us/connection", PACKETS / 1e3), "syn": ("ns/packet", 1.0)}
"""Unit, and what one nanosecond per connection or packet is in it."""
CHECK = "none-again"
"""A second road without rules: how far two measurements of the same thing are apart."""


@dataclass(frozen=True, slots=True)
class Scene:
    """``pairs`` are who talks to whom, a client and a server each."""

    policies: Policies
    pairs: Sequence[tuple[str, str]]
    local_clients: bool = False

    def layouts(self) -> dict[str, Rules]:
        return {
            "none": nothing,
            "conntrack": conntrack_only,
            "ours": ours(self.policies),
            "unchecked": unchecked(self.policies),
            "iptables": linear(self.policies, self.pairs),
            "ipset": chain_per_pod(self.policies),
            CHECK: nothing,
        }

    def flows(self, count: int) -> list[Flow]:
        return [Flow(*self.pairs[number % len(self.pairs)], 20_000 + number) for number in range(count)]


def benchmarks() -> Iterator[Together]:
    for what, sizes, scene in (("pods", PODS, _pods), ("policies", POLICIES, _policies), ("peers", PEERS, _peers)):
        for size in sizes:
            names = tuple(f"{kind}.{what}.{size}" for kind in SCALES)
            yield Together(names, partial(_measure, f"{what}.{size}", partial(scene, size)))


def _measure(name: str, make: Callable[[], Scene]) -> list[Result]:
    scene = make()
    clients, servers = (sorted(set(side)) for side in zip(*scene.pairs, strict=True))
    bursts = {
        "packet": Burst(connections(scene.flows(CONNECTIONS)), ROUTER_MAC),
        "syn": Burst(openings(scene.flows(OPENINGS)), ROUTER_MAC),
    }
    found = {kind: defaultdict[str, list[float]](list) for kind in SCALES}
    for _ in range(BUILDS):
        with roads(scene.layouts(), clients if scene.local_clients else [], servers) as driven:
            measured = {kind: windows(driven, burst, WINDOWS) for kind, burst in bursts.items()}
            measured["connection"] = _whole(driven, scene)
        for kind, layouts in measured.items():
            for layout, values in layouts.items():
                found[kind][layout] += values
    return [result for kind, values in found.items() for result in _results(f"{kind}.{name}", *SCALES[kind], values)]


def _whole(driven: Sequence[Road], scene: Scene) -> dict[str, list[float]]:
    """Nanoseconds per connection of each road, with sockets. The roads are of no use afterwards."""
    flows = scene.flows(WHOLE)
    with ExitStack() as stack:
        drives = {
            road.name: partial(stack.enter_context(ends(road, flows, scene.local_clients)).drive, flows)
            for road in driven
        }
        return {name: [each / WHOLE for each in spent] for name, spent in in_turns(drives, WINDOWS).items()}


def _results(name: str, unit: str, scale: float, found: Mapping[str, list[float]]) -> Iterator[Result]:
    """Against conntrack alone, which is what the goal is about, then against each other layout."""
    scaled = {layout: [each * scale for each in values] for layout, values in found.items()}
    mine, check = scaled.pop("ours"), scaled.pop(CHECK)
    yield paired(name, unit, mine, scaled.pop("conntrack"))
    for layout, values in scaled.items():
        yield paired(f"{name}.{layout}", unit, mine, values)
    yield paired(f"{name}.check", unit, check, scaled["none"])


def _pods(count: int) -> Scene:
    """So many local pods, each of which may talk to all of them and hear them all; half of them ask the other half."""
    pods = [address(number + 256) for number in range(count)]
    policies = Policies({"all": pods}, dict.fromkeys(pods, (("all",), ("all",))))
    return Scene(policies, list(zip(pods[::2], pods[1::2], strict=True)), local_clients=True)


def _policies(count: int) -> Scene:
    """So many policies on one pod of a hundred; who asks is in the group of the last."""
    groups = {f"group{number:03}": _strangers(number * MEMBERS, MEMBERS) for number in range(count)}
    pods = [address(number + 256) for number in range(100)]
    policies = Policies(groups, {pods[0]: (tuple(groups), None)} | dict.fromkeys(pods[1:], (None, None)))
    return Scene(policies, [(client, pods[0]) for client in list(groups.values())[-1]])


def _peers(count: int) -> Scene:
    """A hundred local pods that hear so many pods of other nodes."""
    peers = _strangers(0, count)
    pods = [address(number + 256) for number in range(100)]
    pairs = zip(peers[:: count // len(pods)], pods, strict=True)
    return Scene(Policies({"peers": peers}, dict.fromkeys(pods, (("peers",), None))), list(pairs))


def _strangers(first: int, count: int) -> list[str]:
    return [address(number, net=11) for number in range(first, first + count)]
