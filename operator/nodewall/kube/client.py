"""kubernetes_asyncio, for what it knows better than we do: the ways to log in that a person's kubeconfig may name.

The only door to that library, and not for the node agent: importing it costs more memory than the whole agent. Requests
are made by path, not through its models: they turn each object twice, and their field names change between releases.
Errors are those of ``kube.errors``.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

from nodewall.kube.credentials import Credentials, FixedToken
from nodewall.kube.errors import Call, CredentialsError, NotFoundError, UnreachableError, refusal
from nodewall.kube.http import APPLY, JSON, Target
from nodewall.kube.resource import EVENTS, Resource
from nodewall.kube.wire import ApiResource, Decoder, decode

REQUEST_SECONDS = 30.0


class Client:
    """Writes, with somebody's kubeconfig. Made by ``login``."""

    def __init__(self, api: Any, manager: str) -> None:
        self._api, self._manager = api, manager
        self._kinds: dict[tuple[str, str], ApiResource] = {}

    async def apply(self, body: Mapping[str, Any], *, force: bool = True) -> None:
        """Server-side apply of any object. What it leaves out of ``metadata.namespace`` goes to ``default``."""
        metadata = body["metadata"]
        resource = await self._resource_of(body["apiVersion"], body["kind"])
        namespace = metadata.get("namespace", "default") if resource.namespaced else ""
        await self._apply(Target(resource, metadata["name"], namespace), body, force=force)

    async def write_event(self, event: Mapping[str, Any]) -> None:
        """Create the core/v1 Event, or replace the one of this name: ``EventSink`` of ``telemetry.events``."""
        metadata = event["metadata"]
        await self._apply(Target(EVENTS, metadata["name"], metadata["namespace"]), event, force=True)

    async def _apply(self, target: Target, body: Mapping[str, Any], *, force: bool) -> None:
        query = {"fieldManager": self._manager, "force": str(force).lower()}
        await self._ask(Call("patch", str(target)), "PATCH", target.path, query, (body, APPLY))

    async def _resource_of(self, api_version: str, kind: str) -> Resource:
        group, _, version = api_version.rpartition("/")
        if (api_version, kind) not in self._kinds:
            await self._discover(Resource(group, version, ""), api_version)
        found = self._kinds.get((api_version, kind))
        if found is None:
            raise NotFoundError(Call("discover", api_version), f"the server has no kind {kind}", status=404)
        return Resource(group, version, found.name, found.namespaced)

    async def _discover(self, place: Resource, api_version: str) -> None:
        call = Call("discover", api_version)
        document = decode(Decoder.discovery, await self._ask(call, "GET", place.root), call)
        known = {(api_version, entry.kind): entry for entry in document.resources if "/" not in entry.name}
        self._kinds.update(known)

    async def _ask(
        self,
        call: Call,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        content: tuple[Any, str] = (None, JSON),
    ) -> bytes:
        body, content_type = content
        try:
            response = await self._api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": JSON, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=REQUEST_SECONDS,  # the library waits for ever otherwise
            )
            async with response:
                answer: bytes = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(call, str(error) or type(error).__name__) from error
        if response.status >= 300:
            raise refusal(call, response.status, answer, response.headers.get("Retry-After", ""))
        return answer


@asynccontextmanager
async def login(manager: str, kubeconfig: Path | None = None, context: str = "") -> AsyncIterator[Client]:
    """A client for the kubeconfig ($KUBECONFIG and ~/.kube/config by default), in a pod for its ServiceAccount.

    ``manager`` is the field manager of everything that it writes. Raises ``CredentialsError``.
    """
    configuration = await _configuration(kubeconfig, context)
    configuration.disable_strict_ssl_verification = True  # for the reason given in kube.credentials
    async with ApiClient(configuration) as api:
        yield Client(api, manager)


async def credentials(kubeconfig: Path | None = None, context: str = "") -> Credentials:
    """How to reach and convince the server, for our own session: what the library made of the kubeconfig.

    A program that the kubeconfig names has been run by then. Raises ``CredentialsError``.
    """
    found = await _configuration(kubeconfig, context)
    file = str(kubeconfig or "kubeconfig")
    if not found.verify_ssl:
        raise CredentialsError(file, "insecure-skip-tls-verify", "is refused; give the server's CA instead")
    _, _, token = str(found.api_key.get("BearerToken", "")).rpartition(" ")
    server = (found.host or "").rstrip("/")
    return Credentials(
        server=server,
        tls=_tls(found, file) if server.startswith("https:") else None,
        token=FixedToken(token),
        server_name=found.tls_server_name or "",
    )


def _tls(found: Configuration, file: str) -> ssl.SSLContext:
    try:
        tls = ssl.create_default_context(cafile=found.ssl_ca_cert)
        if found.cert_file:
            tls.load_cert_chain(found.cert_file, found.key_file)
    except OSError as error:  # ssl.SSLError is one of these
        raise CredentialsError(file, "certificates", f"cannot be used: {error}") from error
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT  # for the reason given in kube.credentials
    return tls


async def _configuration(kubeconfig: Path | None, context: str) -> Configuration:
    configuration = Configuration()
    file = str(kubeconfig) if kubeconfig else None
    try:
        await load_kube_config(file, context or None, configuration, persist_config=False)
    except ConfigException as error:
        if kubeconfig or context or not _in_cluster(configuration):
            raise CredentialsError(file or "kubeconfig", "", str(error)) from error
    except OSError as error:
        raise CredentialsError(file or "kubeconfig", "", f"cannot be read: {error.strerror or error}") from error
    return configuration


def _in_cluster(configuration: Configuration) -> bool:
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except ConfigException:
        return False
    return True
