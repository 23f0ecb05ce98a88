"""Agents of nodes that exist in the API server only: `python -m bench.crowd KUBECONFIG NODES`.

Each asks for its own NodeRuleSet and follows it on a connection of its own, and reports each content as applied, at
the pace of a real agent; all in one process, because a thousand would not fit. Nothing reaches a kernel here.
"""

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import msgspec

from e2e import netns
from e2e.controlplane import ADDRESS, PORT, ControlPlane
from e2e.processes import Process
from e2e.waiting import until
from nodewall.agent.report import PAUSE, SETTLE
from nodewall.kube import credentials
from nodewall.kube.errors import ApiError
from nodewall.kube.http import Session, Target, connect
from nodewall.kube.resource import NODE_RULE_SETS, single

READY = "all of them listen"
RETRY = 1.0
WATCH_SECONDS = 3600
STARTING = 5.0
"""Seconds over which the agents arrive."""
_AT = "2026-01-01T00:00:00Z"


class _Spec(msgspec.Struct, frozen=True):
    digest: str = ""


class _Meta(msgspec.Struct, frozen=True):
    generation: int = 0


class _Seen(msgspec.Struct, frozen=True):
    """What an agent of this kind reads of a NodeRuleSet."""

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
    def __init__(self, session: Session, node: str) -> None:
        self._session, self._node = session, node
        self._seen, self._news, self.listening = _Seen(), asyncio.Event(), asyncio.Event()

    async def run(self, delay: float) -> None:
        await asyncio.sleep(delay)
        await asyncio.gather(self._follow(), self._report())

    async def _follow(self) -> None:
        while True:
            with suppress(ApiError):
                await self._listen()
            await asyncio.sleep(RETRY)

    async def _listen(self) -> None:
        own, version = single(NODE_RULE_SETS, self._node), ""
        async for page in self._session.pages(own):
            version = page.version
            for item in page.items:
                self._take(bytes(item))
        self.listening.set()
        async for event in self._session.watch(own, version, WATCH_SECONDS):
            if event.type in {"ADDED", "MODIFIED"}:
                self._take(bytes(event.object))

    def _take(self, source: bytes) -> None:
        seen = _DECODER.decode(source)
        if seen.metadata.generation != self._seen.metadata.generation:
            self._seen = seen
            self._news.set()

    async def _report(self) -> None:
        """As the agent's Reporter does: a moment after the news, and not again for a while."""
        while True:
            await self._news.wait()
            await asyncio.sleep(SETTLE)
            self._news.clear()
            with suppress(ApiError):
                target = Target(NODE_RULE_SETS, self._node, subresource="status")
                await self._session.merge_patch(target, {"status": _status(self._seen)}, "nodewall-agent")
            await asyncio.sleep(PAUSE)


def _status(seen: _Seen) -> dict[str, object]:
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
        "conditions": conditions,
    }


def _condition(kind: str, status: str, reason: str, message: str, generation: int) -> dict[str, object]:
    state = {"type": kind, "status": status, "reason": reason, "message": message}
    return {**state, "observedGeneration": generation, "lastTransitionTime": _AT}


async def main(config: Path, nodes: int) -> None:
    chance = Random(1)  # noqa: S311 - no secret depends on it
    async with connect(credentials.from_kubeconfig(config), user_agent="nodewall-crowd") as session:
        agents = [Agent(session, f"node-{number:05}") for number in range(nodes)]
        async with asyncio.TaskGroup() as tasks:
            for agent in agents:
                tasks.create_task(agent.run(chance.uniform(0, STARTING)))
            await asyncio.gather(*(agent.listening.wait() for agent in agents))
            print(READY, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
