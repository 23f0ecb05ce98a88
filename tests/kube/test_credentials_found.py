"""Which credentials are taken: the named file, the pod's own, the environment's, the home's."""

import base64
from pathlib import Path

import pytest

from nodewall.kube.credentials import bound_node, find, in_cluster
from nodewall.kube.errors import CredentialsError
from tests.kube import pki
from tests.kube.test_credentials_kubeconfig import kubeconfig

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def service_account(folder: Path) -> Path:
    pki.authority(folder)
    (folder / "token").write_text("bound\n")
    (folder / "namespace").write_text("nodewall-system\n")
    return folder


def test_the_service_account_of_the_pod(tmp_path: Path) -> None:
    found = in_cluster(POD, service_account(tmp_path))
    assert (found.server, found.token.read(), found.namespace) == ("https://10.96.0.1:443", "bound", "nodewall-system")
    assert found.tls is not None


def test_an_ipv6_service(tmp_path: Path) -> None:
    found = in_cluster(POD | {"KUBERNETES_SERVICE_HOST": "fd00::1"}, service_account(tmp_path))
    assert found.server == "https://[fd00::1]:443"


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_a_mount_without_a_file(tmp_path: Path, missing: str) -> None:
    folder = service_account(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(CredentialsError, match=rf"^{folder / missing}: cannot be read: No such file"):
        in_cluster(POD, folder)


def test_not_in_a_pod() -> None:
    with pytest.raises(CredentialsError, match=r"KUBERNETES_SERVICE_HOST: is not set"):
        in_cluster({})


def test_a_named_file_goes_before_the_pod(tmp_path: Path) -> None:
    assert find(kubeconfig(tmp_path), environ=POD).server == "https://api.example:6443"


def test_the_pod_goes_before_the_environment(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"serviceaccount"):
        find(environ=POD | {"KUBECONFIG": str(kubeconfig(tmp_path))})


def test_the_file_of_the_environment(tmp_path: Path) -> None:
    assert find(environ={"KUBECONFIG": str(kubeconfig(tmp_path))}).server == "https://api.example:6443"


def test_several_files_are_not_merged() -> None:
    with pytest.raises(CredentialsError, match=r"names several files; name one with --kubeconfig"):
        find(environ={"KUBECONFIG": "/a:/b"})


def test_the_file_of_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(CredentialsError, match=rf"^{tmp_path}/.kube/config: cannot be read"):
        find(environ={})


def _token(claims: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.signature"


@pytest.mark.parametrize(
    ("token", "node"),
    [
        (_token(b'{"kubernetes.io":{"namespace":"a","node":{"name":"n1","uid":"x"}}}'), "n1"),
        (_token(b'{"kubernetes.io":{"namespace":"a"}}'), ""),
        (_token(b'{"sub":"somebody"}'), ""),
        (_token(b'{"kubernetes.io":7}'), ""),
        (_token(b"\xff{"), ""),
        ("e30.!!!.x", ""),
        ("opaque", ""),
        ("", ""),
    ],
)
def test_the_node_that_a_token_is_bound_to(token: str, node: str) -> None:
    assert bound_node(token) == node
