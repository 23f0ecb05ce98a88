"""``nodewall why`` on live objects: what the policies mean for this traffic, and whether the nodes enforce that yet."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nodewall.compile import compile_all
from nodewall.evaluate import Explanation, PodParty, as_object, explain, packets
from nodewall.evaluate import ask as judged
from nodewall.kube.http import Session
from nodewall.live.cluster import Cluster, read
from nodewall.live.standing import Standing, standings
from nodewall.telemetry.lines import one_line


@dataclass(frozen=True, slots=True)
class Question:
    """As a person types it."""

    source: str
    destination: str
    port: str
    via_service: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """``nodes`` are those that judge the traffic: where a pod at one of its ends runs."""

    explanations: tuple[Explanation, ...]
    nodes: tuple[Standing, ...]
    problems: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        return all(each.allowed for each in self.explanations)


async def ask(session: Session, question: Question) -> Answer:
    """Raises BadInputError: a name or the traffic cannot be read."""
    return await asyncio.to_thread(answer, await read(session), question)


def answer(cluster: Cluster, question: Question) -> Answer:
    """From one look at the cluster."""
    asked = (question.source, question.destination, question.port)
    found = judged(cluster.state, *asked, via_service=question.via_service)
    ends = [end for packet in packets(cluster.state, *asked) for end in (packet.source, packet.destination)]
    nodes = {end.pod.node for end in ends if isinstance(end, PodParty) and end.pod.node}
    reports = {node: each for node, each in cluster.reports.items() if node in nodes}
    standing = standings(compile_all(cluster.state, nodes=nodes), reports)
    return Answer(found, tuple(standing), tuple(_problems(cluster, found)))


def _problems(cluster: Cluster, found: tuple[Explanation, ...]) -> Iterator[str]:
    """What cannot be used in the policies that had a say."""
    steps = (step for each in found for judgement in each.judgements for step in judgement.steps)
    named = dict.fromkeys(step.policy for step in steps if step.policy)
    for policy in named:
        yield from (f"{policy}: {problem}" for problem in cluster.refused.get(policy, ()))


def text(found: Answer) -> str:
    lines = [*(explain(each) for each in found.explanations), *_nodes(found), *map(_problem, found.problems)]
    return "\n".join(lines) + "\n"


def _nodes(found: Answer) -> Iterator[str]:
    for each in found.nodes:
        state = "enforces this" if each.in_force else f"does NOT enforce this yet: {each.why}"
        weak = f"; degraded: {each.degraded}" if each.degraded else ""
        yield one_line(f"  node {each.node} {state}{weak}")


def _problem(text: str) -> str:
    return one_line(f"  problem: {text}")


def as_objects(found: Answer) -> list[dict[str, Any]]:
    """As the offline verb prints them, each with the nodes."""
    nodes = [
        {"name": each.node, "enforced": each.in_force, "why": each.why, "degraded": each.degraded}
        for each in found.nodes
    ]
    return [as_object(each) | {"nodes": nodes, "problems": list(found.problems)} for each in found.explanations]
