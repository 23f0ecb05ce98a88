"""A controller that stands by knows everything and writes nothing; one that takes over writes what differs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from nodewall.compile.settings import Settings
from nodewall.controller.main import Controller, Listing
from nodewall.kube.errors import UnreachableError
from nodewall.kube.http import Session, Timeouts, connect
from nodewall.kube.resource import (
    CLUSTER_EXTENDED_NETWORK_POLICIES,
    EVENTS,
    NETWORK_POLICIES,
    NODE_RULE_SETS,
    NODES,
    PODS,
    Collection,
)
from nodewall.telemetry import metrics
from nodewall.telemetry.events import Reporter
from nodewall.telemetry.metrics import Metrics
from tests.controller.running import furnish, is_isolated, isolating, listed, node, pod, rule_sets, until
from tests.kube.fake_api import FakeApi, Object
from tests.kube.mirroring import QuickClock


@dataclass
class Replica:
    session: Session
    parts: Controller
    listing: Listing
    seconds: float = 0.0

    def lead(self, leads: bool) -> None:
        """As an election would."""
        self.seconds = 60.0 if leads else 0.0
        self.parts.lead(leads)


@asynccontextmanager
async def replica(api: FakeApi) -> AsyncIterator[Replica]:
    """One that stands by, and has listed and compiled everything."""
    async with connect(api.credentials(), timeouts=Timeouts(request=5.0)) as session:
        counters, reporter = Metrics(metrics.CONTROLLER, "test"), Reporter("nodewall-controller", "test")
        parts = Controller(session, Settings(), counters, reporter, QuickClock(), lambda: found.seconds)
        found = Replica(session, parts, Listing())
        task = asyncio.create_task(parts.run(found.listing))
        try:
            await until("ready", lambda: found.listing.missing() == [])
            yield found
        finally:
            assert not task.done(), task
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def changes(api: FakeApi) -> int:
    """Requests that change anything."""
    return sum(seen.verb in {"patch", "create", "update", "delete"} for seen in api.requests)


def deny_all(name: str) -> Object:
    rule = {"action": "Deny", "from": [{"namespaces": {}}]}
    spec = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "ingress": [rule]}
    return {"metadata": {"name": name}, "spec": spec}


async def test_a_standby_is_ready_and_writes_nothing() -> None:
    async with FakeApi() as api:
        furnish(api)
        api.put(CLUSTER_EXTENDED_NETWORK_POLICIES, deny_all("p"))
        async with replica(api) as other:
            api.put(NODES, node("n3"))
            api.put(PODS, pod("new", "10.0.0.9", on="n3"))
            api.put(NODE_RULE_SETS, {"metadata": {"name": "n1"}, "spec": {}})
            await until("all is compiled", lambda: other.listing.missing() == [])
            await asyncio.sleep(1.2)  # longer than the patience of everything that could be written
            assert changes(api) == 0


async def test_mirrors_that_wait_for_the_server_are_told_by_who_got_the_lease() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with replica(api) as other:
            await api.refuse_connections()
            with pytest.raises(UnreachableError) as caught:
                await other.session.version_of(Collection(NODES))
            back = caught.value.back
            assert back
            other.lead(False)
            assert not back.is_set()
            other.lead(True)
            assert back.is_set()


async def test_who_takes_over_writes_only_what_differs() -> None:
    async with FakeApi() as api:
        furnish(api)
        api.put(CLUSTER_EXTENDED_NETWORK_POLICIES, deny_all("p"))
        async with listed(api):
            await until("told", lambda: "status" in api.objects(CLUSTER_EXTENDED_NETWORK_POLICIES)["", "p"])
        async with replica(api) as other:
            before = changes(api)
            other.lead(True)
            await asyncio.sleep(1.2)
            assert changes(api) == before
            other.lead(False)
            found = rule_sets(api)["n1"]
            api.put(NODE_RULE_SETS, found | {"spec": {"digest": "old", "endpoints": []}})
            api.put(PODS, pod("late", "10.0.0.7", on="n1", app="web"))
            await asyncio.sleep(0.5)
            assert changes(api) == before
            other.lead(True)
            await until("mended", lambda: is_isolated(api, "n1", "late"))


async def test_what_another_wrote_is_no_affair_of_a_standby_and_is_repaired_by_who_leads() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with replica(api) as other:
            other.lead(True)
            await until("written", lambda: len(rule_sets(api)) == 2)
            good = rule_sets(api)["n1"]
            # A write of the former leader lands late. Beside a write of ours that has not returned it goes unsaid.
            async with asyncio.timeout(20):
                while not api.objects(EVENTS):
                    api.put(NODE_RULE_SETS, good | {"spec": {"digest": "old", "endpoints": []}})
                    await until("repaired", lambda: rule_sets(api)["n1"]["spec"] == good["spec"])
                    await asyncio.sleep(0.5)  # Events are collected for a while before they are written
            assert [each["reason"] for each in api.objects(EVENTS).values()] == ["RuleSetRepaired"]


async def test_a_tenure_that_runs_out_stops_the_writing_before_anybody_is_told() -> None:
    async with FakeApi() as api:
        furnish(api)
        async with replica(api) as other:
            other.lead(True)
            await until("written", lambda: len(rule_sets(api)) == 2)
            before = changes(api)
            other.seconds = 0.0
            api.put(NETWORK_POLICIES, isolating("more", app="db"))
            await asyncio.sleep(0.6)
            assert changes(api) == before
            other.lead(True)
            await until("written", lambda: is_isolated(api, "n2", "db"))
