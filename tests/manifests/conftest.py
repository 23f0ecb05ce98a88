"""A real API server with manifests/ applied, once per session, and the identities that the manifests make."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.api import Api, Object, is_established
from e2e.controlplane import ControlPlane
from e2e.instance import Instance, sweep_abandoned
from e2e.tokens import bound_token
from e2e.waiting import until
from tests.manifests.documents import MANIFESTS

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
NAMESPACE = "nodewall-system"
Token = Callable[[str, str], str]


@pytest.fixture(scope="session")
def server() -> Iterator[ControlPlane]:
    """etcd and kube-apiserver, empty."""
    if os.geteuid() != 0:
        pytest.exit("these tests make a network namespace: run them as root", returncode=2)
    sweep_abandoned()
    with fresh_server("m") as control_plane:
        yield control_plane


@contextmanager
def fresh_server(letter: str) -> Iterator[ControlPlane]:
    """An API server that nobody has installed anything on; `letter` begins the name of its instance."""
    instance = Instance.named(f"{letter}{os.getpid()}"[:10])
    instance.claim()
    try:
        control_plane = ControlPlane.start(instance)
        try:
            yield control_plane
        finally:
            control_plane.end()
    finally:
        instance.remove()


@pytest.fixture(scope="session")
def first_apply(server: ControlPlane) -> list[str]:
    """What `kubectl apply -f manifests/` says on an empty API server."""
    said = server.kubectl("apply", "-f", str(MANIFESTS)).splitlines()
    until("definitions served", lambda: all(map(is_established, server.api.list(*CRD))), within=20)
    return said


@pytest.fixture
def installed(server: ControlPlane, first_apply: list[str]) -> ControlPlane:
    """The API server with everything applied."""
    return server


@pytest.fixture(scope="session")
def token(server: ControlPlane, first_apply: list[str]) -> Token:
    """The token of a ServiceAccount, bound to a pod on the given node, as a kubelet would mount it."""

    def make(account: str, node: str) -> str:
        server.api.ensure({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        return bound_token(server.api, server.api.ensure(_pod(account, node)))

    return make


@pytest.fixture
def kubeconfig(installed: ControlPlane, token: Token, tmp_path: Path) -> Callable[[str], Path]:
    """A kubeconfig with the token of a ServiceAccount."""

    def make(account: str) -> Path:
        cluster = {
            "server": f"https://127.0.0.1:{installed.port}",
            "certificate-authority": str(installed.pki.ca.certificate),
        }
        config = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": token(account, "node-a")}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = tmp_path / f"{account}.json"
        path.write_text(json.dumps(config))
        return path

    return make


def _pod(account: str, node: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{account}-{node}", "namespace": NAMESPACE},
        "spec": {
            "nodeName": node,
            "serviceAccountName": account,
            "containers": [{"name": "main", "image": "none"}],
        },
    }


@pytest.fixture
def with_token(installed: ControlPlane) -> Iterator[Callable[[str], Api]]:
    """A client with a bearer token."""
    clients: list[Api] = []

    def make(token: str) -> Api:
        clients.append(installed.api_as(token))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def agent_of(with_token: Callable[[str], Api], token: Token) -> Callable[[str], Api]:
    """A client with the token of a node's agent."""
    return lambda node: with_token(token("nodewall-agent", node))
