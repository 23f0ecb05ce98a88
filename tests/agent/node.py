"""A node with an agent: the real process in a network namespace, in front of an API server that breaks when told to."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from e2e import netns
from nodewall.api import ruleset as codec
from nodewall.kube.resource import NODE_RULE_SETS
from nodewall.model.ruleset import NodeRuleSet
from tests.agent.rulesets import NODE
from tests.kube.fake_api import FakeApi

T = TypeVar("T")
RUN = "import os, sys; from nodewall.agent import main; sys.exit(getattr(main, sys.argv[1])(sys.argv[2:], os.environ))"
DEADLINE = 15.0


@dataclass
class Node:
    """``folder`` holds the agent's files; ``log`` is what it wrote, one JSON object per line. ``entrance``: a command
    that makes another one run on the node.
    """

    namespace: str
    folder: Path
    api: FakeApi
    process: asyncio.subprocess.Process | None = None
    token: str = "t"  # noqa: S105 - the fake server takes any
    logs: list[Path] = field(default_factory=list)
    entrance: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.entrance = tuple(netns.argv(self.namespace))

    # --- the agent ----------------------------------------------------------------------------------------------------

    async def start(self, *extra: str) -> None:
        """Run `nodewall agent` until ``stop``."""
        kubeconfig = self.folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(_kubeconfig(self.api.port, self.token)))
        self.logs.append(self.folder / f"log-{len(self.logs)}")
        with self.logs[-1].open("wb") as log, (self.folder / "records").open("ab") as records:
            self.process = await asyncio.create_subprocess_exec(
                *self._argv("agent", f"--node={NODE}", f"--kubeconfig={kubeconfig}"),
                "--health-address=127.0.0.1:9811",
                f"--state-directory={self.folder / 'state'}",
                *extra,
                stdout=records,
                stderr=log,
            )

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the agent a signal and wait for its end; returns its exit code."""
        if self.process is None or self.process.returncode is not None:
            return 0
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), DEADLINE)

    async def cleanup(self) -> int:
        """Run `nodewall cleanup`, which says things in `cleanup-log`; returns its exit code."""
        with (self.folder / "cleanup-log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *self._argv("cleanup", f"--state-directory={self.folder / 'state'}"), stderr=log
            )
            return await asyncio.wait_for(process.wait(), DEADLINE)

    def _argv(self, *arguments: str) -> list[str]:
        return [*self.entrance, sys.executable, "-c", RUN, *arguments]

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for file in self.logs for line in file.read_text().splitlines()]

    def messages(self) -> list[str]:
        return [line["message"] for line in self.log]

    # --- what it sees and does ----------------------------------------------------------------------------------------

    def publish(self, content: NodeRuleSet) -> None:
        """As the controller does."""
        self.put(codec.document(content))

    def put(self, document: dict[str, Any]) -> None:
        known = self.api.objects(NODE_RULE_SETS).get(("", NODE))
        status = {"status": known["status"]} if known and "status" in known else {}
        self.api.put(NODE_RULE_SETS, document | status)

    @property
    def status(self) -> dict[str, Any]:
        found = self.api.objects(NODE_RULE_SETS).get(("", NODE), {})
        return dict(found.get("status", {}))

    def condition(self, kind: str) -> dict[str, Any]:
        return next((dict(each) for each in self.status.get("conditions", []) if each["type"] == kind), {})

    def applied(self) -> bool:
        """Whether the status says that what is published now is in force."""
        published = self.api.objects(NODE_RULE_SETS)["", NODE]
        return bool(self.status.get("appliedDigest") == published["spec"]["digest"])

    def table(self) -> str:
        """Our table as nft lists it; "" when there is none."""
        command = [*netns.argv(self.namespace), "nft", "-s", "list", "table", "inet", "nodewall"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def nft(self, text: str) -> None:
        """Somebody else's change."""
        subprocess.run([*netns.argv(self.namespace), "nft", "-f", "-"], input=text, text=True, check=True)

    async def http(self, path: str) -> tuple[int, str]:
        """(status, body) of the agent's health server; (0, "") when it does not answer."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", 9811)
        except OSError:
            return 0, ""
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), body


async def until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a condition; AssertionError when it does not come true in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {seconds} seconds: {what}")
        await asyncio.sleep(0.02)


def on_node(namespace: str, folder: Path, work: Callable[[Node], Awaitable[T]]) -> T:
    """Do the work on a node: everything of it inside the namespace, the API server too."""

    async def main() -> T:
        async with _node(namespace, folder) as node:
            return await work(node)

    return netns.inside(namespace, lambda: asyncio.run(main()))


@asynccontextmanager
async def _node(namespace: str, folder: Path) -> AsyncIterator[Node]:
    async with FakeApi() as api:
        node = Node(namespace, folder, api)
        try:
            yield node
        finally:
            if node.process and node.process.returncode is None:
                node.process.kill()
                await node.process.wait()


def _kubeconfig(port: int, token: str) -> Mapping[str, Any]:
    return {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
