"""Keeps an eye on the links that pods are behind and on ways around our hooks, and tells the loop what it found."""

import asyncio
import contextlib
import logging
import socket
from dataclasses import replace
from typing import NoReturn

from nodewall.agent import bypass, decide, links
from nodewall.agent.changes import owners
from nodewall.agent.decide import Reason, State
from nodewall.agent.loop import Inbox
from nodewall.agent.netlink import NETLINK_ROUTE, NetlinkError
from nodewall.agent.setup import Links
from nodewall.kube.clock import Clock, awaited
from nodewall.model.address import Address
from nodewall.model.ruleset import NodeRuleSet

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two looks: each asks for the route to every local pod address, 0.1 ms each."""
BRIEF = 0.05
"""The same while no pod is known: the first ones could borrow addresses until their links are."""
SLOWEST = 10.0
"""Sysctls change without an announcement."""

_LINK, _IPV4_ROUTE, _IPV6_ROUTE = 0x1, 0x40, 0x400


class Lookout:
    """Looks when the pods' addresses change, when links or routes do, and now and then."""

    def __init__(self, inbox: Inbox, clock: Clock) -> None:
        self._inbox, self._clock = inbox, clock
        self._addresses: frozenset[Address] = frozenset()
        self._news = asyncio.Event()

    def first_links(self, content: NodeRuleSet) -> Links:
        """The links that these pods are behind, who are looked for until others are wanted. Blocks.

        None where links cannot be read, which ``run`` will tell.
        """
        self._addresses = frozenset(owners(content))
        try:
            return links.pod_links(links.survey(self._addresses))
        except (NetlinkError, OSError):
            return Links()

    def changed(self, state: State) -> None:
        """The loop's state is another one."""
        if state.wanted is None:
            return
        addresses = frozenset(owners(state.wanted.content))
        if addresses != self._addresses:
            self._addresses = addresses
            self._news.set()

    async def run(self) -> NoReturn:
        """Until cancelled."""
        with contextlib.closing(_announcements()) as announcements:
            loop = asyncio.get_running_loop()
            loop.add_reader(announcements, self._hear, announcements)
            try:
                while True:
                    pause = PAUSE if self._addresses else BRIEF
                    await self._look()
                    await self._clock.sleep(pause)
                    await awaited(self._news, SLOWEST)
            finally:
                loop.remove_reader(announcements)

    def _hear(self, announcements: socket.socket) -> None:
        """What was announced does not matter, so what is lost does not either."""
        with contextlib.suppress(OSError):
            announcements.recv(1 << 16)
        self._news.set()

    async def _look(self) -> None:
        self._news.clear()
        try:
            found, problems = await asyncio.to_thread(look, self._addresses)
        except (NetlinkError, OSError) as error:
            log.warning("links and routes cannot be read", extra={"fields": {"error": str(error)}})
            return
        self._inbox.tell(lambda state, _now: _told(state, found, problems))


def look(addresses: frozenset[Address]) -> tuple[Links, list[str]]:
    """(links that only pods are behind, ways around our hooks). Blocks."""
    found = links.survey(addresses)
    return links.pod_links(found), bypass.bypasses(found, bypass.kernel_switches(found))


def _told(state: State, found: Links, problems: list[str]) -> State:
    return decide.found(decide.set_up(state, replace(state.setup, links=found)), Reason.BYPASS, problems)


def _announcements() -> socket.socket:
    announcements = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    announcements.bind((0, _LINK | _IPV4_ROUTE | _IPV6_ROUTE))
    announcements.setblocking(False)
    return announcements
