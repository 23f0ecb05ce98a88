"""What the controller's time is made of: `python -m bench.profiling`, with cProfile, by the folder of the code.

At 1,000 nodes with simulated agents: the start, and then a steady stream of pods that get other addresses. Shares only:
the profile itself makes Python's part larger than it is.
"""

import os
import pstats
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import crowd, populace
from bench.bench_scale import LISTED, SIZES
from bench.clusters import cluster
from bench.sightings import Sightings, sightings
from bench.steady import steady
from e2e import netns
from e2e.components import Installation
from e2e.controlplane import ControlPlane
from e2e.instance import Instance
from e2e.local import LocalCluster
from e2e.processes import Process
from e2e.waiting import until

NODES = 1_000
LINES = 25
CALL = """
import cProfile, sys, time
from nodewall.cli import main
profile = cProfile.Profile(time.process_time)
try:
    profile.runcall(main, sys.argv[2:])
finally:
    profile.dump_stats(sys.argv[1])
"""
PLACES = {
    "nodewall/compile": "compiling",
    "nodewall/controller": "mirror, loop, publishing",
    "nodewall/api": "reading and writing our values",
    "nodewall/kube": "lists, watches, requests",
    "aiohttp": "aiohttp",
    "ssl.py": "TLS",
    "asyncio": "asyncio",
    "importlib": "importing modules",
    "kopf": "kopf",
}
"""What a part of a file's path stands for, the first that it holds. What C does counts for who called it."""


def main() -> None:
    instance = Instance.from_environment("bench")
    instance.claim()
    try:
        plane = ControlPlane.start(instance)
        Installation.install(LocalCluster.start(plane, "routed", ("real",)))
        state = cluster(SIZES[NODES], teams=False)
        populace.settle(plane.api, state)
        crowd.gather(plane, NODES)
        with sightings(plane.api) as seen:
            with _profiled(plane, seen, "start"):
                pass
            with _profiled(plane, seen, "start when all is written"):
                pass
            with _profiled(plane, seen, "the same and steady change") as process:
                pods, server = list(state.pods.values()), plane.processes["kube-apiserver"].identity.pid
                for found in steady("steady", plane.api, process.identity.pid, server, pods):
                    print(found)
    finally:
        instance.remove()


@contextmanager
def _profiled(plane: ControlPlane, seen: Sightings, title: str) -> Iterator[Process]:
    """A controller with a profile, shown when it has ended; everything is published when this yields."""
    instance = plane.instance
    output, log = instance.state / f"{title}.profile", instance.log(title)
    inside = crowd.kubeconfig(plane)
    script = instance.state / "controller.py"
    script.write_text(CALL)
    call = [sys.executable, str(script), str(output), "controller", "--kubeconfig", str(inside)]
    command = [*netns.argv(plane.namespace), *call]
    process = Process.start(title, command, log, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    instance.add_process(process.identity)
    until("it has begun", lambda: LISTED in log.read_text(), within=180, every=0.2)
    until("everything is reported", lambda: len(seen.reported) >= NODES, within=120, every=0.2)
    yield process
    process.end(grace=30)
    _show(title, output)


def _show(title: str, output: Path) -> None:
    print(f"\n== {title}")
    stats = pstats.Stats(str(output))
    stats.sort_stats("tottime").print_stats(LINES)
    shares: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, callers) in stats.stats.items():  # type: ignore[attr-defined]
        if file != "~":
            shares[_place(file)] += own
        for (caller, *_), (*_, spent, _) in callers.items() if file == "~" else ():
            shares[_place(caller)] += spent
    whole = sum(shares.values())
    for place, own in shares.most_common():
        print(f"{place:32} {own:6.2f} s {100 * own / whole:5.1f} %")


def _place(file: str) -> str:
    return next((words for part, words in PLACES.items() if part in file), "others")


if __name__ == "__main__":
    main()
