"""What the agent's settings do to packets: the new-pod guard, and what becomes of live connections."""

import asyncio
import errno
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from e2e import netns
from nodewall.model.address import Address
from nodewall.model.ruleset import AddressGroup, Endpoint, NodeRuleSet
from tests.agent.node import Node, on_node, until
from tests.agent.pods import FAMILIES, PORT, address, pods
from tests.agent.rulesets import content

pytestmark = pytest.mark.kernel


def both(pod: str) -> tuple[Address, ...]:
    return tuple(Address(address(pod, family)) for family in FAMILIES)


def rules(*listed: str, clients: bool = True) -> NodeRuleSet:
    """These pods are listed; ``open`` is isolated and lets the client in, or nobody."""
    base = content()
    return replace(
        base,
        groups=(AddressGroup("peers", "role=client", both("client") if clients else ()),),
        endpoints=tuple(Endpoint("shop", pod, both(pod), ingress="web" if pod == "open" else "") for pod in listed),
    )


EVERYBODY = ("client", "open", "shut")

Work = Callable[[Node, dict[str, str]], Awaitable[None]]


def with_pods(namespace: str, folder: Path, work: Work) -> None:
    with pods(namespace) as names:
        on_node(namespace, folder, lambda node: work(node, names))


def server(names: dict[str, str], pod: str, family: int) -> socket.socket:
    return netns.inside(names[pod], lambda: socket.create_server((address(pod, family), PORT), family=FAMILIES[family]))


def knock(names: dict[str, str], source: str, target: str, family: int) -> str:
    """What a new connection meets: open, refused, or silence."""

    def attempt() -> str:
        with socket.socket(FAMILIES[family], socket.SOCK_STREAM) as sock:
            sock.settimeout(0.3)
            try:
                sock.connect((address(target, family), PORT))
            except TimeoutError:
                return "silence"
            except OSError as error:
                return errno.errorcode[error.errno or 0]
            return "open"

    return netns.inside(names[source], attempt)


# --- the guard --------------------------------------------------------------------------------------------------------


GUARDS = {
    "Drop": ("silence", ()),
    "Reject": ("ECONNREFUSED", ("--new-pods=Reject",)),
    "Allow": ("open", ("--new-pods=Allow",)),
}


@pytest.mark.parametrize(("closed", "extra"), GUARDS.values(), ids=GUARDS)
def test_a_pod_is_closed_until_it_is_listed(
    closed: str, extra: tuple[str, ...], namespace: str, tmp_path: Path
) -> None:
    async def work(node: Node, names: dict[str, str]) -> None:
        servers = [server(names, pod, family) for pod in EVERYBODY for family in FAMILIES]
        assert knock(names, "client", "shut", 4) == "open", "not armed before the first rule set"
        node.publish(rules("client"))
        await node.start(*extra)
        await until(node.applied, "the first rule set is applied")
        for family in FAMILIES:
            assert knock(names, "client", "shut", family) == closed
            assert knock(names, "shut", "client", family) == closed
            assert knock(names, "open", "shut", family) == closed
        node.publish(rules("client", "shut"))
        await until(node.applied, "the pod is listed")
        for family in FAMILIES:
            assert knock(names, "client", "shut", family) == "open"
            assert knock(names, "open", "shut", family) == closed
        for each in servers:
            each.close()

    with_pods(namespace, tmp_path, work)


def test_a_guard_without_scope_says_so(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node, _names: dict[str, str]) -> None:
        node.publish(replace(rules("client"), pod_cidrs=()))
        await node.start()
        await until(lambda: node.condition("Degraded").get("reason") == "Unguarded", "it says so")
        assert "set --pod-cidrs" in node.condition("Degraded")["message"]
        await node.stop()
        await node.start("--pod-cidrs=10.0.1.0/24,fd00:1::/64")
        await until(lambda: node.condition("Degraded")["status"] == "False", "the setting helps")

    with_pods(namespace, tmp_path, work)


# --- live connections -------------------------------------------------------------------------------------------------


class Push:
    """A server that sends all the time, and a client that only listens: the client's acknowledgements are judged."""

    def __init__(self, names: dict[str, str], family: int, target: str) -> None:
        self._server = server(names, target, family)
        self._client = netns.inside(
            names["client"], lambda: socket.create_connection((address(target, family), PORT), timeout=2)
        )
        self._accepted, _ = self._server.accept()
        for each in (self._client, self._accepted):
            each.setblocking(False)

    def flows(self) -> bool:
        """Whether bytes get through: what is sent now, or what was on its way."""
        _now(lambda: self._accepted.send(b"x" * 65536))
        return _now(lambda: len(self._client.recv(1 << 20))) > 0

    def close(self) -> None:
        for each in (self._server, self._client, self._accepted):
            each.close()


def _now(action: Callable[[], int]) -> int:
    """Its result, or 0 when it cannot be done at this moment."""
    try:
        return action()
    except OSError:
        return 0


async def dies(push: Push) -> bool:
    """Whether nothing gets through for half a second, within two."""
    silent = 0
    for _ in range(40):
        silent = 0 if push.flows() else silent + 1
        if silent == 10:
            return True
        await asyncio.sleep(0.05)
    return False


ENDS = {"Keep": False, "Strict": True}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("established", "ends"), ENDS.items())
def test_a_stream_that_is_no_longer_allowed(
    established: str, ends: bool, family: int, namespace: str, tmp_path: Path
) -> None:
    async def work(node: Node, names: dict[str, str]) -> None:
        node.publish(rules(*EVERYBODY))
        await node.start(f"--established={established}")
        await until(node.applied, "the first rule set is applied")
        denied, allowed = Push(names, family, "open"), Push(names, family, "shut")
        assert not await dies(denied)
        node.publish(rules(*EVERYBODY, clients=False))
        await until(node.applied, "the stricter rule set is applied")
        assert await dies(denied) is ends
        assert not await dies(allowed)
        assert knock(names, "client", "open", family) == "silence"
        denied.close()
        allowed.close()

    with_pods(namespace, tmp_path, work)


@pytest.mark.parametrize(("established", "ends"), ENDS.items())
def test_an_idle_udp_flow_that_is_no_longer_allowed(
    established: str, ends: bool, namespace: str, tmp_path: Path
) -> None:
    async def work(node: Node, names: dict[str, str]) -> None:
        node.publish(rules(*EVERYBODY))
        await node.start(f"--established={established}")
        await until(node.applied, "the first rule set is applied")
        receiver = netns.inside(names["open"], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sender = netns.inside(names["client"], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with receiver, sender:
            receiver.bind((address("open", 4), PORT))
            receiver.settimeout(0.5)
            sender.sendto(b"before", (address("open", 4), PORT))
            data, source = receiver.recvfrom(64)
            receiver.sendto(b"answer", source)
            node.publish(rules(*EVERYBODY, clients=False))
            await until(node.applied, "the stricter rule set is applied")
            sender.sendto(b"after", (address("open", 4), PORT))
            try:
                data = receiver.recv(64)
            except TimeoutError:
                data = b""
            assert data == (b"" if ends else b"after")

    with_pods(namespace, tmp_path, work)


def again(names: dict[str, str], target: str, family: int, port: int) -> str:
    """What a connection of that very source port meets, whose predecessor's entry may still be there."""

    def attempt() -> str:
        with socket.socket(FAMILIES[family], socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.settimeout(0.5)
            sock.bind((address("client", family), port))
            try:
                sock.connect((address(target, family), PORT))
            except TimeoutError:
                return "silence"
            return "open"

    return netns.inside(names["client"], attempt)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("established", ENDS)
def test_a_reused_pair_of_ports_is_another_connection(
    established: str, family: int, namespace: str, tmp_path: Path
) -> None:
    """However the predecessor ended, in both modes; where it is still allowed it opens."""

    async def work(node: Node, names: dict[str, str]) -> None:
        servers = [server(names, pod, family) for pod in ("open", "shut")]
        node.publish(rules(*EVERYBODY))
        await node.start(f"--established={established}")
        await until(node.applied, "the first rule set is applied")
        for pod, port in (("open", 40001), ("shut", 40002)):
            assert again(names, pod, family, port) == "open"
        node.publish(rules(*EVERYBODY, clients=False))
        await until(node.applied, "the stricter rule set is applied")
        for _ in range(2):
            assert again(names, "open", family, 40001) == "silence"
            assert again(names, "shut", family, 40002) == "open"
        node.publish(rules(*EVERYBODY))
        await until(node.applied, "the first rule set is back")
        assert again(names, "open", family, 40001) == "open"
        for each in servers:
            each.close()

    with_pods(namespace, tmp_path, work)


@pytest.mark.parametrize("established", ENDS)
def test_an_idle_udp_flow_that_is_still_allowed_goes_on(established: str, namespace: str, tmp_path: Path) -> None:
    """In both directions, over three changes that made something else stricter."""

    async def work(node: Node, names: dict[str, str]) -> None:
        node.publish(rules(*EVERYBODY))
        await node.start(f"--established={established}")
        await until(node.applied, "the first rule set is applied")
        receiver = netns.inside(names["shut"], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sender = netns.inside(names["client"], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with receiver, sender:
            receiver.bind((address("shut", 4), PORT))
            for each in (receiver, sender):
                each.settimeout(1)
            for clients in (True, False, True, False):
                node.publish(rules(*EVERYBODY, clients=clients))
                await until(node.applied, "the next rule set is applied")
                sender.sendto(b"ask", (address("shut", 4), PORT))
                _, source = receiver.recvfrom(64)
                receiver.sendto(b"answer", source)
                assert sender.recv(64) == b"answer"

    with_pods(namespace, tmp_path, work)
