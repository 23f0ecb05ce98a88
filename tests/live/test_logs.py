"""Records of all agents: merged, filtered, followed through restarts, and nothing but records."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from nodewall.kube.http import connect
from nodewall.kube.resource import PODS
from nodewall.live import logs
from nodewall.live.logs import SYSTEM, Wish
from nodewall.live.records import Filter
from nodewall.model.errors import BadInputError
from tests.kube.fake_api import FakeApi, Refuse
from tests.live.clusters import NODES, fill
from tests.live.test_records import RECORD


class LogApi(FakeApi):
    """A server that has the logs of pods too. ``ended``: it ends the logs that are followed."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, list[bytes]] = {}
        self.asked_logs: list[tuple[str, dict[str, str]]] = []
        self._grown = asyncio.Event()
        self.lives = 0

    def agent(self, node: str, *lines: bytes) -> None:
        labels = {"app.kubernetes.io/name": "nodewall", "app.kubernetes.io/component": "agent"}
        containers = [{"name": "injected"}, {"name": "agent"}]
        meta = {"name": f"agent-{node}", "namespace": SYSTEM, "labels": labels}
        self.put(PODS, {"metadata": meta, "spec": {"nodeName": node, "containers": containers}})
        self.lines[f"agent-{node}"] = list(lines)

    def write(self, node: str, *lines: bytes) -> None:
        self.lines[f"agent-{node}"] += lines
        self._wake()

    def end_logs(self) -> None:
        """As when every agent restarts."""
        self.lives += 1
        self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/log"):
            return await super()._handle(request)
        pod = request.path.split("/")[-2]
        self.asked_logs.append((pod, dict(request.query)))
        response = web.StreamResponse()
        await response.prepare(request)
        life, sent = self.lives, 0
        while True:
            grown = self._grown
            for line in self.lines[pod][sent:]:
                await response.write(line + b"\n")
                sent += 1
            if request.query.get("follow") != "true" or life != self.lives:
                return response
            await grown.wait()


def record(second: int, **more: Any) -> bytes:
    return json.dumps(RECORD | {"time": f"2026-01-02T03:04:{second:02}.000000Z"} | more).encode()


OWN = b'{"time": "2026-01-02T03:04:05.678Z", "level": "info", "logger": "x", "message": "rule set applied"}'


@pytest.fixture
async def api() -> AsyncIterator[LogApi]:
    async with LogApi() as found:
        fill(found, NODES)
        yield found


async def shown(api: LogApi, wish: Wish) -> list[str]:
    found: list[str] = []
    async with connect(api.credentials()) as session:
        await logs.show(session, wish, found.append)
    return found


@asynccontextmanager
async def following(api: LogApi, wish: Wish) -> AsyncIterator[list[str]]:
    found: list[str] = []
    async with connect(api.credentials()) as session:
        work = asyncio.create_task(logs.show(session, replace(wish, follow=True), found.append))
        try:
            yield found
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work


async def come(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - requests come from elsewhere
            await asyncio.sleep(0.01)


RAW = Wish(raw=True)


async def test_the_records_of_all_agents_in_the_order_of_time(api: LogApi) -> None:
    api.agent("n1", OWN, record(1), b"", b"garbage", record(3))
    api.agent("n2", record(2), OWN)
    assert await shown(api, RAW) == [record(second).decode() for second in (1, 2, 3)]
    assert [query["container"] for _, query in api.asked_logs] == ["agent", "agent"]


async def test_only_what_is_asked_for(api: LogApi) -> None:
    api.agent("n1", record(1), record(2, verdict="accept"))
    api.agent("n2", record(3))
    accepts = replace(RAW, wanted=Filter(verdicts=("accept",)))
    assert [json.loads(line)["verdict"] for line in await shown(api, accepts)] == ["accept"]
    assert len(await shown(api, replace(RAW, node="n1", since=600))) == 2
    assert api.asked_logs[-1] == ("agent-n1", {"container": "agent", "sinceSeconds": "600"})


async def test_text_names_the_pods_that_agents_cannot_know(api: LogApi) -> None:
    api.agent("n1", record(1))
    (line,) = await shown(api, Wish())
    assert "shop/db 10.2.0.6:4711 -> shop/web 10.1.0.5:80" in line


async def test_without_the_right_to_read_pods_there_are_addresses(api: LogApi) -> None:
    api.agent("n1", record(1))
    found: list[str] = []
    async with connect(api.credentials()) as session:
        agents = await logs.agents(session, Wish())
        api.fail("list", Refuse(403, "no", "Forbidden"), times=50)
        shower = logs._Shown(session, Wish(), found.append)  # noqa: SLF001 - what follows the look for agents
        await shower.one(RECORD, record(1))
    assert agents
    assert "  10.2.0.6:4711 -> shop/web" in found[0].replace("DENY       ", "")


async def test_where_there_is_no_agent_it_says_so(api: LogApi) -> None:
    with pytest.raises(BadInputError, match=r"nodewall-system: there is no agent"):
        await shown(api, RAW)
    api.agent("n1")
    with pytest.raises(BadInputError, match="n9: there is no agent on this node"):
        await shown(api, replace(RAW, node="n9"))


async def test_following_shows_what_comes(api: LogApi) -> None:
    api.agent("n1", record(1))
    async with following(api, RAW) as found:
        await come(lambda: len(found) == 1)
        api.write("n1", OWN, record(2))
        await come(lambda: len(found) == 2)
    assert found == [record(1).decode(), record(2).decode()]


async def test_following_goes_on_where_a_log_ended_and_with_agents_that_come(
    api: LogApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOK_AGAIN", 0.05)
    api.agent("n1", record(1))
    async with following(api, RAW) as found:
        await come(lambda: len(found) == 1)
        api.end_logs()
        api.write("n1", record(2))
        await come(lambda: len(found) == 2)
        api.agent("n2", record(3))
        await come(lambda: len(found) == 3)
        api.fail("list", Refuse(500, "trouble"), times=2)
        api.end_logs()
        api.write("n1", record(4))
        await come(lambda: len(found) == 4)
    assert found == [record(second).decode() for second in (1, 2, 3, 4)]
    assert any("sinceSeconds" in query for pod, query in api.asked_logs if pod == "agent-n1")


async def test_a_reader_that_has_enough_ends_it(api: LogApi) -> None:
    def closed(_line: str) -> None:
        raise BrokenPipeError

    api.agent("n1", record(1))
    async with connect(api.credentials()) as session:
        with pytest.raises(BrokenPipeError):
            await logs.show(session, replace(RAW, follow=True), closed)
