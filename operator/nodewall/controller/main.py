"""``nodewall controller``: the parts put together, and what a process owes its surroundings.

What is missing (a permission, the API server, a CustomResourceDefinition) is said in one line and tried again.
Nothing is published before every input has been listed. What ends the controller, besides a signal, is an option that
cannot be understood, credentials that lead nowhere, a port that is taken, or a mistake in the program.
"""

import asyncio
import logging
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from nodewall import __version__
from nodewall.api.kinds import BY_KIND
from nodewall.compile.changes import Change, Input
from nodewall.compile.incremental import Compiler
from nodewall.compile.settings import Settings
from nodewall.controller import election, mirror, options, rulesets
from nodewall.controller.election import Connect, Election
from nodewall.controller.fence import Fenced, Remaining
from nodewall.controller.garbage import Garbage
from nodewall.controller.groups import Groups, PublishedPart
from nodewall.controller.handlers import Shell
from nodewall.controller.limiter import Limited, Limiter
from nodewall.controller.loop import Loop
from nodewall.controller.mirror import AnyReflector
from nodewall.controller.nodes import Finding, Nodes
from nodewall.controller.options import Options
from nodewall.controller.publish import Published, Publisher
from nodewall.controller.quarantine import KINDS, Quarantine, Thing, policy_of
from nodewall.controller.reporting import ApiStatus, Obstacles, Reporting, Survey
from nodewall.controller.store import Store, StoredPolicy
from nodewall.controller.telling import ApiEvents, Compiling, Mirroring, Publishing
from nodewall.kube import credentials
from nodewall.kube.clock import Clock, SystemClock, backoff
from nodewall.kube.credentials import Credentials
from nodewall.kube.errors import CredentialsError
from nodewall.kube.http import Session, Timeouts, connect
from nodewall.kube.lease import ApiLease
from nodewall.kube.resource import Resource
from nodewall.model.cluster import Pod
from nodewall.model.errors import BadInputError, NodewallError, Problem
from nodewall.model.policy import PolicyRef
from nodewall.telemetry import lag, logs, metrics, web
from nodewall.telemetry.events import Deduplication, EventWriter, Notice, Reason, Reporter, Severity, Subject
from nodewall.telemetry.metrics import Acceptance, Metrics

log = logging.getLogger(__name__)

COMPONENT = "nodewall-controller"
DONE, FAILED, WRONG_USE, UNEXPECTED = 0, 1, 2, 3


def controller(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """``nodewall controller``: until a signal. Returns the exit code."""
    try:
        chosen = options.controller(arguments, environ)
    except BadInputError as error:
        print(f"nodewall: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return WRONG_USE
    logs.configure(chosen.log_level, chosen.log_format)
    try:
        asyncio.run(_until_signal(chosen, environ))
    except NodewallError as error:
        log.critical("%s", error)
        return FAILED
    except Exception:  # the last resort of the process; whoever runs it starts it again
        log.critical("ended by a mistake in the program; every node keeps what it enforces", exc_info=True)
        return UNEXPECTED
    return DONE


async def _until_signal(chosen: Options, environ: Mapping[str, str]) -> None:
    work = asyncio.create_task(_run(chosen, environ))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        log.info("stopped; every node keeps what it enforces")


async def _run(chosen: Options, environ: Mapping[str, str]) -> None:
    log.info("starting", extra={"fields": {"version": __version__}})
    clock, counters, progress = SystemClock(), Metrics(metrics.CONTROLLER, __version__), Listing()
    candidacy = Election(_identity(environ), _lease(chosen, environ))
    pages = web.Pages(progress.stuck, lambda: progress.missing() + candidacy.missing(), counters.exposition)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(web.serve(pages, chosen.health, chosen.metrics))
        except OSError as error:
            raise NodewallError(f"cannot serve health and metrics: {error}") from error
        found = await _credentials(chosen, environ, clock)
        session = await stack.enter_async_context(connect(found, user_agent=f"{COMPONENT}/{__version__}"))
        host = environ.get("POD_NAME") or socket.gethostname()
        settings = Settings(chosen.log_default, chosen.log_rate, chosen.log_burst, chosen.share_above)
        parts = Controller(session, settings, counters, Reporter(COMPONENT, host), clock, candidacy.remaining)
        shell = Shell(parts.touched, lambda: credentials.find(chosen.kubeconfig, environ=environ))
        await stack.enter_async_context(candidacy.standing(parts.lead))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(candidacy.watch(), name="lease")
            tasks.create_task(shell.run(), name="kopf")
            tasks.create_task(parts.run(progress), name="controller")


def _identity(environ: Mapping[str, str]) -> str:
    """Who we are as a candidate. A pod runs us once at a time, so after a crash its lease is still ours."""
    return environ.get("POD_NAME") or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


def _lease(chosen: Options, environ: Mapping[str, str]) -> Connect:
    """A session of its own, with short limits: a renewal that hangs is worth nothing."""

    @asynccontextmanager
    async def connected() -> AsyncIterator[ApiLease]:
        found = await _credentials(chosen, environ, SystemClock())
        limits = Timeouts(connect=2.0, request=3.0)
        async with connect(found, timeouts=limits, user_agent=f"{COMPONENT}/{__version__}") as session:
            yield ApiLease(session, election.NAME, environ.get("POD_NAMESPACE") or found.namespace, election.NAME)

    return connected


async def _credentials(chosen: Options, environ: Mapping[str, str], clock: Clock) -> Credentials:
    """A token may be mounted late and a kubeconfig mended: tried again for as long as it takes."""
    failures = 0
    while True:
        try:
            return credentials.find(chosen.kubeconfig, environ=environ)
        except CredentialsError as error:
            failures += 1
            delay = backoff(failures, clock.chance())
            fields = {"next_try_seconds": round(delay, 1)}
            log.warning("there is no way to the API server: %s", error, extra={"fields": fields})
            await clock.sleep(delay)


class Listing:
    """Which kinds have been mirrored as a whole, and whether all of it is compiled.

    Until all have been, nothing is published; until all is, we are not ready.
    """

    def __init__(self) -> None:
        self._reflectors: dict[Resource, AnyReflector] = {}
        self._warm: Callable[[], bool] = lambda: False
        self._stuck: web.Check = tuple
        self.done = asyncio.Event()

    async def watch(
        self, reflectors: Mapping[Resource, AnyReflector], warm: Callable[[], bool], stuck: web.Check
    ) -> None:
        """Returns when everything is listed. ``warm``: whether every rule set has been compiled; ``stuck``: what a
        restart would mend.
        """
        self._reflectors, self._warm, self._stuck = dict(reflectors), warm, stuck
        for reflector in reflectors.values():
            await reflector.synced.wait()
        self.done.set()

    def stuck(self) -> Sequence[str]:
        """What a restart of the process would mend."""
        return self._stuck()

    def missing(self) -> list[str]:
        """What is not listed, or not compiled, yet. Who stands by is as ready as who leads."""
        if not self._reflectors:
            return ["there is no way to the API server yet"]
        late = [each.title for each, reflector in self._reflectors.items() if not reflector.synced.is_set()]
        if late or self._warm():
            return [f"{title} have not been listed yet" for title in late]
        return ["not every rule set has been compiled yet"]


class Controller:
    """The parts of a running controller, all but kopf."""

    def __init__(
        self,
        session: Session,
        settings: Settings,
        counters: Metrics,
        reporter: Reporter,
        clock: Clock,
        remaining: Remaining,
    ) -> None:
        self._session, self._metrics, self._clock, self._remaining = session, counters, clock, remaining
        limiter = Limiter()
        writer = Limited(Fenced(session, remaining), limiter, clock, lambda hands: counters.set(metrics.HANDS, hands))
        counters.set(metrics.HANDS, limiter.hands(clock.monotonic()))
        self._events = EventWriter(ApiEvents(writer), Deduplication(reporter), counters)
        self._store = Store()
        self._rejected: set[PolicyRef] = set()
        self._unread: dict[str, tuple[str, tuple[Problem, ...]]] = {}
        groups = Groups(rulesets.ApiGroups(writer), self._leads, clock)
        self._publisher = Publisher(rulesets.ApiRuleSets(writer), rulesets.encoding, self._leads, groups, clock)
        self._nodes = Nodes(self._tell, self._leads, clock)
        publishing = Publishing(counters, self._tell, self._progressed)
        self._turning = publishing.turning
        compiling = Compiling(counters, self._tell_of, self._recompiled)
        self._quarantine = Quarantine(lambda: Compiler(settings), compiling, clock)
        self._loop = Loop(self._quarantine, self._publisher, publishing, clock, limiter=limiter)
        obstacles = Obstacles(
            lambda: publishing.oversized_nodes, lambda: self._quarantine.held, self._quarantine.trouble
        )
        self._garbage = Garbage()
        self._survey = Survey(self._store, self._loop.progress, obstacles, clock)
        self._reporting = Reporting(self._store, self._survey, ApiStatus(writer), self._note, clock, _rfc3339_now)

    async def run(self, listing: Listing) -> None:
        """Until cancelled."""
        table = mirror.rows(self._store, self, rulesets.Reader(), self._clock)
        reflectors = mirror.reflect(self._session, table, Mirroring(self._metrics), self._clock)
        for resource, reflector in reflectors.items():
            self._metrics.follow(metrics.MIRRORED, partial(len, reflector.objects), metrics.Resource(resource.plural))
        async with AsyncExitStack() as stack:
            stack.enter_context(self._garbage.kept_small())
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for resource, reflector in reflectors.items():
                tasks.create_task(reflector.run(), name=f"mirror {resource.title}")
            tasks.create_task(self._events.run(), name="events")
            tasks.create_task(self._nodes.run(), name="nodes")
            tasks.create_task(self._loop.run(listing.done), name="loop")
            tasks.create_task(self._publisher.groups.run(self._publisher.published, self._nodes.revised), name="groups")
            tasks.create_task(self._quarantine.run(self._loop.feed), name="quarantine")
            tasks.create_task(self._reporting.run(self._loop.warmed), name="reporting")
            tasks.create_task(self._garbage.run(self._loop.warmed), name="garbage")
            tasks.create_task(lag.watch(partial(self._metrics.observe, metrics.LAG_SECONDS)), name="lag")
            await listing.watch(reflectors, lambda: self._loop.warm, self._turning.problems)
            self._metrics.set(metrics.SYNCED, 1)
            log.info("every input is listed", extra={"fields": {"nodes": len(self._store.state.nodes)}})

    def lead(self, leads: bool) -> None:
        """Whether it is for us to write from now on; told again of each new tenure."""
        log.info("leading: what is out of date is written" if leads else "standing by: another controller writes")
        self._metrics.set(metrics.LEADS, leads)
        self._reporting.lead(leads)
        if leads:
            self._session.is_back()  # the lease was to be had, and is asked for every second: no mirror tries as often
            self._loop.take_over()
            for namespace in self._unread:  # whoever led before may not have told
                self._tell_unread(namespace)

    def _leads(self) -> bool:
        return self._remaining() > 0

    def _note(self, notice: Notice) -> None:
        if self._leads():
            self._events.note(notice)

    # -- what the mirrors and kopf tell

    def changed(self, changes: Sequence[Change]) -> None:
        """See ``mirror.Listener``."""
        self._loop.feed(self._quarantine.admit(changes))
        self._survey.saw(changes)
        self._reporting.touch_all()

    def pod(self, old: Pod | None, new: Pod | None) -> None:
        """See ``mirror.Listener``."""
        self._survey.saw_pod(old, new)

    def unread(self, namespace: str, uid: str, problems: tuple[Problem, ...]) -> None:
        """See ``mirror.Listener``."""
        before = self._unread.pop(namespace, None)
        if problems:
            self._unread[namespace] = (uid, problems)
        if problems and before != (uid, problems):
            log.warning("%s", "; ".join(map(str, problems)), extra={"fields": {"namespace": namespace}})
            self._tell_unread(namespace)

    def _tell_unread(self, namespace: str) -> None:
        uid, problems = self._unread[namespace]
        subject = Subject("v1", "Namespace", namespace, uid=uid)
        message = "; ".join(map(str, problems)) + "; the operator's own setting holds instead"
        self._note(Notice(subject, Severity.WARNING, Reason.ANNOTATION_INVALID, message))

    def policy(self, ref: PolicyRef, stored: StoredPolicy | None) -> None:
        """See ``mirror.Listener``."""
        self._survey.saw_policy(ref, stored, self._loop.next_batch)
        self._reporting.mirrored(ref)
        self._count(ref, stored)

    def rule_set(self, node: str, published: Published | None) -> None:
        """See ``mirror.Listener``."""
        self._loop.saw(node, self._publisher.saw(node, published))
        self._loop.progress.applied(node, published.applied if published else "")
        self._nodes.saw(node, published)
        self._reporting.touch_all()

    def peer_group(self, name: str, published: PublishedPart | None) -> None:
        """See ``mirror.Listener``."""
        self._publisher.groups.saw(name, published)

    def touched(self, ref: PolicyRef) -> None:
        """kopf saw somebody touch this policy."""
        log.debug("kopf saw a policy", extra={"fields": {"policy": str(ref)}})
        self._reporting.touch(ref)

    def _tell(self, name: str, finding: Finding) -> None:
        """An Event on a Node; `kubectl describe node` finds it by the Node's uid. A Node that is gone has none."""
        node = self._store.state.nodes.get(name)
        if node is not None:
            subject = Subject("v1", "Node", name, uid=node.uid)
            self._note(Notice(subject, finding.severity, finding.reason, finding.message))

    def _tell_of(self, thing: Thing, message: str) -> None:
        """An Event on an object that is no policy; those are told of by ``Reporting``."""
        kind, key = thing
        if isinstance(key, PolicyRef) or kind is Input.NETWORK_POLICY:
            return
        found = BY_KIND[KINDS[kind]]
        namespace, name = ("", key) if isinstance(key, str) else key
        uid = getattr(getattr(self._store.state, kind).get(key), "uid", "")
        subject = Subject(found.api_version, found.kind, name, namespace, uid)
        self._note(Notice(subject, Severity.WARNING, Reason.NOT_COMPILED, message))

    def _recompiled(self, thing: Thing) -> None:
        """The compiler began, or ceased, to fail on an object."""
        if (ref := policy_of(thing)) is not None:
            self._reporting.touch(ref)
        self._reporting.touch_all()

    def _progressed(self) -> None:
        self._reporting.touch_all()

    def _count(self, ref: PolicyRef, stored: StoredPolicy | None) -> None:
        self._rejected.discard(ref)
        if stored is not None and stored.problems:
            self._rejected.add(ref)
        accepted = len(self._store.policies) - len(self._rejected)
        self._metrics.set(metrics.POLICIES, accepted, Acceptance.ACCEPTED)
        self._metrics.set(metrics.POLICIES, len(self._rejected), Acceptance.REJECTED)


def _rfc3339_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
