"""Rounds over all policies: with an API that the test plays, where nothing comes back to touch a policy again."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from nodewall.controller.progress import Progress
from nodewall.controller.reporting import Obstacles, Reporting, Survey
from nodewall.controller.status import PolicyStatus
from nodewall.controller.store import Store, StoredPolicy
from nodewall.kube.errors import ApiError, Call, NotFoundError, UnreachableError
from nodewall.model.cluster import Node, Pod
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import ANYONE, Action, Kind, PolicyRef, Subject, Tier, TierPolicy, TierRule
from nodewall.telemetry.events import Notice
from tests.controller.running import until
from tests.kube.mirroring import QuickClock

RULE = (TierRule(0, Action.DENY, ANYONE),)
CALL = Call("patch", "status")


@dataclass
class Api:
    """Keeps what is written, and fails as often as it is told."""

    written: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    errors: list[ApiError] = field(default_factory=list)
    tries: int = 0

    async def write(self, ref: PolicyRef, status: Mapping[str, Any]) -> None:
        self.tries += 1
        if self.errors:
            raise self.errors.pop()
        self.written.append((ref.name, status))

    def pods(self, name: str) -> list[int]:
        """The counts of selected pods that were written for one policy."""
        return [status["selectedPods"] for each, status in self.written if each == name]


class Stage:
    """A store with one node, and the reporting on it."""

    def __init__(self) -> None:
        self.store, self.api, self.notices = Store(), Api(), list[Notice]()
        clock = QuickClock()
        self.survey = Survey(self.store, Progress(), Obstacles(frozenset, frozenset, lambda _: ""), clock)
        self.reporting = Reporting(
            self.store, self.survey, self.api, self.notices.append, clock, lambda: "2026-01-01T00:00:00Z"
        )
        self.reporting.lead(True)
        self.store.node("n1", Node("n1"))

    def policy(self, name: str, kind: Kind = Kind.CLUSTER_EXTENDED) -> None:
        value = TierPolicy(kind, "", name, Tier.ADMIN, 1, Subject(EVERYTHING), ingress=RULE)
        stored = StoredPolicy(value.ref, "u", 1, value)
        self.store.policy(value.ref, stored, 0.0)
        self.survey.saw_policy(value.ref, stored, 0)
        self.reporting.mirrored(value.ref)

    def pod(self, name: str) -> None:
        pod = Pod("ns", name, node="n1")
        self.store.pod(pod.key, pod)
        self.survey.saw_pod(None, pod)
        self.reporting.touch_all()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    here, listed = Stage(), asyncio.Event()
    listed.set()
    task = asyncio.create_task(here.reporting.run(listed))
    try:
        yield here
    finally:
        assert not task.done(), task
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_round_finds_what_changed_for_policies_that_nobody_touched() -> None:
    async with stage() as here:
        here.policy("a")
        await until("told", lambda: here.api.pods("a") == [0])
        here.pod("p1")
        await until("told again", lambda: here.api.pods("a") == [0, 1])
        here.pod("p2")
        await until("and again", lambda: here.api.pods("a") == [0, 1, 2])


async def test_a_conflict_is_an_event_once() -> None:
    async with stage() as here:
        here.pod("p1")
        here.policy("a")
        here.policy("b")
        await until("told", lambda: here.api.pods("b") == [1])
        here.pod("p2")
        await until("told again", lambda: here.api.pods("b") == [1, 2])
        assert [(each.subject.name, each.reason) for each in here.notices] == [("b", "PolicyConflicted")]


async def test_another_status_is_no_reason_to_compare_all_anew() -> None:
    """A thousand policies of equal priority would be compared a thousand times, and nobody's change be written."""
    here = Stage()
    here.pod("p1")
    here.policy("a")
    here.policy("b")
    stored = here.store.policies[PolicyRef(Kind.CLUSTER_EXTENDED, "", "b")]
    rivals = here.survey.facts(stored).rivals
    assert [each.name for each in rivals] == ["a"]
    here.survey.saw_policy(stored.ref, replace(stored, status=PolicyStatus(generation=1)), 1)
    assert here.survey.facts(stored).rivals is rivals
    here.survey.saw_policy(stored.ref, None, 2)
    here.policy("b")
    assert here.survey.facts(stored).rivals == rivals
    assert here.survey.facts(stored).rivals is not rivals


async def test_a_failed_write_is_tried_again() -> None:
    async with stage() as here:
        here.api.errors = [UnreachableError(CALL, "no answer") for _ in range(2)]
        here.policy("a")
        await until("told", lambda: here.api.pods("a") == [0])
        assert here.api.tries == 3


async def test_a_policy_without_a_status_is_not_tried_again() -> None:
    async with stage() as here:
        here.api.errors = [NotFoundError(CALL, "no such subresource")]
        here.policy("a")
        await until("tried", lambda: here.api.tries == 1)
        here.policy("b")
        await until("told", lambda: here.api.pods("b") == [0])
        assert here.api.tries == 2


async def test_a_server_that_drops_the_conditions_is_not_written_to_for_ever() -> None:
    """The schema of ClusterNetworkPolicy may know no conditions; then each write comes back without them."""
    async with stage() as here:
        here.policy("a", Kind.CLUSTER)
        await until("tried", lambda: here.api.tries == 1)
        here.policy("a", Kind.CLUSTER)
        here.policy("b")
        await until("told", lambda: here.api.pods("b") == [0])
        assert [name for name, _ in here.api.written].count("a") == 1
