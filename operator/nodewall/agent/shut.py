"""While the kernel cannot be used: what keeps the agent from it is said wherever people look.

The log says it, /readyz, a metric, and the status of the NodeRuleSet, of which the controller makes an Event on the
Node. /healthz is well meanwhile: a restart would mend nothing.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from nodewall import __version__
from nodewall.agent.connection import Connection, insist
from nodewall.agent.decide import Finding, Reason, State
from nodewall.agent.kernel import Kernel, KernelError
from nodewall.agent.loop import Inbox, Sighting
from nodewall.agent.options import Options
from nodewall.agent.report import Reporter
from nodewall.agent.watch import reflector
from nodewall.kube.clock import Clock
from nodewall.model.errors import NodewallError
from nodewall.telemetry import metrics, web
from nodewall.telemetry.metrics import Metrics, Outcome

MEANWHILE = "a table of an earlier run stays as it is, and without one nothing is enforced"


async def enter(chosen: Options, environ: Mapping[str, str], clock: Clock) -> Kernel:
    """The door to the kernel, tried for as long as it takes. Raises NodewallError when a port is taken."""
    try:
        return await Kernel.open()
    except KernelError as error:
        return await Shut(chosen, environ, clock, error).kernel()


class Shut:
    """An agent without a kernel: it looks at its NodeRuleSet only to know what its status is about."""

    def __init__(self, chosen: Options, environ: Mapping[str, str], clock: Clock, error: KernelError) -> None:
        self._options, self._clock = chosen, clock
        self._metrics = Metrics(metrics.AGENT, __version__)
        self._metrics.set(metrics.DEGRADED, 1)
        self._connection = Connection(chosen, environ, clock)
        self._reporter = Reporter(self._connection.patch, clock, time.time, self._reported)
        self._state = State(refusal=_finding(error))

    async def kernel(self) -> Kernel:
        """Returns when it can be used."""
        pages = web.Pages(tuple, self._problems, self._metrics.exposition)
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(web.serve(pages, self._options.health, self._options.metrics))
            except OSError as error:
                raise NodewallError(f"cannot serve health and metrics: {error}") from error
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            telling = [tasks.create_task(work) for work in (self._reporter.run(), self._follow_api())]
            kernel = await insist(self._attempt, "nothing can be enforced", self._clock)
            for task in telling:
                task.cancel()
        return kernel

    async def _attempt(self) -> Kernel:
        try:
            return await Kernel.open()
        except KernelError as error:
            self._change(replace(self._state, refusal=_finding(error)))
            raise

    async def _follow_api(self) -> None:
        async with self._connection.opened() as session:
            await reflector(session, self._options.node, Inbox(), self._metrics, self._seen).run()

    def _seen(self, sighting: Sighting) -> None:
        self._reporter.remember(sighting.uid, sighting.source)
        self._change(replace(self._state, observed=sighting.observed))

    def _change(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._reporter.changed(state)

    def _reported(self, done: bool) -> None:
        self._metrics.add(metrics.REPORTS, Outcome.DONE if done else Outcome.FAILED)

    def _problems(self) -> list[str]:
        return [self._state.refusal.message] if self._state.refusal else []


def _finding(error: KernelError) -> Finding:
    return Finding(Reason.KERNEL_UNAVAILABLE, f"{error}; {MEANWHILE}")
