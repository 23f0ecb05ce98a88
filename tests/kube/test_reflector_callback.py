"""A callback that raises is reported, and the store is right all the same."""

import asyncio
from contextlib import suppress

from nodewall.kube.http import connect
from nodewall.kube.reflector import Change, Identity, Reflector
from nodewall.kube.resource import PODS
from tests.kube.fake_api import FakeApi, pod
from tests.kube.mirroring import ALL_PODS, QUICK, Labels, QuickClock, Recorder, until


async def test_a_callback_that_raises_stops_nothing() -> None:
    def raising(change: Change[Identity, Labels]) -> None:
        raise ValueError(change.key)

    async with FakeApi() as api, connect(api.credentials(), timeouts=QUICK) as session:
        api.put(PODS, pod("a"))
        recorder = Recorder()
        reflector = Reflector(session, ALL_PODS, raising, recorder, clock=QuickClock())
        task = asyncio.create_task(reflector.run())
        await until(lambda: reflector.synced.is_set() and api.watching(PODS))
        api.put(PODS, pod("b"))
        api.remove(PODS, "a", "default")
        await until(lambda: set(reflector.objects) == {("default", "b")})
        assert [identity for identity, _ in recorder.refusals] == [("default", "a"), ("default", "b"), ("default", "a")]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
