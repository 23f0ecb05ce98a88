"""What an agent takes while nothing happens, and while something happens ten times a second.

A real agent in a cluster with 100 policies and 200 pods, half of them on its node. Each change is a new NodeRuleSet, a
transaction in the kernel and at most one report a second: a pod of the node gets another address, or a policy that
selects one of them gets another port.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle

from bench import ballast, usage
from bench.engine import installed
from bench.measure import Result, Together, compared
from bench.sightings import sightings
from e2e.api import Object
from e2e.cluster import Pod
from e2e.local import LocalCluster

POLICIES = 100
WINDOWS, SECONDS = 3, 8
RATE = 10
ELSEWHERE = 20
"""Number in the node's pod range from which on no pod is."""
UNITS = {
    "memory": "MB",
    "idle": "cores",
    "pods": "cores",
    "pods.updates": "1/s",
    "policies": "cores",
    "policies.updates": "1/s",
    "memory.after": "MB",
}
"""``updates`` are the NodeRuleSets that came to the agent: the controller may make one of several changes."""


def benchmarks() -> Iterator[Together]:
    yield Together(tuple(f"footprint.agent.{what}" for what in UNITS), _measure)


def _measure() -> Iterator[Result]:
    with installed() as installation, sightings(installation.cluster.api) as seen:
        cluster, node = installation.cluster, installation.cluster.nodes[0]
        agent = installation.on("agent", node).process
        assert agent is not None
        ballast.load(cluster, POLICIES)
        own = agent.identity.pid
        found = {
            "memory": [usage.megabytes(own)],
            "idle": [_share(own, lambda: time.sleep(SECONDS)) for _ in range(WINDOWS)],
        }
        pods = [pod for pod in ballast.pods(cluster) if pod.node == node]
        for what, changes in (("pods", _moves(cluster, pods)), ("policies", _edits(cluster, pods))):
            before, begun, coming = len(seen.times), time.monotonic(), cycle(changes)
            found[what] = [_share(own, lambda: _paced(coming)) for _ in range(WINDOWS)]  # noqa: B023 - called here
            passed = time.monotonic() - begun
            found[f"{what}.updates"] = [[name for _, name in seen.times[before:]].count(node) / passed]
        found["memory.after"] = [usage.megabytes(own)]
        yield from (compared(f"footprint.agent.{what}", unit, found[what]) for what, unit in UNITS.items())


def _share(process: int, work: Callable[[], object]) -> float:
    """Cores that the process kept busy meanwhile."""
    before, begun = usage.cpu_seconds(process), time.monotonic()
    work()
    return (usage.cpu_seconds(process) - before) / (time.monotonic() - begun)


def _moves(cluster: LocalCluster, pods: Sequence[Pod]) -> Iterator[Callable[[], object]]:
    """Each pod gets another address, then each its own again."""
    for number, pod in enumerate(pods):
        subnet = pod.addresses[0].rpartition(".")[0]
        yield partial(_readdress, cluster, pod, f"{subnet}.{number + ELSEWHERE}")
    for pod in pods:
        yield partial(_readdress, cluster, pod, pod.addresses[0])


def _edits(cluster: LocalCluster, pods: Sequence[Pod]) -> Iterator[Callable[[], object]]:
    """The first policy of each pod speaks of another port, then of its own again."""
    wanted = {(pod.namespace, pod.labels["app"]) for pod in pods}
    policies = [each for each in ballast.policies(POLICIES) if _selected(each) in wanted]
    for port in (7999, 8000):
        for policy in policies:
            (rule,) = policy["spec"]["ingress"]
            changed = {"spec": {"ingress": [{**rule, "ports": [{"port": port}]}]}}
            yield partial(cluster.api.patch, policy, changed)


def _selected(policy: Object) -> tuple[str, str]:
    return policy["metadata"]["namespace"], policy["spec"]["podSelector"]["matchLabels"]["app"]


def _paced(coming: Iterator[Callable[[], object]]) -> None:
    begun = time.monotonic()
    for number in range(RATE * SECONDS):
        time.sleep(max(begun + number / RATE - time.monotonic(), 0))
        next(coming)()
    time.sleep(max(begun + SECONDS - time.monotonic(), 0))


def _readdress(cluster: LocalCluster, pod: Pod, address: str) -> None:
    status = {"podIP": address, "podIPs": [{"ip": address}]}
    cluster.api.patch(pod.reference, {"status": status}, subresource="status")
