"""Pods of a node, routed, with connections that are attempted all the time and counted where they arrive.

::

    client ──► open    every attempt must arrive
           ──► shut    none may

Each attempt is a new flow (its own source port), TCP and UDP, IPv4 and IPv6. One more connection lives through it all.
"""

import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

from e2e import netns

PORT = 8080
NUMBERS = {"client": 1, "open": 2, "shut": 3}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
TOO_LATE = 0.9
"""Seconds: a SYN that was dropped is sent again after one, which would hide the drop."""
RESET = struct.pack("ii", 1, 0)


def address(pod: str, family: int) -> str:
    return f"10.0.1.{NUMBERS[pod]}" if family == 4 else f"fd00:1::{NUMBERS[pod]}"


@contextmanager
def pods(node: str) -> Iterator[dict[str, str]]:
    """The namespaces of the three pods, linked to the node's namespace."""
    names = {pod: f"{node}-{pod}" for pod in NUMBERS}
    netns.inside(node, _forward)
    try:
        for pod, name in names.items():
            netns.add(name)
            _link(node, pod, name)
        yield names
    finally:
        for name in names.values():
            netns.delete(name)


def _forward() -> None:
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        with open(f"/proc/sys/net/{path}", "w") as file:  # noqa: PTH123
            file.write("1")


def _link(node: str, pod: str, name: str) -> None:
    link = f"v-{pod}"
    netns.batch(node, (f"link add {link} type veth peer name eth0 netns {name}",))
    netns.batch(
        name,
        (
            f"address add {address(pod, 4)}/32 dev eth0",
            f"address add {address(pod, 6)}/128 dev eth0 nodad",
            "link set eth0 up",
            "route add 169.254.1.1/32 dev eth0",
            "route add default via 169.254.1.1",
            "route add default via fe80::1 dev eth0",
        ),
    )
    netns.batch(
        node,
        (
            f"address add 169.254.1.1/32 dev {link}",
            f"address add fe80::1/64 dev {link} nodad",
            f"link set {link} up",
            f"route add {address(pod, 4)}/32 dev {link}",
            f"route add {address(pod, 6)}/128 dev {link}",
        ),
    )


@dataclass
class Tally:
    """What was attempted and what arrived, by (pod, family, protocol)."""

    tried: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    arrived: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    echoes: int = 0
    broken: list[str] = field(default_factory=list)

    def wrong(self) -> dict[tuple[str, int, str], tuple[int, int]]:
        """(tried, arrived) wherever not all or not none arrived."""
        pairs = {key: (self.tried[key], self.arrived[key]) for key in self.tried}
        return {key: pair for key, pair in pairs.items() if pair[1] != (pair[0] if key[0] == "open" else 0)}


@contextmanager
def traffic(names: dict[str, str]) -> Iterator[Tally]:
    """Attempts run while the context is open; the tally is complete when it has closed."""
    tally, ending, served = Tally(), threading.Event(), threading.Event()
    with selectors.DefaultSelector() as selector:
        for pod in ("open", "shut"):
            for family in FAMILIES:
                for sock, protocol in netns.inside(names[pod], lambda pod=pod, family=family: _listen(pod, family)):  # type: ignore[misc]
                    selector.register(sock, selectors.EVENT_READ, (pod, family, protocol))
        echo = netns.inside(names["open"], _echo_server)
        threads = [
            threading.Thread(target=_serve, args=(selector, tally, served)),
            threading.Thread(target=_answer, args=(echo,)),
            threading.Thread(target=_in, args=(names["client"], lambda: _attempt(tally, ending))),
            threading.Thread(target=_in, args=(names["client"], lambda: _stream(tally, ending))),
        ]
        for thread in threads:
            thread.start()
        try:
            yield tally
        finally:
            ending.set()
            for thread in threads[1:]:
                thread.join()
            time.sleep(0.2)  # what is on its way arrives
            served.set()
            threads[0].join()
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
            echo.close()


def _in(name: str, work: Callable[[], None]) -> None:
    netns.enter(name)
    work()


def _listen(pod: str, family: int) -> list[tuple[socket.socket, str]]:
    stream = socket.create_server((address(pod, family), PORT), family=FAMILIES[family], backlog=4096)
    stream.setblocking(False)
    datagrams = socket.socket(FAMILIES[family], socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    datagrams.bind((address(pod, family), PORT))
    datagrams.setblocking(False)
    return [(stream, "tcp"), (datagrams, "udp")]


def _serve(selector: selectors.BaseSelector, tally: Tally, served: threading.Event) -> None:
    while not served.is_set():
        for key, _ in selector.select(0.05):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            with suppress(BlockingIOError, ConnectionError):
                while True:
                    _take(sock)
                    tally.arrived[key.data] += 1


def _take(sock: socket.socket) -> None:
    if sock.type == socket.SOCK_STREAM:
        sock.accept()[0].close()
    else:
        sock.recv(64)


def _attempt(tally: Tally, ending: threading.Event) -> None:
    """Denied connections are given a moment, so that a late answer is not missed, and then dropped."""
    waiting: list[tuple[float, socket.socket]] = []
    while not ending.is_set():
        for family in FAMILIES:
            _connect(tally, family)
            waiting.append((time.monotonic() + 0.05, _knock(tally, family)))
            for pod in ("open", "shut"):
                _send(tally, pod, family)
        while waiting and waiting[0][0] < time.monotonic():
            waiting.pop(0)[1].close()
        time.sleep(0.0005)
    for _, sock in waiting:
        sock.close()


def _connect(tally: Tally, family: int) -> None:
    tally.tried["open", family, "tcp"] += 1
    with socket.socket(FAMILIES[family], socket.SOCK_STREAM) as sock:
        sock.settimeout(TOO_LATE)
        try:
            sock.connect((address("open", family), PORT))
        except OSError as error:
            tally.broken.append(f"a connection to open over IPv{family}: {error}")
        # A reset leaves no port in TIME_WAIT; the server has accepted it by then or counts it all the same.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def _knock(tally: Tally, family: int) -> socket.socket:
    tally.tried["shut", family, "tcp"] += 1
    sock = socket.socket(FAMILIES[family], socket.SOCK_STREAM)
    sock.setblocking(False)
    with suppress(BlockingIOError):
        sock.connect((address("shut", family), PORT))
    return sock


def _send(tally: Tally, pod: str, family: int) -> None:
    tally.tried[pod, family, "udp"] += 1
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as sock:
        sock.sendto(b"?", (address(pod, family), PORT))


# --- the connection that lives through it -----------------------------------------------------------------------------


def _echo_server() -> socket.socket:
    return socket.create_server((address("open", 4), PORT + 1))


def _answer(server: socket.socket) -> None:
    server.settimeout(5)
    with suppress(OSError):  # what breaks is counted at the other end
        sock, _ = server.accept()
        _echo(sock)


def _echo(sock: socket.socket) -> None:
    with sock:
        sock.settimeout(5)
        while data := sock.recv(64):
            sock.sendall(data)


def _stream(tally: Tally, ending: threading.Event) -> None:
    try:
        with socket.create_connection((address("open", 4), PORT + 1), timeout=TOO_LATE) as sock:
            for number in count():
                if ending.is_set():
                    return
                sock.sendall(b"%08d" % number)
                assert sock.recv(64) == b"%08d" % number
                tally.echoes += 1
                time.sleep(0.002)
    except (OSError, AssertionError) as error:
        tally.broken.append(f"the living connection: {error}")
