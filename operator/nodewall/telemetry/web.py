"""The HTTP server of both halves: /healthz, /readyz and /metrics. GET only, no input, nothing else.

Health listens on loopback unless told otherwise: both halves run on the host network, where any other address would be
a port on the node. Metrics listen beside it, or on an address of their own for a scraper that is not on the node.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from nodewall.telemetry.lines import one_line
from nodewall.telemetry.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Check = Callable[[], Sequence[str]]
"""Returns what is wrong right now, one short sentence each; empty means well. Must not block."""

_SHUTDOWN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Pages:
    """What the server shows."""

    live: Check
    """Problems that a restart of the process would mend."""
    ready: Check
    """Problems that keep it from doing its work now, whatever their cause."""
    metrics: Callable[[], bytes]
    """All series in the text format."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The addresses in use, with the ports that were taken."""

    health: Address
    metrics: Address


@asynccontextmanager
async def serve(pages: Pages, health: Address, metrics: Address | None = None) -> AsyncIterator[Listening]:
    """Serve while the context is open; without `metrics` /metrics is served beside health.

    Raises OSError, with the address in its message, when an address cannot be listened on.
    """
    health_routes = [web.get("/healthz", _health(pages.live)), web.get("/readyz", _health(pages.ready))]
    metrics_routes = [web.get("/metrics", _metrics(pages.metrics))]
    if metrics is None or metrics == health:
        async with _site([*health_routes, *metrics_routes], health) as address:
            yield Listening(health=address, metrics=address)
        return
    async with _site(health_routes, health) as beside, _site(metrics_routes, metrics) as own:
        yield Listening(health=beside, metrics=own)


@asynccontextmanager
async def _site(routes: list[web.RouteDef], address: Address) -> AsyncIterator[Address]:
    app = web.Application(client_max_size=1024)
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
        yield Address(address.host, runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _health(check: Check) -> _Handler:
    async def answer(_request: web.Request) -> web.Response:
        problems = _problems(check)
        text = "\n".join(map(one_line, problems)) or "ok"
        return web.Response(text=text + "\n", status=503 if problems else 200, headers={"Cache-Control": "no-store"})

    return answer


def _problems(check: Check) -> Sequence[str]:
    try:
        return check()
    except Exception as error:  # a check that cannot say that all is well says that it is not
        log.exception("health check failed")
        return [f"the check itself failed: {type(error).__name__}"]


def _metrics(exposition: Callable[[], bytes]) -> _Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=exposition(), headers={"Content-Type": CONTENT_TYPE})

    return answer
