"""The store follows the server: list, then add, change and delete."""

from nodewall.kube.reflector import Change
from nodewall.kube.resource import PODS
from tests.kube.fake_api import FakeApi, pod
from tests.kube.mirroring import mirrored, until, watching


async def test_the_list_is_mirrored_before_synced_is_set() -> None:
    async with FakeApi() as api:
        for name in "abc":
            api.put(PODS, pod(name))
        async with mirrored(api) as mirror:
            assert not mirror.reflector.synced.is_set()
            await mirror.reflector.synced.wait()
            assert mirror.names == {"a", "b", "c"}
            assert mirror.seen.lists == [3]


async def test_an_empty_list_counts_as_synced() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await until(mirror.reflector.synced.is_set)
        assert mirror.names == set()
        assert not mirror.reflector.absent


async def test_what_is_added_changed_and_deleted_is_told_in_order() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        api.put(PODS, pod("a", app="web"))
        api.put(PODS, pod("a", app="db"))
        api.remove(PODS, "a", "default")
        await until(lambda: len(mirror.changes) == 3)
        key, web, db = ("default", "a"), (("app", "web"),), (("app", "db"),)
        assert mirror.changes == [Change(key, None, web), Change(key, web, db), Change(key, db, None)]


async def test_a_change_outside_the_projection_is_not_told() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        api.put(PODS, pod("a"))
        api.put(PODS, pod("a") | {"status": {"phase": "Running"}})
        api.put(PODS, pod("b"))
        await until(lambda: mirror.names == {"a", "b"})
        assert len(mirror.changes) == 2


async def test_an_event_that_comes_twice_is_told_once() -> None:
    async with FakeApi() as api, mirrored(api) as mirror:
        await watching(api, mirror)
        api.put(PODS, pod("a", app="web"))
        api.say(b'{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"default","labels":{"app":"web"}}}}\n')
        api.put(PODS, pod("b"))
        await until(lambda: "b" in mirror.names)
        assert len(mirror.changes) == 2
