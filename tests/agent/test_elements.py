"""Changes of elements past libnftables: what goes that way, and that the kernel holds the same afterwards."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.bed import Bed
from e2e import netns
from nodewall.agent import batch
from nodewall.agent.definitions import after
from nodewall.agent.kernel import KernelRefusedError

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
    "l": ("ifname", ["eth0", "veth0123456-abc"]),
}
MAPS: dict[str, tuple[str | list[str], list[Any]]] = {
    "m4": ("ipv4_addr", [["10.0.0.1", JUMP], ["10.0.0.2", GOTO]]),
    "m6": ("ipv6_addr", [["fd00::1", GOTO]]),
    "ms": (["ipv4_addr", "inet_proto", "inet_service"], [[{"concat": ["10.0.0.1", 6, 443]}, GOTO]]),
}
UNKNOWN: dict[str, tuple[str, Any]] = {
    "a link": ("a4", "eth0"),
    "a name": ("a4", "localhost"),
    "a set": ("a4", "@other"),
    "a range": ("a4", {"range": ["10.0.0.1", "10.0.0.9"]}),
    "a network": ("a4", {"prefix": {"addr": "10.0.0.0", "len": 8}}),
    "a number": ("a4", 80),
    "the other family": ("a4", "fd00::1"),
    "IPv4 for IPv6": ("a6", "10.0.0.1"),
    "a pair": ("a4", {"concat": ["10.0.0.1", "10.0.0.2"]}),
    "half a pair": ("pairs4", "10.0.0.1"),
    "a link and an address": ("pairs4", {"concat": ["eth0", "10.0.0.1"]}),
    "four parts": ("s4", {"concat": ["10.0.0.1", 6, 80, 1]}),
    "a large port": ("p", {"concat": [6, 65536]}),
    "a range of ports": ("p", {"concat": [6, {"range": [80, 90]}]}),
    "a wildcard": ("l", "veth*"),
    "an accept": ("m4", ["10.0.0.1", {"accept": None}]),
    "no verdict": ("m4", "10.0.0.1"),
    "a verdict in a set": ("a4", ["10.0.0.1", JUMP]),
}


def element(verb: str, name: str, *members: Any) -> dict[str, Any]:
    return {verb: {"element": {**OWN, "name": name, "elem": list(members)}}}


def encoded(commands: list[dict[str, Any]]) -> object:
    return batch.encoded(commands, (1, 0, 6), after({}, EMPTY))


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
    place = Bed(namespace)

    def apply(commands: list[dict[str, Any]]) -> None:
        place.run(place.kernel.apply({"nftables": commands}))

    try:
        apply(EMPTY)
        yield apply
    finally:
        place.close()


def held(namespace: str) -> dict[str, list[str]]:
    """The elements of each set and map, as nft lists them."""
    command = [*netns.argv(namespace), "nft", "-j", "list", "ruleset"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["nftables"]
    found = [entry.get("set") or entry.get("map") for entry in listed]
    return {one["name"]: sorted(map(json.dumps, one.get("elem", ()))) for one in found if one}


@pytest.mark.parametrize(("name", "member"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_it_does_not_know_is_for_libnftables(name: str, member: Any) -> None:
    (known,) = (members[0] for each, (_, members) in (SETS | MAPS).items() if each == name)
    assert encoded([element("add", name, known)]) is not None
    assert encoded([element("add", name, known, member)]) is None


def test_many_elements_are_for_libnftables() -> None:
    addresses = [f"10.0.{i >> 8}.{i & 255}" for i in range(batch.MOST + 1)]
    assert encoded([element("add", "a4", *addresses[1:])]) is not None
    assert encoded([element("add", "a4", *addresses)]) is None
    assert encoded([element("add", "a4", *addresses[1:]), element("delete", "a4", addresses[0])]) is None


@pytest.mark.kernel
def test_the_kernel_holds_what_libnftables_would_have_put_there(namespace: str) -> None:
    with table(namespace) as apply:
        empty = held(namespace)
        assert encoded(the_same("add")) is not None
        apply(the_same("add"))
        ours = held(namespace)
        assert all(len(ours[name]) == len(members) for name, (_, members) in (SETS | MAPS).items())
        apply(the_same("delete"))
        assert held(namespace) == empty
        apply([*the_same("add"), EMPTY[0]])  # libnftables, because of the table
        assert held(namespace) == ours


@pytest.mark.kernel
def test_as_many_as_go_this_way_arrive(namespace: str) -> None:
    with table(namespace) as apply:
        members = [[f"10.0.{i >> 8}.{i & 255}", JUMP] for i in range(batch.MOST)]
        apply([element("add", "m4", *members)])
        assert len(held(namespace)["m4"]) == batch.MOST


REFUSED = {
    "absent": (element("delete", "a4", "10.9.9.9"), "No such file or directory"),
    "no such set": (element("add", "nowhere", "10.9.9.9"), "No such file or directory"),
    "no such chain": (element("add", "m4", ["10.9.9.9", {"jump": {"target": "gone"}}]), "No such file or directory"),
    "another verdict": (element("add", "m4", ["10.0.0.1", GOTO]), "File exists"),
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
