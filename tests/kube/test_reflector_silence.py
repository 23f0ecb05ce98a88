"""A connection can die without a word: no byte for long means that it has."""

import asyncio

from nodewall.kube.errors import SilentError
from nodewall.kube.resource import PODS
from tests.kube.fake_api import FakeApi, Silence, pod
from tests.kube.mirroring import BIG, HASTY, appears, crowd, mirrored, until, watching


async def test_a_silent_watch_is_closed_and_resumed() -> None:
    async with FakeApi() as api:
        crowd(api)
        api.fail("watch", Silence())
        async with mirrored(api, pace=BIG, timeouts=HASTY) as mirror:
            await watching(api, mirror)
            api.put(PODS, pod("a"))
            await appears(mirror, "a")
            assert [type(error) for error in mirror.seen.failures] == [SilentError]
            assert mirror.seen.lists == [2]


async def test_bookmarks_alone_keep_a_watch_alive() -> None:
    async with FakeApi() as api, mirrored(api, timeouts=HASTY) as mirror:
        await watching(api, mirror)
        began = mirror.reflector.last_contact
        while mirror.reflector.last_contact < began + 0.6:  # twice the silence that would end it
            api.bookmark()
            await asyncio.sleep(0.05)
        assert mirror.seen.failures == []
        assert len(api.asked("watch")) == 1


async def test_a_quiet_collection_is_watched_again_at_once_however_often_it_was_quiet() -> None:
    async with FakeApi() as api:
        for _ in range(6):
            api.fail("watch", Silence())
        async with mirrored(api, timeouts=HASTY) as mirror:
            await until(lambda: len(mirror.seen.failures) == 6)
            assert {type(error) for error in mirror.seen.failures} == {SilentError}
            assert max(mirror.seen.delays) < 1
