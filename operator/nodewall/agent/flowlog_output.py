"""Lines to standard output that never hold anybody: whoever reads the other end may be slow, or stop.

A write happens in a thread of its own and only when there is room for it, so that the process can end at any time.
"""

import os
import select
from collections.abc import Iterable, Iterator

_CHUNK = 4096
"""Bytes that a pipe takes at once when it says that it has room, and takes whole: no line is cut by another writer."""
_LOOK_UP = 0.2
"""Seconds between two looks at whether to give up."""


class Output:
    """One file descriptor. ``write`` blocks; ``stop``, from any thread, ends that."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def write(self, lines: Iterable[bytes]) -> int:
        """Write them in order. Returns how many were written before ``stop``. Raises OSError: nobody reads any more."""
        written = 0
        for count, chunk in _chunks(lines):
            if not self._has_room():
                break
            _whole(self._descriptor, chunk)
            written += count
        return written

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while not self._stopped:
            if poll.poll(_LOOK_UP * 1000):
                return True
        return bool(poll.poll(0))


def _chunks(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number of lines, as many of them as fit together)."""
    count, chunk = 0, b""
    for line in lines:
        if chunk and len(chunk) + len(line) > _CHUNK:
            yield count, chunk
            count, chunk = 0, b""
        count, chunk = count + 1, chunk + line
    if chunk:
        yield count, chunk


def _whole(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]
