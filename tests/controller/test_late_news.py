"""What the watch brings after a newer write has been answered: not somebody else's doing, unlike a restored backup."""

import asyncio
from dataclasses import dataclass

from nodewall.controller.groups import Groups
from nodewall.controller.publish import Encoded, Likeness, Published, Publisher, RuleSetApi, Step
from nodewall.kube.clock import Clock
from nodewall.model.cluster import Node
from nodewall.model.ruleset import AddressGroup, NodeRuleSet
from tests.controller.test_loop import Unused, encoding
from tests.kube.mirroring import QuickClock

NODE = Node("n1", uid="u1")


@dataclass
class Api:
    """Each write is the next generation."""

    generation: int = 1

    async def write(self, node: Node, wanted: Encoded, age: float) -> Published:  # noqa: ARG002
        self.generation += 1
        return Published("uid", wanted.digest, node.uid, generation=self.generation)

    async def hold(self, name: str, why: str) -> None:
        raise AssertionError((name, why))

    async def remove(self, name: str, uid: str) -> None:
        raise AssertionError((name, uid))


def seen(content: str, generation: int, uid: str = "uid") -> Published:
    return Published(uid, content, "u1", applied=content, generation=generation)


def rule_set(content: str) -> NodeRuleSet:
    return NodeRuleSet("n1", groups=(AddressGroup("g", content, ()),))


def leading(api: RuleSetApi, clock: Clock | None = None) -> Publisher:
    clock = clock or QuickClock()
    return Publisher(api, encoding, lambda: True, Groups(Unused(), lambda: True, clock), clock)


async def published(content: str) -> Publisher:
    """The node had "old" in generation 1, and this has just been written."""
    publisher = leading(Api())
    publisher.saw("n1", seen("old", 1))
    await publisher.publish(NODE, rule_set(content))
    return publisher


async def test_a_report_on_an_older_rule_set_is_no_harm() -> None:
    publisher = await published("new")
    assert publisher.saw("n1", seen("old", 1)) is Likeness.AS_PUBLISHED
    assert publisher.published["n1"].content == "new"
    assert publisher.saw("n1", seen("new", 2)) is Likeness.AS_PUBLISHED


async def test_somebody_elses_rule_set_is() -> None:
    publisher = await published("new")
    assert publisher.saw("n1", seen("foreign", 3)) is Likeness.FOREIGN


async def test_an_older_one_after_ours_was_seen_is_a_restored_backup() -> None:
    publisher = await published("new")
    assert publisher.saw("n1", seen("new", 2)) is Likeness.AS_PUBLISHED
    assert publisher.saw("n1", seen("old", 1)) is Likeness.FOREIGN
    assert publisher.published["n1"].content == "old"


async def test_a_watch_that_is_faster_than_the_answer_leaves_nothing_to_wait_for() -> None:
    api = Fast()
    api.publisher = publisher = Publisher(
        api, encoding, lambda: True, Groups(Unused(), lambda: True, QuickClock()), QuickClock()
    )
    publisher.saw("n1", seen("old", 1))
    await publisher.publish(NODE, rule_set("new"))
    assert publisher.saw("n1", seen("old", 1)) is Likeness.FOREIGN


async def test_an_edit_that_is_faster_than_the_answer_is_undone() -> None:
    api = Fast(then=seen("foreign", 3))
    api.publisher = publisher = leading(api)
    publisher.saw("n1", seen("old", 1))
    await publisher.publish(NODE, rule_set("new"))
    assert publisher.published["n1"].content == "foreign"
    assert (await publisher.publish(NODE, rule_set("new"))).step is Step.WRITE


async def test_an_object_that_was_made_anew_is_not_older() -> None:
    publisher = await published("new")
    assert publisher.saw("n1", seen("old", 1, uid="another")) is Likeness.FOREIGN


@dataclass
class Fast(Api):
    """The watch brings a write before its answer is here."""

    publisher: Publisher | None = None
    then: Published | None = None
    """What it brings after that."""

    async def write(self, node: Node, wanted: Encoded, age: float) -> Published:
        written = await super().write(node, wanted, age)
        assert self.publisher
        self.publisher.saw("n1", written)
        if self.then:
            self.publisher.saw("n1", self.then)
        return written


class Slow(QuickClock):
    """Every step takes long enough for a pause."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


async def test_what_comes_while_a_rule_set_is_encoded_is_seen() -> None:
    """It was as it ought to be when that began."""
    api = Api()
    publisher = leading(api, Slow())
    publisher.saw("n1", seen("same", 1))
    publishing = asyncio.create_task(publisher.publish(NODE, rule_set("same")))
    await asyncio.sleep(0)
    publisher.saw("n1", seen("foreign", 2))
    assert not publishing.done()
    assert (await publishing).step is Step.WRITE
