"""What the authors of policies get to see."""

from typing import Any

from nodewall.controller.setbacks import MOST
from nodewall.kube.resource import CLUSTER_EXTENDED_NETWORK_POLICIES as CXNP
from nodewall.kube.resource import CLUSTER_NETWORK_POLICIES as CNP
from nodewall.kube.resource import EVENTS, NETWORK_POLICIES, PODS, Resource
from nodewall.kube.resource import EXTENDED_NETWORK_POLICIES as XNP
from tests.controller.running import events, furnish, isolating, listed, pod, report, running, until
from tests.kube.fake_api import FakeApi, Object

DENY = {"action": "Deny", "from": [{"namespaces": {}}]}
BROKEN = {"action": "Deny", "from": [{"networks": ["nonsense"]}]}
DENY_EGRESS = {"action": "Deny", "to": [{"namespaces": {}}]}


def guard(name: str = "guard", *, priority: int = 10, **more: Any) -> Object:
    """A policy about every pod."""
    spec = {"tier": "Admin", "priority": priority, "subject": {"namespaces": {}}, "ingress": [DENY]}
    return {"metadata": {"name": name}, "spec": spec | more}


def extended(**more: Any) -> Object:
    """A policy about web pods of the namespace "shop"."""
    spec = {"priority": 1, "podSelector": {"matchLabels": {"app": "web"}}, "ingress": [DENY]}
    return {"metadata": {"name": "x", "namespace": "shop"}, "spec": spec | more}


def status(api: FakeApi, resource: Resource, name: str, namespace: str = "") -> Object:
    found: Object = api.objects(resource)[namespace, name].get("status", {})
    return found


def conditions(api: FakeApi, resource: Resource, name: str, namespace: str = "") -> dict[str, str]:
    """Reason by type."""
    return {each["type"]: each["reason"] for each in status(api, resource, name, namespace).get("conditions", ())}


def programmed(api: FakeApi, name: str = "guard") -> str:
    return conditions(api, CXNP, name).get("Programmed", "")


def counted(api: FakeApi) -> Object:
    return status(api, CXNP, "guard")


def status_writes(api: FakeApi, name: str) -> int:
    return sum(seen.path.endswith(f"/{name}/status") for seen in api.asked("patch"))


async def test_programmed_is_true_when_every_node_with_a_selected_pod_says_so() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(CXNP, guard())
            await until("pending", lambda: programmed(api) == "Pending")
            found = status(api, CXNP, "guard")
            assert (found["selectedPods"], found["nodes"]) == (2, {"desired": 2, "programmed": 0})
            report(api, "n1")
            await until(
                "one of two",
                lambda: status(api, CXNP, "guard")["nodes"]["programmed"] == 1,
            )
            assert programmed(api) == "Pending"
            report(api, "n2")
            await until("programmed", lambda: programmed(api) == "Programmed")


async def test_an_edit_that_changes_no_byte_is_programmed_at_once() -> None:
    async with FakeApi() as api:
        furnish(api)
        api.put(CXNP, guard())
        async with listed(api):
            report(api, "n1")
            report(api, "n2")
            await until("programmed", lambda: programmed(api) == "Programmed")
            api.put(
                CXNP,
                guard(nodes={}) | {"status": status(api, CXNP, "guard")},
            )
            await until(
                "generation 2",
                lambda: status(api, CXNP, "guard")["observedGeneration"] == 2,
            )
            await until("programmed", lambda: programmed(api) == "Programmed")


async def test_right_after_a_restart_programmed_is_what_it_was() -> None:
    async with FakeApi() as api:
        furnish(api)
        api.put(CXNP, guard())
        async with listed(api):
            report(api, "n1")
            report(api, "n2")
            await until("programmed", lambda: programmed(api) == "Programmed")
        before = status_writes(api, "guard")
        async with listed(api):
            api.put(CXNP, guard("second", priority=11))
            await until("the second is told about", lambda: programmed(api, "second") == "Pending")
            assert programmed(api) == "Programmed"
            assert status_writes(api, "guard") == before


async def test_a_policy_that_selects_nothing_says_zero() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            nobody = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "none"}}}}
            api.put(CXNP, guard(subject=nobody))
            await until("told", lambda: programmed(api) == "NothingSelected")
            assert status(api, CXNP, "guard")["selectedPods"] == 0


def too_much() -> Object:
    """A policy of pods on n1 whose rule set is too large."""
    blocks = [{"ipBlock": {"cidr": f"11.{number >> 8}.{number & 255}.0/24"}} for number in range(25_000)]
    much = isolating("much", app="web")
    much["spec"]["ingress"] = [{"from": blocks}]
    return much


async def test_a_rule_set_that_is_too_large_is_told_to_the_policies_in_it() -> None:
    much = too_much()
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(NETWORK_POLICIES, much)
            api.put(CXNP, guard())
            await until("told", lambda: programmed(api) == "RuleSetTooLarge")
            await until("an Event", lambda: ("PolicyDegraded", "guard") in events(api))
            assert events(api).count(("PolicyDegraded", "guard")) == 1
            api.remove(NETWORK_POLICIES, "much", "shop")
            await until("told again", lambda: programmed(api) == "Pending")


async def test_network_policies_that_a_node_keeps_out_are_told_once_and_when_it_is_over() -> None:
    """They have no status. One that is in force in its newest form, or elsewhere, has nothing to say."""
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            report(api, "n1")
            report(api, "n2")
            api.put(CXNP, guard())  # a mark: once it is told, all reports before it have been taken in
            await until("the reports are known", lambda: programmed(api) == "Pending")
            report(api, "n1")
            report(api, "n2")
            await until("programmed", lambda: programmed(api) == "Programmed")
            api.put(NETWORK_POLICIES, too_much())
            await until("told", lambda: ("PolicyDegraded", "much") in events(api))
            api.put(NETWORK_POLICIES, isolating("later", app="web"))
            api.put(NETWORK_POLICIES, isolating("elsewhere", app="db"))
            await until("the next one too", lambda: ("PolicyDegraded", "later") in events(api))
            said = next(each for each in api.objects(EVENTS).values() if each["involvedObject"]["name"] == "later")
            assert said["type"] == "Warning"
            assert said["message"] == "the rule set is too large, and an older one stays in force, on node n1"
            assert said["involvedObject"]["kind"] == "NetworkPolicy"
            api.remove(NETWORK_POLICIES, "much", "shop")
            await until("and that it is over", lambda: ("PolicyRecovered", "later") in events(api))
        ours = sorted(event for event in events(api) if event[0] in {"PolicyDegraded", "PolicyRecovered"})
        assert ours == [("PolicyDegraded", "later"), ("PolicyDegraded", "much"), ("PolicyRecovered", "later")]
        assert all(each["count"] == 1 for each in api.objects(EVENTS).values() if each["reason"] == "PolicyDegraded")


async def test_many_network_policies_that_a_node_keeps_out_are_all_told() -> None:
    """In more than one round."""
    names = {f"p{number}" for number in range(2 * MOST + 3)}
    async with FakeApi() as api:
        furnish(api)
        api.put(NETWORK_POLICIES, too_much())
        for name in names:
            api.put(NETWORK_POLICIES, isolating(name, app="web"))
        async with running(api) as listing:
            await until("listed", listing.done.is_set)
            told = {("PolicyDegraded", name) for name in names}
            await until("all are told", lambda: told <= set(events(api)))
            assert all(events(api).count(each) == 1 for each in told)


async def test_selected_pods_follow_the_pods() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(XNP, extended())

            def pods() -> int | None:
                return status(api, XNP, "x", "shop").get("selectedPods")

            await until("one", lambda: pods() == 1)
            api.put(PODS, pod("web2", "10.0.1.8", on="n2", app="web"))
            await until("two", lambda: pods() == 2)
            api.remove(PODS, "web", "shop")
            await until("one again", lambda: pods() == 1)


async def test_a_broken_part_is_told_in_status_and_event_once() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(XNP, extended(ingress=[BROKEN]))
            await until("told", lambda: ("PolicyInvalid", "x") in events(api))
            await until("status", lambda: conditions(api, XNP, "x", "shop").get("Accepted") == "Invalid")
            said = next(each["message"] for each in status(api, XNP, "x", "shop")["conditions"])
            assert "spec.ingress[0].from[0].networks[0]" in said
            api.put(PODS, pod("web3", "10.0.0.9", app="web"))
            await until("counted", lambda: status(api, XNP, "x", "shop")["selectedPods"] == 2)
            assert events(api).count(("PolicyInvalid", "x")) == 1
            api.put(XNP, extended())
            await until("mended", lambda: ("PolicyAccepted", "x") in events(api))


async def test_a_network_policy_gets_an_event_and_nothing_else() -> None:
    broken = isolating("broken", app="db")
    broken["spec"]["ingress"] = [{"from": [{"ipBlock": {"cidr": "nonsense"}}]}]
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            before = api.put(NETWORK_POLICIES, broken)
            await until("told", lambda: ("PolicyInvalid", "broken") in events(api))
            assert api.objects(NETWORK_POLICIES)["shop", "broken"] == before


async def test_a_cluster_network_policy_gets_conditions() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(CNP, guard())
            await until("told", lambda: conditions(api, CNP, "guard").get("Accepted") == "Accepted")
            assert status(api, CNP, "guard").keys() == {"conditions"}
            good = status(api, CNP, "guard")
            found = api.objects(CNP)["", "guard"]
            api.put(CNP, found | {"status": {"conditions": [good["conditions"][0] | {"status": "False"}]}})
            await until("put right", lambda: untimed(status(api, CNP, "guard")) == untimed(good))


def untimed(found: Object) -> list[Object]:
    """The conditions without their times: of one that was turned around and back, it is that of the turn."""
    return [each | {"lastTransitionTime": ""} for each in found["conditions"]]


async def test_equal_priorities_about_the_same_pods_are_a_conflict_of_the_later_one() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(CXNP, guard("a"))
            api.put(CXNP, guard("b"))
            api.put(CXNP, guard("c", priority=11))
            api.put(
                CXNP,
                guard("d", ingress=[], egress=[DENY_EGRESS]),
            )

            wanted = {"a": "Unique", "b": "EqualPriority", "c": "Unique", "d": "Unique"}
            await until("told", lambda: {name: conflicted(api, name) for name in "abcd"} == wanted)
            assert [name for reason, name in events(api) if reason == "PolicyConflicted"] == ["b"]
            api.remove(CXNP, "a")
            await until("settled", lambda: conflicted(api, "b") == "Unique")


def conflicted(api: FakeApi, name: str) -> str:
    return conditions(api, CXNP, name).get("Conflicted", "")


async def test_a_change_that_does_not_concern_a_policy_writes_no_status() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(CXNP, guard())
            await until("told", lambda: programmed(api) == "Pending")
            before = status_writes(api, "guard")
            api.put(PODS, pod("web", "10.0.0.1", app="web", another="label"))
            api.put(CXNP, guard("sign", priority=99))
            await until("the next round is over", lambda: programmed(api, "sign") == "Pending")
            assert status_writes(api, "guard") == before


async def test_what_others_write_into_a_status_is_put_right() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            api.put(CXNP, guard())
            await until("told", lambda: programmed(api) == "Pending")
            good = status(api, CXNP, "guard")
            found = api.objects(CXNP)["", "guard"]
            api.put(CXNP, found | {"status": good | {"selectedPods": 77}})
            await until("put right", lambda: status(api, CXNP, "guard") == good)
