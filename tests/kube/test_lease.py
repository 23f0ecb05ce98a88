"""A lease at the API server: one writer per version."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nodewall.kube.errors import ConflictError, ForbiddenError
from nodewall.kube.http import connect
from nodewall.kube.lease import ApiLease, Lease
from nodewall.kube.resource import LEASES
from tests.kube.fake_api import FakeApi, Refuse

NOW = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
LEASE = Lease(holder="a", seconds=15, acquired=NOW, renewed=NOW, transitions=1)


@asynccontextmanager
async def lease(api: FakeApi) -> AsyncIterator[ApiLease]:
    async with connect(api.credentials()) as session:
        yield ApiLease(session, "nodewall", "ns", "me")


async def test_it_is_created_read_and_replaced() -> None:
    async with FakeApi() as api, lease(api) as ours:
        assert await ours.read() is None
        created = await ours.write(LEASE)
        assert await ours.read() == created == replace(LEASE, version=created.version)
        taken = await ours.write(replace(created, holder="b"))
        assert taken.version != created.version
        assert await ours.read() == taken
        assert api.objects(LEASES)["ns", "nodewall"]["spec"]["renewTime"] == "2026-01-02T03:04:05.000600Z"
        assert {seen.query["fieldManager"] for seen in api.asked("update") + api.asked("create")} == {"me"}


async def test_whoever_saw_an_older_one_is_refused() -> None:
    async with FakeApi() as api, lease(api) as ours:
        created = await ours.write(LEASE)
        await ours.write(replace(created, holder="b"))
        with pytest.raises(ConflictError, match=r"update leases.coordination.k8s.io ns/nodewall"):
            await ours.write(replace(created, holder="c"))
        with pytest.raises(ConflictError):
            await ours.write(LEASE)


async def test_one_that_somebody_made_empty() -> None:
    async with FakeApi() as api, lease(api) as ours:
        api.put(LEASES, {"metadata": {"name": "nodewall", "namespace": "ns"}, "spec": {"holderIdentity": None}})
        found = await ours.read()
        assert found is not None
        assert (found.holder, found.seconds) == ("", 0)


async def test_a_refusal_says_what_was_asked() -> None:
    async with FakeApi() as api, lease(api) as ours:
        api.fail("get", Refuse(403, "cannot get resource leases", "Forbidden"))
        with pytest.raises(ForbiddenError, match=r"get leases.coordination.k8s.io ns/nodewall: cannot get"):
            await ours.read()
