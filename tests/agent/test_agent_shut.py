"""The kernel cannot be used at all: it is said in words wherever people look, and what is in the kernel stays."""

import asyncio
import errno
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nftables
import pytest

from e2e.command import run
from nodewall.agent import admittance
from nodewall.agent.netlink import NETLINK_NETFILTER, Netlink, NetlinkError
from nodewall.kube.resource import NODE_RULE_SETS
from tests.agent.node import DEADLINE, Node, on_node, until
from tests.agent.rulesets import NODE, content
from tests.agent.test_agent import in_force
from tests.agent.test_agent_outages import KEEPER

pytestmark = pytest.mark.kernel

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-all", "--")

NO_NETFILTER = f"""
import ctypes, os, struct, sys
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
program = b"".join(struct.pack("=HBBI", *each) for each in (
    (LOAD, 0, 0, 0), (EQUAL, 0, 5, int(sys.argv[1])),       # socket
    (LOAD, 0, 0, 16), (EQUAL, 0, 3, {16}),                  # AF_NETLINK
    (LOAD, 0, 0, 32), (EQUAL, 0, 1, {NETLINK_NETFILTER}),
    (RETURN, 0, 0, 0x00050000 | {errno.EPROTONOSUPPORT}),
    (RETURN, 0, 0, 0x7FFF0000),
))
held = ctypes.create_string_buffer(program)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("@HP", len(program) // 8, ctypes.addressof(held)), 0, 0) == 0
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Becomes another program, for which the kernel knows no netlink for netfilter (by a seccomp filter)."""

SOCKET = {"x86_64": "41", "aarch64": "198"}


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process in a user namespace that does not own the node's network."""
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER])
    own = Path("/proc/self/ns/user").readlink()
    path = Path(f"/proc/{keeper.pid}")
    try:
        deadline = time.monotonic() + 10
        while (path / "ns/user").readlink() == own or not (path / "uid_map").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield keeper.pid
    finally:
        keeper.kill()
        keeper.wait()


WAYS: dict[str, tuple[Callable[[int], tuple[str, ...]], str]] = {
    "without the capability": (
        lambda _pid: WITHOUT_NET_ADMIN,
        f"Operation not permitted ({admittance.NO_PERMISSION})",
    ),
    "with that of another user namespace": (
        lambda pid: ("nsenter", f"--target={pid}", "--user", "--preserve-credentials", "--"),
        f"Operation not permitted ({admittance.NO_PERMISSION})",
    ),
    "without netfilter": (
        lambda _pid: (sys.executable, "-c", NO_NETFILTER, SOCKET[platform.machine()]),
        f"Protocol not supported ({admittance.NO_NFTABLES})",
    ),
}


@pytest.mark.parametrize(("entrance", "reason"), WAYS.values(), ids=WAYS)
def test_it_says_why_wherever_people_look(
    entrance: Callable[[int], tuple[str, ...]], reason: str, namespace: str, stranger: int, tmp_path: Path
) -> None:
    async def work(node: Node) -> None:
        normally = node.entrance
        await in_force(node, "10.0.2.1")
        before = node.table()
        await node.stop()
        node.publish(content("10.0.2.2"))
        node.entrance = (*normally, *entrance(stranger))
        await node.start()
        await until(lambda: node.condition("Applied").get("status") == "False", "the condition says so")
        assert node.condition("Applied")["reason"] == "KernelUnavailable"
        assert node.condition("Applied")["message"].startswith(f"{reason}; ")
        assert (node.condition("Degraded")["status"], node.condition("Degraded")["reason"]) == (
            "True",
            "KernelUnavailable",
        )
        assert node.status["observedGeneration"] == published_generation(node)
        assert "appliedDigest" not in node.status
        assert (await node.http("/readyz"))[0] == 503
        assert reason in (await node.http("/readyz"))[1]
        assert await node.http("/healthz") == (200, "ok\n")
        assert "nodewall_agent_degraded 1.0" in (await node.http("/metrics"))[1]
        assert any(line.startswith(f"nothing can be enforced: {reason}") for line in node.messages())
        assert node.table() == before
        writes = len(node.api.asked("patch"))
        tries = [line for line in node.messages() if line.startswith("nothing can")]
        await until(lambda: len(node.messages()) >= len(tries) + 3, "it tries again")
        assert len(node.api.asked("patch")) == writes
        assert await node.stop() == 0
        node.entrance = normally
        await node.start()
        await until(node.applied, "with everything in place it is applied")
        await until(lambda: node.condition("Applied")["status"] == "True", "the condition turns back")

    on_node(namespace, tmp_path, work)


def published_generation(node: Node) -> int:
    return int(node.api.objects(NODE_RULE_SETS)["", NODE]["metadata"]["generation"])


HIDDEN = 'mount --bind /dev/null "$0" && exec "$@"'


def test_it_goes_on_by_itself_when_the_kernel_can_be_used(namespace: str, tmp_path: Path) -> None:
    """What is away here is the library: of all that may be, the one that can come back."""
    library = path_of_libnftables()

    async def work(node: Node) -> None:
        node.publish(content("10.0.2.1"))
        node.entrance = (*node.entrance, "unshare", "--mount", "--", "sh", "-c", HIDDEN, library)
        await node.start()
        await until(lambda: node.condition("Applied").get("status") == "False", "the condition says so")
        assert "libnftables cannot be loaded" in node.condition("Applied")["message"]
        assert node.table() == ""
        assert node.process
        run(["nsenter", f"--target={node.process.pid}", "--mount", "--root", "umount", library])
        await until(node.applied, "it is applied", 30)
        assert node.condition("Applied")["status"] == "True"
        assert await node.http("/readyz") == (200, "ok\n")
        assert await node.stop(signal.SIGTERM) == 0

    on_node(namespace, tmp_path, work)


def path_of_libnftables() -> str:
    nftables.Nftables()
    (path, *_) = re.findall(r"(/\S*libnftables\.so\S*)", Path("/proc/self/maps").read_text())
    return str(path)


def test_a_port_that_is_taken_ends_it_there_too(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        node.entrance = (*node.entrance, *WITHOUT_NET_ADMIN)
        with socket.create_server(("127.0.0.1", 9811)):
            await node.start()
            assert node.process
            assert await asyncio.wait_for(node.process.wait(), DEADLINE) == 1
        assert node.messages()[-1].startswith("cannot serve health and metrics: ")

    on_node(namespace, tmp_path, work)


def test_cleanup_without_the_capability_is_one_line_of_the_log(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        node.entrance = (*node.entrance, *WITHOUT_NET_ADMIN)
        assert await node.cleanup() == 1
        (line,) = (node.folder / "cleanup-log").read_text().splitlines()
        assert json.loads(line)["message"].startswith("the node is not clean: Operation not permitted (")

    on_node(namespace, tmp_path, work)


def test_a_subsystem_that_the_kernel_lacks_is_an_invalid_argument() -> None:
    """What a kernel without nf_tables answers: as ours does for a subsystem that none has."""
    asking = Netlink(NETLINK_NETFILTER)
    try:
        with pytest.raises(NetlinkError) as raised:
            asking.ask(14 << 8, bytes(4))
    finally:
        asking.close()
    assert admittance.in_words(raised.value.errno, str(raised.value)) == f"Invalid argument ({admittance.NO_NFTABLES})"
    assert admittance.in_words(errno.ENOMEM, os.strerror(errno.ENOMEM)) == (
        "nftables cannot be used: Cannot allocate memory"
    )
