"""What the status says, and when it is written."""

import asyncio
from typing import Any

import msgspec
import pytest

from nodewall.agent import decide, report
from nodewall.agent.decide import Finding, Reason, State
from nodewall.agent.report import Reporter, status
from nodewall.agent.setup import Setup
from nodewall.api.status import NodeRuleSetStatus
from nodewall.kube.clock import SystemClock
from nodewall.kube.errors import Call, NotFoundError, UnreachableError
from tests.agent.rulesets import content, ruleset
from tests.agent.test_decide import NOW, apply_of, fresh, in_force

AT = "2026-01-01T00:00:10Z"


def condition(state: State, kind: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [each for each in status(state, [], AT)["conditions"] if each["type"] == kind]
    return found


def test_a_rule_set_in_force() -> None:
    said = status(in_force(ruleset(3, content("10.0.2.1", "10.0.2.2"))), [], AT)
    conditions = said.pop("conditions")
    assert said == {
        "observedGeneration": 3,
        "appliedDigest": "d3",
        "appliedAt": "2026-01-01T00:00:00Z",
        "pods": 1,
        "policies": 1,
        "rules": 2,
        "addresses": 2,
        "appliedGroups": None,
    }
    assert [(each["type"], each["status"], each["reason"]) for each in conditions] == [
        ("Applied", "True", "Applied"),
        ("Degraded", "False", "Healthy"),
    ]
    assert {each["lastTransitionTime"] for each in conditions} == {AT}


CASES = {
    "waiting": (fresh(table=True), "Waiting"),
    "unusable": (decide.unusable(in_force(ruleset(1)), decide.Observed("u1", 2), "why"), "RuleSetUnusable"),
    "restored": (decide.read(in_force(ruleset(5)), ruleset(4), NOW), "RuleSetRestored"),
}


@pytest.mark.parametrize(("state", "reason"), CASES.values(), ids=CASES)
def test_not_in_force(state: State, reason: str) -> None:
    applied, degraded = condition(state, "Applied"), condition(state, "Degraded")
    assert (applied["status"], applied["reason"]) == ("False", reason)
    assert (degraded["status"], degraded["reason"]) == ("True", reason)


def test_a_change_on_its_way_is_not_in_force_and_degrades_nothing() -> None:
    state = decide.read(in_force(ruleset(1)), ruleset(2), NOW)
    applied, degraded = condition(state, "Applied"), condition(state, "Degraded")
    assert (applied["status"], applied["reason"], applied["message"]) == (
        "False",
        "Applying",
        "generation 2 is being applied",
    )
    assert degraded["status"] == "False"


def test_the_status_has_the_shape_of_the_definition() -> None:
    for state in (fresh(), in_force(ruleset(3)), *(state for state, _ in CASES.values())):
        said = {key: value for key, value in status(state, [], AT).items() if value is not None}
        assert msgspec.to_builtins(msgspec.convert(said, NodeRuleSetStatus)) == said


def test_a_refusal_gives_the_kernels_reason() -> None:
    state = decide.read(fresh(), ruleset(1), NOW)
    state = decide.failed(state, apply_of(state), Finding(Reason.KERNEL_REFUSED, "out of memory"), NOW)
    assert condition(state, "Applied")["message"] == "out of memory"


def test_drift_names_who_did_it() -> None:
    state = decide.drifted(in_force(ruleset(1)), "nft (pid 42)", NOW)
    state = decide.succeeded(state, apply_of(state).target, "")
    degraded = condition(state, "Degraded")
    assert (degraded["status"], degraded["reason"]) == ("True", "Drift")
    assert "nft (pid 42); repaired" in degraded["message"]
    assert condition(state, "Applied")["status"] == "True"


def test_findings_degrade_and_all_are_told() -> None:
    state = decide.found(in_force(ruleset(1)), Reason.BYPASS, ["first", "second"])
    assert condition(state, "Degraded")["reason"] == "Bypass"
    assert condition(state, "Degraded")["message"] == "first; second"


def test_a_condition_keeps_its_time_while_its_status_is_the_same() -> None:
    before = [
        {"type": "Applied", "status": "True", "lastTransitionTime": "then"},
        {"type": "Degraded", "status": "True", "lastTransitionTime": "then"},
    ]
    said = status(in_force(ruleset(1)), before, AT)["conditions"]
    assert [each["lastTransitionTime"] for each in said] == ["then", AT]


def test_a_message_is_cut() -> None:
    state = decide.found(in_force(ruleset(1)), Reason.BYPASS, ["x" * 5000])
    assert len(condition(state, "Degraded")["message"]) == report.LONGEST_MESSAGE


@pytest.mark.parametrize("source", [b"", b"{", b'{"status": 3}', b'{"status": {"conditions": "x"}}', b"{}"])
def test_a_status_that_cannot_be_read_is_none(source: bytes) -> None:
    assert report.recall(source) == {}


def test_a_status_beside_something_nested_too_deep_is_read() -> None:
    """Or it would be written again, and come back, for ever."""
    source = b'{"metadata":{"managedFields":%s},"status":{"conditions":[]}}' % (b"[" * 100_000 + b"]" * 100_000)
    assert report.recall(source) == {"conditions": []}


class Server:
    """Keeps what is patched; the first ``failures`` patches fail."""

    def __init__(self, *failures: Exception) -> None:
        self.written: list[dict[str, Any]] = []
        self.failures = list(failures)
        self.tries = 0

    async def patch(self, body: dict[str, Any]) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        self.written.append(body)


class Impatient(SystemClock):
    """Sleeps are over at once, and counted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


async def reported(server: Server, *states: State, seen: bytes = b"") -> list[bool]:
    """Run a reporter over the states, one after the other."""
    outcomes: list[bool] = []
    reporter = Reporter(server.patch, Impatient(), lambda: 0.0, outcomes.append)
    if seen:
        reporter.remember("u1", seen)
    task = asyncio.create_task(reporter.run())
    for state in states:
        reporter.changed(state)
        for _ in range(20):
            await asyncio.sleep(0)
    task.cancel()
    return outcomes


async def test_a_change_is_written_once() -> None:
    server = Server()
    assert await reported(server, in_force(ruleset(1)), in_force(ruleset(1))) == [True]
    assert server.written[0]["appliedDigest"] == "d1"


async def test_what_the_server_has_already_is_not_written() -> None:
    server = Server()
    state = in_force(ruleset(1))
    there = msgspec.json.encode({"status": status(state, [], "1970-01-01T00:00:00Z")})
    assert await reported(server, state, seen=there) == []
    assert server.tries == 0


async def test_the_status_of_a_recreated_object_is_written_again() -> None:
    server = Server()
    outcomes: list[bool] = []
    reporter = Reporter(server.patch, Impatient(), lambda: 0.0, outcomes.append)
    task = asyncio.create_task(reporter.run())
    for uid in ("u1", "u2"):
        reporter.remember(uid, b"{}")
        reporter.changed(in_force(ruleset(1)))
        for _ in range(20):
            await asyncio.sleep(0)
    task.cancel()
    assert len(server.written) == 2


async def test_what_somebody_else_made_of_the_status_is_written_again() -> None:
    """By hand, or by restoring a backup. An older view cannot be told from that, and costs a write that is none."""
    server = Server()
    reporter = Reporter(server.patch, Impatient(), lambda: 0.0, lambda _done: None)
    task = asyncio.create_task(reporter.run())
    reporter.remember("u1", b"{}")
    reporter.changed(in_force(ruleset(1)))
    for change in ({}, {"appliedDigest": "another"}):
        for _ in range(20):
            await asyncio.sleep(0)
        reporter.remember("u1", msgspec.json.encode({"status": server.written[0] | change}))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    assert [said["appliedDigest"] for said in server.written] == ["d1", "d1"]


async def test_a_failed_write_is_tried_again() -> None:
    call = Call("patch", "noderulesets.nodewall.io/status n1")
    server = Server(UnreachableError(call, "gone"), UnreachableError(call, "gone"))
    assert await reported(server, in_force(ruleset(1))) == [False, False, True]


async def test_an_object_that_is_gone_is_not_written_to() -> None:
    call = Call("patch", "noderulesets.nodewall.io/status n1")
    server = Server(NotFoundError(call, "not found"))
    await reported(server, in_force(ruleset(1)), decide.absent(in_force(ruleset(1))))
    assert server.tries == 1


async def test_before_any_object_was_seen_nothing_is_written() -> None:
    server = Server()
    await reported(server, decide.start(Setup(), table_found=False, saved=None))
    assert server.tries == 0
