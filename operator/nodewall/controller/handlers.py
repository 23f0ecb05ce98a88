"""kopf, the operator's shell: it watches the policy kinds and calls us. The only door to that library.

What it tells is a hint and nothing else: which policy somebody touched. What holds is decided from the mirrored store,
because kopf does not tell what vanished while its watch was away. So each handler hands over a name and returns None:
anything else would be written into the user's object. Nothing here may touch a user's object at all:

- Only ``on.event``: every other kind of handler leaves finalizers or annotations behind.
- A finalizer name of our own: kopf removes the one it is configured with wherever it meets it, other operators' too.
- No diff base, no posting of Events, no peering.

kopf has a thread and an event loop of its own: at its end it cancels every task that is younger than itself.
"""

import asyncio
import contextlib
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import kopf

from nodewall.api.kinds import BY_KIND
from nodewall.kube.borrowed import borrowed
from nodewall.kube.credentials import Credentials
from nodewall.model.policy import Kind, PolicyRef

log = logging.getLogger(__name__)

FINALIZER = "nodewall.io/never-set"
RESTART_SECONDS = 30.0

LEVELS = {
    "kopf": logging.WARNING,
    "kopf._core.reactor.running": logging.ERROR,  # warns that signals are ignored in a thread: they are ours
    "kopf._core.reactor.observation": logging.ERROR,  # warns of absent kinds, as the mirrors do with advice
}

REQUESTS = ("kopf._cogs.clients.watching", "kopf._core.reactor.observation", "kopf._core.reactor.orchestration")
"""Who asks the API server for something in kopf's name."""

Touched = Callable[[PolicyRef], None]
"""Told of a policy that was made, changed or deleted, in kopf's thread."""


class Retried(logging.Filter):
    """Makes a warning of what kopf calls an error although it tries again, as at many a start and each reconnect."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False: it is not worth a line."""
        text = record.getMessage()
        if record.levelno == logging.ERROR and text.startswith("Request attempt") and "; will re" in text:
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
            return logging.getLogger().isEnabledFor(logging.WARNING)
        return True


_RETRIED = Retried()


class Backoffs:
    """1, 2, 4 ... 30 seconds, without end: with a finite list kopf gives up, and takes the operator with it."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1.0, 2.0, 4.0, 8.0, 16.0), itertools.repeat(30.0))


class NoDiffBase(kopf.DiffBaseStorage):
    """Remembers no last state of an object: only handlers that we do not have would ask for it."""

    def fetch(self, **_: object) -> kopf.BodyEssence | None:
        """Nothing was stored."""
        return None

    def build(self, **_: object) -> kopf.BodyEssence:
        """Nothing of it counts: copying the body is most of what an event costs otherwise."""
        return kopf.BodyEssence()

    def store(self, **_: object) -> None:
        """Nothing is stored."""


def settings() -> kopf.OperatorSettings:
    """How kopf has to behave here."""
    made = kopf.OperatorSettings()
    made.persistence.finalizer = FINALIZER
    made.persistence.diffbase_storage = NoDiffBase()
    made.posting.enabled = False
    made.peering.standalone = True
    made.scanning.disabled = False  # CustomResourceDefinitions may come, go and come again while we run
    made.networking.error_backoffs = Backoffs()
    made.networking.enforce_retry_after = True
    made.networking.request_timeout = 60
    made.networking.connect_timeout = 10
    made.watching.server_timeout = 300
    made.watching.client_timeout = 330
    made.watching.connect_timeout = 30
    made.watching.chunk_size = 500
    made.queueing.idle_timeout = 1
    made.process.ultimate_exiting_timeout = None  # the process is not kopf's to end
    return made


def registry(touched: Touched, credentials: Callable[[], Credentials]) -> kopf.OperatorRegistry:
    """The handlers: one for each policy kind, and the login. ``credentials`` may raise: kopf asks again."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made, backoff=10)
    async def login(**_: object) -> kopf.AiohttpSession:
        found = credentials()
        return kopf.AiohttpSession(
            server=found.server, default_namespace=found.namespace, aiohttp_session=borrowed(found)
        )

    for kind in Kind:
        found = BY_KIND[kind]
        kopf.on.event(found.group, found.version, found.plural, registry=made, id=found.plural)(handler(kind, touched))
    return made


def handler(kind: Kind, touched: Touched) -> Callable[..., Any]:
    """The handler of one kind: says which policy it was, whatever happened to it."""

    async def on_event(*, name: str | None, namespace: str | None, **_: object) -> None:
        if name:
            touched(PolicyRef(kind, namespace or "", name))

    return on_event


class Shell:
    """kopf in a thread of its own. ``run`` starts it again should it ever end by itself."""

    def __init__(self, touched: Touched, credentials: Callable[[], Credentials]) -> None:
        self._touched, self._credentials = touched, credentials

    async def run(self) -> NoReturn:
        """Run kopf until cancelled. What it finds is told in this event loop."""
        for name, level in LEVELS.items():
            logging.getLogger(name).setLevel(level)
        for name in REQUESTS:
            logging.getLogger(name).addFilter(_RETRIED)
        loop = asyncio.get_running_loop()

        def tell(ref: PolicyRef) -> None:
            with contextlib.suppress(RuntimeError):  # our loop has ended before kopf's
                loop.call_soon_threadsafe(self._touched, ref)

        while True:
            operation = _Operation(registry(tell, self._credentials))
            try:
                await operation.run()
            finally:
                operation.stop()
            log.error("kopf ended by itself and is started again", extra={"fields": {"delay": RESTART_SECONDS}})
            await asyncio.sleep(RESTART_SECONDS)


# kopf would ask the user database for its own name, and fail: an image's numeric user has no entry there.
IDENTITY = "nodewall"


class _Operation:
    """One life of kopf. The thread is a daemon: however kopf may hang, it does not keep the process alive."""

    def __init__(self, handlers: kopf.OperatorRegistry) -> None:
        self._handlers = handlers
        self._ended = asyncio.Event()
        self._outer = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._stop: Callable[[], object] = lambda: None

    async def run(self) -> None:
        """Returns when kopf has ended."""
        threading.Thread(target=self._live, name="kopf", daemon=True).start()
        await self._ended.wait()

    def stop(self) -> None:
        """Ask kopf to end; does not wait for it."""
        self._stopping.set()
        self._stop()

    def _live(self) -> None:
        try:
            asyncio.run(self._operate())
        except Exception:
            log.exception("kopf failed")
        finally:
            with contextlib.suppress(RuntimeError):  # the outer loop has ended before us
                self._outer.call_soon_threadsafe(self._ended.set)

    async def _operate(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def stop_from_outside() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)

        self._stop = stop_from_outside
        if not self._stopping.is_set():
            await kopf.operator(
                registry=self._handlers,
                settings=settings(),
                clusterwide=True,
                standalone=True,
                stop_flag=stop,
                identity=IDENTITY,  # type: ignore[arg-type]  # the type is private to kopf
            )
