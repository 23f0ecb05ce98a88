"""The agent's way to the API server: found however long it takes, and only with a token that is this node's."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from nodewall import __version__
from nodewall.agent.options import Options
from nodewall.agent.report import Status
from nodewall.kube import credentials
from nodewall.kube.clock import Clock, backoff
from nodewall.kube.credentials import Credentials
from nodewall.kube.errors import Call, UnreachableError
from nodewall.kube.http import Session, Target, connect
from nodewall.kube.resource import NODE_RULE_SETS
from nodewall.model.errors import NodewallError

log = logging.getLogger(__name__)

FIELD_MANAGER = "nodewall-agent"
T = TypeVar("T")


async def insist(attempt: Callable[[], Awaitable[T]], what: str, clock: Clock) -> T:
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


class Connection:
    """One at a time: ``opened`` makes it, ``patch`` uses it."""

    def __init__(self, chosen: Options, environ: Mapping[str, str], clock: Clock) -> None:
        self._options, self._environ, self._clock = chosen, environ, clock
        self._session: Session | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Session]:
        """A token may be mounted late and a kubeconfig mended: that nothing leads to the API server ends nothing."""
        found = await insist(self._find_credentials, "there is no way to the API server", self._clock)
        async with connect(found, user_agent=f"nodewall-agent/{__version__}") as session:
            self._session = session
            try:
                yield session
            finally:
                self._session = None

    async def patch(self, status: Status) -> None:
        """Write the status of this node's NodeRuleSet. Raises ApiError."""
        target = Target(NODE_RULE_SETS, self._options.node, subresource="status")
        if self._session is None:
            raise UnreachableError(Call("patch", str(target)), "there is no connection yet")
        await self._session.merge_patch(target, {"status": status}, FIELD_MANAGER)

    async def _find_credentials(self) -> Credentials:
        """Raises NodewallError for another node's name: its table would be in force here, and our report refused."""
        found = credentials.find(self._options.kubeconfig, environ=self._environ)
        node = credentials.bound_node(found.token.read())
        if node and node != self._options.node:
            raise NodewallError(
                f"--node is {self._options.node}, and our token is bound to node {node}: nothing is applied; "
                "take the name from spec.nodeName, as the manifest does"
            )
        return found
