"""When each NodeRuleSet (or PeerGroup) changed, as somebody sees it who watches them beside the agents."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from socket import SHUT_RDWR
from urllib.parse import urlencode

from e2e.api import Api

RULE_SETS, GROUPS = (f"/apis/nodewall.io/v1alpha1/{plural}" for plural in ("noderulesets", "peergroups"))
# Not parsed as JSON: this runs beside what it measures. Keys are in alphabetical order.
_NAME = re.compile(rb'"name":"([^"]+)","(?:ownerReferences|resourceVersion)":')
_GENERATION = re.compile(rb'"generation":(\d+)')
_DIGEST, _APPLIED = re.compile(rb'"digest":"([^"]*)"'), re.compile(rb'"appliedDigest":"([^"]*)"')


class Sightings:
    """``times``: (monotonic seconds, node) of each new content, in order. ``reported``: the nodes whose status says
    that their content is applied, and when that was last seen.
    """

    def __init__(self, api: Api, path: str) -> None:
        self.times: list[tuple[float, str]] = []
        self.reported: dict[str, float] = {}
        self.last = time.monotonic()
        """When anything was seen, or this began."""
        self._generations: dict[str, int] = {}
        self._api, self._path, self._connection, self._closed = api, path, api.connect(), False
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def between(self, start: float, end: float) -> float | None:
        """When the last change in that span was seen; None without one."""
        return max((at for at, _ in self.times if start < at <= end), default=None)

    def since(self, start: float) -> list[float]:
        """When the changes since then were seen."""
        return [at for at, _ in reversed(self.times) if at > start]

    @property
    def nodes(self) -> int:
        """Whose NodeRuleSets were seen so far."""
        return len(self._generations)

    def close(self) -> None:
        self._closed = True
        if self._connection.sock:
            self._connection.sock.shutdown(SHUT_RDWR)  # wakes the reader, which `close` would wait for
        self._thread.join(5)
        self._connection.close()

    def _follow(self) -> None:
        """The API server ends a watch whenever it likes; what it repeats then is known by its generation."""
        while not self._closed:
            with suppress(OSError, ValueError, AttributeError, HTTPException):  # closed under its feet
                self._watch()

    def _watch(self) -> None:
        self._connection = self._api.connect()
        self._connection.timeout = None
        query = urlencode({"watch": "1", "timeoutSeconds": "3600"})
        self._connection.request("GET", f"{self._path}?{query}", headers=dict(self._api.headers))
        for line in self._connection.getresponse():
            self._note(time.monotonic(), line)

    def _note(self, at: float, line: bytes) -> None:
        name, generation = _NAME.search(line), _GENERATION.search(line)
        if name is None or generation is None:
            return
        node, number, self.last = name[1].decode(), int(generation[1]), at
        digest, applied = _DIGEST.search(line), _APPLIED.search(line)
        if digest and applied and digest[1] == applied[1]:
            self.reported[node] = at
        else:
            self.reported.pop(node, None)
        if self._generations.get(node) != number:
            self._generations[node] = number
            self.times.append((at, node))


@contextmanager
def sightings(api: Api, path: str = RULE_SETS) -> Iterator[Sightings]:
    """Watches until the end."""
    made = Sightings(api, path)
    try:
        yield made
    finally:
        made.close()
