"""What a session asks the server: paths, bodies, and what it makes of the answers."""

import asyncio
import json
from dataclasses import replace

import msgspec
import pytest

from nodewall.kube.errors import (
    BadAnswerError,
    ConflictError,
    NotFoundError,
    SilentError,
    TooLargeError,
    UnreachableError,
)
from nodewall.kube.http import Target, Timeouts, connect
from nodewall.kube.resource import NODE_RULE_SETS, PODS, Collection, Resource, single
from tests.kube.fake_api import FakeApi, Garble, Refuse, Say, Silence, pod
from tests.kube.mirroring import until

PATHS = [
    (PODS.path(), "/api/v1/pods"),
    (PODS.path("ns"), "/api/v1/namespaces/ns/pods"),
    (PODS.path("ns", "a", "status"), "/api/v1/namespaces/ns/pods/a/status"),
    (NODE_RULE_SETS.path(name="n1.example"), "/apis/nodewall.io/v1alpha1/noderulesets/n1.example"),
    (NODE_RULE_SETS.path(name="../../pods?x"), "/apis/nodewall.io/v1alpha1/noderulesets/..%2F..%2Fpods%3Fx"),
]


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


async def test_a_name_never_becomes_another_path() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        with pytest.raises(NotFoundError):
            await session.get(Target(NODE_RULE_SETS, "../pods"))
        assert api.requests[0].path == "/apis/nodewall.io/v1alpha1/noderulesets/../pods"  # decoded: still one name
        assert api.requests[0].verb == "get"


async def test_apply_creates_then_updates_and_says_what_became_of_it() -> None:
    target = Target(NODE_RULE_SETS, "n1")
    body = {"apiVersion": "nodewall.io/v1alpha1", "kind": "NodeRuleSet", "metadata": {"name": "n1"}, "spec": {"v": 1}}
    async with FakeApi() as api, connect(api.credentials()) as session:
        first = await session.apply(target, body, "nodewall-controller")
        same = await session.apply(target, msgspec.json.encode(body), "nodewall-controller")
        second = await session.apply(target, body | {"spec": {"v": 2}}, "nodewall-controller", force=False)
        assert (first.name, first.generation, second.generation) == ("n1", 1, 2)
        assert first.resourceVersion == same.resourceVersion != second.resourceVersion
        assert first.uid == second.uid
        seen = api.requests[0]
        assert (seen.headers["Content-Type"], seen.query) == (
            "application/apply-patch+yaml",
            {"fieldManager": "nodewall-controller", "force": "true"},
        )
        assert api.requests[2].query["force"] == "false"
        assert json.loads(seen.body) == body


OURS = {
    "apiVersion": "nodewall.io/v1alpha1",
    "kind": "NodeRuleSet",
    "metadata": {"name": "n1", "annotations": {"a.io/b~c": "new"}, "ownerReferences": [{"uid": "new"}]},
    "spec": {"v": 2},
}


async def test_to_overwrite_replaces_the_spec_as_a_whole_and_leaves_what_is_not_ours() -> None:
    target = Target(NODE_RULE_SETS, "n1")
    async with FakeApi() as api, connect(api.credentials()) as session:
        metadata = {"name": "n1", "labels": {"kept": "yes"}, "annotations": {"kept": "yes", "a.io/b~c": "old"}}
        before = api.put(NODE_RULE_SETS, {"metadata": metadata, "spec": {"v": 1, "more": 1}, "status": {"kept": 1}})
        written = await session.overwrite(target, OURS, "nodewall-controller")
        stored = api.objects(NODE_RULE_SETS)["", "n1"]
        assert (written.uid, written.generation) == (before["metadata"]["uid"], 2)
        assert (stored["spec"], stored["status"]) == ({"v": 2}, {"kept": 1})
        assert stored["metadata"]["annotations"] == {"kept": "yes", "a.io/b~c": "new"}
        assert stored["metadata"]["labels"] == {"kept": "yes"}
        assert stored["metadata"]["ownerReferences"] == [{"uid": "new"}]
        (seen,) = api.requests
        assert seen.headers["Content-Type"] == "application/json-patch+json"
        assert seen.query == {"fieldManager": "nodewall-controller", "fieldValidation": "Strict"}


async def test_a_merge_patch_of_the_status_touches_nothing_else() -> None:
    target = Target(NODE_RULE_SETS, "n1", subresource="status")
    async with FakeApi() as api, connect(api.credentials()) as session:
        with pytest.raises(NotFoundError):
            await session.merge_patch(target, {"status": {}}, "nodewall-agent")
        api.put(NODE_RULE_SETS, {"metadata": {"name": "n1"}, "spec": {"v": 1}, "status": {"old": 1, "kept": 1}})
        written = await session.merge_patch(target, {"status": {"old": None, "new": 2}}, "nodewall-agent")
        assert written.generation == 1
        stored = api.objects(NODE_RULE_SETS)["", "n1"]
        assert stored["status"] == {"kept": 1, "new": 2}
        assert stored["spec"] == {"v": 1}
        assert api.requests[-1].headers["Content-Type"] == "application/merge-patch+json"
        assert json.loads(await session.get(Target(NODE_RULE_SETS, "n1"))) == stored


async def test_create_refuses_a_name_that_is_taken() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        await session.create(PODS, pod("a", "ns"), "me", "ns")
        with pytest.raises(ConflictError, match="create pods: "):
            await session.create(PODS, pod("a", "ns"), "me", "ns")
        assert list(api.objects(PODS)) == [("ns", "a")]


async def test_delete_removes_only_the_object_that_was_meant() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        uid = api.put(NODE_RULE_SETS, {"metadata": {"name": "n1"}})["metadata"]["uid"]
        with pytest.raises(ConflictError):
            await session.delete(Target(NODE_RULE_SETS, "n1"), "another uid")
        await session.delete(Target(NODE_RULE_SETS, "n1"), uid)
        assert api.objects(NODE_RULE_SETS) == {}
        await session.delete(Target(NODE_RULE_SETS, "n1"))  # gone already


async def test_an_object_that_is_too_large_is_told_as_such() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        api.fail("patch", Refuse(500, "etcdserver: request is too large"))
        with pytest.raises(TooLargeError):
            await session.apply(Target(NODE_RULE_SETS, "n1"), {"spec": {}}, "me")


async def test_an_answer_cut_in_the_middle() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        api.fail("list", Garble())
        with pytest.raises(BadAnswerError, match="list pods: cannot read the answer"):
            await session.version_of(Collection(PODS))


async def test_nobody_listens() -> None:
    async with FakeApi() as api:
        credentials = api.credentials()
    async with connect(credentials) as session:
        with pytest.raises(UnreachableError, match=rf"list pods: {credentials.server}: .*refused|Connect"):
            await session.version_of(Collection(PODS))


async def test_a_server_that_never_answers() -> None:
    async def stall(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    done = asyncio.Event()
    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    async with FakeApi() as api:
        credentials = replace(api.credentials(), server=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with connect(credentials, timeouts=Timeouts(request=0.2)) as session:
        with pytest.raises(UnreachableError, match="TimeoutError"):
            await session.get(Target(PODS, "a", "ns"))
    done.set()
    server.close()
    await server.wait_closed()


async def test_a_watch_that_falls_silent() -> None:
    async with FakeApi() as api, connect(api.credentials(), timeouts=Timeouts(silence=0.2)) as session:
        api.fail("watch", Silence())
        with pytest.raises(SilentError, match="watch pods: "):
            [event async for event in session.watch(Collection(PODS), "100", 300)]


async def test_an_event_far_bigger_than_any_buffer() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        big = pod("a", filler="x" * 6_000_000)
        api.put(PODS, big)
        events = session.watch(Collection(PODS), "100", 300)
        event = await anext(events)
        assert json.loads(bytes(event.object))["metadata"]["labels"] == big["metadata"]["labels"]
        await events.aclose()
        await until(lambda: api.watching(PODS) == 0)


async def test_many_events_in_one_chunk_and_one_event_in_many() -> None:
    lines = b"".join(b'{"type":"ADDED","object":{"n":%d}}\n' % number for number in range(1000))
    async with FakeApi() as api, connect(api.credentials()) as session:
        api.fail("watch", Say(lines + b'{"type":"ADDED","object":{"n":', close=True))
        seen = [json.loads(bytes(event.object))["n"] async for event in session.watch(Collection(PODS), "100", 300)]
        assert seen == list(range(1000))


async def test_a_watch_names_its_one_object() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        api.fail("watch", Say(b"", close=True))
        assert [event async for event in session.watch(single(NODE_RULE_SETS, "n1"), "7", 290)] == []
        assert api.requests[0].query == {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": "7",
            "timeoutSeconds": "290",
            "fieldSelector": "metadata.name=n1",
        }


SERVED = [
    (NODE_RULE_SETS, True),
    (Resource("nodewall.io", "v1alpha1", "nodes"), False),
    (Resource("a.b", "v1", "c"), False),
]


@pytest.mark.parametrize(("resource", "served"), SERVED)
async def test_discovery(resource: Resource, served: bool) -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        assert await session.serves(resource) is served


async def test_discovery_in_trouble_is_no_answer() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        api.fail("discover", Garble())
        api.fail("discover", Refuse(200, body=b"{}"))
        assert await session.serves(PODS)
        with pytest.raises(BadAnswerError):
            await session.serves(PODS)
