"""The verbs as typed, against a server: exit codes, one line for what goes wrong, and kubeconfigs of all sorts."""

import asyncio
import json
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodewall import cli
from nodewall.compile import compile_all
from tests.kube.fake_api import FakeApi, Refuse
from tests.live.clusters import NODES, POLICIES, fill, publish, state


class Server:
    """A fake API in a thread of its own: the verbs bring their own loop."""

    def __init__(self, *tokens: str) -> None:
        self.api = FakeApi(tokens=tokens)
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> FakeApi:
        self._thread.start()
        assert self._ready.wait(10)
        return self.api

    def __exit__(self, *_: object) -> None:
        assert self._loop
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self.api:
            self._ready.set()
            await self._done.wait()
        for _ in range(5):  # turns in which the last connections close
            await asyncio.sleep(0)


@contextmanager
def serving(*tokens: str) -> Iterator[FakeApi]:
    with Server(*tokens) as api:
        fill(api, NODES, POLICIES)
        publish(api, compile_all(state(NODES, POLICIES)))
        yield api


def kubeconfig(folder: Path, api: FakeApi, user: dict[str, Any]) -> str:
    path = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.port}"}}],
        "users": [{"name": "u", "user": user}, {"name": "other", "user": {"token": "wrong"}}],
        "contexts": [
            {"name": "x", "context": {"cluster": "c", "user": "u"}},
            {"name": "y", "context": {"cluster": "c", "user": "other"}},
        ],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a person's shell is."""
    for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)


TYPED = {
    "all": (["status"], 0, "all policies: in force on 3 of 3 nodes"),
    "a policy": (["status", "netpol/shop/db"], 0, "NetworkPolicy shop/db: in force on 1 of 1 nodes"),
    "for programs": (["status", "netpol/shop/db", "-o", "json"], 0, '"inForce": true'),
    "allowed": (["why", "shop/web", "shop/db", "--port", "5432"], 0, "node n2 enforces this"),
    "denied": (["why", "shop/web", "shop/db", "--port", "80"], 1, "DENIED"),
    "nodes for programs": (["why", "shop/web", "shop/db", "--port", "80", "-o", "json"], 1, '"enforced": true'),
}


@pytest.mark.parametrize(("arguments", "code", "said"), TYPED.values(), ids=TYPED)
def test_verbs_answer_by_text_and_exit_code(
    arguments: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as api:
        path = kubeconfig(tmp_path, api, {"token": "t"})
        assert cli.main([*arguments, "--kubeconfig", path]) == code
    assert said in capsys.readouterr().out


def test_what_is_not_in_force_is_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as api:
        publish(api, compile_all(state(NODES)))
        assert cli.main(["status", "netpol/shop/db", "--kubeconfig", kubeconfig(tmp_path, api, {"token": "t"})]) == 1
    assert "NOT IN FORCE on 0 of 1 nodes" in capsys.readouterr().out


def test_the_environment_leads_to_the_cluster_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("t") as api:
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, api, {"token": "t"}))
        assert cli.main(["status"]) == 0
        assert cli.main(["status", "--context", "y"]) == 2


TROUBLE = {
    "no such policy": (["status", "netpol/shop/none"], "NetworkPolicy shop/none: there is no such policy"),
    "no name": (["status", "netpol/none"], "write KIND/NAMESPACE/NAME"),
    "no such pod": (["why", "shop/none", "shop/db", "--port", "80"], "there is no such pod"),
    "no agent": (["logs"], "there is no agent"),
    "no verdict": (["logs", "--verdict", "denied"], "--verdict"),
    "no time": (["logs", "--since", "yesterday"], "--since"),
    "no form": (["status", "-o", "yaml"], "--output"),
}


@pytest.mark.parametrize(("arguments", "said"), TROUBLE.values(), ids=TROUBLE)
def test_what_cannot_be_used_is_one_line_and_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as api:
        assert cli.main([*arguments, "--kubeconfig", kubeconfig(tmp_path, api, {"token": "t"})]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert said in found.err
    assert found.err.count("\n") == 1


def test_a_refusal_is_told_in_the_words_of_rbac(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as api:
        api.fail("list", Refuse(403, "pods is forbidden", "Forbidden"), times=99)
        assert cli.main(["status", "--kubeconfig", kubeconfig(tmp_path, api, {"token": "t"})]) == 2
    assert "forbidden" in capsys.readouterr().err


def test_nobody_there_is_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as api:
        path = kubeconfig(tmp_path, api, {"token": "t"})
    assert cli.main(["status", "--kubeconfig", path]) == 2
    assert "127.0.0.1" in capsys.readouterr().err


def test_a_kubeconfig_may_run_a_program_for_its_token(tmp_path: Path) -> None:
    """As those of most hosted clusters do."""
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "secret"},
    }
    program = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "interactiveMode": "Never",
        "command": sys.executable,
        "args": ["-c", f"print('''{json.dumps(credential)}''')"],
    }
    with serving("secret") as api:
        assert cli.main(["status", "--kubeconfig", kubeconfig(tmp_path, api, {"exec": program})]) == 0


def test_kubectl_finds_it_by_its_name() -> None:
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["kubectl-nodewall"] == scripts["nodewall"] == "nodewall.cli:main"


def test_usage_is_told_by_the_name_that_was_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-nodewall"])
    assert cli.main(["logs", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: kubectl nodewall logs")
