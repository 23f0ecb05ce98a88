"""/healthz, /readyz and /metrics over real sockets."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
import pytest

from nodewall.telemetry.metrics import CONTENT_TYPE
from nodewall.telemetry.web import Address, Pages, serve


@dataclass
class Program:
    """The state that the pages show."""

    live: list[str] = field(default_factory=list)
    ready: list[str] = field(default_factory=list)

    def pages(self, live: Callable[[], Sequence[str]] | None = None) -> Pages:
        return Pages(live=live or (lambda: self.live), ready=lambda: self.ready, metrics=lambda: b"nodewall_x 1\n")


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    media_type: str


async def ask(address: Address, path: str, method: str = "GET") -> Answer:
    host = f"[{address.host}]" if ":" in address.host else address.host
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{host}:{address.port}{path}") as got,
    ):
        return Answer(got.status, await got.text(), got.headers["Content-Type"])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_well(path: str) -> None:
    async with serve(Program().pages(), Address()) as listening:
        assert await ask(listening.health, path) == Answer(200, "ok\n", "text/plain; charset=utf-8")


async def test_problems_are_named_one_per_line() -> None:
    program = Program()
    async with serve(program.pages(), Address()) as listening:
        program.ready = ["pods are not listed yet", "bad\nname\x1b"]
        assert await ask(listening.health, "/readyz") == Answer(
            503, "pods are not listed yet\nbad\\nname\\x1b\n", "text/plain; charset=utf-8"
        )
        assert (await ask(listening.health, "/healthz")).status == 200
        program.live, program.ready = ["the loop stands still"], []
        assert (await ask(listening.health, "/readyz")).status == 200
        assert (await ask(listening.health, "/healthz")).status == 503


async def test_a_check_that_fails_is_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    def check() -> Sequence[str]:
        raise KeyError("secret")

    with caplog.at_level(logging.ERROR):
        async with serve(Program().pages(live=check), Address()) as listening:
            answer = await ask(listening.health, "/healthz")
    assert (answer.status, answer.text) == (503, "the check itself failed: KeyError\n")
    assert "health check failed" in caplog.messages


async def test_metrics_beside_health() -> None:
    async with serve(Program().pages(), Address()) as listening:
        assert listening.metrics == listening.health
        assert await ask(listening.metrics, "/metrics") == Answer(200, "nodewall_x 1\n", CONTENT_TYPE)


async def test_metrics_on_an_address_of_their_own() -> None:
    async with serve(Program().pages(), Address(), Address("127.0.0.2")) as listening:
        assert (await ask(listening.metrics, "/metrics")).status == 200
        assert (await ask(listening.metrics, "/healthz")).status == 404
        assert (await ask(listening.health, "/metrics")).status == 404
        assert (await ask(listening.health, "/healthz")).status == 200


def test_loopback_unless_told_otherwise() -> None:
    assert Address().host == "127.0.0.1"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_sent(method: str) -> None:
    async with serve(Program().pages(), Address()) as listening:
        assert (await ask(listening.health, "/healthz", method)).status == 405


async def test_ipv6() -> None:
    async with serve(Program().pages(), Address("::1")) as listening:
        assert (await ask(listening.health, "/healthz")).status == 200


async def test_a_taken_port_is_named() -> None:
    async with serve(Program().pages(), Address()) as listening:
        with pytest.raises(OSError, match=str(listening.health.port)):
            async with serve(Program().pages(), listening.health):
                pass


async def test_the_port_is_free_again_afterwards() -> None:
    async with serve(Program().pages(), Address()) as listening:
        pass
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(listening.health, "/healthz")
