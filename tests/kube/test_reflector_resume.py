"""A watch that ends goes on where it stopped."""

import json

from nodewall.kube.errors import BadAnswerError, ServerError, UnreachableError
from nodewall.kube.resource import PODS
from tests.kube.fake_api import FakeApi, Say, event, pod
from tests.kube.mirroring import appears, mirrored, until, watching


async def test_the_end_of_a_watch_is_no_reason_to_list() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        for name in "abc":
            api.put(PODS, pod(name))
            await appears(mirror, name)
            api.drop_watches()
            await until(lambda: api.watching(PODS) == 0)
            await watching(api, mirror)
        assert mirror.seen.lists == [0]
        assert mirror.seen.failures == []


async def test_what_happens_between_two_watches_is_not_lost() -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a"))
        async with mirrored(api) as mirror:
            await watching(api, mirror)
            api.drop_watches()
            api.put(PODS, pod("b"))
            api.remove(PODS, "a", "default")
            await until(lambda: mirror.names == {"b"})
            assert mirror.seen.lists == [1]


async def test_a_bookmark_moves_the_version_from_which_a_watch_resumes() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        api.version += 50  # other resources change
        api.bookmark()
        api.drop_watches()
        await until(lambda: len(api.asked("watch")) == 2)
        versions = [seen.query["resourceVersion"] for seen in api.asked("watch")]
        assert versions == ["100", "150"]
        assert all(seen.query["allowWatchBookmarks"] == "true" for seen in api.asked("watch"))
        assert mirror.changes == []


async def test_a_connection_cut_in_the_middle_of_a_line_loses_nothing() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        api.put(PODS, pod("a"))
        await until(lambda: mirror.names == {"a"})
        api.drop_watches(half=b'{"type":"DELETED","object":{"metadata":{"name":"a","namesp')
        api.put(PODS, pod("b"))
        await until(lambda: mirror.names == {"a", "b"})
        assert mirror.seen.lists == [0]
        assert [type(error) for error in mirror.seen.failures] == [UnreachableError]


async def test_an_error_that_is_no_expiry_resumes_after_a_pause() -> None:
    error = {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcdserver: leader changed"}}
    async with FakeApi() as api:
        api.fail("watch", Say(json.dumps(error).encode() + b"\n"))
        async with mirrored(api) as mirror:
            await until(lambda: len(api.asked("watch")) == 2)
            assert mirror.seen.lists == [0]
            assert [type(error) for error in mirror.seen.failures] == [ServerError]
            assert "leader changed" in str(mirror.seen.failures[0])


async def test_a_line_that_is_no_json_leads_to_a_list() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        api.say(b'{"type": "ADDED", "object": {"meta\n')
        await until(lambda: len(mirror.seen.lists) == 2)
        assert [type(error) for error in mirror.seen.failures] == [BadAnswerError]


async def test_an_unknown_event_leads_to_a_list() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        api.say(event("RENAMED", pod("a")))
        await until(lambda: len(mirror.seen.lists) == 2)
        assert mirror.names == set()


async def test_watches_that_end_at_once_are_opened_ever_more_slowly() -> None:
    async with FakeApi() as api:
        api.fail("watch", Say(b"", close=True), times=8)
        async with mirrored(api) as mirror:
            await until(lambda: len(api.asked("watch")) == 9)
            assert mirror.clock.slept[7] > 15
            assert mirror.clock.slept[0] <= 0.5
