"""Where the Kubernetes programs come from: each source in turn, and a clear word when there is none."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from e2e.binaries import KUBECTL, VERSION, BinaryMissingError, cache, etcd, parse_version, provide


def script(path: Path, version: str) -> Path:
    """A program that only says its version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'Client Version: {version}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No program anywhere, an empty cache, and a release server that refuses."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("NODEWALL_KUBERNETES_RELEASES", "http://127.0.0.1:1")
    monkeypatch.delenv(KUBECTL.variable, raising=False)


@pytest.fixture
def said() -> list[str]:
    """The lines of progress."""
    return []


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A release server; the paths that it has."""
    files: dict[str, bytes] = {}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path.removeprefix(f"/{VERSION}/bin/linux/").partition("/")[2])
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("NODEWALL_KUBERNETES_RELEASES", f"http://127.0.0.1:{server.server_port}")
        yield files
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Kubernetes v1.36.3", (1, 36)),
        ("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", (1, 32)),
        ("etcd Version: 3.4.23", None),
    ],
)
def test_a_version_is_read(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version


def test_the_variable_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    script(tmp_path / "bin" / "kubectl", "v1.36.0")
    mine = script(tmp_path / "mine", "v1.35.1")
    monkeypatch.setenv(KUBECTL.variable, str(mine))
    assert provide((KUBECTL,), said.append) == {"kubectl": mine}


def test_a_variable_that_does_not_fit_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    script(tmp_path / "bin" / "kubectl", "v1.36.0")
    for value in (script(tmp_path / "old", "v1.34.9"), tmp_path / "absent"):
        monkeypatch.setenv(KUBECTL.variable, str(value))
        with pytest.raises(BinaryMissingError, match=r"NODEWALL_KUBECTL=.*not a kubectl of 1\.35 or newer"):
            provide((KUBECTL,), said.append)


def test_path_comes_before_the_cache(tmp_path: Path, said: list[str]) -> None:
    script(cache() / "kubectl", VERSION)
    on_path = script(tmp_path / "bin" / "kubectl", "v1.37.0")
    assert provide((KUBECTL,), said.append) == {"kubectl": on_path}


def test_one_on_path_that_is_too_old_is_passed_over(tmp_path: Path, said: list[str]) -> None:
    script(tmp_path / "bin" / "kubectl", "v1.32.4-dispatcher")
    cached = script(cache() / "kubectl", VERSION)
    assert provide((KUBECTL,), said.append) == {"kubectl": cached}
    assert said == []


def test_a_release_is_fetched_and_checked(mirror: dict[str, bytes], said: list[str]) -> None:
    mirror["kubectl"] = b"#!/bin/sh\n" * 1000
    mirror["kubectl.sha256"] = hashlib.sha256(mirror["kubectl"]).hexdigest().encode()
    path = provide((KUBECTL,), said.append)["kubectl"]
    assert path == cache() / "kubectl"
    assert path.read_bytes() == mirror["kubectl"]
    assert path.stat().st_mode & 0o111


def test_a_release_with_another_digest_is_refused(mirror: dict[str, bytes], said: list[str]) -> None:
    mirror["kubectl"] = b"something else"
    mirror["kubectl.sha256"] = b"0" * 64
    with pytest.raises(BinaryMissingError, match="its SHA-256 is"):
        provide((KUBECTL,), said.append)
    assert [path.name for path in cache().iterdir()] == [".lock"]


def test_without_go_it_says_what_would_help(said: list[str]) -> None:
    with pytest.raises(BinaryMissingError, match=r"Go is not on PATH.*NODEWALL_KUBECTL.*install Go 1\.21 or newer"):
        provide((KUBECTL,), said.append)
    assert said == [f"kubectl {VERSION}: no release download (<urlopen error [Errno 111] Connection refused>)"]


def test_a_go_that_is_too_old_is_named(tmp_path: Path, said: list[str]) -> None:
    go = script(tmp_path / "bin" / "go", "")
    go.write_text("#!/bin/sh\necho go1.19.8\n")
    with pytest.raises(BinaryMissingError, match=r"go1\.19\.8 at .* is too old"):
        provide((KUBECTL,), said.append)


def test_without_etcd_it_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODEWALL_ETCD", raising=False)
    with pytest.raises(BinaryMissingError, match="Debian: etcd-server"):
        etcd()
