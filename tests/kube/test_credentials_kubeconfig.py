"""A kubeconfig is read as kubectl reads it, or refused by file and field."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodewall.kube.credentials import FileToken, from_kubeconfig
from nodewall.kube.errors import CredentialsError
from tests.kube import pki


def kubeconfig(
    folder: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **rest: Any
) -> Path:
    file = folder / "config"
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443"} | (cluster or {})}],
        "users": [{"name": "u", "user": {"token": "secret"} if user is None else user}],
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u"}},
            {"name": "there", "context": {"cluster": "c", "user": "u", "namespace": "ns"}},
            {"name": "nobody", "context": {"cluster": "c"}},
        ],
        "current-context": "here",
    }
    file.write_text(yaml.safe_dump(body | rest))
    return file


def test_the_current_context(tmp_path: Path) -> None:
    found = from_kubeconfig(kubeconfig(tmp_path))
    assert (found.server, found.token.read(), found.namespace) == ("https://api.example:6443", "secret", "default")
    assert found.tls is not None


def test_a_named_context(tmp_path: Path) -> None:
    assert from_kubeconfig(kubeconfig(tmp_path), "there").namespace == "ns"


def test_a_context_without_user_is_anonymous(tmp_path: Path) -> None:
    assert from_kubeconfig(kubeconfig(tmp_path), "nobody").token.read() == ""


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "tok").write_text("from a file\n".replace(" ", "-"))
    pki.authority(tmp_path)
    file = kubeconfig(tmp_path, cluster={"certificate-authority": "ca.crt"}, user={"tokenFile": "tok"})
    found = from_kubeconfig(file)
    assert isinstance(found.token, FileToken)
    assert found.token.read() == "from-a-file"
    assert found.tls is not None
    assert [subject["subject"] for subject in found.tls.get_ca_certs()] == [((("commonName", "kubernetes"),),)]


def test_the_other_name_of_the_server_and_a_path(tmp_path: Path) -> None:
    cluster = {"server": "https://10.0.0.1:6443/k8s/c1/", "tls-server-name": "api.example"}
    found = from_kubeconfig(kubeconfig(tmp_path, cluster=cluster))
    assert (found.server, found.server_name) == ("https://10.0.0.1:6443/k8s/c1", "api.example")


def test_plain_http_is_for_loopback(tmp_path: Path) -> None:
    found = from_kubeconfig(kubeconfig(tmp_path, cluster={"server": "http://[::1]:8001"}))
    assert found.tls is None


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CLUSTERS: list[tuple[dict[str, Any], str]] = [
    ({"server": "http://api.example"}, "clusters[c].cluster.server: 'http://api.example' must be https://"),
    ({"server": "api.example:6443"}, "clusters[c].cluster.server: 'api.example:6443' must be https://"),
    ({"server": "https://"}, "clusters[c].cluster.server: 'https://' must be https://"),
    ({"server": "https://h:99999999"}, "clusters[c].cluster.server: 'https://h:99999999' must be https://"),
    ({"insecure-skip-tls-verify": True}, "clusters[c].cluster.insecure-skip-tls-verify: is refused"),
    ({"certificate-authority": "gone"}, "clusters[c].cluster.certificate-authority: cannot be read: No such file"),
    ({"certificate-authority-data": "%"}, "clusters[c].cluster.certificate-authority-data: is not base64"),
    ({"certificate-authority-data": encoded("x")}, "clusters[c].cluster.certificate-authority: is no PEM certificate"),
    ({"server": 7}, "clusters[0].cluster.server: Expected `str`, got `int`"),
]

USERS: list[tuple[dict[str, Any], str]] = [
    ({"exec": {"command": "aws"}}, "users[u].user.exec: runs a program"),
    ({"auth-provider": {"name": "gcp"}}, "users[u].user.auth-provider: was removed"),
    ({"username": "admin"}, "users[u].user.username: password login was removed"),
    ({"token": "t", "as": "root"}, "users[u].user.as: impersonation is not supported"),
    ({"token": "two words"}, "users[u].user.token: holds no token"),
    ({"tokenFile": "gone"}, "cannot be read: No such file"),
    ({"client-certificate-data": encoded("x")}, "users[u].user.client-key: is missing"),
    ({"client-key-data": encoded("x")}, "users[u].user.client-certificate: is missing"),
    (
        {"client-certificate-data": encoded("x"), "client-key-data": encoded("x")},
        "users[u].user.client-certificate: certificate and key cannot be used",
    ),
]

FILES: list[tuple[dict[str, Any], str]] = [
    ({"current-context": ""}, "current-context: is not set"),
    ({"current-context": "gone"}, "contexts: has no entry named 'gone'; there are: here, nobody, there"),
    ({"clusters": None}, "clusters: has no entry named 'c'; there are: none"),
    ({"users": []}, "users: has no entry named 'u'; there are: none"),
    ({"users": [{"user": {}}]}, "users[0]: Object missing required field `name`"),
]


def refused(file: Path) -> str:
    with pytest.raises(CredentialsError) as caught:
        from_kubeconfig(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("cluster", "why"), CLUSTERS, ids=str)
def test_a_cluster_that_cannot_be_used(tmp_path: Path, cluster: dict[str, Any], why: str) -> None:
    assert why in refused(kubeconfig(tmp_path, cluster=cluster))


@pytest.mark.parametrize(("user", "why"), USERS, ids=str)
def test_a_user_who_cannot_be_used(tmp_path: Path, user: dict[str, Any], why: str) -> None:
    assert why in refused(kubeconfig(tmp_path, user=user))


@pytest.mark.parametrize(("rest", "why"), FILES, ids=str)
def test_a_file_that_does_not_hold_together(tmp_path: Path, rest: dict[str, Any], why: str) -> None:
    file = kubeconfig(tmp_path, **rest)
    assert refused(file).startswith(f"{file}: {why}")


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("clusters: [\n")
    assert refused(file).startswith(f"{file}: is not YAML: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone") == f"{tmp_path / 'gone'}: cannot be read: No such file or directory"
