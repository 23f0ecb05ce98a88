"""What comes from the API server is late, broken, old or too much: the last good table stays, and it is said why."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import netns
from e2e.command import run
from nodewall.agent.reading import LARGEST
from nodewall.api import ruleset as codec
from nodewall.kube.resource import NODE_RULE_SETS
from tests.agent.node import Node, on_node, until
from tests.agent.rulesets import content
from tests.agent.test_agent import in_force
from tests.kube.fake_api import GONE_IN_STREAM, FakeApi, Fault, Garble, Refuse, Say

pytestmark = pytest.mark.kernel

Document = dict[str, Any]


def good() -> Document:
    return codec.document(content("10.0.2.9"))


def _unknown_field(document: Document) -> None:
    document["spec"]["newerThanThisAgent"] = True


def _unknown_action(document: Document) -> None:
    document["spec"]["classes"][0]["rules"][0]["action"] = "Teleport"


def _another_digest(document: Document) -> None:
    document["spec"]["digest"] = "0" * len(document["spec"]["digest"])


def _syntax(document: Document) -> None:
    document["spec"]["endpoints"][0]["addresses"] = ["10.0.1.10 }; delete table inet nodewall"]


def _no_object(document: Document) -> None:
    document["spec"] = "see attachment"


def _too_long(document: Document) -> None:
    document["metadata"]["annotations"] = {"why": "x" * LARGEST}


UNUSABLE: dict[str, tuple[Callable[[Document], None], str]] = {
    "an unknown field": (_unknown_field, "newerThanThisAgent"),
    "an unknown action": (_unknown_action, "Teleport"),
    "another digest": (_another_digest, "spec.digest"),
    "syntax in an address": (_syntax, "spec.digest"),
    "no object": (_no_object, "spec"),
    "too long": (_too_long, "bytes long"),
}


@pytest.mark.parametrize(("damage", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_changes_nothing(
    damage: Callable[[Document], None], said: str, namespace: str, tmp_path: Path
) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        before = node.table()
        document = good()
        damage(document)
        node.put(document)
        await until(lambda: node.condition("Applied").get("reason") == "RuleSetUnusable", "the condition says so")
        assert said in node.condition("Degraded")["message"]
        assert "\n" not in node.condition("Degraded")["message"]
        assert node.table() == before
        node.publish(content("10.0.2.2"))
        await until(node.applied, "the next one is applied")

    on_node(namespace, tmp_path, work)


def test_a_restart_does_not_help_what_cannot_be_used(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        before = node.table()
        document = good()
        _unknown_field(document)
        node.put(document)
        await node.stop()
        await node.start()
        await until(lambda: any("last good table stays" in line for line in node.messages()[-3:]), "it says so")
        assert node.table() == before

    on_node(namespace, tmp_path, work)


def test_a_rule_set_from_an_old_backup_waits_for_the_controller(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        backup = node.api.backup()
        node.publish(content("10.0.2.1", "10.0.2.2"))
        await until(node.applied, "a newer one is applied")
        before = node.table()
        node.api.restore(backup)
        await until(lambda: node.condition("Degraded").get("reason") == "RuleSetRestored", "it says so", 30)
        assert node.table() == before
        node.publish(content("10.0.2.1", "10.0.2.2", "10.0.2.3"))
        await until(node.applied, "what the controller writes then is applied")
        assert "10.0.2.3" in node.table()

    on_node(namespace, tmp_path, work)


async def _cut(api: FakeApi) -> None:
    api.drop_watches(b'{"type":"MODIF')


def _then(verb: str, fault: Fault) -> Callable[[FakeApi], Any]:
    async def broken(api: FakeApi) -> None:
        api.fail(verb, fault)
        api.drop_watches()

    return broken


STREAMS: dict[str, tuple[Callable[[FakeApi], Any], str]] = {
    "cut within a line": (_cut, "failed"),
    "410 Gone": (_then("watch", Refuse(410, "too old", "Expired")), "expired"),
    "410 in the stream": (_then("watch", Say(GONE_IN_STREAM + b"\n")), "expired"),
    "nonsense in the stream": (_then("watch", Say(b"<html>\n")), "failed"),
    "half a list": (_then("list", Garble()), "failed"),
    "an error": (_then("list", Refuse(500, "internal")), "failed"),
    "too many requests": (_then("watch", Refuse(429, "later", "TooManyRequests")), "failed"),
}


@pytest.mark.parametrize(("breaks", "cause"), STREAMS.values(), ids=STREAMS)
def test_a_stream_that_breaks_is_begun_again(
    breaks: Callable[[FakeApi], Any], cause: str, namespace: str, tmp_path: Path
) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        before = node.table()
        await until(lambda: node.api.watching(NODE_RULE_SETS), "it watches")
        await breaks(node.api)
        series = f'watch_restarts_total{{cause="{cause}"}} 1.0'
        deadline = asyncio.get_running_loop().time() + 15
        while series not in (await node.http("/metrics"))[1]:
            assert asyncio.get_running_loop().time() < deadline, (await node.http("/metrics"))[1]
            await asyncio.sleep(0.05)
        assert node.table() == before
        assert node.condition("Applied")["status"] == "True"
        node.publish(content("10.0.2.2"))
        await until(node.applied, "the next one is applied")
        assert len([line for line in node.messages() if line == "rule set applied"]) == 2

    on_node(namespace, tmp_path, work)


# --- the kernel refuses -----------------------------------------------------------------------------------------------


KEEPER = """
import os, tempfile
top = os.open("/", os.O_RDONLY)
os.chroot(tempfile.mkdtemp())
os.fchdir(top)
for _ in range(32):
    os.chdir("..")
os.chroot(".")
os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", "sleep", "1000"])
"""
"""Goes to the top of the file system first: no user namespace can be made from within a chroot, where tests run too."""


@pytest.fixture
def narrow() -> Iterator[tuple[str, int]]:
    """A namespace of a user namespace, where the kernel takes small transactions only: (its name, a process in it)."""
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER])
    name = f"nw-narrow-{os.getpid()}"
    try:
        _await_own_network(keeper.pid)
        run(["ip", "netns", "attach", name, str(keeper.pid)])
        run(["ip", "-n", name, "link", "set", "lo", "up"])
        yield name, keeper.pid
    finally:
        netns.delete(name)
        keeper.kill()
        keeper.wait()


def _await_own_network(pid: int) -> None:
    own = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{pid}/ns/net").readlink() == own or not Path(f"/proc/{pid}/uid_map").read_text():
        time.sleep(0.01)


MANY = tuple(f"10.{a}.{b}.{c}" for a in (2, 3) for b in range(100) for c in range(1, 101))


def takes_large_batches() -> bool:
    """libnftables 1.1 gets them past the limit by itself."""
    found = re.search(r"v(\d+)\.(\d+)", run(["nft", "--version"]))
    assert found
    return (int(found[1]), int(found[2])) >= (1, 1)


def test_what_the_kernel_refuses_changes_nothing(narrow: tuple[str, int], tmp_path: Path) -> None:
    """The table is as it was to the byte; the condition has the kernel's reason; tries come less and less often."""
    name, keeper = narrow

    async def work(node: Node) -> None:
        node.entrance = ("nsenter", f"--target={keeper}", "--user", "--net", "--preserve-credentials", "--")
        await in_force(node, "10.0.2.1")
        before = node.table()
        assert before
        node.publish(content(*MANY))
        if takes_large_batches():
            await until(node.applied, "it is applied")
            return
        await until(lambda: node.condition("Applied").get("reason") == "KernelRefused", "the condition says so")
        assert "Message too long (the change is too big for one batch" in node.condition("Applied")["message"]
        assert node.condition("Applied")["status"] == "False"
        await less_and_less_often(node, first=1)
        assert node.table() == before
        node.publish(content("10.0.2.2"))
        await until(node.applied, "a smaller one is applied at once", 2)
        assert node.condition("Applied")["status"] == "True"

    on_node(name, tmp_path, work)


async def less_and_less_often(node: Node, first: int = 0) -> None:
    """From the first try that is one of a whole table: a difference is followed by one at once."""
    await until(lambda: len(refusals(node)) >= first + 3, "it tries again")
    tries = refusals(node)[first : first + 3]
    assert tries[2] - tries[1] > tries[1] - tries[0] > 0.9


def refusals(node: Node) -> list[float]:
    """When the kernel refused, in seconds of the day."""
    times = [line["time"] for line in node.log if line["message"].startswith("the kernel refused the rule set")]
    return [int(t[11:13]) * 3600 + int(t[14:16]) * 60 + float(t[17:23]) for t in times]


OWNED = """delete table inet nodewall
add table inet nodewall { flags owner; }
add chain inet nodewall theirs { type filter hook forward priority 0; policy drop; }
"""


def test_a_table_that_somebody_else_owns_is_reported_and_taken_back(namespace: str, tmp_path: Path) -> None:
    """The kernel lets nobody else touch it while its owner lives, and removes it afterwards."""

    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        good = node.table()
        owner = await asyncio.create_subprocess_exec(*node.entrance, "nft", "-i", stdin=asyncio.subprocess.PIPE)
        assert owner.stdin
        owner.stdin.write(OWNED.replace("\n", "; ").encode() + b"\n")
        await until(lambda: node.condition("Applied").get("status") == "False", "the condition says so")
        assert node.condition("Applied")["reason"] == "KernelUnavailable"
        assert "Operation not permitted" in node.condition("Applied")["message"]
        assert "changed by nft (pid " in node.condition("Degraded")["message"]
        theirs = node.table()
        assert "chain theirs" in theirs
        await less_and_less_often(node)
        assert node.table() == theirs
        owner.stdin.close()
        await owner.wait()
        await until(lambda: node.table() == good, "the table is ours again")
        await until(lambda: node.condition("Applied")["status"] == "True", "the condition turns back")

    on_node(namespace, tmp_path, work)
