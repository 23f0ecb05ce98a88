"""What the controller says of itself: metrics, log lines and Events, each from the one place where it is known."""

import logging
import time
from collections.abc import Callable, Mapping

from nodewall.controller.fence import Writer
from nodewall.controller.groups import GroupsLateError
from nodewall.controller.nodes import Finding
from nodewall.controller.publish import OversizedError, Result, Step
from nodewall.controller.quarantine import Aside, HeldError, Thing, named
from nodewall.controller.turning import Turning
from nodewall.kube.errors import ApiError, ExpiredError, ForbiddenError, NotFoundError, SilentError
from nodewall.kube.http import Target
from nodewall.kube.reflector import Identity
from nodewall.kube.resource import CLUSTER_NETWORK_POLICIES, EVENTS, Collection
from nodewall.telemetry import metrics
from nodewall.telemetry.events import Reason, Severity
from nodewall.telemetry.metrics import Metrics, Outcome

log = logging.getLogger(__name__)

EVENT_MANAGER = "nodewall-controller-events"
INSTALL = "kubectl apply -f manifests/"
FORGETS = "field not declared in schema"
"""What an API server says of a field that it would not keep; rule sets are written in a way that makes it say so."""

_OUTCOMES = {
    Step.LEAVE: Outcome.UNCHANGED,
    Step.WRITE: Outcome.DONE,
    Step.REMOVE: Outcome.DONE,
    Step.REFUSE: Outcome.TOO_LARGE,
}


Tell = Callable[[str, Finding], None]
"""Told of a node, for an Event on it."""


class ApiEvents:
    """``EventSink`` at the API server."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def write_event(self, event: Mapping[str, object]) -> None:
        """See ``EventSink``."""
        metadata = event["metadata"]
        assert isinstance(metadata, Mapping)  # noqa: S101 - for the type checker
        await self._writer.apply(Target(EVENTS, metadata["name"], metadata["namespace"]), event, EVENT_MANAGER)


class Publishing:
    """``Watcher`` of the loop."""

    def __init__(
        self, counters: Metrics, tell: Tell, progressed: Callable[[], None], turning: Turning | None = None
    ) -> None:
        """``progressed`` is called when policies may be told something new."""
        self._metrics, self._tell, self._progressed = counters, tell, progressed
        self.turning = turning or Turning()
        self._oversized: set[str] = set()
        self._held: set[str] = set()

    @property
    def oversized_nodes(self) -> frozenset[str]:
        """Nodes that keep an older rule set because the new one is too large."""
        return frozenset(self._oversized)

    def waiting(self, nodes: int) -> None:
        """See ``Watcher``."""
        self.turning.turned(nodes)
        self._metrics.set(metrics.DIRTY_NODES, nodes)

    def compiled(self, seconds: float) -> None:
        """See ``Watcher``."""
        self.turning.turned()
        self._metrics.observe(metrics.COMPILE_SECONDS, seconds)

    def published(self, node: str, result: Result, seconds: float) -> None:
        """See ``Watcher``."""
        self.turning.turned()
        self._fits(node, fits=True)
        self._keeps(node, held=False)
        if result.step is Step.STAND_BY:
            return
        self._metrics.add(metrics.PUBLISHES, _OUTCOMES[result.step])
        if result.step is Step.REMOVE:
            self._metrics.add(metrics.REMOVALS)
            log.info("removed the rule set of a node that is gone", extra={"fields": {"node": node}})
        if result.step is Step.WRITE:
            self._metrics.observe(metrics.PUBLISH_SECONDS, seconds)
            self._metrics.set(metrics.PUBLISHED_AT, time.time())
            log.debug("wrote a rule set", extra={"fields": {"node": node, "digest": result.digest}})

    def repairing(self, node: str) -> None:
        """See ``Watcher``."""
        self._metrics.add(metrics.REPAIRS)
        log.warning("somebody else changed a rule set; it is written again", extra={"fields": {"node": node}})
        self._warn(node, Reason.RULE_SET_REPAIRED, "its NodeRuleSet was changed by somebody else and is written again")

    def oversized(self, error: OversizedError) -> None:
        """See ``Watcher``."""
        self.turning.turned()
        self._metrics.add(metrics.PUBLISHES, Outcome.TOO_LARGE)
        self._fits(error.node, fits=False)
        log.error("%s", error, extra={"fields": {"node": error.node, "bytes": error.size}})
        self._warn(error.node, Reason.RULE_SET_TOO_LARGE, str(error))

    def held(self, error: HeldError) -> None:
        """See ``Watcher``."""
        if error.node not in self._held:
            log.error("%s", error, extra={"fields": {"node": error.node}})
        self._keeps(error.node, held=True)
        self._warn(error.node, Reason.RULE_SET_HELD, str(error))

    def failed(self, node: str, error: Exception, delay: float | None) -> None:
        """See ``Watcher``."""
        self.turning.turned()
        self._metrics.add(metrics.PUBLISHES, Outcome.FAILED)
        fields = {"node": node, "next_try_seconds": delay}
        if isinstance(error, ApiError):
            log.warning("cannot write a rule set: %s", advice(error), extra={"fields": fields})
        elif isinstance(error, GroupsLateError):
            log.warning("a rule set waits: %s", error, extra={"fields": fields})
        else:
            log.error("cannot make a rule set", exc_info=error, extra={"fields": fields})

    def _fits(self, node: str, *, fits: bool) -> None:
        if fits is (node in self._oversized):
            self._oversized ^= {node}
            self._metrics.set(metrics.OVERSIZED, len(self._oversized))
        self._progressed()

    def _keeps(self, node: str, *, held: bool) -> None:
        if held is (node not in self._held):
            self._held ^= {node}
            self._metrics.set(metrics.HELD, len(self._held))
            self._progressed()

    def _warn(self, node: str, reason: Reason, message: str) -> None:
        self._tell(node, Finding(Severity.WARNING, reason, message))


class Compiling:
    """``Watcher`` of the quarantine. ``say`` writes an Event on the object, where it is no policy: those have a status.

    ``changed`` is told of each policy that has to be looked at again.
    """

    def __init__(self, counters: Metrics, say: Callable[[Thing, str], None], changed: Callable[[Thing], None]) -> None:
        self._metrics, self._say, self._changed = counters, say, changed
        self._aside: set[Thing] = set()

    def set_aside(self, aside: Aside, error: Exception) -> None:
        """See ``Watcher``."""
        self._metrics.add(metrics.COMPILER_FAILURES)
        fields = {"object": named(aside.thing), "instead": str(aside.instead), "failures": aside.failures}
        log.error("the compiler fails on an object, and it is set aside", exc_info=error, extra={"fields": fields})
        self._aside.add(aside.thing)
        self._say(aside.thing, str(aside))
        self._count(aside.thing)

    def taken_back(self, thing: Thing) -> None:
        """See ``Watcher``."""
        self._aside.discard(thing)
        log.info("the compiler takes an object that it failed on", extra={"fields": {"object": named(thing)}})
        self._count(thing)

    def mended(self, error: Exception) -> None:
        """See ``Watcher``."""
        self._metrics.add(metrics.COMPILER_FAILURES)
        log.error("the compiler failed; made again from the same objects it does not", exc_info=error)

    def _count(self, thing: Thing) -> None:
        self._metrics.set(metrics.SET_ASIDE, len(self._aside))
        self._changed(thing)


class Mirroring:
    """``Observer`` of the reflectors."""

    def __init__(self, counters: Metrics) -> None:
        self._metrics = counters
        self._absent: set[str] = set()

    def listed(self, collection: Collection, objects: int) -> None:
        """See ``Observer``."""
        self._absent.discard(collection.resource.title)
        log.debug("listed", extra={"fields": {"resource": collection.resource.title, "objects": objects}})

    def absent(self, collection: Collection) -> None:
        """See ``Observer``."""
        title = collection.resource.title
        if title in self._absent:
            return
        self._absent.add(title)
        if collection.resource == CLUSTER_NETWORK_POLICIES:
            log.info("%s are not known to this cluster; they count when they are installed", title)
        else:
            log.error("the CustomResourceDefinition %s is missing; %s installs it", title, INSTALL)

    def resumed(self, collection: Collection) -> None:
        """See ``Observer``."""
        self._count(collection, metrics.Cause.CLOSED)

    def failed(self, collection: Collection, error: ApiError, delay: float) -> None:
        """See ``Observer``."""
        known = ((ExpiredError, metrics.Cause.EXPIRED), (SilentError, metrics.Cause.SILENT))
        self._count(
            collection, next((reason for kind, reason in known if isinstance(error, kind)), metrics.Cause.FAILED)
        )
        # A dead server is told of by the list that follows silence; silence alone is any quiet kind's.
        level = logging.DEBUG if isinstance(error, ExpiredError | SilentError) else logging.WARNING
        log.log(level, "%s", advice(error), extra={"fields": {"next_try_seconds": round(delay, 1)}})

    def refused(self, collection: Collection, identity: Identity, error: Exception) -> None:
        """See ``Observer``."""
        fields = {"resource": collection.resource.title, "namespace": identity[0], "name": identity[1]}
        log.error("an object could not be taken in", exc_info=error, extra={"fields": fields})

    def _count(self, collection: Collection, reason: metrics.Cause) -> None:
        self._metrics.add(metrics.WATCHES, metrics.Resource(collection.resource.plural), reason)


def advice(error: ApiError) -> str:
    """The error in one line, with what to do about it where that is known."""
    if isinstance(error, ForbiddenError):
        return f"{error}; a permission is missing: {INSTALL} grants it"
    if isinstance(error, NotFoundError):
        return f"{error}; if the CustomResourceDefinition is missing, {INSTALL} installs it"
    if FORGETS in error.message:
        return f"{error}; the CustomResourceDefinition is older than this controller: {INSTALL} updates it"
    return str(error)
