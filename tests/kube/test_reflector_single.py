"""One object by its name: the node agent's watch, on the same path as all others."""

from nodewall.kube.reflector import Change, View
from nodewall.kube.resource import NODE_RULE_SETS, single
from tests.kube.fake_api import FakeApi, Object, Refuse
from tests.kube.mirroring import labels_of, mirrored, until

N1 = View(single(NODE_RULE_SETS, "n1"), labels_of)


def rule_set(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}, "spec": {}}


async def test_only_the_named_object_is_seen() -> None:
    async with FakeApi() as api:
        for name in ("n0", "n1", "n10"):
            api.put(NODE_RULE_SETS, rule_set(name))
        async with mirrored(api, N1) as mirror:
            await until(lambda: api.watching(NODE_RULE_SETS))
            api.put(NODE_RULE_SETS, rule_set("n2"))
            api.put(NODE_RULE_SETS, rule_set("n10", v="2"))
            api.put(NODE_RULE_SETS, rule_set("n1", v="2"))
            await until(lambda: len(mirror.changes) == 2)
            assert mirror.changes == [Change(("", "n1"), None, ()), Change(("", "n1"), (), (("v", "2"),))]
            asked = api.asked("list") + api.asked("watch")
            assert {seen.query["fieldSelector"] for seen in asked} == {"metadata.name=n1"}


async def test_an_object_that_comes_later_and_goes() -> None:
    async with FakeApi() as api, mirrored(api, N1) as mirror:
        await until(mirror.reflector.synced.is_set)
        assert mirror.names == set()
        api.put(NODE_RULE_SETS, rule_set("n1"))
        await until(lambda: mirror.names == {"n1"})
        api.remove(NODE_RULE_SETS, "n1")
        await until(lambda: mirror.names == set())


async def test_an_object_that_went_while_nobody_looked() -> None:
    async with FakeApi() as api:
        api.put(NODE_RULE_SETS, rule_set("n1"))
        async with mirrored(api, N1) as mirror:
            await until(lambda: api.watching(NODE_RULE_SETS))
            api.fail("watch", Refuse(410))
            api.drop_watches()
            api.remove(NODE_RULE_SETS, "n1")
            await until(lambda: mirror.names == set())
            assert not mirror.reflector.absent
