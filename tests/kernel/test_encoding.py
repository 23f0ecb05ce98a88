"""Whatever is made of the words that rules and sets are made of: handed back, or encoded as libnftables does.

test_bytecode.py tries what is drawn. Here fields, operands, sets and ends are put together by chance, wrong ones among
them. What libnftables refuses must not be taken either: it may judge, though nobody can tell how.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.bed import Bed, bed
from nodewall.agent import batch
from nodewall.agent.definitions import after
from nodewall.agent.kernel import Commands, KernelRefusedError
from tests.kernel import bytecode

pytestmark = pytest.mark.kernel

OWN = {"family": "inet", "table": "nodewall"}
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "ipv4_addr": st.sampled_from(["0.0.0.0", "10.0.0.1", "10.0.0.2", "128.0.0.0", "255.255.255.255"]),
    "ipv6_addr": st.sampled_from(["::", "8000::", "fd00::1", "fd00::2", "ffff:" * 7 + "ffff"]),
    "inet_service": st.sampled_from([0, 1, 80, 255, 256, 65534, 65535]),
    "inet_proto": st.sampled_from([0, 1, 6, 17, 58, 132, 254, 255]),
    "ifname": st.sampled_from(["a", "eth0", "veth0123456-abc"]),
}
TYPES: tuple[str | list[str], ...] = (
    *VALUES,
    ["ipv4_addr", "ipv4_addr"],
    ["inet_proto", "inet_service"],
    ["inet_service", "inet_proto"],
    ["ifname", "ipv4_addr"],
    ["ipv4_addr", "inet_proto", "inet_service"],
    ["ipv6_addr", "inet_proto", "inet_service"],
)


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


def fields() -> Iterator[tuple[Any, str, st.SearchStrategy[Any]]]:
    """A selector, the type that it has, and values of it."""
    for family, kind in (("ip", "ipv4_addr"), ("ip6", "ipv6_addr")):
        yield from ((payload(family, end), kind, VALUES[kind]) for end in ("saddr", "daddr"))
    yield from ((payload(name, "dport"), "inet_service", VALUES["inet_service"]) for name in ("tcp", "udp", "th"))
    for name in ("icmp", "icmpv6"):
        yield from ((payload(name, field), "", VALUES["inet_proto"]) for field in ("type", "code"))
    yield payload("ip6", "hoplimit"), "", VALUES["inet_proto"]
    yield {"meta": {"key": "l4proto"}}, "inet_proto", VALUES["inet_proto"]
    yield {"meta": {"key": "nfproto"}}, "", st.sampled_from(["ipv4", "ipv6"])
    yield from (({"meta": {"key": key}}, "ifname", VALUES["ifname"]) for key in ("iifname", "oifname", "iifkind"))
    yield {"ct": {"key": "direction"}}, "", st.sampled_from(["original", "reply"])
    yield {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, "", st.booleans()


FIELDS = tuple(fields())
SETS: list[dict[str, Any]] = [
    *({"add": {"set": {**OWN, "name": f"s{n}", "type": kind}}} for n, kind in enumerate(TYPES)),
    *({"add": {"set": {**OWN, "name": f"i{n}", "type": kind, "flags": ["interval"]}}} for n, kind in enumerate(TYPES)),
    *({"add": {"map": {**OWN, "name": f"m{n}", "type": kind, "map": "verdict"}}} for n, kind in enumerate(TYPES)),
]
START: list[dict[str, Any]] = [
    *({verb: {"table": {"family": "inet", "name": "nodewall"}}} for verb in ("add", "delete", "add")),
    *({"add": {"chain": {**OWN, "name": name}}} for name in ("rules", "other")),
    {"add": {"counter": {**OWN, "name": "hits"}}},
    *SETS,
]
NUMBERS = st.one_of(st.sampled_from([0, 1, 0xFF00, 0x100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]), st.integers(0, 2**32))
LARGE = st.one_of(NUMBERS, st.sampled_from([10**9, 2**32 + 1, 2**62]))
WORDS = st.one_of(
    st.sampled_from(["x" * 127, "\u65e5" * 42, "\u00e9" * 64, "%s", "\n", "$x", '"', "\\"]), st.text(max_size=9)
)


def operands(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lengths = st.sampled_from([1, 7, 8, 9, 16, 31, 32, 64, 65, 127])
    return st.one_of(
        values,
        st.tuples(values, values).map(lambda ends: {"range": list(ends)}),
        st.tuples(values, lengths).map(lambda both: {"prefix": {"addr": both[0], "len": both[1]}}),
    )


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    left, _, values = draw(st.sampled_from(FIELDS))
    several = st.lists(values, min_size=1, max_size=4).map(lambda members: {"set": members})
    right = draw(st.one_of(values, operands(values), several, references()))
    return {"match": {"op": draw(st.sampled_from(["==", "==", "!="])), "left": left, "right": right}}


def references() -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from("sim"), st.integers(0, len(TYPES) - 1)).map(lambda both: f"@{both[0]}{both[1]}")


@st.composite
def keys(draw: st.DrawFn) -> dict[str, Any]:
    """In a set or a map that is mostly one of such keys."""
    n = draw(st.integers(0, len(TYPES) - 1))
    kinds = TYPES[n]
    parts = [draw(st.sampled_from([left for left, has, _ in FIELDS if has == kind])) for kind in listed(kinds)]
    key = parts[0] if isinstance(kinds, str) else {"concat": parts}
    one_way, other_way = draw(st.sampled_from([(f"@s{n}", f"@m{n}"), (f"@i{n}", f"@m{n}"), ("@i5", "@m5")]))
    ways = {"vmap": {"key": key, "data": other_way}}, {"match": {"op": "==", "left": key, "right": one_way}}
    return draw(st.sampled_from(ways))


def listed(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def others() -> st.SearchStrategy[dict[str, Any]]:
    mark = {"ct": {"key": "mark"}}
    flags = st.lists(st.sampled_from(["established", "related"]), min_size=1, max_size=3)
    return st.one_of(
        st.sampled_from([{"counter": "hits"}, {"reject": {"type": "tcp reset"}}]),
        st.sampled_from([{"drop": None}, {"goto": {"target": "other"}}, {"jump": {"target": "other"}}]),
        st.just({"reject": {"type": "icmpx", "expr": "port-unreachable"}}),
        st.tuples(LARGE, NUMBERS).map(lambda n: {"limit": {"rate": n[0], "per": "second", "burst": n[1]}}),
        st.tuples(WORDS, st.sampled_from([0, 1, 65535, 65536]), NUMBERS).map(
            lambda n: {"log": {"prefix": n[0], "group": n[1], "snaplen": n[2]}}
        ),
        st.tuples(NUMBERS, NUMBERS).map(lambda n: {"match": {"op": "==", "left": {"&": [mark, n[0]]}, "right": n[1]}}),
        st.tuples(NUMBERS, NUMBERS).map(
            lambda n: {"mangle": {"key": mark, "value": {"|": [{"&": [mark, n[0]]}, n[1] & ~n[0]]}}}
        ),
        flags.map(lambda names: {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": names}}),
    )


@st.composite
def rules(draw: st.DrawFn) -> list[dict[str, Any]]:
    statements = draw(st.lists(st.one_of(comparisons(), keys(), others()), min_size=1, max_size=4))
    said = draw(st.one_of(st.just({}), st.fixed_dictionaries({"comment": WORDS})))
    return [{"add": {"rule": {**OWN, "chain": "rules", "expr": statements, **said}}}]


@st.composite
def holders(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A set or a map with elements, some of which go again."""
    kinds, kind = draw(st.sampled_from([*TYPES, ["ipv4_addr"]])), draw(st.sampled_from(["set", "set", "map"]))
    flags = draw(st.sampled_from([[], ["interval"]])) if kind == "set" else []
    choices = [operands(VALUES[each]) if flags else VALUES[each] for each in listed(kinds)]
    members = choices[0] if isinstance(kinds, str) else st.tuples(*choices).map(lambda parts: {"concat": list(parts)})
    if kind == "map":
        members = members.map(lambda member: [member, {"goto": {"target": "other"}}])
    body = {**OWN, "name": "new", "type": kinds} | ({"map": "verdict"} if kind == "map" else {})
    size = draw(st.sampled_from([{}, {"size": 1}, {"size": 2**32 - 1}]))
    made = [{"add": {kind: {**body, **({"flags": flags} if flags else {}), **size}}}]
    elements = draw(st.lists(members, max_size=4))
    return [*made, *moved("add", elements), *moved("delete", elements[: draw(st.integers(0, len(elements)))])]


def moved(verb: str, elements: Sequence[Any]) -> list[dict[str, Any]]:
    return [{verb: {"element": {**OWN, "name": "new", "elem": list(elements)}}}] if elements else []


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Bed, Bed]]:
    with bed() as one, bed() as other:
        yield one, other


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(commands=st.one_of(rules(), holders()))
def test_what_is_taken_is_what_libnftables_would_have_made(
    two: tuple[Bed, Bed], commands: list[dict[str, Any]]
) -> None:
    theirs, ours = two
    known = after({}, START)
    if batch.encoded(commands, (1, 0, 6), known) is None:
        return
    for place in two:
        place.run(place.kernel.apply({"nftables": START}))
    assert accepted(ours, {"nftables": commands}) == accepted(theirs, by_libnftables(commands))
    assert bytecode.differences(bytecode.held(ours.namespace), bytecode.held(theirs.namespace)) == []


def by_libnftables(commands: Sequence[Mapping[str, Any]]) -> Commands:
    """A table is never encoded."""
    return {"nftables": [START[0], *commands]}


def accepted(place: Bed, commands: Commands) -> bool:
    try:
        place.run(place.kernel.apply(commands))
    except KernelRefusedError:
        return False
    return True
