"""From one pod to another, one datagram after the other: when does the verdict change?

Nobody answers, so conntrack takes every datagram for a new connection's first, and every one is judged. It arrives
before the sending call returns or not at all, so a change is seen within the time of one datagram.
"""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from e2e import netns
from e2e.waiting import DeadlineError

PORT = 9000
_PATIENCE = 0.002
"""Seconds that a datagram may take on a busy machine."""
_LOST = 3
"""Datagrams in a row that do not arrive before the first of them counts as denied."""
_PAUSE = 0.0005


@dataclass(frozen=True, slots=True)
class Lane:
    sender: socket.socket
    receiver: socket.socket
    target: tuple[str, int]

    def await_open(self, within: float = 30.0) -> float:
        """When the first datagram that arrived was sent (monotonic seconds). Raises DeadlineError."""
        end = time.monotonic() + within
        while (sent := time.monotonic()) < end:
            if self._arrives(_PAUSE):
                return sent
        raise DeadlineError(f"no datagram arrived within {within:g} s")

    def await_closed(self, within: float = 30.0) -> float:
        """When the first datagram that did not arrive was sent. Raises DeadlineError."""
        end = time.monotonic() + within
        first, lost = 0.0, 0
        while (sent := time.monotonic()) < end:
            if self._arrives(_PATIENCE):
                lost = 0
                time.sleep(_PAUSE)
                continue
            first = first if lost else sent
            lost += 1
            if lost == _LOST:
                return first
        raise DeadlineError(f"datagrams still arrived after {within:g} s")

    def _arrives(self, patience: float) -> bool:
        self.sender.sendto(b"?", self.target)
        if not select.select([self.receiver], [], [], patience)[0]:
            return False
        self.receiver.recv(16)
        return True


@contextmanager
def lane(client: tuple[str, str], server: tuple[str, str]) -> Iterator[Lane]:
    """Between two pods, each as (network namespace, address)."""
    sender = netns.inside(client[0], lambda: _bound(client[1], 0))
    receiver = netns.inside(server[0], lambda: _bound(server[1], PORT))
    try:
        yield Lane(sender, receiver, (server[1], PORT))
    finally:
        sender.close()
        receiver.close()


def _bound(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    return made
