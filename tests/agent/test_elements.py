"""Changes of elements past libnftables: what goes that way, and that the kernel holds the same afterwards."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e import netns
from nodewall.agent import elements
from nodewall.agent.kernel import Kernel, KernelRefusedError

OWN = {"family": "inet", "table": "nodewall"}
JUMP, GOTO = {"jump": {"target": "c_1"}}, {"goto": {"target": "c_2"}}
SETS: dict[str, tuple[str | list[str], list[Any]]] = {
    "a4": ("ipv4_addr", ["10.0.0.1", "10.0.0.2", "192.0.2.255"]),
    "a6": ("ipv6_addr", ["fd00::1", "2001:db8::ffff:1"]),
    "pairs4": (["ipv4_addr", "ipv4_addr"], [{"concat": ["10.0.0.1", "10.0.0.2"]}]),
    "pairs6": (["ipv6_addr", "ipv6_addr"], [{"concat": ["fd00::1", "fd00::2"]}]),
    "s4": (["ipv4_addr", "inet_proto", "inet_service"], [{"concat": ["10.0.0.1", 6, 80]}]),
    "s6": (["ipv6_addr", "inet_proto", "inet_service"], [{"concat": ["fd00::1", 132, 65535]}]),
    "p": (["inet_proto", "inet_service"], [{"concat": [17, 53]}]),
}
MAPS: dict[str, tuple[str | list[str], list[Any]]] = {
    "m4": ("ipv4_addr", [["10.0.0.1", JUMP], ["10.0.0.2", GOTO]]),
    "m6": ("ipv6_addr", [["fd00::1", GOTO]]),
    "ms": (["ipv4_addr", "inet_proto", "inet_service"], [[{"concat": ["10.0.0.1", 6, 443]}, GOTO]]),
}
UNKNOWN = {
    "a link": ["eth0"],
    "a name": ["localhost"],
    "a set": ["@other"],
    "a range": [{"range": ["10.0.0.1", "10.0.0.9"]}],
    "a network": [{"prefix": {"addr": "10.0.0.0", "len": 8}}],
    "a number": [80],
    "a link and an address": [{"concat": ["eth0", "10.0.0.1"]}],
    "four parts": [{"concat": ["10.0.0.1", 6, 80, 1]}],
    "an accept": [["10.0.0.1", {"accept": None}]],
    "one among others": ["10.0.0.1", "eth0"],
}


def element(verb: str, name: str, *members: Any) -> dict[str, Any]:
    return {verb: {"element": {**OWN, "name": name, "elem": list(members)}}}


def the_same(verb: str) -> list[dict[str, Any]]:
    """Elements of every kind that there is."""
    return [element(verb, name, *members) for name, (_, members) in (SETS | MAPS).items()]


EMPTY: list[dict[str, Any]] = [
    {"add": {"table": {"family": "inet", "name": "nodewall"}}},
    *({"add": {"chain": {**OWN, "name": name}}} for name in ("c_1", "c_2")),
    *({"add": {"set": {**OWN, "name": name, "type": kind}}} for name, (kind, _) in SETS.items()),
    *({"add": {"map": {**OWN, "name": name, "type": kind, "map": "verdict"}}} for name, (kind, _) in MAPS.items()),
]


@contextmanager
def table(namespace: str) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """A table with empty sets, and a way to apply transactions to it."""

    def apply(commands: list[dict[str, Any]]) -> None:
        async def work() -> None:
            kernel = await Kernel.open()
            try:
                await kernel.apply({"nftables": commands})
            finally:
                kernel.close()

        netns.inside(namespace, lambda: asyncio.run(work()))

    apply(EMPTY)
    yield apply


def held(namespace: str) -> dict[str, list[str]]:
    """The elements of each set and map, as nft lists them."""
    command = [*netns.argv(namespace), "nft", "-j", "list", "ruleset"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["nftables"]
    found = [entry.get("set") or entry.get("map") for entry in listed]
    return {one["name"]: sorted(map(json.dumps, one.get("elem", ()))) for one in found if one}


@pytest.mark.parametrize("members", UNKNOWN.values(), ids=UNKNOWN)
def test_what_it_does_not_know_is_for_libnftables(members: list[Any]) -> None:
    assert elements.encoded([element("add", "s", "10.0.0.7"), element("add", "s", *members)]) is None


@pytest.mark.parametrize("command", [EMPTY[0], EMPTY[1], EMPTY[3], {"flush": {"set": {**OWN, "name": "a4"}}}])
def test_other_commands_are_for_libnftables(command: dict[str, Any]) -> None:
    assert elements.encoded([element("add", "s", "10.0.0.7"), command]) is None


def test_many_elements_are_for_libnftables() -> None:
    addresses = [f"10.0.{i >> 8}.{i & 255}" for i in range(elements.MOST + 1)]
    assert elements.encoded([element("add", "s", *addresses[1:])]) is not None
    assert elements.encoded([element("add", "s", *addresses)]) is None
    assert elements.encoded([element("add", "s", *addresses[1:]), element("delete", "s", addresses[0])]) is None


@pytest.mark.kernel
def test_the_kernel_holds_what_libnftables_would_have_put_there(namespace: str) -> None:
    with table(namespace) as apply:
        empty = held(namespace)
        assert elements.encoded(the_same("add")) is not None
        apply(the_same("add"))
        ours = held(namespace)
        assert all(len(ours[name]) == len(members) for name, (_, members) in (SETS | MAPS).items())
        apply(the_same("delete"))
        assert held(namespace) == empty
        apply([*the_same("add"), {"add": {"chain": {**OWN, "name": "c_1"}}}])  # libnftables, because of the chain
        assert held(namespace) == ours


@pytest.mark.kernel
def test_as_many_as_go_this_way_arrive(namespace: str) -> None:
    with table(namespace) as apply:
        members = [[f"10.0.{i >> 8}.{i & 255}", JUMP] for i in range(elements.MOST)]
        apply([element("add", "m4", *members)])
        assert len(held(namespace)["m4"]) == elements.MOST


REFUSED = {
    "absent": (element("delete", "a4", "10.9.9.9"), "No such file or directory"),
    "no such set": (element("add", "nowhere", "10.9.9.9"), "No such file or directory"),
    "no such chain": (element("add", "m4", ["10.9.9.9", {"jump": {"target": "gone"}}]), "No such file or directory"),
    "another verdict": (element("add", "m4", ["10.0.0.1", GOTO]), "File exists"),
    "another family": (element("add", "a4", "fd00::1"), "Invalid argument"),
}


@pytest.mark.kernel
@pytest.mark.parametrize(("command", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_leaves_everything_as_it_was(namespace: str, command: dict[str, Any], reason: str) -> None:
    with table(namespace) as apply:
        apply(the_same("add"))
        before = held(namespace)
        with pytest.raises(KernelRefusedError, match=reason):
            apply([element("add", "a4", "10.0.0.77"), command, element("delete", "a4", "10.0.0.1")])
        assert held(namespace) == before
        apply([element("add", "a4", "10.0.0.77")])
        assert held(namespace) != before


@pytest.mark.kernel
def test_an_element_that_is_there_already_is_fine(namespace: str) -> None:
    with table(namespace) as apply:
        apply(the_same("add"))
        before = held(namespace)
        apply(the_same("add"))
        assert held(namespace) == before
