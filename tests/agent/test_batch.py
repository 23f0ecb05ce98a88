"""Transactions past libnftables: which go that way, and what a refusal says. That the kernel gets the same from both
ways is tests/kernel/test_bytecode.py."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from e2e import netns
from nodewall.agent import batch
from nodewall.agent.definitions import after
from nodewall.agent.kernel import Kernel, KernelRefusedError
from nodewall.agent.netlink import Request

OWN = {"family": "inet", "table": "nodewall"}
OLD, MODERN = (1, 0, 6), (1, 1, 3)
TABLE = {"add": {"table": {"family": "inet", "name": "nodewall"}}}
ADDRESS = {"payload": {"protocol": "ip", "field": "saddr"}}
MARK = {"ct": {"key": "mark"}}
PROTOCOL, LINK = {"meta": {"key": "l4proto"}}, {"meta": {"key": "iifname"}}
PORT = {"payload": {"protocol": "th", "field": "dport"}}
ROUTE = {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}


def add(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"add": {kind: {**OWN, "name": name, **more}}}


def rule(*statements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"add": {"rule": {**OWN, "chain": "c", "expr": list(statements), **more}}}


def match(left: Any, right: Any, operator: str = "==", **more: Any) -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": right, **more}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


def log(**more: Any) -> dict[str, Any]:
    return {"log": {"prefix": "x", "group": 1, "snaplen": 1, **more}}


def limit(**more: Any) -> dict[str, Any]:
    return {"limit": {"rate": 1, "per": "second", "burst": 1, **more}}


SETS = after(
    {},
    [
        add("set", "s", type="ipv4_addr"),
        add("set", "pairs", type=["ipv4_addr", "ipv4_addr"]),
        add("set", "n", type="ipv4_addr", flags=["interval"]),
        add("map", "m", type="ipv4_addr", map="verdict"),
        add("map", "mp", type=["inet_proto", "inet_service"], map="verdict"),
        add("set", "l", type="ifname"),
        add("set", "ports", type="inet_service"),
        add("set", "links", type=["inet_service", "ifname"], flags=["interval"]),
    ],
)


def encoded(*commands: dict[str, Any], version: tuple[int, ...] = OLD) -> list[Request] | None:
    return batch.encoded(commands, version, SETS)


def element(verb: str, name: str, *members: Any) -> dict[str, Any]:
    return {verb: {"element": {**OWN, "name": name, "elem": list(members)}}}


KNOWN = {
    "a counter": add("counter", "r"),
    "a chain": add("chain", "c"),
    "a set": add("set", "t", type="ipv4_addr"),
    "a set of a size": add("set", "u", type="ipv4_addr", size=9),
    "a map": add("map", "o", type="ipv4_addr", map="verdict"),
    "a rule": rule(match(ADDRESS, "10.0.0.1"), limit(), log(), {"counter": "r"}, {"drop": None}),
    "a rule with a comment": rule({"goto": {"target": "d"}}, comment="x" * 128),
    "an element": element("add", "s", "10.0.0.1"),
    "an element less": element("delete", "s", "10.0.0.1"),
    "a way": element("add", "m", ["10.0.0.1", {"goto": {"target": "c"}}]),
    "a way less": element("delete", "m", ["10.0.0.1", {"goto": {"target": "c"}}]),
    "both ends": rule(match({"concat": [ADDRESS, payload("ip", "daddr")]}, "@pairs")),
    "the rules of a chain": {"flush": {"chain": {**OWN, "name": "c"}}},
    **{f"no {kind}": {"delete": {kind: {**OWN, "name": "x"}}} for kind in ("counter", "chain", "set", "map")},
}
UNKNOWN = {
    "a table": TABLE,
    "no table": {"delete": {"table": {"family": "inet", "name": "nodewall"}}},
    "a base chain": add("chain", "c", type="filter", hook="forward", prio=-5, policy="accept"),
    "a counter that has counted": add("counter", "r", packets=1, bytes=1),
    "a flushed set": {"flush": {"set": {**OWN, "name": "s"}}},
    "a rule inserted": {"insert": {"rule": {**OWN, "chain": "c", "expr": [{"drop": None}]}}},
    "a rule at a place": rule({"drop": None}, index=1),
    "a rule gone": {"delete": {"rule": {**OWN, "chain": "c", "handle": 1}}},
    "a long comment": rule({"drop": None}, comment="x" * 129),
    "a comment of two": rule({"drop": None}, comment="x\0y"),
    "a name of two": rule({"counter": "x\0y"}),
    "a long name": add("chain", "c" * 256),
    "a set again": add("set", "s", type="ipv4_addr"),
    "a set of another nature": add("set", "m", type="ipv4_addr"),
    "a set of protocols": add("set", "new", type="inet_proto"),
    "a set of one part": add("set", "new", type=["ipv4_addr"]),
    "a set of four parts": add("set", "new", type=["inet_proto"] * 4),
    "a set that gets a number": add("set", "new%d", type="ipv4_addr"),
    "a set of a size that is true": add("set", "new", type="ipv4_addr", size=True),
    "a name that is a number": {"add": {"chain": {**OWN, "name": 5}}},
    "a map of no kind": add("map", "new", type="ipv4_addr"),
    "a rule of nothing": rule(),
    "a set that forgets": add("set", "new", type="ipv4_addr", timeout=9),
    "a set of another type": add("set", "new", type="mark"),
    "a set of other flags": add("set", "new", type="ipv4_addr", flags=["dynamic"]),
    "an element of an unknown set": element("add", "other", "10.0.0.1"),
    "an element less of an unknown set": element("delete", "other", "10.0.0.1"),
    "an interval more": element("add", "n", "10.0.0.1"),
    "an interval less": element("delete", "n", "10.0.0.1"),
    "no elements at all": element("add", "s"),
    "a way that ends": element("add", "m", ["10.0.0.1", {"accept": None}]),
    "a word of elements": {"add": {"element": {**OWN, "name": "l", "elem": "ab"}}},
    "a word of elements less": {"delete": {"element": {**OWN, "name": "l", "elem": "ab"}}},
    "a way to nowhere": element("add", "m", "10.0.0.1"),
    "an element that forgets": {"add": {"element": {**OWN, "name": "s", "elem": ["10.0.0.1"], "timeout": 9}}},
    "a map of marks": add("map", "new", type="ipv4_addr", map="mark"),
    "a map of intervals": add("map", "new", type="ipv4_addr", map="verdict", flags=["interval"]),
}
UNKNOWN_STATEMENTS: dict[str, dict[str, Any]] = {
    "a verdict of two words": {"drop": None, "accept": None},
    "an unknown statement": {"masquerade": None},
    "an unknown verdict": {"queue": None},
    "an end with a target": {"drop": {"target": "c"}},
    "a jump without": {"jump": None},
    "a jump with more": {"jump": {"target": "c", "more": 1}},
    "an anonymous counter": {"counter": None},
    "an unknown field": match(payload("ip", "ttl"), 1),
    "an unknown protocol": match(payload("dccp", "dport"), 1),
    "a raw payload": match({"payload": {"base": "nh", "offset": 0, "len": 8}}, 1),
    "an unknown key of meta": match({"meta": {"key": "skuid"}}, 1),
    "an unknown key of ct": match({"ct": {"key": "status"}}, 1),
    "a direction of ct": match({"ct": {"key": "mark", "dir": "reply"}}, 1),
    "less than": match(payload("tcp", "dport"), 80, "<"),
    "a match with more": match(ADDRESS, "10.0.0.1", more=1),
    "an address of the other family": match(ADDRESS, "fd00::1"),
    "a name": match(ADDRESS, "localhost"),
    "a number for an address": match(ADDRESS, 1),
    "a large port": match(payload("tcp", "dport"), 65536),
    "a negative port": match(payload("tcp", "dport"), -1),
    "a port in words": match(payload("tcp", "dport"), "http"),
    "a port that is true": match(payload("tcp", "dport"), True),
    "a protocol in words": match({"meta": {"key": "l4proto"}}, "tcp"),
    "a wildcard": match({"meta": {"key": "iifname"}}, "veth*"),
    "a long link": match({"meta": {"key": "iifname"}}, "x" * 16),
    "a prefix of nothing": match(ADDRESS, {"prefix": {"addr": "0.0.0.0", "len": 0}}),
    "a prefix that is true": match(ADDRESS, {"prefix": {"addr": "128.0.0.0", "len": True}}),
    "one as several": match({"concat": [ADDRESS]}, "@s"),
    "a dispatch by one as several": {"vmap": {"key": {"concat": [ADDRESS]}, "data": "@m"}},
    "a dispatch by several and more": {"vmap": {"key": {"concat": [PROTOCOL, PORT], "more": 1}, "data": "@mp"}},
    "a prefix of one": match(ADDRESS, {"prefix": {"addr": "10.0.0.1", "len": 32}}),
    "a prefix with more behind it": match(ADDRESS, {"prefix": {"addr": "10.0.0.1", "len": 8}}),
    "a range backwards": match(payload("tcp", "dport"), {"range": [90, 80]}),
    "in an unknown set": match(ADDRESS, "@other"),
    "in a set of something else": match(payload("ip6", "hoplimit"), "@ports"),
    "in a map": match(ADDRESS, "@m"),
    "by a set": {"vmap": {"key": ADDRESS, "data": "@s"}},
    "by a map of something else": {"vmap": {"key": ADDRESS, "data": "@mp"}},
    "as wide as a set of something else": match({"concat": [PROTOCOL, payload("th", "dport")]}, "@pairs"),
    "a link among intervals": match({"concat": [payload("th", "dport"), LINK]}, "@links"),
    "a prefix of links": match(LINK, {"prefix": {"addr": "eth0", "len": 32}}),
    "a prefix of routes": match(ROUTE, {"prefix": {"addr": True, "len": 8}}),
    "a range of links": match(LINK, {"range": ["eth0", "eth9"]}),
    "a range of protocols": match(PROTOCOL, {"range": [1, 6]}),
    "not a range": match(payload("tcp", "dport"), {"range": [80, 90]}, "!="),
    "not one of": match({"meta": {"key": "l4proto"}}, {"set": [1, 6]}, "!="),
    "one of one": match({"meta": {"key": "l4proto"}}, {"set": [6]}),
    "one of ranges": match({"meta": {"key": "l4proto"}}, {"set": [{"range": [1, 6]}, 9]}),
    "one of the ports": match(payload("tcp", "dport"), {"set": [80, 443]}),
    "not both": match({"concat": [ADDRESS, ADDRESS]}, "@s", "!="),
    "both in an unknown set": match({"concat": [ADDRESS, payload("ip", "daddr")]}, "@other"),
    "both as values": match({"concat": [ADDRESS, ADDRESS]}, {"concat": ["10.0.0.1", "10.0.0.1"]}),
    "an unknown state": match({"ct": {"key": "state"}}, ["established", "dnat"], "in"),
    "exactly a state": match({"ct": {"key": "state"}}, "new"),
    "no state": match({"ct": {"key": "state"}}, [], "in"),
    "other bits of the mark": match({"&": [MARK, 1]}, 1, "!="),
    "bits of another mark": match({"&": [{"meta": {"key": "mark"}}, 1]}, 1),
    "a large mark": match({"&": [MARK, 1]}, 1 << 32),
    "a route to another link": match({"fib": {"result": "oifname", "flags": ["saddr", "iif"]}}, "eth0"),
    "a route as a number": match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, 1),
    "an anonymous map": {"vmap": {"key": ADDRESS, "data": {"set": [["10.0.0.1", {"drop": None}]]}}},
    "a limit by the minute": limit(per="minute"),
    "a limit without a burst": limit(burst=0),
    "a limit that libnftables cannot read": limit(rate=1 << 63),
    "a limit that is true": limit(rate=True),
    "a burst that is true": limit(burst=True),
    "a group that is true": log(group=True),
    "a length that is true": log(snaplen=True),
    "a limit of bytes": limit(rate_unit="mbytes"),
    "a log to the console": log(level="info"),
    "a long prefix": log(prefix="x" * 128),
    "no prefix": log(prefix=""),
    "a large group": log(group=65536),
    "another mark": {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}},
    "a whole mark": {"mangle": {"key": MARK, "value": 1}},
    "bits kept and set": {"mangle": {"key": MARK, "value": {"|": [{"&": [MARK, 3]}, 2]}}},
    "bits and more": {"mangle": {"key": MARK, "value": {"|": [{"&": [MARK, 1]}, 2], "more": 1}}},
    "bits kept and more": {"mangle": {"key": MARK, "value": {"|": [{"&": [MARK, 1], "more": 1}, 2]}}},
    "bits of one mark for another": {
        "mangle": {"key": MARK, "value": {"|": [{"&": [{"meta": {"key": "mark"}}, 1]}, 1]}}
    },
    "a reset of whatever": {"reject": {"type": "tcp reset"}},
    "another refusal": {"reject": {"type": "icmpx", "expr": "admin-prohibited"}},
    "a refusal of one family": {"reject": {"type": "icmp", "expr": "port-unreachable"}},
}
UNKNOWN_RULES = {
    "two families": (match(ADDRESS, "10.0.0.1"), match(payload("ip6", "saddr"), "fd00::1")),
    "two protocols": (match(payload("tcp", "dport"), 80), match(payload("udp", "dport"), 80)),
    "neighbours": (match(ADDRESS, "10.0.0.1"), match(payload("ip", "daddr"), "10.0.0.2")),
    "neighbours with something between": (
        match(payload("icmp", "type"), 1),
        match(ADDRESS, "@s"),
        match(payload("icmp", "code"), 1),
    ),
    "neighbours that exclude": (match(payload("icmp", "code"), 1, "!="), match(payload("th", "dport"), 80, "!=")),
    "a port of protocol 0": (match(PROTOCOL, 0), match(payload("tcp", "dport"), 80)),
    "a port of one of two": (match(PROTOCOL, {"set": [6, 17]}), match(payload("tcp", "dport"), 80)),
    "a protocol of one family, in any": (match(PROTOCOL, 1), match(payload("icmp", "type"), 8)),
    "more after the end": ({"drop": None}, {"counter": "r"}),
    "more after a jump": ({"jump": {"target": "d"}}, {"counter": "r"}),
    "more after a refusal": ({"reject": {"type": "icmpx", "expr": "port-unreachable"}}, {"counter": "r"}),
    "neighbours the other way round": (match(payload("icmp", "code"), 1), match(payload("icmp", "type"), 1)),
}


@pytest.mark.parametrize("command", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("version", [OLD, MODERN])
def test_what_is_known(command: dict[str, Any], version: tuple[int, ...]) -> None:
    requests = encoded(command, version=version)
    assert requests is not None
    assert len(requests) == 3


@pytest.mark.parametrize(
    "commands",
    [
        *([command] for command in UNKNOWN.values()),
        *([rule(statement)] for statement in UNKNOWN_STATEMENTS.values()),
        *([rule(*statements)] for statements in UNKNOWN_RULES.values()),
    ],
    ids=[*UNKNOWN, *UNKNOWN_STATEMENTS, *UNKNOWN_RULES],
)
def test_what_is_not_known_is_for_libnftables(commands: list[dict[str, Any]]) -> None:
    """And whatever comes with it: a transaction is one batch."""
    rest = rule({"drop": None})
    assert encoded(*KNOWN.values(), rest) is not None
    assert encoded(*KNOWN.values(), *commands, rest) is None


def test_nothing_is_for_libnftables() -> None:
    """Not every kernel answers to an empty batch."""
    assert encoded() is None


INTERVALS: dict[str, list[Any]] = {
    "not in order": ["10.0.0.9", "10.0.0.1"],
    "overlapping": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "10.0.0.1"],
    "side by side": ["10.0.0.1", "10.0.0.2"],
    "of the other family": ["fd00::1"],
    "behind the highest": [{"range": ["10.0.0.1", "255.255.255.255"]}, "10.0.0.9"],
    "backwards": [{"range": ["10.0.0.9", "10.0.0.1"]}],
}


@pytest.mark.parametrize("members", INTERVALS.values(), ids=INTERVALS)
def test_intervals_that_might_be_refused_are_for_libnftables(members: list[Any]) -> None:
    networks = add("set", "new", type="ipv4_addr", flags=["interval"])
    fine = element("add", "new", "10.0.0.1", "10.0.0.3")
    assert encoded(networks, fine) is not None
    assert encoded(networks, fine, fine) is None
    assert encoded(networks, element("add", "new", *members)) is None


def test_what_is_declared_is_remembered_until_it_goes() -> None:
    made, gone = add("set", "new", type="ifname"), {"delete": {"set": {**OWN, "name": "new"}}}
    link = element("add", "new", "eth0")
    assert encoded(link) is None
    assert encoded(made, link) is not None
    assert encoded(made, gone, link) is None
    assert batch.encoded([link], OLD, after(SETS, [made])) is not None
    assert batch.encoded([link], OLD, after(SETS, [made, gone])) is None
    assert after(SETS, [made, {"delete": {"table": {"family": "inet", "name": "nodewall"}}}]) == {}
    assert "new" not in after(SETS, [made, add("set", "new", type="mark")])


def test_a_large_batch_is_for_libnftables() -> None:
    one = rule({"drop": None}, comment="x" * 128)
    assert encoded(*[one] * 100) is not None
    assert encoded(*[one] * 1000) is None


# --- in front of the kernel -------------------------------------------------------------------------------------------


async def apply(kernel: Kernel, *commands: dict[str, Any]) -> None:
    await kernel.apply({"nftables": commands})


def inside(namespace: str, work: Callable[[Kernel], Awaitable[None]]) -> None:
    """Do it with a table to begin with."""

    async def main() -> None:
        kernel = await Kernel.open()
        try:
            await apply(kernel, *START)
            await work(kernel)
        finally:
            kernel.close()

    netns.inside(namespace, lambda: asyncio.run(main()))


def listing(namespace: str) -> str:
    command = [*netns.argv(namespace), "nft", "list", "ruleset"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


START = [
    TABLE,
    add("chain", "c"),
    add("chain", "d"),
    add("chain", "forward", type="filter", hook="forward", prio=0, policy="accept"),
    add("set", "s", type="ipv4_addr"),
    add("set", "s6", type="ipv6_addr"),
    add("map", "m", type="ipv4_addr", map="verdict"),
    {"add": {"rule": {**OWN, "chain": "forward", "expr": [{"jump": {"target": "c"}}]}}},
    rule({"jump": {"target": "d"}}),
]
GO = match(ADDRESS, "10.0.0.1")
REFUSED = {
    "a chain that is not there": (
        [rule({"goto": {"target": "gone"}})],
        r"No such file or directory \(something the change builds on is not in the kernel\), at: add rule c$",
    ),
    "a counter that is not there": ([rule({"counter": "gone"})], "No such file or directory .*at: add rule c$"),
    "a rule of no chain": (
        [{"add": {"rule": {**OWN, "chain": "gone", "expr": [{"drop": None}]}}}],
        "No such file or directory .*at: add rule gone$",
    ),
    "a chain in use": (
        [{"delete": {"chain": {**OWN, "name": "d"}}}],
        r"Device or resource busy \(something the change removes is still in use\), at: delete chain d$",
    ),
    "another way": (
        [element("add", "m", ["10.0.0.9", {"jump": {"target": "d"}}], ["10.0.0.9", {"goto": {"target": "d"}}])],
        r"File exists \(something the change adds is in the kernel already, with other content\), at: add element m$",
    ),
    "no counter": ([{"delete": {"counter": {**OWN, "name": "r"}}}], "No such file or directory .*: delete counter r$"),
    "an element twice": (
        [{"delete": {"element": {**OWN, "name": "s", "elem": ["10.0.0.9"]}}}],
        "No such file or directory .*at: delete element s$",
    ),
    "a circle": (
        [{"add": {"rule": {**OWN, "chain": "d", "expr": [{"goto": {"target": "c"}}]}}}],
        r"Too many links \(the chains are nested too deeply\)",
    ),
}


@pytest.mark.kernel
@pytest.mark.parametrize(("commands", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_leaves_everything_as_it_was_and_says_what(
    namespace: str, commands: list[dict[str, Any]], reason: str
) -> None:
    """The kernel looks at a batch to its end, so that more than one object may be refused; the first is told."""
    fine = [add("chain", "e"), rule(GO, {"drop": None}), add("counter", "n")]
    wanted = [*fine, *commands, element("add", "s", "10.0.0.1")]
    assert encoded(*wanted) is not None

    async def work(kernel: Kernel) -> None:
        before = listing(namespace)
        with pytest.raises(KernelRefusedError, match=reason):
            await apply(kernel, *wanted)
        assert listing(namespace) == before
        await apply(kernel, *fine)
        assert listing(namespace) != before

    inside(namespace, work)


@pytest.mark.kernel
def test_what_a_refused_transaction_declares_is_not_remembered(namespace: str) -> None:
    """An element of the set would be encoded as one of another type: an address may be the name of a link."""
    again = [{"delete": {"set": {**OWN, "name": "s"}}}, add("set", "s", type="ifname")]

    async def work(kernel: Kernel) -> None:
        with pytest.raises(KernelRefusedError, match=r"at: delete chain gone$"):
            await apply(kernel, *again, {"delete": {"chain": {**OWN, "name": "gone"}}})
        await apply(kernel, element("add", "s", "10.0.0.1"))
        await apply(kernel, *again)
        await apply(kernel, element("add", "s", "10.0.0.2"))

    inside(namespace, work)
    assert 'elements = { "10.0.0.2" }' in listing(namespace)


@pytest.mark.kernel
def test_a_name_is_never_read_as_syntax(namespace: str) -> None:
    comment = '"; flush ruleset; add chain inet nodewall x { } #'
    inside(namespace, lambda kernel: apply(kernel, rule({"drop": None}, comment=comment)))
    assert f'comment "{comment}"' in listing(namespace)


@pytest.mark.kernel
@pytest.mark.parametrize("refusals", [5, 2900])
def test_after_a_refusal_the_next_transaction_has_its_own_answer(namespace: str, refusals: int) -> None:
    """However many requests of the refused one have an answer that nobody waits for."""
    wrong = [{"delete": {"counter": {**OWN, "name": "gone"}}}] * refusals
    assert encoded(*wrong) is not None

    async def work(kernel: Kernel) -> None:
        for _ in range(3):
            for _ in range(3):
                with pytest.raises(KernelRefusedError, match=r"No such file or directory.*at: delete counter gone$"):
                    await apply(kernel, *wrong)
            await apply(kernel, rule({"drop": None}))

    inside(namespace, work)
    assert listing(namespace).count("drop") == 3
