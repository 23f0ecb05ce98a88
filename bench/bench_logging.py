"""What a flood of denied connections costs those that are allowed, with its records and without.

As in bench_packet, in the router's own processor time: connections that are allowed, and between them the first packets
of 10,000 a second that are denied by a rule whose every hit is a record, up to its rate. A process reads the records as
the agent does. The baseline is the same flood against the same rule without records.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.clusters import address
from bench.frames import Burst, Flow, Frame, connections, openings
from bench.measure import Result, Together, compared
from bench.road import Road, Rules, roads, windows
from bench.rulesets import POD_CIDR
from e2e import netns
from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, PortRange, Protocol, Tier
from nodewall.model.ruleset import AddressGroup, Endpoint, Isolation, Match, NodeRuleSet, Rule, RuleClass, RuleLog
from nodewall.render import Guard, Settings, render, text
from tests.kernel import nft
from tests.kernel.router import ROUTER_MAC

CONNECTIONS, DENIED = 1_500, 300
"""In a window of some 30 ms: so many denied ones are 10,000 a second."""
WINDOWS = 40
RATES = {"": RuleLog(10, 20), ".most": RuleLog(1000, 1000)}
"""The default, and the highest rate that a policy may ask for."""
FLOOD, FLOOD_SECONDS = 10_000, 3.0
READER = """
import asyncio, os, sys
from pathlib import Path
from nodewall.agent.flowlog import Flowlog, Place
from nodewall.agent.flowlog_output import Output
from nodewall.agent.loop import Times
from nodewall.kube.clock import SystemClock
from nodewall.telemetry import metrics
import time
async def main():
    place = Place("node", Path(sys.argv[1]))
    log = Flowlog(place, Output(os.open(os.devnull, os.O_WRONLY)), metrics.Metrics(metrics.AGENT, "0"),
                  Times(SystemClock(), time.time))
    await log.begin(None)
    print("ready", flush=True)
    await log.run()
asyncio.run(main())
"""


def benchmarks() -> Iterator[Together]:
    names = [f"logging.{what}{rate}" for rate in RATES for what in ("connections", "reader")]
    yield Together(tuple(names), _measure)


def _measure() -> Sequence[Result]:
    """Connections per second of processor time; and of the reader, seconds of it per second of the flood."""
    pods, friends = [address(256)], [address(number, net=11) for number in range(100)]
    strangers = [address(number, net=12) for number in range(100)]
    allowed = [Flow(friends[number % 100], pods[0], 20_000 + number) for number in range(CONNECTIONS)]
    denied = [Flow(strangers[number % 100], pods[0], 20_000 + number) for number in range(DENIED)]
    burst = Burst(_between(connections(allowed), openings(denied)), ROUTER_MAC)
    flood = Burst(openings(denied), ROUTER_MAC)
    found: list[Result] = []
    for name, rate in RATES.items():
        layouts = {"quiet": _rules(pods, friends, None), "logged": _rules(pods, friends, rate)}
        with roads(layouts, [], pods) as driven, _reader(driven[1]) as reader:
            spent = windows(driven, burst, WINDOWS, denied=DENIED)
            logged, quiet = (
                [1e9 * CONNECTIONS / (each * len(burst)) for each in spent[r]] for r in ("logged", "quiet")
            )
            found.append(compared(f"logging.connections{name}", "1/s", logged, quiet))
            found.append(compared(f"logging.reader{name}", "s/s", [_flooded(driven[1], flood, reader)]))
    return found


def _between(calm: list[Frame], wild: list[Frame]) -> list[Frame]:
    """The one with the other spread evenly over it."""
    step = len(calm) // len(wild)
    return [frame for number, each in enumerate(wild) for frame in (*calm[number * step : (number + 1) * step], each)]


def _rules(pods: Sequence[str], friends: Sequence[str], log: RuleLog | None) -> Rules:
    """Friends may come in on port 80, everybody else is denied by isolation."""
    accept = Match(groups=("friends",), ports=(PortRange(Protocol.TCP, 80, 80),))
    rules = (Rule("friends", Tier.NETWORK_POLICY, Action.ACCEPT, accept),)
    content = NodeRuleSet(
        "node",
        groups=(AddressGroup("friends", "friends", tuple(sorted(map(Address, friends)))),),
        classes=(RuleClass("i", Direction.INGRESS, rules, Isolation("iso", ("a/b",), 1, log)),),
        endpoints=tuple(Endpoint("a", f"pod-{each}", (Address(each),), "i") for each in pods),
    )
    drawn = text(render(content, Settings(guard=Guard(networks=(POD_CIDR,)))))
    return lambda namespace: nft.load_text(namespace, drawn)


@contextmanager
def _reader(road: Road) -> Iterator[int]:
    """A process that does with records what the agent does; yields its id."""
    state = Path("/run") / f"{road.made.name}-records"
    command = [*netns.argv(road.made.name), sys.executable, "-c", READER, str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()
            for file in state.glob("*"):
                file.unlink()
            if state.exists():
                state.rmdir()


def _flooded(road: Road, flood: Burst, reader: int) -> float:
    """The reader's processor time per second of a flood at the full rate."""
    before, begun, sent = _busy(reader), time.monotonic(), 0
    while (passed := time.monotonic() - begun) < FLOOD_SECONDS:
        if sent < passed * FLOOD:
            flood.send(road.sender, *road.links)
            sent += len(flood)
        time.sleep(0.001)
    return (_busy(reader) - before) / FLOOD_SECONDS


def _busy(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
