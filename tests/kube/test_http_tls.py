"""The server proves who it is against its CA, and we prove who we are with a client certificate."""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nodewall.kube.credentials import from_kubeconfig
from nodewall.kube.errors import UnreachableError
from nodewall.kube.http import connect
from nodewall.kube.resource import PODS
from tests.kube import pki
from tests.kube.test_credentials_kubeconfig import kubeconfig


@asynccontextmanager
async def tls_server(server: pki.Pair, ca: pki.Pair) -> AsyncIterator[int]:
    """Says 404 to whom has a certificate of ``ca``. Yields its port."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=404)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca.certificate))
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Go's server is not as strict as Python 3.13
    runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def config(folder: Path, port: int, ca: pki.Pair, client: pki.Pair, **cluster: Any) -> Path:
    user = {"client-certificate-data": encoded(client.certificate), "client-key": str(client.key)}
    known = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": encoded(ca.certificate)}
    return kubeconfig(folder, cluster=known | cluster, user=user)


async def test_both_sides_are_proven(tmp_path: Path) -> None:
    ca = pki.authority(tmp_path)
    server = pki.signed(tmp_path, ca, "server", "subjectAltName=IP:127.0.0.1\n")
    client = pki.signed(tmp_path, ca, "client", "extendedKeyUsage=clientAuth\n")
    async with tls_server(server, ca) as port, connect(from_kubeconfig(config(tmp_path, port, ca, client))) as session:
        assert await session.serves(PODS) is False


async def test_the_name_to_verify_can_be_given(tmp_path: Path) -> None:
    ca = pki.authority(tmp_path)
    server = pki.signed(tmp_path, ca, "server", "subjectAltName=DNS:api.example\n")
    client = pki.signed(tmp_path, ca, "client", "extendedKeyUsage=clientAuth\n")
    async with tls_server(server, ca) as port:
        named = from_kubeconfig(config(tmp_path, port, ca, client, **{"tls-server-name": "api.example"}))
        async with connect(named) as session:
            assert await session.serves(PODS) is False
        async with connect(from_kubeconfig(config(tmp_path, port, ca, client))) as session:
            with pytest.raises(UnreachableError, match="certificate"):
                await session.serves(PODS)


async def test_a_server_of_another_authority_is_refused(tmp_path: Path) -> None:
    ca = pki.authority(tmp_path)
    (tmp_path / "other").mkdir()
    other = pki.authority(tmp_path / "other")
    server = pki.signed(tmp_path, other, "server", "subjectAltName=IP:127.0.0.1\n")
    client = pki.signed(tmp_path, ca, "client", "extendedKeyUsage=clientAuth\n")
    async with tls_server(server, ca) as port, connect(from_kubeconfig(config(tmp_path, port, ca, client))) as session:
        with pytest.raises(UnreachableError, match=r"discover pods: https://.*certificate verify failed"):
            await session.serves(PODS)
