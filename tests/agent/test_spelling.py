"""What the agent writes can be read by every libnftables of its node."""

import asyncio
from typing import Any

import pytest

from e2e import netns
from nodewall.agent.kernel import Kernel
from nodewall.agent.netlink import DUMP, NETLINK_NETFILTER, Netlink, attributes
from nodewall.agent.spelling import readable_by_all
from nodewall.render import Settings, render, replace
from tests.agent.rulesets import content

GETSET, USERDATA = 10 << 8 | 10, 13
KEY_TYPE, VALUE_TYPE = 3, 4
BY_NAME = 4  # the expression that versions before 1.1.2 cannot read
CONCATENATION = 13


def add(kind: str, **body: Any) -> dict[str, Any]:
    return {"nftables": [{"add": {kind: {"family": "inet", "table": "nodewall", "name": "x", **body}}}]}


def example(expression: Any) -> dict[str, Any]:
    return {"typeof": expression}


SADDR = {"payload": {"protocol": "ip", "field": "saddr"}}
DPORT = {"payload": {"protocol": "th", "field": "dport"}}
SPELLED = {
    "set": (add("set", type="ipv4_addr", flags=["interval"]), add("set", type=example(SADDR), flags=["interval"])),
    "concatenation": (
        add("set", type=["ipv4_addr", "inet_service"]),
        add("set", type=example({"concat": [SADDR, DPORT]})),
    ),
    "map": (
        add("map", type="ipv4_addr", map="verdict"),
        add("map", type=example(SADDR), map=example({"accept": None})),
    ),
    "element": (add("element", elem=["10.0.0.1"]), add("element", elem=["10.0.0.1"])),
    "chain": (add("chain", type="filter"), add("chain", type="filter")),
}


@pytest.mark.parametrize(("given", "spelled"), SPELLED.values(), ids=SPELLED)
def test_newer_versions_get_types_by_example(given: dict[str, Any], spelled: dict[str, Any]) -> None:
    assert readable_by_all(given, (1, 1, 3)) == readable_by_all(given, (1, 1, 2)) == spelled
    assert readable_by_all(given, (1, 1, 1)) == readable_by_all(given, (1, 0, 6)) == given


@pytest.mark.kernel
def test_no_set_in_the_kernel_has_a_type_that_older_versions_crash_on(namespace: str) -> None:
    async def work() -> list[bytes]:
        kernel = await Kernel.open()
        try:
            await kernel.apply(replace(render(content("10.0.2.1", "fd00::1"), Settings())).json())
        finally:
            kernel.close()
        netlink = Netlink(NETLINK_NETFILTER)
        try:
            return [attributes(each.payload[4:])[USERDATA] for each in netlink.ask(GETSET, bytes(4), DUMP)]
        finally:
            netlink.close()

    sets = [fields(userdata) for userdata in netns.inside(namespace, lambda: asyncio.run(work()))]
    assert len(sets) > 5
    for found in sets:
        kinds = {expression(found[which]) for which in (KEY_TYPE, VALUE_TYPE) if which in found}
        assert BY_NAME not in kinds


def fields(userdata: bytes) -> dict[int, bytes]:
    """Type, length and value after each other, a byte each for the first two."""
    found: dict[int, bytes] = {}
    while userdata:
        length = userdata[1]
        found[userdata[0]] = userdata[2 : 2 + length]
        userdata = userdata[2 + length :]
    return found


def expression(declared: bytes) -> int:
    """The kind of expression that a type was given by, or of the first part of a concatenation that is a name."""
    parts = fields(declared)
    kind = int.from_bytes(parts[0], "little")
    if kind == CONCATENATION:
        inner = [expression(part) for part in fields(parts[1]).values() if part]
        return BY_NAME if BY_NAME in inner else CONCATENATION
    return kind
