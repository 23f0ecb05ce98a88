"""What a kubelet answers to `kubectl logs`, for the pods of every node: the logs of the processes that stand for them.

Run as a program inside the control plane's namespace, where kube-apiserver asks it over TLS with its own certificate.
A container runtime stamps each line as it comes; here a line says its time itself (both halves log JSON), and one that
does not has the time of the line before. Pods that have no process have said nothing.

    podlogs.py HOST PORT CERTIFICATE KEY CA STATE-DIRECTORY
"""

import json
import re
import select
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PORT = 10250
_PATH = re.compile(r"/containerLogs/(?P<namespace>[a-z0-9-]+)/(?P<pod>[a-z0-9.-]+)/(?P<container>[a-z0-9-]+)")
_EVERY = 0.1  # seconds
_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Wish:
    """Which lines, and how: what `kubectl logs` can ask for."""

    follow: bool = False
    timestamps: bool = False
    since: datetime = _LONG_AGO
    tail: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], now: datetime) -> "Wish":
        """From the query; raises ValueError."""
        since = _LONG_AGO
        if "sinceTime" in query:
            since = datetime.fromisoformat(query["sinceTime"])
        elif "sinceSeconds" in query:
            since = now - timedelta(seconds=int(query["sinceSeconds"]))
        tail = int(query["tailLines"]) if "tailLines" in query else None
        return cls(query.get("follow") == "true", query.get("timestamps") == "true", since, tail)


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its end, and when it was written."""

    time: datetime
    text: bytes

    def shown(self, *, timestamps: bool) -> bytes:
        """As it is sent."""
        return self.time.isoformat().replace("+00:00", "Z").encode() + b" " + self.text if timestamps else self.text


class Log:
    """A file that grows, line by line; one that is not there (yet) is empty."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._time = path, 0, _LONG_AGO

    def new(self) -> Iterator[Line]:
        """The lines that were completed since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for text in file:
                if not text.endswith(b"\n"):
                    return
                self._offset += len(text)
                self._time = _time_of(text) or self._time
                yield Line(self._time, text)


def _time_of(text: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads(text)["time"])
    except (ValueError, TypeError, KeyError):
        return None


def lines(log: Log, wish: Wish, gone: Callable[[], bool]) -> Iterator[bytes]:
    """What is sent; to the end of the log, or until whoever asked is gone."""
    found = deque(log.new(), maxlen=wish.tail)
    while True:
        yield from (each.shown(timestamps=wish.timestamps) for each in found if each.time >= wish.since)
        if not wish.follow or gone():
            return
        found = deque(log.new())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Path

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match = _PATH.fullmatch(url.path)
        if not match:
            self.send_error(404)
            return
        try:
            wish = Wish.of({key: values[-1] for key, values in parse_qs(url.query).items()}, datetime.now(UTC))
        except ValueError as error:
            self.send_error(400, str(error))
            return
        self._send(lines(Log(self._file(match["pod"])), wish, self._gone))

    def _file(self, pod: str) -> Path:
        """Only a component has a process; other files there are logs of the harness."""
        has_process = (self.state / "components" / pod).is_dir()
        return self.state / "logs" / f"{pod}.log" if has_process else self.state / "no-such-log"

    def _gone(self) -> bool:
        """Whoever asked sends nothing more, so what can be read is the end of the connection. Waits a moment."""
        return bool(select.select([self.connection], [], [], _EVERY)[0])

    def _send(self, body: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self.wfile.flush()
            for each in body:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(each), each))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        print(time.strftime("%H:%M:%S"), format % args, flush=True)


def main(argv: list[str]) -> None:
    """Serve until ended."""
    host, port, certificate, key, authority, state = argv
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer((host, int(port)), type("Handler", (_Handler,), {"state": Path(state)}))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
