"""etcd restored from a backup: the server's versions are behind ours, and the store goes back with it."""

import pytest

from nodewall.kube.reflector import Pace
from nodewall.kube.resource import PODS
from tests.kube.fake_api import FakeApi, pod
from tests.kube.mirroring import BIG, appears, crowd, mirrored, until, watching

PACES = {"a small collection": Pace(), "a big collection": BIG}


@pytest.mark.parametrize("cut", [None, b'{"type'], ids=["the watch ends", "the watch is cut"])
@pytest.mark.parametrize("pace", PACES.values(), ids=PACES.keys())
async def test_the_store_goes_back_to_an_older_version(pace: Pace, cut: bytes | None) -> None:
    async with FakeApi() as api:
        crowd(api)
        api.put(PODS, pod("a", app="old"))
        api.put(PODS, pod("b"))
        backup = api.backup()
        async with mirrored(api, pace=pace) as mirror:
            await watching(api, mirror)
            api.put(PODS, pod("a", app="new"))
            api.remove(PODS, "b", "default")
            api.put(PODS, pod("c"))
            await until(lambda: mirror.names == {"x", "y", "a", "c"})
            api.restore(backup, cut)
            await until(lambda: mirror.names == {"x", "y", "a", "b"})
            assert mirror.reflector.objects["default", "a"] == (("app", "old"),)
            await watching(api, mirror)
            api.put(PODS, pod("d"))
            await appears(mirror, "d")


async def test_versions_that_have_caught_up_do_not_hide_a_restore_from_a_small_collection() -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a", app="old"))
        backup = api.backup()
        async with mirrored(api) as mirror:
            await watching(api, mirror)
            api.put(PODS, pod("b"))
            await appears(mirror, "b")
            api.restore(backup)
            api.version += 50
            await until(lambda: mirror.names == {"a"})


async def test_a_bookmark_from_the_past_leads_to_a_list() -> None:
    async with FakeApi() as api:
        crowd(api)
        async with mirrored(api, pace=BIG) as mirror:
            await watching(api, mirror)
            api.bookmark(version=42)
            await until(lambda: mirror.seen.lists == [2, 2])


async def test_a_delete_with_an_old_version_does_not_send_the_watch_back() -> None:
    async with FakeApi() as api:
        crowd(api)
        api.put(PODS, pod("a"))
        async with mirrored(api, pace=BIG) as mirror:
            await watching(api, mirror)
            api.say(
                b'{"type":"DELETED","object":{"metadata":{"name":"a","namespace":"default","resourceVersion":"7"}}}\n'
            )
            await until(lambda: mirror.names == {"x", "y"})
            api.drop_watches()
            await until(lambda: len(api.asked("watch")) == 2)
            assert api.asked("watch")[1].query["resourceVersion"] == "103"
            assert len(mirror.seen.lists) == 1
