"""The measuring end inside a pod, a node or an external host: servers that say who they are, and clients.

Runs as a program with nothing but the standard library, controlled by one JSON object per line on standard input, each
answered by one on standard output; it ends with its input. Everything is one loop over sockets that never block, so a
batch of a thousand attempts takes as long as its slowest one.

    {"op": "listen", "identity": "x/a", "sockets": [["tcp", "10.244.1.2", 80], ...]}
    {"op": "connect", "timeout": 0.4, "attempts": [["tcp", SOURCE or "", "10.244.2.2", 80], ...]}
    {"op": "hold", "name": "flow", "timeout": 0.4, "attempt": ["tcp", "", "10.244.2.2", 80]}
    {"op": "ask", "name": "flow", "timeout": 0.4}
    {"op": "release", "name": "flow"}

The answer to an attempt is [VERDICT, who answered, the source address that it saw]; the verdicts are those of
`e2e.probe.Verdict`.
"""

import errno
import itertools
import json
import os
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

OPEN, REFUSED, UNREACHABLE, TIMEOUT = "open", "refused", "unreachable", "timeout"
_REFUSALS = {errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE}
_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_FIRST_PORT, _PORTS = 10_240, 50_000
_START = int.from_bytes(os.urandom(4), "big") % _PORTS
_FRESH_PORTS = itertools.cycle(
    (*range(_FIRST_PORT + _START, _FIRST_PORT + _PORTS), *range(_FIRST_PORT, _FIRST_PORT + _START))
)
_WAITING = {0, errno.EINPROGRESS, errno.EAGAIN}

Result = tuple[str, str, str]
Ready = Callable[[], None]


class Attempt:
    """One question on its way: connect, ask, wait for the answer; `result` is set at the end."""

    def __init__(self, selector: selectors.BaseSelector, protocol: str, sock: socket.socket) -> None:
        self.selector = selector
        self.protocol = protocol
        self.sock = sock
        self.question = os.urandom(8).hex()
        self.received = b""
        self.result: Result | None = None

    def begin(self, source: str, address: str, port: int) -> None:
        """Start connecting; UDP is 'connected' at once, which makes ICMP errors visible."""
        try:
            if source or self.protocol == "udp":
                self._bind(source)
            code = self.sock.connect_ex((address, port))
        except OSError as error:
            code = error.errno or errno.EINVAL
        if code not in _WAITING:
            self._fail(code)
            return
        self._await(selectors.EVENT_WRITE, self._connected)

    def _bind(self, source: str) -> None:
        """UDP never takes a port twice: the packet would belong to the connection of the one that had it before, which
        stays accepted for two minutes whatever the rules say by then."""
        if self.protocol != "udp":
            self.sock.bind((source, 0))
            return
        anywhere = "::" if self.sock.family == socket.AF_INET6 else "0.0.0.0"
        for port in itertools.islice(_FRESH_PORTS, 100):
            try:
                self.sock.bind((source or anywhere, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return

    def ask(self) -> None:
        """Put a fresh question on a connection that is open."""
        self.question, self.received, self.result = os.urandom(8).hex(), b"", None
        self._send()

    def give_up(self) -> None:
        """The time is over."""
        if self.result is None:
            self._end((TIMEOUT, "", ""))

    def _connected(self) -> None:
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(code)
            return
        self.selector.unregister(self.sock)
        self._send()

    def _send(self) -> None:
        try:
            self.sock.send(f"{self.question}\n".encode())
        except OSError as error:
            self._fail(error.errno or errno.EINVAL)
            return
        self._await(selectors.EVENT_READ, self._answered)

    def _answered(self) -> None:
        try:
            chunk = self.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error.errno or errno.EINVAL)
            return
        if not chunk and self.protocol == "tcp":
            self._fail(errno.ECONNRESET)
            return
        self.received += chunk
        if self.received.endswith(b"\n"):
            self._read(self.received.decode(errors="replace").split())

    def _read(self, words: list[str]) -> None:
        # An answer to an earlier question of the same UDP socket says nothing about this one.
        if len(words) == 3 and words[0] == self.question:
            self._end((OPEN, words[1], words[2]))
        else:
            self.received = b""

    def _await(self, event: int, then: Ready) -> None:
        self.selector.register(self.sock, event, then)

    def _fail(self, code: int) -> None:
        verdict = REFUSED if code in _REFUSALS else UNREACHABLE
        self._end((verdict, errno.errorcode.get(code, str(code)), ""))

    def _end(self, result: Result) -> None:
        if self.sock.fileno() in self.selector.get_map():
            self.selector.unregister(self.sock)
        self.result = result


class Worker:
    """The loop, the servers and the held connections of one process."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.servers: dict[tuple[str, str, int], socket.socket] = {}
        self.held: dict[str, Attempt] = {}

    def listen(self, identity: str, sockets: list[tuple[str, str, int]]) -> dict[str, Any]:
        """Serve on each of the sockets that is not served yet."""
        for protocol, address, port in sockets:
            if (protocol, address, port) not in self.servers:
                self._serve(identity, protocol, address, port)
        return {}

    def connect(self, attempts: list[tuple[str, str, str, int]], timeout: float) -> dict[str, Any]:
        """Make all attempts at once and wait until each has an answer or the time is over."""
        begun = [self._begin(*attempt) for attempt in attempts]
        self._finish(begun, timeout)
        for attempt in begun:
            attempt.sock.close()
        return {"results": [attempt.result for attempt in begun]}

    def hold(self, name: str, attempt: tuple[str, str, str, int], timeout: float) -> dict[str, Any]:
        """Make one attempt and keep its connection for `ask`."""
        self.release(name)
        self.held[name] = self._begin(*attempt)
        self._finish([self.held[name]], timeout)
        return {"results": [self.held[name].result]}

    def ask(self, name: str, timeout: float) -> dict[str, Any]:
        """Ask again on a held connection."""
        attempt = self.held[name]
        attempt.ask()
        self._finish([attempt], timeout)
        return {"results": [attempt.result]}

    def release(self, name: str) -> dict[str, Any]:
        """Close a held connection; one that is not there is fine."""
        attempt = self.held.pop(name, None)
        if attempt:
            attempt.sock.close()
        return {}

    def turn(self, patience: float | None) -> bool:
        """Handle what is ready, waiting up to `patience` seconds (None: for ever); whether anything was."""
        ready = self.selector.select(patience)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def _begin(self, protocol: str, source: str, address: str, port: int) -> Attempt:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, _TYPES[protocol])
        sock.setblocking(False)
        attempt = Attempt(self.selector, protocol, sock)
        attempt.begin(source, address, port)
        return attempt

    def _finish(self, attempts: list[Attempt], timeout: float) -> None:
        # After the time is over, what is ready is still read: a process that did not get to run loses no answers.
        end = time.monotonic() + timeout
        while any(attempt.result is None for attempt in attempts):
            left = end - time.monotonic()
            if (not self.turn(max(left, 0.0)) and left <= 0) or left < -timeout:
                break
        for attempt in attempts:
            attempt.give_up()

    def _serve(self, identity: str, protocol: str, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, _TYPES[protocol])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((address, port))
        if protocol == "tcp":
            sock.listen(1024)
        ready = self._accept if protocol == "tcp" else self._reply
        self.selector.register(sock, selectors.EVENT_READ, lambda: ready(sock, identity))
        self.servers[protocol, address, port] = sock

    def _accept(self, server: socket.socket, identity: str) -> None:
        while True:
            try:
                sock, peer = server.accept()
            except OSError:
                return
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ, self._conversation(sock, identity, peer[0]))

    def _conversation(self, sock: socket.socket, identity: str, peer: str) -> Ready:
        def converse() -> None:
            try:
                question = sock.recv(4096)
                if question:
                    sock.send(_answer(question, identity, peer))
                    return
            except BlockingIOError:
                return
            except OSError:
                pass
            self.selector.unregister(sock)
            sock.close()

        return converse

    def _reply(self, server: socket.socket, identity: str) -> None:
        while True:
            try:
                question, peer = server.recvfrom(4096)
                server.sendto(_answer(question, identity, peer[0]), peer)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error for an earlier answer; the next datagram has nothing to do with it.
                continue


class Control:
    """Requests on standard input, answers on standard output, between turns of the worker's loop."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.pending = b""
        self.open = True
        worker.selector.register(0, selectors.EVENT_READ, self._read)
        self.requests: list[bytes] = []

    def run(self) -> None:
        """Serve until the input ends."""
        while self.open:
            while self.requests:
                self._handle(json.loads(self.requests.pop(0)))
            self.worker.turn(None)

    def _read(self) -> None:
        chunk = os.read(0, 1 << 20)
        if not chunk:
            self.open = False
            return
        *complete, self.pending = (self.pending + chunk).split(b"\n")
        self.requests += complete

    def _handle(self, request: dict[str, Any]) -> None:
        operation = getattr(self.worker, request.pop("op"))
        try:
            answer = operation(**request)
        except Exception as error:  # noqa: BLE001 (told to the other side, which raises it)
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _answer(question: bytes, identity: str, peer: str) -> bytes:
    return b" ".join([question.strip(), identity.encode(), peer.encode()]) + b"\n"


def main() -> None:
    """Allow as many sockets as the system permits and serve."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Control(Worker()).run()


if __name__ == "__main__":
    main()
