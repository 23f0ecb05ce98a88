"""Writing with a person's kubeconfig: apply, Events."""

from pathlib import Path

import pytest
import yaml

from nodewall.kube.client import login
from nodewall.kube.errors import CredentialsError, ForbiddenError, NotFoundError, UnreachableError
from nodewall.kube.resource import EVENTS, NETWORK_POLICIES, NODE_RULE_SETS
from tests.kube.fake_api import FakeApi, Refuse


def kubeconfig(folder: Path, server: str) -> Path:
    file = folder / "config"
    body = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "here",
    }
    file.write_text(yaml.safe_dump(body))
    return file


async def test_apply_finds_the_resource_of_a_kind(tmp_path: Path) -> None:
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}}
    async with FakeApi(tokens=["secret"]) as api, login("me", kubeconfig(tmp_path, api.credentials().server)) as client:
        await client.apply(policy | {"metadata": {"name": "a", "namespace": "ns"}})
        await client.apply(policy | {"metadata": {"name": "b"}})
        await client.apply(
            {"apiVersion": "nodewall.io/v1alpha1", "kind": "NodeRuleSet", "metadata": {"name": "n1"}}, force=False
        )
        assert set(api.objects(NETWORK_POLICIES)) == {("ns", "a"), ("default", "b")}
        assert set(api.objects(NODE_RULE_SETS)) == {("", "n1")}
        assert len(api.asked("discover")) == 2
        queries = [seen.query for seen in api.asked("patch")]
        assert queries[0] == {"fieldManager": "me", "force": "true"}
        assert queries[2] == {"fieldManager": "me", "force": "false"}
        assert {seen.headers["Content-Type"] for seen in api.asked("patch")} == {"application/apply-patch+yaml"}


UNKNOWN = [("nodewall.io/v1alpha1", "Pod"), ("example.org/v1", "Pod")]


@pytest.mark.parametrize(("api_version", "kind"), UNKNOWN)
async def test_a_kind_that_the_server_does_not_know(tmp_path: Path, api_version: str, kind: str) -> None:
    async with FakeApi() as api, login("me", kubeconfig(tmp_path, api.credentials().server)) as client:
        with pytest.raises(NotFoundError, match=f"discover {api_version}: "):
            await client.apply({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}})


EVENT = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "ns"}, "count": 1}


async def test_an_event_is_replaced_by_name(tmp_path: Path) -> None:
    async with FakeApi() as api, login("me", kubeconfig(tmp_path, api.credentials().server)) as client:
        await client.write_event(EVENT)
        await client.write_event(EVENT | {"count": 2})
        assert [stored["count"] for stored in api.objects(EVENTS).values()] == [2]


async def test_a_refusal_is_one_of_our_errors(tmp_path: Path) -> None:
    async with FakeApi() as api, login("me", kubeconfig(tmp_path, api.credentials().server)) as client:
        api.fail("patch", Refuse(403, "cannot patch resource events", "Forbidden"))
        with pytest.raises(ForbiddenError, match=r"patch events ns/e: cannot patch"):
            await client.write_event(EVENT)


async def test_nobody_listens(tmp_path: Path) -> None:
    async with FakeApi() as api:
        file = kubeconfig(tmp_path, api.credentials().server)
    async with login("me", file) as client:
        with pytest.raises(UnreachableError):
            await client.write_event(EVENT)


async def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="gone"):
        async with login("me", tmp_path / "gone"):
            pass


async def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="elsewhere"):
        async with login("me", kubeconfig(tmp_path, "https://h"), "elsewhere"):
            pass
