"""An object whose projection breaks is reported, keeps its last value, and touches no other object."""

import asyncio
from typing import Any

import msgspec

from nodewall.kube.http import connect
from nodewall.kube.reflector import Reflector, View
from nodewall.kube.resource import PODS, Collection
from tests.kube.fake_api import FakeApi, Refuse, pod
from tests.kube.mirroring import PoisonError, QuickClock, Recorder, mirrored, until, watching


async def test_a_poisoned_object_in_a_list_stops_no_other() -> None:
    async with FakeApi() as api:
        for name, labels in (("a", {}), ("b", {"poison": "1"}), ("c", {})):
            api.put(PODS, pod(name, **labels))
        async with mirrored(api) as mirror:
            await until(mirror.reflector.synced.is_set)
            assert mirror.names == {"a", "c"}
            [(identity, error)] = mirror.seen.refusals
            assert identity == ("default", "b")
            assert isinstance(error, PoisonError)


async def test_a_poisoned_change_keeps_the_last_value() -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a", app="web"))
        async with mirrored(api) as mirror:
            await watching(api, mirror)
            api.put(PODS, pod("a", poison="1"))
            api.put(PODS, pod("b"))
            await until(lambda: mirror.names == {"a", "b"})
            assert mirror.reflector.objects["default", "a"] == (("app", "web"),)
            assert len(mirror.seen.refusals) == 1


async def test_a_poisoned_object_is_not_taken_for_deleted_by_a_list() -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a", app="web"))
        async with mirrored(api) as mirror:
            await watching(api, mirror)
            api.fail("watch", Refuse(410))
            api.drop_watches()
            api.put(PODS, pod("a", poison="1"))
            await until(lambda: len(mirror.seen.lists) == 2)
            assert mirror.reflector.objects["default", "a"] == (("app", "web"),)
            api.remove(PODS, "a", "default")
            await until(lambda: mirror.names == set())


async def test_an_object_of_which_nothing_is_kept_leaves_the_store() -> None:
    async with FakeApi() as api:
        api.put(PODS, pod("a"))
        async with mirrored(api) as mirror:
            await watching(api, mirror)
            api.put(PODS, pod("a", boring="1"))
            await until(lambda: mirror.names == set())
            assert mirror.changes[-1].new is None
            api.remove(PODS, "a", "default")
            api.put(PODS, pod("b"))
            await until(lambda: mirror.names == {"b"})
            assert len(mirror.changes) == 3


def in_many_calls(item: msgspec.Raw, calls: int = 780) -> tuple[str, Any]:
    """Python counts calls and levels of JSON together."""
    if calls:
        return in_many_calls(item, calls - 1)
    found = msgspec.json.decode(item)
    return found["metadata"]["name"], found["metadata"]["labels"]


async def test_what_is_nested_too_deep_for_a_projection_alone_is_read_without_that() -> None:
    nested: dict[str, Any] = {}
    for _ in range(180):
        nested = {"f:a": nested}
    async with FakeApi() as api, connect(api.credentials()) as session:
        api.put(PODS, pod("a", app="web") | {"more": nested})
        view = View(Collection(PODS), in_many_calls)
        reflector = Reflector(session, view, lambda _: None, seen := Recorder(), clock=QuickClock())
        task = asyncio.create_task(reflector.run())
        await until(reflector.synced.is_set)
        task.cancel()
        assert reflector.objects == {"a": {"app": "web"}}
        assert seen.refusals == []
