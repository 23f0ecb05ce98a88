"""Only discovery may say that a resource does not exist; then its store is empty and in step."""

import pytest

from nodewall.kube.errors import NotFoundError
from nodewall.kube.reflector import Pace, View
from nodewall.kube.resource import EXTENDED_NETWORK_POLICIES, NODE_RULE_SETS, Collection, Resource
from tests.kube.fake_api import KINDS, FakeApi, Fault, Refuse, pod
from tests.kube.mirroring import BIG, labels_of, mirrored, until

XNP = View(Collection(EXTENDED_NETWORK_POLICIES), labels_of)

SERVED = {
    "the whole group is unknown": [r for r in KINDS if r.group != "nodewall.io"],
    "the group has other resources": [r for r in KINDS if r != EXTENDED_NETWORK_POLICIES],
}


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED.keys())
async def test_a_resource_that_is_not_installed_counts_as_synced(served: list[Resource]) -> None:
    async with FakeApi(served) as api, mirrored(api, XNP) as mirror:
        await until(mirror.reflector.synced.is_set)
        assert mirror.reflector.absent
        assert mirror.names == set()
        assert mirror.seen.lists == []


async def test_a_resource_installed_later_is_found() -> None:
    async with FakeApi(SERVED["the group has other resources"]) as api, mirrored(api, XNP) as mirror:
        await until(lambda: mirror.seen.absences > 1)
        api.install(EXTENDED_NETWORK_POLICIES)
        api.put(EXTENDED_NETWORK_POLICIES, pod("a"))
        await until(lambda: mirror.names == {"a"})
        assert not mirror.reflector.absent


PACES = {"a small collection": Pace(), "a big collection": BIG}


@pytest.mark.parametrize("pace", PACES.values(), ids=PACES.keys())
async def test_a_resource_removed_while_nobody_looked(pace: Pace) -> None:
    async with FakeApi() as api, mirrored(api, XNP, pace=pace) as mirror:
        for name in "abc":
            api.put(EXTENDED_NETWORK_POLICIES, pod(name))
        await until(lambda: mirror.names == {"a", "b", "c"})
        api.installed.discard(EXTENDED_NETWORK_POLICIES)
        api.drop_watches()
        await until(lambda: mirror.reflector.absent)
        assert mirror.names == set()
        assert sum(change.new is None for change in mirror.changes) == 3


async def test_a_resource_removed_and_installed_again() -> None:
    async with FakeApi() as api, mirrored(api, XNP) as mirror:
        api.put(EXTENDED_NETWORK_POLICIES, pod("a"))
        await until(lambda: mirror.names == {"a"})
        api.uninstall(EXTENDED_NETWORK_POLICIES)
        await until(lambda: mirror.reflector.absent)
        assert mirror.names == set()
        api.install(EXTENDED_NETWORK_POLICIES)
        api.put(EXTENDED_NETWORK_POLICIES, pod("b"))
        await until(lambda: mirror.names == {"b"})


DOUBTFUL: dict[str, Fault | None] = {
    "discovery fails": Refuse(503, "the server is currently unable to handle the request"),
    "discovery is forbidden": Refuse(403),
    "discovery is garbled": Refuse(200, body=b'{"kind":"APIResourceList","resources":[{"na'),
    "discovery lists it": None,
}


@pytest.mark.parametrize("discovery", DOUBTFUL.values(), ids=DOUBTFUL.keys())
async def test_a_404_that_discovery_does_not_confirm_keeps_the_state(discovery: Fault | None) -> None:
    async with FakeApi() as api, mirrored(api, XNP) as mirror:
        api.put(EXTENDED_NETWORK_POLICIES, pod("a"))
        await until(lambda: mirror.names == {"a"})
        for verb in ("list", "watch"):
            api.fail(verb, Refuse(404, body=b"404 page not found\n"), times=-1)
        if discovery:
            api.fail("discover", discovery, times=-1)
        api.drop_watches()
        await until(lambda: len(mirror.seen.failures) > 4)
        assert mirror.names == {"a"}
        assert not mirror.reflector.absent
        api.heal()
        api.put(EXTENDED_NETWORK_POLICIES, pod("b"))
        await until(lambda: mirror.names == {"a", "b"})


async def test_a_404_of_the_first_list_is_no_sync_while_discovery_is_in_trouble() -> None:
    async with FakeApi([NODE_RULE_SETS]) as api:
        api.fail("discover", Refuse(500), times=-1)
        async with mirrored(api, XNP) as mirror:
            await until(lambda: len(mirror.seen.failures) > 2)
            assert not mirror.reflector.synced.is_set()
            assert not any(isinstance(error, NotFoundError) for error in mirror.seen.failures)
