"""`nodewall agent` and `nodewall cleanup`: the parts put together, and what a process owes its surroundings.

The way in: options, then the kernel, then the last good rule set, and the API server last, because the node is to be
guarded without it. What is missing (permission, the API server, a CustomResourceDefinition) is said in one line and
tried again; the only thing that ends the agent, besides a signal, is an option that cannot be understood or a port that
is taken.
"""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from nodewall import __version__
from nodewall.agent import options
from nodewall.agent.decide import RuleSet
from nodewall.agent.kernel import TABLE, Kernel, KernelError
from nodewall.agent.listen import Keeper, Listening
from nodewall.agent.loop import Inbox, Loop, Sighting, Times
from nodewall.agent.options import Options
from nodewall.agent.reading import reader
from nodewall.agent.report import Reporter, Status
from nodewall.agent.saved import Saved
from nodewall.agent.watch import reflector
from nodewall.kube import credentials
from nodewall.kube.clock import Clock, SystemClock, backoff
from nodewall.kube.credentials import Credentials
from nodewall.kube.http import Session, Target, connect
from nodewall.kube.resource import NODE_RULE_SETS
from nodewall.model.errors import BadInputError, NodewallError
from nodewall.render import Settings
from nodewall.telemetry import logs, metrics, web
from nodewall.telemetry.metrics import Metrics, Outcome

log = logging.getLogger(__name__)

FIELD_MANAGER = "nodewall-agent"
DONE, FAILED, WRONG_USE = 0, 1, 2


def agent(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """`nodewall agent`: until a signal. Returns the exit code."""
    try:
        chosen = options.agent(arguments, environ)
    except BadInputError as error:
        return _complain(error)
    logs.configure(chosen.log_level, chosen.log_format)
    try:
        asyncio.run(_until_signal(chosen, environ))
    except NodewallError as error:
        log.critical("%s", error)
        return FAILED
    return DONE


def cleanup(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """`nodewall cleanup`: remove the table and the saved rule set of this node. Needs no API server. Returns the exit
    code.
    """
    try:
        chosen = options.parse("nodewall cleanup", options.CLEANUP, arguments, environ)
    except BadInputError as error:
        return _complain(error)
    logs.configure(chosen.log_level, chosen.log_format)
    try:
        asyncio.run(_clean(chosen.state_directory))
    except (KernelError, OSError) as error:
        log.critical("the node is not clean: %s", error)
        return FAILED
    return DONE


def _complain(error: BadInputError) -> int:
    print(f"nodewall: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
    return WRONG_USE


async def _clean(state_directory: Path) -> None:
    kernel = await Kernel.open()
    try:
        removed = await kernel.delete_table()
    finally:
        kernel.close()
    log.info("the table was removed" if removed else "there was no table", extra={"fields": {"table": TABLE}})
    if Saved(state_directory).remove():
        log.info("the saved rule set was removed", extra={"fields": {"directory": str(state_directory)}})


async def _until_signal(chosen: Options, environ: Mapping[str, str]) -> None:
    """Run until SIGTERM or SIGINT. The table stays: whatever stops the agent must not open the node."""
    work = asyncio.create_task(_run(chosen, environ))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        log.info("stopped; the table stays in force")


async def _run(chosen: Options, environ: Mapping[str, str]) -> None:
    clock = SystemClock()
    log.info("starting", extra={"fields": {"version": __version__, "node": chosen.node}})
    kernel = await _insist(Kernel.open, "nothing can be enforced", clock)
    try:
        await Agent(chosen, environ, kernel, clock).run()
    finally:
        kernel.close()


T = TypeVar("T")


async def _insist(attempt: Callable[[], Awaitable[T]], what: str, clock: Clock) -> T:
    """The result of ``attempt``, tried again for as long as it takes, with the reason said each time."""
    failures = 0
    while True:
        try:
            return await attempt()
        except NodewallError as error:
            failures += 1
            delay = backoff(failures, clock.chance())
            log.warning("%s: %s", what, error, extra={"fields": {"next_try_seconds": round(delay, 1)}})
            await clock.sleep(delay)


class Agent:
    """The parts of a running agent."""

    def __init__(self, chosen: Options, environ: Mapping[str, str], kernel: Kernel, clock: Clock) -> None:
        self._options, self._environ, self._clock = chosen, environ, clock
        self._read = reader(chosen.node)
        self._saved = Saved(chosen.state_directory)
        self._metrics = Metrics(metrics.AGENT, __version__)
        self._session: Session | None = None
        self._reporter = Reporter(self._patch, clock, time.time, self._reported)
        self._inbox = Inbox()
        self._keeper = Keeper(self._saved, self._inbox, clock)
        listener = Listening(self._metrics, self._reporter, self._keeper, time.time)
        self._loop = Loop(self._inbox, self._read, kernel, listener, Times(clock, time.time))

    async def run(self) -> None:
        """Until cancelled. Raises NodewallError when a port is taken."""
        pages = web.Pages(self._loop.problems, self._unready, self._metrics.exposition)
        try:
            async with web.serve(pages, self._options.health, self._options.metrics), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._loop.run(Settings(), self._load()), name="loop")
                tasks.create_task(self._keeper.run(), name="keeper")
                tasks.create_task(self._reporter.run(), name="reporter")
                tasks.create_task(self._follow_api(), name="watch")
        except OSError as error:
            raise NodewallError(f"cannot serve health and metrics: {error}") from error

    def _load(self) -> RuleSet | None:
        """The last good rule set, when it is still good."""
        try:
            source = self._saved.load()
            return self._read(source) if source else None
        except (OSError, NodewallError) as error:
            log.warning("the saved rule set cannot be used", extra={"fields": {"error": str(error)}})
            return None

    async def _follow_api(self) -> NoReturn:
        """A token may be mounted late and a kubeconfig mended: that nothing leads to the API server ends nothing."""
        found = await _insist(self._find_credentials, "there is no way to the API server", self._clock)
        async with connect(found, user_agent=f"nodewall-agent/{__version__}") as session:
            self._session = session
            mirror = reflector(session, self._options.node, self._inbox, self._metrics, self._seen)
            await mirror.run()

    async def _find_credentials(self) -> Credentials:
        return credentials.find(self._options.kubeconfig, environ=self._environ)

    def _seen(self, sighting: Sighting) -> None:
        self._reporter.remember(sighting.uid, sighting.source)

    async def _patch(self, status: Status) -> None:
        if self._session is None:
            return
        target = Target(NODE_RULE_SETS, self._options.node, subresource="status")
        await self._session.merge_patch(target, {"status": status}, FIELD_MANAGER)

    def _reported(self, done: bool) -> None:
        self._metrics.add(metrics.REPORTS, Outcome.DONE if done else Outcome.FAILED)

    def _unready(self) -> list[str]:
        """Ready means: a rule set of this run is in force."""
        state = self._loop.state
        if state.applied:
            return []
        reasons = [finding.message for finding in (state.refusal, state.trouble) if finding]
        return reasons or ["no NodeRuleSet has been applied since the agent started"]
