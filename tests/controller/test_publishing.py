"""What the API server has in the end, whatever happened on the way."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from nodewall.compile.stepwise import at_once
from nodewall.controller import rulesets
from nodewall.kube.resource import (
    CLUSTER_NETWORK_POLICIES,
    EVENTS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODE_RULE_SETS,
    NODES,
    PODS,
    Resource,
)
from nodewall.model.ruleset import NodeRuleSet
from tests.controller.running import (
    endpoint,
    events,
    furnish,
    is_isolated,
    is_whole,
    isolating,
    listed,
    namespace,
    node,
    pod,
    rule_sets,
    running,
    until,
    writes,
)
from tests.kube.fake_api import KINDS, FakeApi, Object, Refuse

INPUTS = [each for each in KINDS if each.plural not in {"events", "leases"}]


async def test_every_node_has_its_object_and_every_pod_is_in_it() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            assert is_isolated(api, "n1", "web")
            assert endpoint(api, "n2", "db") == {"namespace": "shop", "pod": "db", "addresses": ["10.0.1.1"]}
            for name, found in rule_sets(api).items():
                owner = api.objects(NODES)["", name]["metadata"]["uid"]
                assert is_whole(found)
                assert [each["uid"] for each in found["metadata"]["ownerReferences"]] == [owner]


@pytest.mark.parametrize("late", INPUTS, ids=lambda resource: resource.plural)
async def test_nothing_is_written_before_every_input_is_listed(late: Resource) -> None:
    async with FakeApi() as api:
        furnish(api)
        api.fail("list", Refuse(500), times=10_000, resource=late)
        async with running(api) as listing:
            await until(
                "it tried", lambda: sum(seen.path.endswith(f"/{late.plural}") for seen in api.asked("list")) > 3
            )
            only = [f"{late.title} have not been listed yet"]
            await until("all but one are listed", lambda: listing.missing() == only)
            assert writes(api) == []
            api.heal()
            await until("written", lambda: len(rule_sets(api)) == 2)


async def test_a_restart_writes_nothing_when_nothing_changed() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            pass
        before = len(writes(api))
        async with running(api) as listing:
            await until("listed", listing.done.is_set)
            api.put(PODS, pod("new", "10.0.0.2"))  # a sign that the first round is over
            await until("the new pod is in", lambda: endpoint(api, "n1", "new"))
        assert writes(api)[before:] == ["/apis/nodewall.io/v1alpha1/noderulesets/n1"]


async def test_a_change_writes_the_nodes_that_it_concerns() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            before = len(writes(api))
            api.put(NETWORK_POLICIES, isolating("db-too", app="db"))
            await until("closed", lambda: is_isolated(api, "n2", "db"))
            assert writes(api)[before:] == ["/apis/nodewall.io/v1alpha1/noderulesets/n2"]
            api.remove(NETWORK_POLICIES, "db-too", "shop")
            await until("open again", lambda: not is_isolated(api, "n2", "db"))


async def test_a_burst_of_changes_is_few_writes() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            before = len(writes(api))
            for number in range(100):
                api.put(PODS, pod("db", "10.0.1.1", on="n2", app="db", n=str(number)))
                api.put(NETWORK_POLICIES, isolating("burst", app="db", n=str(number)))
            await until("the last one counts", lambda: is_isolated(api, "n2", "db"))
            assert len(writes(api)) - before <= 5


# -- what others do to our objects


def change_the_content(api: FakeApi) -> None:
    found = rule_sets(api)["n1"]
    api.put(NODE_RULE_SETS, found | {"spec": found["spec"] | {"classes": []}})


def swap_it_for_another_nodes(api: FakeApi) -> None:
    api.put(NODE_RULE_SETS, rule_sets(api)["n1"] | {"spec": rule_sets(api)["n2"]["spec"]})


def forge_the_digest(api: FakeApi) -> None:
    found = rule_sets(api)["n1"]
    api.put(NODE_RULE_SETS, found | {"spec": found["spec"] | {"digest": "0" * 64}})


def take_the_owner_away(api: FakeApi) -> None:
    found = rule_sets(api)["n1"]
    metadata = {key: value for key, value in found["metadata"].items() if key != "ownerReferences"}
    api.put(NODE_RULE_SETS, found | {"metadata": metadata})


def delete_it(api: FakeApi) -> None:
    api.remove(NODE_RULE_SETS, "n1")


@pytest.mark.parametrize(
    "harm", [change_the_content, swap_it_for_another_nodes, forge_the_digest, take_the_owner_away, delete_it]
)
async def test_what_others_do_to_an_object_is_undone(harm: Callable[[FakeApi], None]) -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            good = rule_sets(api)["n1"]

            def is_good() -> bool:
                now = rule_sets(api).get("n1", {"metadata": {}})
                owners = [each["metadata"].get("ownerReferences") for each in (now, good)]
                return bool(now.get("spec") == good["spec"] and owners[0] == owners[1])

            harm(api)
            assert not is_good()
            await until("repaired", is_good)
            await until("told", lambda: ("RuleSetRepaired", "n1") in events(api))


async def test_a_report_of_an_agent_is_no_harm() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            before = len(writes(api))
            for text in ("a", "b"):
                api.put(NODE_RULE_SETS, rule_sets(api)["n1"] | {"status": {"appliedDigest": text}})
            api.put(PODS, pod("sign", "10.0.1.9", on="n2"))
            await until("taken in", lambda: endpoint(api, "n2", "sign"))
            assert [path for path in writes(api)[before:] if path.endswith("n1")] == []


# -- nodes that come and go


async def test_the_object_of_a_node_comes_and_goes_with_it() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(NODES, node("n3"))
            await until("made", lambda: "n3" in rule_sets(api))
            api.remove(NODES, "n3")
            await until("removed", lambda: "n3" not in rule_sets(api))
            assert rule_sets(api).keys() == {"n1", "n2"}


async def test_an_object_without_a_node_is_removed_at_the_start() -> None:
    async with FakeApi() as api:
        furnish(api)
        api.put(NODE_RULE_SETS, {"metadata": {"name": "ghost"}, "spec": {}})
        async with listed(api):
            await until("removed", lambda: "ghost" not in rule_sets(api))


async def test_an_object_without_a_node_is_removed_when_somebody_makes_it() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(NODE_RULE_SETS, {"metadata": {"name": "ghost"}, "spec": {}})
            await until("removed", lambda: "ghost" not in rule_sets(api))


async def test_a_node_made_again_owns_its_object() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.remove(NODES, "n2")
            again = api.put(NODES, node("n2"))["metadata"]["uid"]

            def owners() -> list[str]:
                found = rule_sets(api).get("n2", {"metadata": {}})
                return [each["uid"] for each in found["metadata"].get("ownerReferences", ())]

            await until("owned", lambda: owners() == [again])


# -- trouble


@pytest.mark.parametrize("status", [403, 404, 409, 429, 500, 503])
async def test_a_refused_write_is_tried_again(status: int) -> None:
    async with FakeApi() as api:
        furnish(api)
        api.fail("patch", Refuse(status), times=3, resource=NODE_RULE_SETS)
        async with listed(api):
            assert is_isolated(api, "n1", "web")


async def test_the_api_server_goes_away_and_comes_back() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            await api.refuse_connections()
            api.put(NETWORK_POLICIES, isolating("meanwhile", app="db"))
            api.remove(NETWORK_POLICIES, "closed", "shop")
            await asyncio.sleep(0.1)
            await api.listen()
            await until("both changes", lambda: is_isolated(api, "n2", "db") and not is_isolated(api, "n1", "web"))


async def test_a_rule_set_over_the_limit_leaves_the_last_one(api_with_much: FakeApi) -> None:
    api = api_with_much
    good = rule_sets(api)["n1"]["spec"]
    await until("told", lambda: ("RuleSetTooLarge", "n1") in events(api))
    api.put(PODS, pod("other", "10.0.1.9", on="n2"))
    await until("other nodes go on", lambda: endpoint(api, "n2", "other"))
    assert rule_sets(api)["n1"]["spec"] == good
    api.remove(NETWORK_POLICIES, "much", "shop")
    api.put(PODS, pod("new", "10.0.0.2"))
    await until("it fits again", lambda: endpoint(api, "n1", "new"))


@pytest.fixture
async def api_with_much() -> AsyncIterator[FakeApi]:
    """A policy on n1's pod for which there is no room has just been made."""
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(NETWORK_POLICIES, much())
            yield api


def much() -> Object:
    """A policy that comes to more than 512 KB."""
    blocks = [{"ipBlock": {"cidr": f"11.{number >> 8}.{number & 255}.0/24"}} for number in range(25_000)]
    policy = isolating("much", app="web")
    policy["spec"]["ingress"] = [{"from": blocks}]
    return policy


async def test_etcd_says_too_large_once() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.fail("patch", Refuse(500, "etcdserver: request is too large"), times=50, resource=NODE_RULE_SETS)
            before = len(writes(api))
            api.put(PODS, pod("new", "10.0.0.2"))
            await until("tried", lambda: len(writes(api)) > before)
            await asyncio.sleep(0.3)
            assert len(writes(api)) == before + 1


# -- kinds and namespaces that come and go


async def test_cluster_network_policies_count_while_they_are_installed() -> None:
    deny = {
        "metadata": {"name": "deny"},
        "spec": {
            "tier": "Admin",
            "priority": 1,
            "subject": {"namespaces": {}},
            "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}],
        },
    }
    async with FakeApi(set(KINDS) - {CLUSTER_NETWORK_POLICIES}) as api:
        furnish(api)
        async with listed(api):
            assert not is_isolated(api, "n2", "db")
            api.install(CLUSTER_NETWORK_POLICIES)
            api.put(CLUSTER_NETWORK_POLICIES, deny)
            await until("in force", lambda: is_isolated(api, "n2", "db"))
            api.uninstall(CLUSTER_NETWORK_POLICIES)
            await until("gone", lambda: not is_isolated(api, "n2", "db"))


async def test_isolation_outlives_its_policy_in_a_namespace_that_goes() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(NAMESPACES, namespace("shop", going=True))
            api.remove(NETWORK_POLICIES, "closed", "shop")
            api.put(PODS, pod("sign", "10.0.1.9", on="n2", namespace="other"))
            await until("taken in", lambda: endpoint(api, "n2", "sign"))
            assert is_isolated(api, "n1", "web")
            api.remove(PODS, "web", "shop")
            await until("the pod is gone", lambda: endpoint(api, "n1", "web") is None)


async def test_an_annotation_that_cannot_be_read_is_said_once_and_again_when_it_is_another_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def said() -> list[str]:
        found = [each for each in api.objects(EVENTS).values() if each["reason"] == "AnnotationInvalid"]
        assert all(each["involvedObject"]["kind"] == "Namespace" for each in found)
        return sorted(str(each["message"]) for each in found)

    def annotated(wish: str, **labels: str) -> Object:
        body = namespace("shop")
        return {"metadata": body["metadata"] | {"annotations": {"nodewall.io/log": wish}, "labels": labels}}

    async with FakeApi() as api:
        furnish(api)
        api.put(NAMESPACES, annotated("deny"))
        async with listed(api):
            await until("said", lambda: len(said()) == 1)
            assert said()[0].startswith(
                "metadata.annotations[nodewall.io/log]: 'deny' must be Deny, Accept, All or None;"
            )
            api.put(NAMESPACES, annotated("deny", team="blue"))
            api.put(NAMESPACES, annotated("everything"))
            await until("said again", lambda: len(said()) == 2)
            assert sum("must be Deny" in each.getMessage() for each in caplog.records) == 2


def test_what_is_in_an_object_is_read_again_whenever_it_is_another_text() -> None:
    """After etcd was restored from a backup the same generation of the same object may be other content."""
    read, encoded = rulesets.Reader(), at_once(rulesets.encoding(NodeRuleSet("n1")))

    def found(spec: bytes) -> str:
        return read(b'{"metadata": {"name": "n1", "uid": "u", "generation": 3}, "spec": %b}' % spec)[1].content

    edited = encoded.spec.replace(b'"podCIDRs":[]', b'"podCIDRs":["10.0.0.0/8"]')
    assert edited != encoded.spec
    assert [found(encoded.spec), found(edited), found(encoded.spec)] == [encoded.digest, "", encoded.digest]
