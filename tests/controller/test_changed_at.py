"""What an agent measures by: when the change happened that a rule set was written for."""

from datetime import UTC, datetime

from nodewall.api.peergroup import REVISION
from nodewall.api.ruleset import CHANGED_AT
from nodewall.kube.resource import NODE_RULE_SETS, PODS
from tests.controller import test_groups as groups
from tests.controller.running import endpoint, furnish, listed, pod, rule_sets, until
from tests.kube.fake_api import FakeApi, Object


def changed_at(api: FakeApi, node: str) -> datetime:
    return stated(rule_sets(api)[node])


def stated(found: Object) -> datetime:
    return datetime.fromisoformat(found["metadata"]["annotations"][CHANGED_AT])


async def test_a_rule_set_says_when_its_change_happened() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            first, other = changed_at(api, "n1"), changed_at(api, "n2")
            before = datetime.now(first.tzinfo)
            api.put(PODS, pod("more", "10.0.0.9"))
            await until("the pod", lambda: endpoint(api, "n1", "more"))
            assert first < before < changed_at(api, "n1") < datetime.now(first.tzinfo)
            assert changed_at(api, "n2") == other


def is_told(api: FakeApi) -> bool:
    """Whether the revision is that of the newest part: what is written of a change comes before it."""
    found = {name: each["spec"]["revision"] for name, each in groups.groups(api).items()}
    return bool(found[REVISION] == max(found.values()))


async def test_a_group_that_nodes_share_says_so_too() -> None:
    async with FakeApi() as api:
        groups.furnish(api)
        async with groups.at_work(api):
            before = {name: stated(each) for name, each in groups.groups(api).items()}
            start = datetime.now(UTC)
            api.put(PODS, pod("more", "10.0.0.9", on="n0"))
            await until("the pod", lambda: any("10.0.0.9" in str(each) for each in groups.groups(api).values()))
            await until("the nodes are told", lambda: is_told(api))
            after = {name: stated(each) for name, each in groups.groups(api).items()}
            assert before
            assert all(at < start for at in before.values())
            changed = {name for name, at in after.items() if at != before[name]}
            assert REVISION in changed
            assert any(start < after[name] < datetime.now(UTC) for name in changed - {REVISION})


async def test_an_edited_time_is_no_reason_to_write() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            found = rule_sets(api)["n1"]
            there = {**found, "metadata": {**found["metadata"], "annotations": {CHANGED_AT: "x"}}}
            api.put(NODE_RULE_SETS, there)
            api.put(PODS, pod("more", "10.0.1.9", on="n2"))
            await until("the other node", lambda: endpoint(api, "n2", "more"))
            assert rule_sets(api)["n1"]["metadata"]["annotations"] == {CHANGED_AT: "x"}
