"""Rule sets at a real API server: patched by this version, applied by those before it, in any order."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from e2e.api import Object
from e2e.controlplane import ControlPlane
from nodewall.api import ruleset
from nodewall.controller.publish import MANAGER, Encoded
from nodewall.controller.rulesets import ApiRuleSets
from nodewall.kube.credentials import from_kubeconfig
from nodewall.kube.errors import ServerError
from nodewall.kube.http import Session, Target, connect
from nodewall.kube.resource import NODE_RULE_SETS
from nodewall.model.cluster import Node
from nodewall.model.ruleset import NodeRuleSet, SharedGroup

pytestmark = pytest.mark.e2e
NODE = "node-overwritten"
PLAIN = ruleset.encode(NodeRuleSet(NODE))
SHARING = ruleset.encode(NodeRuleSet(NODE, shared=(SharedGroup("g", 2),), revision=7))
KINDLESS: Object = {"apiVersion": "nodewall.io/v1alpha1", "kind": "NodeRuleSet", "metadata": {"name": NODE}}


@pytest.fixture
def place(installed: ControlPlane) -> Iterator[ControlPlane]:
    yield installed
    installed.api.patch(KINDLESS, {"metadata": {"finalizers": None}})
    installed.api.delete(KINDLESS)


@asynccontextmanager
async def session(place: ControlPlane) -> AsyncIterator[Session]:
    async with connect(from_kubeconfig(place.kubeconfig)) as found:
        yield found


async def write(to: Session, spec: Object, owner: str = "a") -> None:
    """As this version does."""
    await ApiRuleSets(to).write(Node(NODE, uid=owner), Encoded(spec["digest"], msgspec.json.encode(spec)), 0.0)


async def apply(to: Session, spec: Object) -> None:
    """As versions before this one did."""
    owners = [{"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": "a"}]
    metadata = {"name": NODE, "ownerReferences": owners, "annotations": {ruleset.CHANGED_AT: "x"}}
    await to.apply(Target(NODE_RULE_SETS, NODE), KINDLESS | {"metadata": metadata, "spec": spec}, MANAGER)


def there(place: ControlPlane) -> Object:
    return place.api.get("nodewall.io/v1alpha1", "NodeRuleSet", NODE)


def owners(place: ControlPlane) -> list[str]:
    return [each["uid"] for each in there(place)["metadata"]["ownerReferences"]]


async def test_no_field_outlives_an_upgrade_or_the_way_back(place: ControlPlane) -> None:
    """Fields that only some rule sets have, for one."""
    async with session(place) as to:
        for step in (apply, write, apply, write):
            for spec in (SHARING, PLAIN, SHARING, PLAIN, SHARING):
                await step(to, spec)
                assert there(place)["spec"] == spec
        assert owners(place) == ["a"]


@pytest.mark.parametrize("gone", ["annotations", "ownerReferences"])
async def test_what_somebody_removed_comes_back(place: ControlPlane, gone: str) -> None:
    async with session(place) as to:
        await write(to, PLAIN)
        place.api.patch(KINDLESS, {"metadata": {gone: None}})
        assert gone not in there(place)["metadata"]
        await write(to, SHARING)
        found = there(place)
        assert (found["spec"], owners(place)) == (SHARING, ["a"])
        assert list(found["metadata"]["annotations"]) == [ruleset.CHANGED_AT]


async def test_an_owner_of_before_does_not_stay(place: ControlPlane) -> None:
    """Of a Node that was made anew, or somebody else's: the first Node counts, and would be written for ever."""
    async with session(place) as to:
        await write(to, PLAIN)
        await write(to, PLAIN, owner="b")
        assert owners(place) == ["b"]
        foreign = {"apiVersion": "v1", "kind": "Node", "name": "x", "uid": "c"}
        place.api.patch(KINDLESS, {"metadata": {"ownerReferences": [foreign], "annotations": None}})
        for _ in range(2):  # the first makes the annotations, and leaves what is not ours
            await write(to, PLAIN)
        assert owners(place) == ["a"]


async def test_one_that_is_kept_by_a_finalizer_is_written(place: ControlPlane) -> None:
    async with session(place) as to:
        await write(to, PLAIN)
        place.api.patch(KINDLESS, {"metadata": {"finalizers": ["example.com/keep"]}})
        place.api.delete(KINDLESS)
        await write(to, SHARING)
        assert there(place)["spec"] == SHARING


async def test_an_unknown_field_is_named_and_nothing_else(place: ControlPlane) -> None:
    async with session(place) as to:
        await write(to, PLAIN)
        with pytest.raises(ServerError) as found:
            await write(to, PLAIN | {"addressGroups": ["x" * 200_000], "unheardOf": 1})
        assert str(found.value).endswith(".spec.unheardOf: field not declared in schema")
        assert there(place)["spec"] == PLAIN
