"""The controller against the in-process API server. Without kopf, which would only say which policy was touched."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from nodewall.api.ruleset import digest_of
from nodewall.compile.settings import Settings
from nodewall.controller.main import Controller, Listing
from nodewall.kube.http import Timeouts, connect
from nodewall.kube.resource import EVENTS, NAMESPACES, NETWORK_POLICIES, NODE_RULE_SETS, NODES, PODS
from nodewall.telemetry import metrics
from nodewall.telemetry.events import Reporter
from nodewall.telemetry.metrics import Metrics
from tests.kube.fake_api import FakeApi, Object
from tests.kube.mirroring import QuickClock

DEADLINE_SECONDS = 10.0
_SETTINGS = Settings()


async def until(what: str, condition: Callable[[], Any], within: float = DEADLINE_SECONDS) -> None:
    """Returns when the condition holds; fails at the deadline."""
    try:
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110 - the condition is about a server's state, which tells nobody
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within} s: {what}") from None


@asynccontextmanager
async def running(api: FakeApi, settings: Settings = _SETTINGS) -> AsyncIterator[Listing]:
    """A controller at work; stopped at the end as by SIGTERM."""
    async with measured(api, Metrics(metrics.CONTROLLER, "test"), settings) as listing:
        yield listing


@asynccontextmanager
async def measured(api: FakeApi, counters: Metrics, settings: Settings = _SETTINGS) -> AsyncIterator[Listing]:
    """The same, with its metrics at hand."""
    listing = Listing()
    async with connect(api.credentials(), timeouts=Timeouts(request=5.0)) as session:
        reporter = Reporter("nodewall-controller", "test")
        parts = Controller(session, settings, counters, reporter, QuickClock(), lambda: float("inf"))
        parts.lead(True)
        task = asyncio.create_task(parts.run(listing))
        try:
            yield listing
        finally:
            failed = task.done()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert not failed, "the controller ended by itself"


@asynccontextmanager
async def listed(api: FakeApi) -> AsyncIterator[None]:
    """A controller that has listed everything and written a rule set for every node."""
    async with running(api) as listing:
        await until("listed", listing.done.is_set)
        await until("a rule set per node", lambda: rule_sets(api).keys() >= {name for _, name in api.objects(NODES)})
        yield


def node(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"podCIDR": "10.0.0.0/24"}}


def namespace(name: str, *, going: bool = False) -> Object:
    when = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if going else {}
    return {"metadata": {"name": name} | when}


def pod(name: str, address: str, *, on: str = "n1", namespace: str = "shop", **labels: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": on, "containers": []},
        "status": {"phase": "Running", "podIPs": [{"ip": address}]},
    }


def isolating(name: str = "closed", **labels: str) -> Object:
    """A NetworkPolicy that closes the ingress of pods in "shop"."""
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"]},
    }


def furnish(api: FakeApi) -> None:
    """Two nodes, one namespace, a pod on each node, and a policy that closes the pod on n1."""
    for name in ("n1", "n2"):
        api.put(NODES, node(name))
    api.put(NAMESPACES, namespace("shop"))
    api.put(PODS, pod("web", "10.0.0.1", app="web"))
    api.put(PODS, pod("db", "10.0.1.1", on="n2", app="db"))
    api.put(NETWORK_POLICIES, isolating(app="web"))


def rule_sets(api: FakeApi) -> dict[str, Object]:
    """The NodeRuleSets by node."""
    return {name: found for (_, name), found in api.objects(NODE_RULE_SETS).items()}


def is_whole(found: Object) -> bool:
    """Whether its digest is that of its content."""
    return bool(found["spec"]["digest"] == digest_of(found["spec"]))


def endpoint(api: FakeApi, node: str, pod: str) -> Object | None:
    """What a node's object says about a pod."""
    found = rule_sets(api).get(node, {"spec": {"endpoints": []}})["spec"]["endpoints"]
    return next((each for each in found if each["pod"] == pod), None)


def is_isolated(api: FakeApi, node: str, pod: str) -> bool:
    """Whether the pod's ingress is judged at all on that node."""
    found = endpoint(api, node, pod)
    return bool(found and found.get("ingress"))


def writes(api: FakeApi) -> list[str]:
    """The paths of every write of a rule set so far."""
    return [
        seen.path for seen in api.requests if seen.verb in {"patch", "create", "delete"} and "noderulesets" in seen.path
    ]


def report(api: FakeApi, node: str) -> None:
    """What the node's agent does when it has applied its rule set."""
    found = rule_sets(api)[node]
    api.put(NODE_RULE_SETS, found | {"status": {"appliedDigest": found["spec"]["digest"]}})


def events(api: FakeApi) -> list[tuple[str, str]]:
    """(reason, name of the object) of every Event."""
    return [(each["reason"], each["involvedObject"]["name"]) for each in api.objects(EVENTS).values()]
