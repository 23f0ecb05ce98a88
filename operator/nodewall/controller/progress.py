"""Which changes have reached which node: what ``Programmed`` is decided from. Pure.

Each batch of changes has a number. A node's compiled rule set stands for all batches up to the one that made the node
dirty again; a batch that did not make it dirty is in it as well. So what a node has applied, named by its digest,
says up to which batch it has got, also when an edit changed no byte.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

HISTORY = 32
"""Rule sets remembered per node: an agent that lags further behind under constant change counts as not there yet."""

EVERYTHING = float("inf")
NOTHING = -1.0


@dataclass(slots=True)
class _Compiled:
    """``until`` is the last batch that this rule set stands for, ``EVERYTHING`` while the node is not dirty."""

    digest: str
    until: float


class Progress:
    """Told of batches, of what was compiled and of what was applied; answers how far each node has got."""

    def __init__(self) -> None:
        self.batch = 0
        """Number of the last batch that was taken in."""
        self._dirtied: dict[str, int] = {}
        self._history: dict[str, deque[_Compiled]] = {}
        self._applied: dict[str, str] = {}

    def took_in(self, dirty: Iterable[str]) -> None:
        """The next batch was taken in, and made these nodes dirty."""
        self.batch += 1
        for node in dirty:
            self._dirtied[node] = self.batch
            history = self._history.get(node)
            if history:
                history[-1].until = min(history[-1].until, self.batch - 1)

    def published(self, node: str, digest: str, batch: int) -> None:
        """The node's object holds the rule set ``digest``, compiled when ``batch`` was the last one."""
        until = EVERYTHING if self._dirtied.get(node, 0) <= batch else batch
        history = self._history.setdefault(node, deque(maxlen=HISTORY))
        if history and history[-1].digest == digest:
            history[-1].until = max(history[-1].until, until)
        else:
            history.append(_Compiled(digest, until))

    def applied(self, node: str, digest: str) -> None:
        """The node's agent reports this one, "" for none."""
        self._applied[node] = digest

    def gone(self, node: str) -> None:
        """There is no such node any more."""
        self._history.pop(node, None)
        self._applied.pop(node, None)
        self._dirtied.pop(node, None)

    def reached(self, node: str) -> float:
        """Every batch up to this one is in force on the node."""
        digest = self._applied.get(node, "")
        known = (each.until for each in reversed(self._history.get(node, ())) if each.digest == digest)
        return next(known, NOTHING)
