"""The agent's view of the API: its one NodeRuleSet."""

import logging
from collections.abc import Callable

import msgspec

from nodewall.agent import grouping
from nodewall.agent.grouping import Item, Shelf
from nodewall.agent.loop import Inbox, Sighting
from nodewall.kube.errors import ApiError, ExpiredError, ForbiddenError, SilentError, UnauthorizedError
from nodewall.kube.http import Session
from nodewall.kube.reflector import Change, Identity, Pace, Reflector, View
from nodewall.kube.resource import NODE_RULE_SETS, PEER_GROUPS, Collection, single
from nodewall.kube.wire import Decoder
from nodewall.telemetry import metrics
from nodewall.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

PACE = Pace(away=10.0)
"""Of a node's two watches one looks more often whether the API server is back, and wakes the other."""


def project(item: msgspec.Raw) -> tuple[str, Sighting]:
    """An event's object, undecoded: whether it can be used is for the loop to decide, and to report."""
    meta = Decoder.envelope.decode(item).metadata
    return meta.name, Sighting(meta.uid, meta.generation, bytes(item))


class Watching:
    """Observer of the reflector: logs in words, counts, and tells the loop when there is no NodeRuleSet."""

    kinds, number = "NodeRuleSets", "rule_sets"
    """What is watched, and what its number is called in the log."""

    def __init__(self, inbox: Inbox, counts: Metrics) -> None:
        self._inbox, self._counts = inbox, counts
        self._is_cut_off = True

    def listed(self, _collection: Collection, objects: int) -> None:
        level = logging.INFO if self._is_cut_off else logging.DEBUG
        log.log(level, "connected to the API server", extra={"fields": {self.number: objects}})
        self._is_cut_off = False
        if not objects:
            self._inbox.saw(None)

    def absent(self, collection: Collection) -> None:
        log.warning(
            "the API server does not know NodeRuleSets; is the CustomResourceDefinition installed?",
            extra={"fields": {"resource": collection.resource.title}},
        )
        self._inbox.saw(None)

    def resumed(self, _collection: Collection) -> None:
        self._count(metrics.Cause.CLOSED)

    def failed(self, _collection: Collection, error: ApiError, delay: float) -> None:
        self._count(_ended_by(error))
        fields = {"error": str(error), "next_try_seconds": round(delay, 1)}
        if isinstance(error, SilentError):  # any quiet kind's; a dead server is told of by the list that follows
            log.debug("the watch was silent; asking again", extra={"fields": fields})
            return
        self._is_cut_off = True
        log.warning(_hint(error, self.kinds), extra={"fields": fields})

    def refused(self, _collection: Collection, identity: Identity, error: Exception) -> None:
        log.error("a NodeRuleSet cannot be read", extra={"fields": {"name": identity[1], "error": str(error)}})

    def _count(self, cause: metrics.Cause) -> None:
        self._counts.add(metrics.AGENT_WATCHES, cause)


class Following(Watching):
    """The same for PeerGroups: that there are none is no news."""

    kinds, number = "PeerGroups", "peer_groups"

    def __init__(self, counts: Metrics) -> None:
        super().__init__(Inbox(), counts)

    def absent(self, collection: Collection) -> None:
        log.warning(
            "the API server does not know PeerGroups; is the CustomResourceDefinition installed?",
            extra={"fields": {"resource": collection.resource.title}},
        )

    def refused(self, _collection: Collection, identity: Identity, error: Exception) -> None:
        log.error("a PeerGroup cannot be read", extra={"fields": {"name": identity[1], "error": str(error)}})


_ENDED_BY = ((ExpiredError, metrics.Cause.EXPIRED), (SilentError, metrics.Cause.SILENT))
_HINTS: tuple[tuple[type[ApiError], str], ...] = (
    (UnauthorizedError, "the API server does not accept our token; is the agent's ServiceAccount there?"),
    (ForbiddenError, "the API server does not let us watch {kinds}; is the agent's ClusterRole bound?"),
)


def _ended_by(error: ApiError) -> metrics.Cause:
    return next((cause for kind, cause in _ENDED_BY if isinstance(error, kind)), metrics.Cause.FAILED)


def _hint(error: ApiError, kinds: str) -> str:
    lost = "the API server cannot be watched; the table in force stays"
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), lost).format(kinds=kinds)


def group_reflector(session: Session, shelf: Shelf, counts: Metrics) -> Reflector[str, Item]:
    """Mirrors every PeerGroup into ``shelf``: no field selector says "one of these"."""
    return Reflector(session, View(Collection(PEER_GROUPS), grouping.project), shelf.changed, Following(counts))


def reflector(
    session: Session, node: str, inbox: Inbox, counts: Metrics, seen: Callable[[Sighting], None]
) -> Reflector[str, Sighting]:
    """Mirrors the NodeRuleSet of ``node`` into ``inbox``. ``seen`` is told of each one before the loop is."""

    def changed(change: Change[str, Sighting]) -> None:
        if change.key != node:
            return  # a server that ignores the field selector
        if change.new:
            seen(change.new)
        inbox.saw(change.new)

    view = View(single(NODE_RULE_SETS, node), project)
    return Reflector(session, view, changed, Watching(inbox, counts), pace=PACE)
