"""A watch that ends goes on where it stopped."""

import json

from nodewall.kube.errors import BadAnswerError, ServerError, UnreachableError
from nodewall.kube.reflector import Pace
from nodewall.kube.resource import PODS
from tests.kube.fake_api import FakeApi, Refuse, Say, event, pod
from tests.kube.mirroring import BIG, crowd, mirrored, until, watching

SHORT = Pace(watch=1.0)


async def test_the_end_of_a_watch_is_no_reason_to_list() -> None:
    """Even for a small collection, when the watch lasted as long as we asked."""
    async with FakeApi() as api, mirrored(api, pace=SHORT) as mirror:
        await watching(api, mirror)
        api.put(PODS, pod("a"))
        await until(lambda: len(api.asked("watch")) == 2)
        api.put(PODS, pod("b"))
        await until(lambda: mirror.names == {"a", "b"})
        assert len(api.asked("list")) == 1
        assert mirror.seen.failures == []


async def test_an_early_end_leaves_a_small_collection_in_doubt() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        api.drop_watches()
        await until(lambda: mirror.seen.lists == [0, 0])


async def test_an_early_end_makes_a_big_collection_ask_for_the_version_alone() -> None:
    async with FakeApi() as api:
        crowd(api)
        async with mirrored(api, pace=BIG) as mirror:
            await watching(api, mirror)
            pages = len(api.asked("list"))
            api.drop_watches()
            await until(lambda: len(api.asked("watch")) == 2)
            assert mirror.seen.lists == [2]
            assert len(api.asked("list")) == pages + 1


async def test_what_happens_between_two_watches_is_not_lost() -> None:
    async with FakeApi() as api:
        crowd(api)
        async with mirrored(api, pace=BIG) as mirror:
            await watching(api, mirror)
            api.drop_watches()
            api.put(PODS, pod("b"))
            api.remove(PODS, "x", "default")
            await until(lambda: mirror.names == {"y", "b"})
            assert mirror.seen.lists == [2]


async def test_a_bookmark_moves_the_version_from_which_a_watch_resumes() -> None:
    async with FakeApi() as api, mirrored(api, pace=SHORT) as mirror:
        await watching(api, mirror)
        api.version += 50  # other resources change
        api.bookmark()
        await until(lambda: len(api.asked("watch")) == 2)
        versions = [seen.query["resourceVersion"] for seen in api.asked("watch")]
        assert versions == ["100", "150"]
        assert len(api.asked("list")) == 1
        assert all(seen.query["allowWatchBookmarks"] == "true" for seen in api.asked("watch"))
        assert mirror.changes == []


async def test_a_connection_cut_in_the_middle_of_a_line_loses_nothing() -> None:
    async with FakeApi() as api:
        crowd(api)
        async with mirrored(api, pace=BIG) as mirror:
            await watching(api, mirror)
            api.drop_watches(half=b'{"type":"DELETED","object":{"metadata":{"name":"x","namesp')
            api.put(PODS, pod("b"))
            await until(lambda: mirror.names == {"x", "y", "b"})
            assert mirror.seen.lists == [2]
            assert [type(error) for error in mirror.seen.failures] == [UnreachableError]


async def test_an_error_that_is_no_expiry_resumes_after_a_pause() -> None:
    error = {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcdserver: leader changed"}}
    async with FakeApi() as api:
        crowd(api)
        api.fail("watch", Say(json.dumps(error).encode() + b"\n"))
        async with mirrored(api, pace=BIG) as mirror:
            await until(lambda: len(api.asked("watch")) == 2)
            assert mirror.seen.lists == [2]
            assert [type(error) for error in mirror.seen.failures] == [ServerError]
            assert "leader changed" in str(mirror.seen.failures[0])


async def test_a_line_that_is_no_json_leads_to_a_list() -> None:
    async with FakeApi() as api:
        crowd(api)
        async with mirrored(api, pace=BIG) as mirror:
            await watching(api, mirror)
            api.say(b'{"type": "ADDED", "object": {"meta\n')
            await until(lambda: mirror.seen.lists == [2, 2])
            assert [type(error) for error in mirror.seen.failures] == [BadAnswerError]


async def test_a_watch_that_the_server_calls_invalid_leads_to_a_list() -> None:
    async with FakeApi() as api:
        crowd(api)
        api.fail("watch", Refuse(400, 'invalid resource version "100"'))
        async with mirrored(api, pace=BIG) as mirror:
            await until(lambda: mirror.seen.lists == [2, 2])


async def test_an_unknown_event_leads_to_a_list() -> None:
    async with FakeApi() as api:
        crowd(api)
        async with mirrored(api, pace=BIG) as mirror:
            await watching(api, mirror)
            api.say(event("RENAMED", pod("a")))
            await until(lambda: mirror.seen.lists == [2, 2])
            assert mirror.names == {"x", "y"}
            assert [type(error) for error in mirror.seen.failures] == [BadAnswerError]


async def test_watches_that_end_at_once_are_opened_ever_more_slowly() -> None:
    async with FakeApi() as api:
        api.fail("watch", Say(b"", close=True), times=8)
        async with mirrored(api) as mirror:
            await until(lambda: len(api.asked("watch")) == 9)
            assert mirror.clock.slept[7] > 15
            assert mirror.clock.slept[0] <= 0.5
