"""What was to be reached, and whether the last run did."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Goal:
    """``reached`` and ``says`` are about one result each of ``names``, which are all to be met."""

    text: str
    names: tuple[str, ...]
    reached: Callable[[Results], bool]
    says: Callable[[Results], str]

    def figure(self, results: Results) -> str:
        return self.says(results) if self._known(results) else "-"

    def verdict(self, results: Results) -> str:
        if not self._known(results):
            return "not measured"
        return "reached" if self.reached(results) else "**not reached**"

    def _known(self, results: Results) -> bool:
        return all(name in results for name in self.names)


def at_most(text: str, name: str, limit: float, unit: str) -> Goal:
    return Goal(text, (name,), lambda r: r[name]["ours"] <= limit, lambda r: f"{r[name]['ours']:,.3g} {unit}")


def update(kind: str) -> Goal:
    name = f"update.{kind}.55k"
    return Goal(
        f"{kind} more at 55k elements: 5 ms, 50 times better than a replace",
        (name,),
        lambda r: r[name]["ours"] <= 5 and r[name]["ratio"] <= 1 / 50,
        lambda r: f"{r[name]['ours']:.1f} ms, {1 / r[name]['ratio']:.0f} times",
    )


SCENES = {
    "pods.10": "10 local pods, both ends judged",
    "pods.100": "100 local pods, both ends judged",
    "pods.1000": "1,000 local pods, both ends judged",
    "peers.100": "100 peers",
    "peers.50000": "50,000 peers",
    "policies.1": "1 policy on the pod",
    "policies.100": "100 policies on the pod",
}


def connection(scene: str, words: str) -> Goal:
    return _over_conntrack(f"connection.{scene}", f"new connection within 10 % of conntrack alone: {words}")


def router(scene: str, words: str) -> Goal:
    """Stricter than the goal, whose connection is a whole one."""
    return _over_conntrack(f"packet.{scene}", f"the router's part of it alone: {words}")


def _over_conntrack(name: str, text: str) -> Goal:
    return Goal(
        text,
        (name,),
        lambda r: r[name]["ratio"] <= 1.1,
        lambda r: f"{100 * (r[name]['ratio'] - 1):+.1f} %",
    )


def within_two(kind: str) -> Goal:
    few, many = f"scale.{kind}.100.p99", f"scale.{kind}.1000.p99"
    return Goal(
        f"{kind} change to written NodeRuleSet: p99 at 1,000 nodes within 2 times of 100",
        (few, many),
        lambda r: r[many]["ours"] <= 2 * r[few]["ours"],
        lambda r: f"{r[few]['ours']:.0f} ms and {r[many]['ours']:.0f} ms",
    )


STEADY = "scale.steady.1000"
"""The machine may be too small for as many events as were asked for: then the cores are counted for the hundred."""

GOALS = (
    update("pod"),
    update("peer"),
    update("policy"),
    *(connection(name, words) for name, words in SCENES.items()),
    *(router(name, words) for name, words in SCENES.items()),
    at_most("controller's start, 1,000 nodes: 10 s of processor time", "scale.start.1000.cpu", 10, "s"),
    at_most("the same: 300 MB", "scale.start.1000.memory", 300, "MB"),
    at_most("5,000 nodes, 100,000 pods, 10,000 policies compiled: 60 s", "large.cluster.start", 60, "s"),
    at_most("the same: 1 GB", "large.cluster.memory", 1000, "MB"),
    Goal(
        "100 pod events per second: half a core for the controller",
        (f"{STEADY}.controller", f"{STEADY}.rate"),
        lambda r: 100 * r[f"{STEADY}.controller"]["ours"] / r[f"{STEADY}.rate"]["ours"] <= 0.5,
        lambda r: f"{r[f'{STEADY}.controller']['ours']:.2f} cores at {r[f'{STEADY}.rate']['ours']:.0f} a second",
    ),
    within_two("pod"),
    within_two("policy"),
    Goal(
        "allowed connections under 10,000 denied ones a second: 97 % with records of what without",
        ("logging.connections",),
        lambda r: r["logging.connections"]["ratio"] >= 0.97,
        lambda r: f"{100 * r['logging.connections']['ratio']:.1f} %",
    ),
)
