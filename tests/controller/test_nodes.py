"""What is told about nodes, and when: instants are arguments."""

from dataclasses import replace

import pytest

from nodewall.agent import decide
from nodewall.agent.decide import Finding, Observed, State
from nodewall.agent.decide import Reason as Agent
from nodewall.agent.report import conditions
from nodewall.controller.nodes import BEHIND, LATE, LATE_SECONDS, SETTLE_SECONDS, WAITS, WELL, Troubles, reported
from nodewall.controller.publish import Condition, Published
from nodewall.kube.resource import EVENTS, NODE_RULE_SETS, NODES
from nodewall.model.ruleset import SharedGroup
from nodewall.telemetry.events import Reason
from tests.agent.rulesets import ruleset
from tests.agent.test_decide import NOW, apply_of, fresh, in_force
from tests.controller.running import furnish, listed, rule_sets, until
from tests.kube.fake_api import FakeApi

GOOD = Published("uid", "d1", applied="d1")


def by(state: State, published: Published = GOOD) -> Published:
    """With what the real agent says in this state."""
    said = (tuple(each[key] for key in ("type", "status", "reason", "message")) for each in conditions(state))
    return replace(published, conditions=tuple(Condition(*each) for each in said))


def drifted(by_whom: str = "nft (pid 7)") -> State:
    state = decide.drifted(in_force(ruleset(1)), by_whom, NOW)
    return decide.succeeded(state, apply_of(state).target, "")


def refused() -> State:
    state = decide.found(decide.read(fresh(), ruleset(1), NOW), Agent.BYPASS, ["kube-ipvs0 is there"])
    return decide.failed(state, apply_of(state), Finding(Agent.KERNEL_REFUSED, "out of memory"), NOW)


DRIFT = "Drift: the table was changed by nft (pid 7); repaired (once since the agent started)"
SAID = {
    "well": (in_force(ruleset(1)), None),
    "just started": (fresh(), None),
    "about to apply": (decide.read(in_force(ruleset(1)), ruleset(2), NOW), None),
    "drift": (drifted(), (Reason.NODE_DRIFTED, DRIFT)),
    "refused": (refused(), (Reason.RULE_SET_NOT_APPLIED, "KernelRefused: out of memory; kube-ipvs0 is there")),
    "bypass": (
        decide.found(in_force(ruleset(1)), Agent.BYPASS, ["kube-ipvs0 is there"]),
        (Reason.NODE_DEGRADED, "Bypass: kube-ipvs0 is there"),
    ),
    "unguarded": (
        decide.found(in_force(ruleset(1)), Agent.UNGUARDED, ["no scope"]),
        (Reason.NODE_DEGRADED, "Unguarded: no scope"),
    ),
}


@pytest.mark.parametrize(("state", "told"), SAID.values(), ids=SAID)
def test_what_an_agent_says_is_told(state: State, told: tuple[Reason, str] | None) -> None:
    found = reported(by(state))
    assert (found and (found.reason, found.message)) == told


def test_what_an_agent_waits_for_is_told_when_it_does_not_come() -> None:
    troubles, waits = Troubles(), decide.awaiting(in_force(ruleset(1)), Observed("uid", 2), "waits for group g1")
    troubles.saw("n1", by(waits, replace(GOOD, content="d2")), 0)
    assert troubles.due(LATE_SECONDS - 0.1) == []
    assert troubles.due(LATE_SECONDS) == [("n1", WAITS)]
    assert troubles.due(LATE_SECONDS + 100) == []
    troubles.saw("n1", by(in_force(ruleset(1)), replace(GOOD, content="d2", applied="d2")), 200)
    assert troubles.due(200 + SETTLE_SECONDS) == [("n1", WELL)]


def test_what_stands_is_told_once_and_its_end_once() -> None:
    troubles = Troubles()
    troubles.saw("n1", by(in_force(ruleset(1))), 0)
    troubles.saw("n1", by(drifted()), 10)
    assert troubles.due(10 + SETTLE_SECONDS - 0.1) == []
    assert troubles.next_due() == 10 + SETTLE_SECONDS
    ((node, told),) = troubles.due(10 + SETTLE_SECONDS)
    assert (node, told.message) == ("n1", DRIFT)
    troubles.saw("n1", by(drifted()), 20)
    assert (troubles.due(100), troubles.next_due()) == ([], None)
    troubles.saw("n1", by(in_force(ruleset(1))), 100)
    assert troubles.due(100 + SETTLE_SECONDS) == [("n1", WELL)]
    assert (troubles.due(1000), troubles.next_due()) == ([], None)


def test_only_the_last_of_several_words_is_told() -> None:
    troubles = Troubles()
    troubles.saw("n1", by(drifted("early")), 0)
    troubles.saw("n1", by(drifted("nft (pid 7)")), 1)
    ((_, told),) = troubles.due(1 + SETTLE_SECONDS)
    assert told.message == DRIFT


def test_a_node_that_is_well_from_the_start_is_nothing_to_tell() -> None:
    troubles = Troubles()
    troubles.saw("n1", GOOD, 0)
    assert (troubles.due(1e6), troubles.next_due()) == ([], None)


def test_an_agent_that_gets_nowhere_is_told() -> None:
    troubles = Troubles()
    troubles.saw("n1", GOOD, 0)
    troubles.saw("n1", replace(GOOD, content="d2"), 100)
    troubles.saw("n1", replace(GOOD, content="d3"), 100 + LATE_SECONDS - 1)
    assert troubles.due(100 + LATE_SECONDS - 0.1) == []
    assert troubles.due(100 + LATE_SECONDS) == [("n1", LATE)]
    assert (troubles.due(1e6), troubles.next_due()) == ([], None)
    troubles.saw("n1", replace(GOOD, content="d3", applied="d3"), 1000)
    assert troubles.due(1000 + SETTLE_SECONDS) == [("n1", WELL)]


def test_an_agent_that_lags_behind_constant_change_is_not_late() -> None:
    troubles = Troubles()
    for now in range(1000):
        troubles.saw("n1", Published("uid", f"d{now}", applied=f"d{now - 1}"), now)
        assert troubles.due(now) == []


def test_nothing_is_told_of_a_node_that_is_gone() -> None:
    troubles = Troubles()
    troubles.saw("n1", by(drifted()), 0)
    troubles.saw("n1", None, 1)
    assert (troubles.due(100), troubles.next_due()) == ([], None)


async def test_an_event_names_the_node_and_what_its_agent_said() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with listed(api):
            said = [
                {"type": each.type, "status": each.status, "reason": each.reason, "message": each.message}
                for each in by(drifted()).conditions
            ]
            found = rule_sets(api)["n1"]
            api.put(NODE_RULE_SETS, found | {"status": {"appliedDigest": "d", "conditions": said}})
            await until("an event", lambda: api.objects(EVENTS))
        (event,) = api.objects(EVENTS).values()
        uid = api.objects(NODES)["", "n1"]["metadata"]["uid"]
        assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid}
        assert (event["type"], event["reason"], event["message"]) == ("Warning", "NodeDrifted", DRIFT)
        assert event["metadata"]["namespace"] == "default"


# -- groups that many nodes share

SHARING = replace(GOOD, groups=frozenset({SharedGroup("g", 1)}), applied_groups=3)


def test_a_node_that_does_not_follow_the_groups_is_told_of_when_that_takes_long() -> None:
    troubles = Troubles()
    for node, published in (("n1", SHARING), ("n2", replace(SHARING, applied_groups=4)), ("n3", GOOD)):
        troubles.saw(node, published, 0)
    troubles.revised(4, 50, 10)
    due = 10 + 50 + LATE_SECONDS
    assert troubles.due(due - 1) == []
    assert troubles.next_due() == due
    assert troubles.due(due) == [("n1", BEHIND)]
    assert troubles.due(due + 100) == []
    troubles.saw("n1", replace(SHARING, applied_groups=4), due + 100)
    assert troubles.due(due + 100 + SETTLE_SECONDS) == [("n1", WELL)]


def test_newer_revisions_give_nobody_more_time() -> None:
    troubles = Troubles()
    troubles.saw("n1", SHARING, 0)
    for second in range(100):
        troubles.revised(4 + second, 0, float(second))
    assert troubles.due(LATE_SECONDS) == [("n1", BEHIND)]
