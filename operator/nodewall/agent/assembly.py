"""The parts of a running agent, put together."""

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import NoReturn

from nodewall import __version__
from nodewall.agent import conntrack
from nodewall.agent.connection import Connection
from nodewall.agent.decide import RuleSet
from nodewall.agent.drift import Ears
from nodewall.agent.flowlog import Flowlog, Place
from nodewall.agent.flowlog_output import Output
from nodewall.agent.grouping import Shelf
from nodewall.agent.kernel import Kernel
from nodewall.agent.listen import Followers, Keeper, Listening
from nodewall.agent.loop import Inbox, Loop, Sighting, Times, Ways
from nodewall.agent.options import Established, Options
from nodewall.agent.programming import Programming
from nodewall.agent.reading import reader, saved_reader
from nodewall.agent.report import Reporter
from nodewall.agent.saved import Saved
from nodewall.agent.sentinel import Sentinel
from nodewall.agent.setup import Links, Setup
from nodewall.agent.surroundings import Lookout
from nodewall.agent.watch import group_reflector, reflector
from nodewall.kube.clock import Clock
from nodewall.kube.http import Session
from nodewall.model.errors import NodewallError
from nodewall.render import Strict
from nodewall.telemetry import lag, metrics, web
from nodewall.telemetry.metrics import Metrics, Outcome

log = logging.getLogger(__name__)


class Agent:
    """Guards the node without the API server too, so that is only one part among others."""

    def __init__(self, chosen: Options, environ: Mapping[str, str], kernel: Kernel, clock: Clock) -> None:
        self._options = chosen
        self._read, self._saved = reader(chosen.node), Saved(chosen.state_directory)
        self._metrics = Metrics(metrics.AGENT, __version__)
        self._inbox = Inbox()
        self._connection = Connection(chosen, environ, clock)
        self._reporter = Reporter(self._connection.patch, clock, time.time, self._reported)
        self._keeper = Keeper(self._saved, self._inbox, clock)
        self._sentinel = Sentinel(kernel, self._inbox, clock, Ears)
        self._lookout = Lookout(self._inbox, clock)
        place = Place(chosen.node, chosen.state_directory)
        self._flowlog = Flowlog(place, Output(sys.stdout.fileno()), self._metrics, Times(clock, time.time))
        self._programming = Programming(partial(self._metrics.observe, metrics.PROGRAMMING_SECONDS), time.time)
        followers = Followers(
            changed=(self._reporter.changed, self._lookout.changed),
            applied=(self._keeper.keep, self._sentinel.applied, self._flowlog.applied, self._programming.applied),
        )
        listener = Listening(self._metrics, time.time, followers)
        ways = Ways(self._read, kernel, conntrack.forget, self._reserve)
        self._loop = Loop(self._inbox, ways, listener, Times(clock, time.time))

    async def run(self) -> None:
        """Until cancelled. Raises NodewallError when a port is taken."""
        pages = web.Pages(self._loop.problems, self._unready, self._metrics.exposition)
        saved = self._load()
        setup = await asyncio.to_thread(self._setup, saved)
        await self._flowlog.begin(saved.content if saved else None)
        try:
            async with web.serve(pages, self._options.health, self._options.metrics), asyncio.TaskGroup() as tasks:
                for name, work in (
                    ("loop", self._loop.run(setup, saved)),
                    ("keeper", self._keeper.run()),
                    ("reporter", self._reporter.run()),
                    ("sentinel", self._sentinel.run()),
                    ("lookout", self._lookout.run()),
                    ("watch", self._follow_api()),
                    ("flowlog", self._flowlog.run()),
                    ("lag", lag.watch(partial(self._metrics.observe, metrics.AGENT_LAG_SECONDS))),
                ):
                    tasks.create_task(work, name=name)
        except OSError as error:
            raise NodewallError(f"cannot serve health and metrics: {error}") from error

    def _setup(self, saved: RuleSet | None) -> Setup:
        """The first table of this run replaces one that knows its pods' links, so it has to know them as well.

        Blocks.
        """
        strict = Strict(self._next_generation(), self._options.mark_mask)
        keeps = self._options.established is Established.KEEP
        links = self._lookout.first_links(saved.content) if saved else Links()
        return Setup(self._options.new_pods, self._options.pod_cidrs, None if keeps else strict, links)

    def _next_generation(self) -> int:
        """One that no connection in the kernel carries. Without the file any may; the time makes a hit unlikely."""
        known = self._saved.generation()
        return int(time.time()) if known is None else known + 1

    def _load(self) -> RuleSet | None:
        """The last good rule set, when it is still good."""
        try:
            source = self._saved.load()
            return saved_reader(self._options.node)(source) if source else None
        except (OSError, NodewallError) as error:
            log.warning("the saved rule set cannot be used", extra={"fields": {"error": str(error)}})
            return None

    def _reserve(self, generation: int) -> None:
        try:
            self._saved.reserve(generation)
        except OSError as error:
            log.warning("a generation of connections cannot be saved", extra={"fields": {"error": str(error)}})

    # --- the API server -----------------------------------------------------------------------------------------------

    async def _follow_api(self) -> NoReturn:
        async with self._connection.opened() as session:
            mirror = reflector(session, self._options.node, self._inbox, self._metrics, self._seen)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(mirror.run(), name="rule set")
                tasks.create_task(self._follow_groups(session), name="groups")
        raise AssertionError("a mirror ends only when it is cancelled")

    async def _follow_groups(self, session: Session) -> NoReturn:
        """Once a rule set names groups that are held apart: small clusters have none."""
        await self._inbox.needed.wait()
        await group_reflector(session, Shelf(self._inbox.knows), self._metrics).run()

    def _seen(self, sighting: Sighting) -> None:
        self._reporter.remember(sighting.uid, sighting.source)
        self._programming.saw(sighting.uid, sighting.generation, sighting.source)

    # --- what it shows ------------------------------------------------------------------------------------------------

    def _reported(self, done: bool) -> None:
        self._metrics.add(metrics.REPORTS, Outcome.DONE if done else Outcome.FAILED)

    def _unready(self) -> list[str]:
        """Ready means: a rule set of this run is in force."""
        state = self._loop.state
        if state.applied:
            return []
        reasons = [finding.message for finding in (state.refusal, state.trouble) if finding]
        return reasons or ["no NodeRuleSet has been applied since the agent started"]
