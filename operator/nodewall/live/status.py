"""``nodewall status``: is a policy in force on every node that matters, and on which not."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nodewall.compile import compile_all
from nodewall.kube.http import Session
from nodewall.live.cluster import Cluster, read
from nodewall.live.standing import Standing, about, part, standings
from nodewall.model.errors import BadInputError
from nodewall.model.policy import Kind, PolicyRef
from nodewall.telemetry.lines import one_line

LEAST_PAUSE = 0.5
"""Seconds between two looks while waiting; a cluster that takes long to read is read less often."""

_WAYS = "write KIND/NAMESPACE/NAME, or KIND/NAME for a cluster-wide kind"
_KINDS = {
    **dict.fromkeys(("networkpolicy", "networkpolicies", "netpol"), Kind.NETWORK_POLICY),
    **dict.fromkeys(("extendednetworkpolicy", "extendednetworkpolicies", "xnp"), Kind.EXTENDED),
    **dict.fromkeys(("clusterextendednetworkpolicy", "clusterextendednetworkpolicies", "cxnp"), Kind.CLUSTER_EXTENDED),
    **dict.fromkeys(("clusternetworkpolicy", "clusternetworkpolicies", "cnp"), Kind.CLUSTER),
}
_WIDE = frozenset((Kind.CLUSTER_EXTENDED, Kind.CLUSTER))


@dataclass(frozen=True, slots=True)
class Answer:
    """``policy`` None: about everything. ``problems`` are parts of the policy that cannot be used."""

    policy: PolicyRef | None
    nodes: tuple[Standing, ...]
    problems: tuple[str, ...] = ()

    @property
    def in_force(self) -> bool:
        return all(each.in_force for each in self.nodes)


def parse(text: str) -> PolicyRef:
    """Raises BadInputError."""
    kind, *rest = text.split("/")
    found = _KINDS.get(kind.lower().partition(".")[0])
    if found is None:
        known = "networkpolicy, extendednetworkpolicy (xnp), clusterextendednetworkpolicy (cxnp), clusternetworkpolicy"
        raise BadInputError(f"unknown kind {kind!r}: there is {known}", subject=repr(text))
    if len(rest) != (1 if found in _WIDE else 2) or not all(rest):
        raise BadInputError(f"is no name of a {found}: {_WAYS}", subject=repr(text))
    return PolicyRef(found, "" if found in _WIDE else rest[0], rest[-1])


async def ask(session: Session, policy: PolicyRef | None, wait: float) -> Answer:
    """The answer, or once it is yes within ``wait`` seconds. Raises BadInputError: there is no such policy."""
    end = time.monotonic() + wait
    while True:
        begun = time.monotonic()
        found = await asyncio.to_thread(answer, await read(session), policy)
        now = time.monotonic()
        if found.in_force or now >= end:
            return found
        await asyncio.sleep(min(max(LEAST_PAUSE, now - begun), end - now))


def answer(cluster: Cluster, policy: PolicyRef | None) -> Answer:
    """From one look at the cluster. Raises BadInputError: there is no such policy."""
    state, reports = cluster.state, cluster.reports
    if policy is None:
        return Answer(None, tuple(standings(compile_all(state), reports)))
    _check(cluster, policy)
    held = {node for node, each in reports.items() if each.content is None or part(each.content, policy)}
    compiled = compile_all(state, nodes=(about(state, policy) | held) & state.nodes.keys())
    concerned = {node: each for node, each in reports.items() if node in held or node in compiled}
    return Answer(policy, tuple(standings(compiled, concerned, policy)), cluster.refused.get(policy, ()))


def _check(cluster: Cluster, policy: PolicyRef) -> None:
    local = policy.kind is Kind.NETWORK_POLICY and (policy.namespace, policy.name) in cluster.state.network_policies
    if local or policy in cluster.state.tier_policies:
        return
    raise BadInputError("there is no such policy in the cluster", subject=str(policy))


# --- for people and programs ------------------------------------------------------------------------------------------


def text(found: Answer) -> str:
    return (
        "\n".join([_headline(found), *_lines(found.nodes), *(f"  problem: {each}" for each in found.problems)]) + "\n"
    )


def _headline(found: Answer) -> str:
    there = sum(each.in_force for each in found.nodes)
    what = str(found.policy) if found.policy else "all policies"
    if found.policy and not found.nodes:
        return f"{one_line(what)}: in force; it selects no pod on any node"
    verdict = "in force" if found.in_force else "NOT IN FORCE"
    return f"{one_line(what)}: {verdict} on {there} of {len(found.nodes)} nodes"


def _lines(nodes: Sequence[Standing]) -> Iterator[str]:
    width = max((len(each.node) for each in nodes), default=0)
    for each in nodes:
        state = "in force" if each.in_force else f"not in force: {each.why}"
        weak = f"; degraded: {each.degraded}" if each.degraded else ""
        pods = "1 pod" if each.pods == 1 else f"{each.pods} pods"
        yield one_line(f"  {each.node.ljust(width)}  {pods:>8}  {state}{weak}")


def as_object(found: Answer) -> dict[str, Any]:
    policy = found.policy
    return {
        "policy": policy and {"kind": policy.kind.value, "namespace": policy.namespace, "name": policy.name},
        "inForce": found.in_force,
        "nodes": [
            {"name": each.node, "pods": each.pods, "inForce": each.in_force, "why": each.why, "degraded": each.degraded}
            for each in found.nodes
        ],
        "problems": list(found.problems),
    }
