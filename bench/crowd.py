"""Agents of nodes that exist in the API server only: `python -m bench.crowd KUBECONFIG NODES`.

Each follows its own NodeRuleSet and the PeerGroups, on connections of its own, and reports what is new as applied, at
the pace of a real agent; all in one process, because a thousand would not fit. Nothing reaches a kernel here.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import msgspec

from e2e import netns
from e2e.controlplane import ADDRESS, PORT, ControlPlane
from e2e.processes import Process
from e2e.waiting import until
from nodewall.agent.report import PAUSE, SETTLE
from nodewall.api.peergroup import REVISION
from nodewall.kube import credentials
from nodewall.kube.errors import ApiError
from nodewall.kube.http import Session, Target, connect
from nodewall.kube.resource import NODE_RULE_SETS, PEER_GROUPS, Collection, single

READY = "all of them listen"
RETRY = 1.0
WATCH_SECONDS = 3600
STARTING = 5.0
"""Seconds over which the agents arrive."""
_AT = "2026-01-01T00:00:00Z"


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    digest: str = ""
    shared_groups: list[msgspec.Raw] = []
    revision: int = 0
    report_within: int = 0


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""
    generation: int = 0


class _Seen(msgspec.Struct, frozen=True):
    """What an agent of this kind reads of a NodeRuleSet, or of a PeerGroup."""

    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()


_DECODER = msgspec.json.Decoder(_Seen)


def gather(plane: ControlPlane, nodes: int) -> None:
    """Start a process with so many agents beside the API server; they go with its instance."""
    log = plane.instance.log("crowd")
    command = [*netns.argv(plane.namespace), sys.executable, "-m", "bench.crowd", str(kubeconfig(plane)), str(nodes)]
    process = Process.start("crowd", command, log, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    plane.instance.add_process(process.identity)
    until("the simulated agents listen", lambda: READY in log.read_text(), within=60, every=0.2)


def kubeconfig(plane: ControlPlane) -> Path:
    """The administrator's, for a process in the API server's own network namespace."""
    config = json.loads(plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://{ADDRESS}:{PORT}"
    inside = plane.instance.state / "kubeconfig-beside"
    inside.write_text(json.dumps(config))
    return inside


class Agent:
    def __init__(self, session: Session, node: str, chance: Random) -> None:
        self._session, self._node, self._chance = session, node, chance
        self._seen, self._groups = _Seen(), _Seen()
        self._news, self._moved = asyncio.Event(), asyncio.Event()
        self.listening = asyncio.Event()

    async def run(self, delay: float) -> None:
        await asyncio.sleep(delay)
        own, groups = single(NODE_RULE_SETS, self._node), Collection(PEER_GROUPS)
        await asyncio.gather(
            self._follow(own, self._take), self._follow(groups, self._take_group), self._report(), self._wait()
        )

    async def _follow(self, what: Collection, take: Callable[[_Seen], None]) -> None:
        while True:
            with suppress(ApiError):
                await self._listen(what, take)
            await asyncio.sleep(RETRY)

    async def _listen(self, what: Collection, take: Callable[[_Seen], None]) -> None:
        version = ""
        async for page in self._session.pages(what):
            version = page.version
            for item in page.items:
                take(_DECODER.decode(item))
        self.listening.set()
        async for event in self._session.watch(what, version, WATCH_SECONDS):
            if event.type in {"ADDED", "MODIFIED"}:
                take(_DECODER.decode(event.object))

    def _take(self, seen: _Seen) -> None:
        if seen.metadata.generation != self._seen.metadata.generation:
            self._seen = seen
            self._news.set()

    def _take_group(self, seen: _Seen) -> None:
        if seen.metadata.name == REVISION:
            self._groups = seen
            self._moved.set()

    async def _wait(self) -> None:
        """What only changes members of shared groups is reported later, at a moment of each node's own."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            if self._seen.spec.shared_groups:
                await asyncio.sleep(self._groups.spec.report_within * (0.5 + self._chance.random() / 2))
                self._news.set()

    async def _report(self) -> None:
        """As the agent's Reporter does: a moment after the news, and not again for a while."""
        while True:
            await self._news.wait()
            await asyncio.sleep(SETTLE)
            self._news.clear()
            with suppress(ApiError):
                target = Target(NODE_RULE_SETS, self._node, subresource="status")
                status = _status(self._seen, self._groups.spec.revision)
                await self._session.merge_patch(target, {"status": status}, "nodewall-agent")
            await asyncio.sleep(PAUSE)


def _status(seen: _Seen, groups: int) -> dict[str, object]:
    generation = seen.metadata.generation
    conditions = [
        _condition("Applied", "True", "Applied", f"generation {generation} is in force", generation),
        _condition("Degraded", "False", "Healthy", "everything that the rule set asks for is enforced", generation),
    ]
    counts = {"pods": 10, "policies": 4, "rules": 4, "addresses": 60}
    return {
        "observedGeneration": generation,
        "appliedDigest": seen.spec.digest,
        "appliedAt": _AT,
        **counts,
        **({"appliedGroups": groups} if seen.spec.shared_groups else {}),
        "conditions": conditions,
    }


def _condition(kind: str, status: str, reason: str, message: str, generation: int) -> dict[str, object]:
    state = {"type": kind, "status": status, "reason": reason, "message": message}
    return {**state, "observedGeneration": generation, "lastTransitionTime": _AT}


async def main(config: Path, nodes: int) -> None:
    chance = Random(1)  # noqa: S311 - no secret depends on it
    async with connect(credentials.from_kubeconfig(config), user_agent="nodewall-crowd") as session:
        agents = [Agent(session, f"node-{number:05}", chance) for number in range(nodes)]
        async with asyncio.TaskGroup() as tasks:
            for agent in agents:
                tasks.create_task(agent.run(chance.uniform(0, STARTING)))
            await asyncio.gather(*(agent.listening.wait() for agent in agents))
            print(READY, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
