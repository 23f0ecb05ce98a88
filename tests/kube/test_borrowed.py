"""The session that another library gets proves both sides as ours does."""

from pathlib import Path

import aiohttp
import pytest

from nodewall.kube.borrowed import borrowed
from nodewall.kube.credentials import Credentials, FileToken, FixedToken, from_kubeconfig
from tests.kube import pki
from tests.kube.fake_api import FakeApi
from tests.kube.test_http_tls import config, tls_server

PODS = "/api/v1/pods"


async def asked(credentials: Credentials, times: int = 1) -> list[int]:
    async with borrowed(credentials) as session:
        statuses = []
        for _ in range(times):
            async with session.get(credentials.server + PODS) as response:
                await response.read()
                statuses.append(response.status)
        return statuses


async def test_the_name_to_verify_can_be_given(tmp_path: Path) -> None:
    ca = pki.authority(tmp_path)
    server = pki.signed(tmp_path, ca, "server", "subjectAltName=DNS:api.example\n")
    client = pki.signed(tmp_path, ca, "client", "extendedKeyUsage=clientAuth\n")
    async with tls_server(server, ca) as port:
        named = from_kubeconfig(config(tmp_path, port, ca, client, **{"tls-server-name": "api.example"}))
        assert await asked(named, 2) == [404, 404]
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await asked(from_kubeconfig(config(tmp_path, port, ca, client)))


async def test_a_token_that_was_renewed_is_read_again_when_the_server_refuses_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    async with FakeApi(tokens=["new"]) as api:
        token = FileToken(file)
        token.read()
        file.write_text("new")
        known = api.credentials()
        assert await asked(Credentials(known.server, None, token), 2) == [200, 200]
        assert len(api.requests) == 3


async def test_the_same_token_again_is_not_tried(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    async with FakeApi(tokens=["new"]) as api:
        server = api.credentials().server
        assert await asked(Credentials(server, None, FileToken(file))) == [401]
        assert await asked(Credentials(server, None, FixedToken("old"))) == [401]
        assert len(api.requests) == 2
