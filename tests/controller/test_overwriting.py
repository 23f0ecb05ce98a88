"""What cannot be overwritten is applied, as a write of its own."""

from collections.abc import Iterator

import pytest

from nodewall.controller.fence import Fenced, FencedError
from nodewall.controller.publish import Encoded, Published
from nodewall.controller.rulesets import ApiGroups, ApiRuleSets
from nodewall.kube.errors import ApiError, ForbiddenError
from nodewall.kube.http import Session, connect
from nodewall.kube.resource import NODE_RULE_SETS, PEER_GROUPS
from nodewall.model.cluster import Node
from tests.kube.fake_api import FakeApi, Object, Refuse

PATCHED, APPLIED = "application/json-patch+json", "application/apply-patch+yaml"
BARE: Object = {"metadata": {"name": "n1"}, "spec": {"v": 1}}
"""Without annotations, to which one could be added."""


async def write(session: Session, remaining: float = float("inf")) -> Published:
    return await ApiRuleSets(Fenced(session, lambda: remaining)).write(
        Node("n1", uid="u1"), Encoded("d", b'{"v":2}'), 0.0
    )


def asked(api: FakeApi) -> list[str]:
    return [seen.headers["Content-Type"] for seen in api.requests]


@pytest.mark.parametrize("there", [None, BARE], ids=["nothing", "no annotations"])
async def test_what_cannot_be_overwritten_is_applied(there: Object | None) -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        if there:
            api.put(NODE_RULE_SETS, there)
        await write(session)
        assert asked(api) == [PATCHED, APPLIED]
        await write(session)
        assert asked(api) == [PATCHED, APPLIED, PATCHED]
        stored = api.objects(NODE_RULE_SETS)["", "n1"]
        assert stored["spec"] == {"v": 2}
        assert list(stored["metadata"]["annotations"]) == ["nodewall.io/changed-at"]


async def test_a_part_of_a_group_too() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        for spec in (b'{"v":1}', b'{"v":2}'):
            await ApiGroups(Fenced(session, lambda: 1.0)).write("g-1-0", spec, 0.0)
        assert api.objects(PEER_GROUPS)["", "g-1-0"]["spec"] == {"v": 2}
        assert asked(api) == [PATCHED, APPLIED, PATCHED]


async def test_only_a_refusal_of_the_patch_itself_is_worth_another_try() -> None:
    async with FakeApi() as api, connect(api.credentials()) as session:
        api.put(NODE_RULE_SETS, BARE)
        api.fail("patch", Refuse(403, "no", "Forbidden"))
        with pytest.raises(ForbiddenError):
            await write(session)
        assert len(api.requests) == 1


async def test_what_a_refusal_quotes_decides_nothing() -> None:
    """A patch with an unknown field is answered with all of the object, and users' words are in it."""
    async with FakeApi() as api, connect(api.credentials()) as session:
        api.put(NODE_RULE_SETS, BARE)
        api.fail("patch", Refuse(422, 'is invalid: patch: {"label":"request is too large"}', "Invalid"))
        await write(session)
        assert asked(api) == [PATCHED, APPLIED]


async def test_the_clock_is_asked_before_each_of_the_two() -> None:
    """Between them this machine may have slept: somebody else leads, and writes."""
    left: Iterator[float] = iter((5.0, 0.0))
    async with FakeApi() as api, connect(api.credentials()) as session:
        with pytest.raises(ApiError) as found:
            await ApiRuleSets(Fenced(session, lambda: next(left))).write(Node("n1"), Encoded("d", b"{}"), 0.0)
        assert isinstance(found.value, FencedError)
        assert asked(api) == [PATCHED]
        assert not api.objects(NODE_RULE_SETS)
