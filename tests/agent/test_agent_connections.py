"""Connections of an address that changes hands, and the generations of Strict, in a real kernel."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from nodewall.model.address import Address
from nodewall.model.ruleset import Endpoint, NodeRuleSet
from tests.agent.node import Node, on_node, until
from tests.agent.rulesets import content
from tests.agent.test_agent import in_force
from tests.agent.test_conntrack import connect, entries

pytestmark = pytest.mark.kernel


def owned_by(pod: str) -> NodeRuleSet:
    return replace(content("10.0.2.1"), endpoints=(Endpoint("shop", pod, (Address("10.0.1.10"),), ingress="web"),))


MINE = ("10.0.1.10", "10.0.2.1", "10.0.2.1", "10.0.1.10")
NEIGHBOURS = ("10.0.1.11", "10.0.2.1", "10.0.2.1", "10.0.1.11")


@pytest.mark.parametrize("pods", ["another", ""])
def test_a_departed_address_takes_its_connections_along(pods: str, namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        node.publish(owned_by("first"))
        await node.start()
        await until(node.applied, "the first owner's rules are in force")
        for index, entry in enumerate((MINE, NEIGHBOURS)):
            connect(namespace, entry[0], entry[1], 1000 + index)
        node.publish(owned_by(pods) if pods else replace(content("10.0.2.1"), endpoints=()))
        await until(node.applied, "the address has changed hands")
        await until(lambda: entries(namespace) == {NEIGHBOURS}, "its connections are gone")
        assert ("10.0.1.10" in node.table()) == bool(pods)

    on_node(namespace, tmp_path, work)


def test_a_restart_remembers_who_owned_what(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        node.publish(owned_by("first"))
        await node.start()
        await until((tmp_path / "state" / "noderuleset.json").exists, "the rule set is saved")
        await node.stop()
        connect(namespace, MINE[0], MINE[1], 1000)
        node.publish(owned_by("another"))
        await node.start()
        await until(node.applied, "the new owner's rules are in force")
        await until(lambda: entries(namespace) == set(), "the connections are gone")

    on_node(namespace, tmp_path, work)


def generation(node: Node) -> int:
    """The one that live connections have to carry; 0 when there is none."""
    # nft 1.1 spells it "ct mark & 0xfff00000 == 0x...", 1.0 "ct mark 0x.../12".
    found = set(re.findall(r"established,related ct mark (?:& 0xfff00000 == )?(0x[0-9a-f]{8})", node.table()))
    return int(found.pop(), 16) >> 20 if len(found) == 1 else 0


def has_generation(node: Node, wanted: int) -> bool:
    return generation(node) == wanted


def test_a_generation_is_never_used_twice(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        node.publish(content("10.0.2.1", "10.0.2.2"))
        await node.start("--established=Strict")
        await until(node.applied, "the first rule set is in force")
        first = generation(node)
        assert first

        node.publish(content("10.0.2.1"))
        await until(lambda: generation(node) == first + 1, "a stricter one is a new generation")
        node.publish(content("10.0.2.1", "10.0.2.3"))
        await until(node.applied, "one that is not stricter is none")
        assert generation(node) == first + 1

        for restart in (2, 3):
            await node.stop(9)
            await node.start("--established=Strict")
            wanted = first + restart
            await until(partial(has_generation, node, wanted), "a restart is a new generation")

    on_node(namespace, tmp_path, work)


def test_keep_touches_no_mark(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        assert "ct mark" not in node.table()

    on_node(namespace, tmp_path, work)
