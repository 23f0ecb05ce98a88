"""Our encoding of a transaction against libnftables', in two namespaces: the kernel must hold the same, byte for byte.

An expression encoded wrongly is a wrong verdict, and nft may list it as the right one. So what is compared is what the
kernel holds of rules, sets, elements, chains and counters, and the listing besides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.bed import Bed, bed
from nodewall.agent import batch
from nodewall.compile import compile_node
from nodewall.model.cluster import ClusterState
from nodewall.render import Settings, Table, diff, render
from nodewall.render import replace as replacing
from nodewall.render.expressions import (
    ACCEPT,
    CONTINUE,
    DROP,
    RETURN,
    Count,
    Ct,
    Dispatch,
    Fields,
    Flags,
    Goto,
    Is,
    Jump,
    Limit,
    Log,
    MarkBits,
    Meta,
    OneOf,
    Operand,
    Payload,
    Prefix,
    Proto,
    Quoted,
    Range,
    Reject,
    RouteBack,
    Selector,
    SetMark,
    SetRef,
    Statement,
    Tuple,
    Verdict,
)
from nodewall.render.table import EVERYTHING_ELSE, Chain, Rule, Set, VerdictMap
from tests.kernel import bytecode, nft
from tests.property.strategies import clusters
from tests.render.rulesets import EVERYTHING, NASTY, SETTINGS
from tests.truth.case import Case
from tests.truth.cases import ALL
from tests.truth.reading import state_of

pytestmark = pytest.mark.kernel

IP4, IP6 = Payload("ip", "saddr"), Payload("ip6", "daddr")
ICMPV6 = Payload("icmpv6", "type")
PORTS = Fields((Meta("l4proto"), Payload("th", "dport")))
STATEMENTS: Mapping[str, tuple[Statement, ...]] = {
    "an address": (Is(IP4, "10.1.2.3"), DROP),
    "an IPv6 address": (Is(IP6, "fd00::a:b"), DROP),
    "another address": (Is(Payload("ip", "daddr"), "255.255.255.255", negated=True), DROP),
    "another IPv6 address": (Is(Payload("ip6", "saddr"), "::", negated=True), DROP),
    **{f"/{n}": (Is(IP4, Prefix("128.0.0.0", n)), DROP) for n in (1, 2, 7, 8, 9, 16, 20, 24, 31)},
    **{f"not /{n}": (Is(IP4, Prefix("224.0.0.0", n), negated=True), DROP) for n in (3, 8, 12, 24)},
    **{f"IPv6 /{n}": (Is(IP6, Prefix("8000::", n)), DROP) for n in (1, 8, 10, 56, 61, 64, 120, 127)},
    **{f"not IPv6 /{n}": (Is(IP6, Prefix("fe80::", n), negated=True), DROP) for n in (10, 16, 64)},
    "from to": (Is(IP4, Range("10.0.0.7", "10.0.1.2")), DROP),
    "from 0": (Is(IP4, Range("0.0.0.0", "10.0.1.2")), DROP),
    "to the end": (Is(IP4, Range("10.0.0.7", "255.255.255.255")), DROP),
    "IPv6 from to": (Is(IP6, Range("fd00::7", "fd00::1:2")), DROP),
    "an address in a set": (Is(IP4, SetRef("a4")), DROP),
    "an address not in a set": (Is(Payload("ip", "daddr"), SetRef("a4"), negated=True), DROP),
    "an IPv6 address not in a set": (Is(Payload("ip6", "saddr"), SetRef("a6"), negated=True), DROP),
    "an IPv6 address in a set": (Is(IP6, SetRef("a6")), DROP),
    "an address in networks": (Is(IP4, SetRef("n4")), DROP),
    "an IPv6 address in networks": (Is(IP6, SetRef("n6")), DROP),
    "both ends": (Is(Fields((IP4, Payload("ip", "daddr"))), SetRef("self4")), RETURN),
    "both IPv6 ends": (Is(Fields((Payload("ip6", "saddr"), IP6)), SetRef("self6")), RETURN),
    "an address and a port": (Is(Fields((IP4, *PORTS.parts)), SetRef("s4")), RETURN),
    "an IPv6 address and a port": (Is(Fields((IP6, *PORTS.parts)), SetRef("s6")), RETURN),
    "ports": (Is(PORTS, SetRef("p")), RETURN),
    "an address, then ports": (Is(IP4, SetRef("a4")), Is(PORTS, SetRef("p")), RETURN),
    **{f"{name} port": (Is(Payload(name, "dport"), 443), DROP) for name in ("tcp", "udp", "sctp")},
    **{f"{name} ports": (Is(Payload(name, "dport"), Range(80, 443)), DROP) for name in ("tcp", "udp", "sctp")},
    "the lowest ports": (Is(Payload("tcp", "dport"), Range(0, 1)), DROP),
    "the highest ports": (Is(Payload("udp", "dport"), Range(65534, 65535)), DROP),
    "port 0": (Is(Payload("tcp", "dport"), 0), DROP),
    "an address and a TCP port": (Is(IP4, Prefix("10.0.0.0", 8)), Is(Payload("tcp", "dport"), 80), DROP),
    "an IPv6 address and a UDP port": (Is(IP6, "fd00::1"), Is(Payload("udp", "dport"), 53), DROP),
    "a family": (Is(Meta("nfproto"), "ipv6"), Goto("other")),
    "the other family": (Is(Meta("nfproto"), "ipv4"), DROP),
    "a family and an address": (Is(Meta("nfproto"), "ipv6"), Is(IP6, "fd00::1"), DROP),
    "a protocol and a port": (Is(Meta("l4proto"), Proto(6)), Is(Payload("tcp", "dport"), 80), DROP),
    "a protocol": (Is(Meta("l4proto"), Proto(47)), DROP),
    "protocols": (Is(Meta("l4proto"), OneOf((Proto(0), Proto(6), Proto(255)))), DROP),
    "an address and protocols": (Is(IP6, SetRef("a6")), Is(Meta("l4proto"), OneOf((Proto(1), Proto(58)))), DROP),
    "an ICMP type": (Is(Payload("icmp", "type"), 8), DROP),
    "an ICMP type and code": (Is(Payload("icmp", "type"), 3), Is(Payload("icmp", "code"), 4), DROP),
    "an ICMP code": (Is(Payload("icmp", "code"), 4), DROP),
    "an address and an ICMP type": (Is(IP4, SetRef("a4")), Is(Payload("icmp", "type"), 8), DROP),
    "an ICMPv6 type": (Is(Payload("icmpv6", "type"), 128), DROP),
    "an ICMPv6 type and code": (Is(Payload("icmpv6", "type"), 1), Is(Payload("icmpv6", "code"), 0), DROP),
    "an ICMPv6 code": (Is(Payload("icmpv6", "code"), 3), DROP),
    "an address and an ICMPv6 type": (Is(IP6, SetRef("a6")), Is(Payload("icmpv6", "type"), 128), DROP),
    "ICMPv6 types": (
        Is(Payload("icmpv6", "type"), OneOf((133, 135, 136))),
        Is(Payload("ip6", "hoplimit"), 255),
        ACCEPT,
    ),
    "link-local listeners": (
        Is(ICMPV6, OneOf((130, 143))),
        Is(Payload("ip6", "saddr"), Prefix("fe80::", 10)),
        ACCEPT,
    ),
    "a link": (Is(Meta("iifname"), Quoted("eth0")), DROP),
    "another link": (Is(Meta("iifname"), Quoted("lo"), negated=True), DROP),
    "a long link": (Is(Meta("oifname"), Quoted("veth0123456-abc")), DROP),
    "links in": (Is(Meta("iifname"), SetRef("links")), DROP),
    "links not in": (Is(Meta("iifname"), SetRef("links"), negated=True), DROP),
    "links out": (Is(Meta("oifname"), SetRef("links")), DROP),
    "a kind of link": (Is(Meta("iifkind"), Quoted("veth")), Is(RouteBack("daddr"), True), RETURN),
    "no route back": (Is(RouteBack("saddr"), False), Jump("other")),
    "a route back": (Is(RouteBack("saddr"), True), DROP),
    "no route on": (Is(RouteBack("daddr"), False), DROP),
    "established": (Is(Ct("state"), Flags(("established", "related"))), ACCEPT),
    "related": (Is(Ct("state"), Flags(("related",))), Is(Meta("l4proto"), OneOf((Proto(1), Proto(58)))), ACCEPT),
    "a generation": (Is(Ct("state"), Flags(("established",))), Is(MarkBits(0xFFF00000), 0x00100000), ACCEPT),
    "a low generation": (Is(MarkBits(0xFF00), 0x0100), ACCEPT),
    "a reply": (Is(Ct("direction"), "reply"), ACCEPT),
    "a first packet": (Is(Ct("direction"), "original"), ACCEPT),
    "a stamp": (Is(IP4, SetRef("a4")), SetMark(0xFFF00000, 0x00200000)),
    "a low stamp": (SetMark(0xFF00, 0x1200),),
    "a dispatch": (Dispatch(IP4, "m4"),),
    "an IPv6 dispatch": (Dispatch(IP6, "m6"),),
    "a dispatch by pairs": (Dispatch(Fields((IP4, *PORTS.parts)), "ms4"),),
    "an IPv6 dispatch by pairs": (Dispatch(Fields((IP6, *PORTS.parts)), "ms6"),),
    "a dispatch by ports": (Dispatch(PORTS, "mp"),),
    "a count": (Count("hits"),),
    "a count and an end": (Count("hits"), RETURN),
    "a record": (Limit(10, 20), Log("accept:rule-1", 5577, 128)),
    "the least record": (Limit(1, 1), Log("x", 0, 0)),
    "the largest record": (Limit(2**31, 2**31), Log("x" * 127, 65535, 2**32 - 1)),
    "a jump": (Jump("other"),),
    "a goto": (Goto("other"),),
    "an accept": (ACCEPT,),
    "a drop": (DROP,),
    "a return": (RETURN,),
    "a reset": (Is(Meta("l4proto"), Proto(6)), Reject(tcp_reset=True)),
    "a refusal": (Reject(),),
}
WEB, DNS = (Proto(6), 443), (Proto(17), 53)
TO = {"jump": Jump("other"), "goto": Goto("other")}
SETS = (
    Set("a4", ("ipv4_addr",), ("10.0.0.1", "255.255.255.255", "0.0.0.0")),
    Set("a6", ("ipv6_addr",), ("fd00::1", "::", "::ffff:10.0.0.1")),
    Set("nobody", ("ipv4_addr",)),
    Set("links", ("ifname",), (Quoted("eth0"), Quoted("veth0123456-abc"))),
    Set("self4", ("ipv4_addr", "ipv4_addr"), (Tuple(("10.0.0.1", "10.0.0.2")),)),
    Set("self6", ("ipv6_addr", "ipv6_addr"), (Tuple(("fd00::1", "fd00::2")),)),
    Set("s4", ("ipv4_addr", "inet_proto", "inet_service"), (Tuple(("10.0.0.1", *WEB)), Tuple(("10.0.0.1", *DNS)))),
    Set("s6", ("ipv6_addr", "inet_proto", "inet_service"), (Tuple(("fd00::1", *WEB)),)),
    Set("n4", ("ipv4_addr",), (Prefix("10.0.0.0", 8), "172.16.0.1", Range("192.0.2.7", "192.0.3.9")), interval=True),
    Set("n4all", ("ipv4_addr",), (Range("0.0.0.0", "9.9.9.9"), Prefix("128.0.0.0", 1)), interval=True),
    Set("n6", ("ipv6_addr",), (Prefix("2001:db8::", 32), "fd00::1", Prefix("ff00::", 8)), interval=True),
    Set(
        "p",
        ("inet_proto", "inet_service"),
        (Tuple(WEB), Tuple((Proto(17), Range(80, 90))), Tuple((Proto(132), Range(0, 65535)))),
        interval=True,
    ),
)
MAPS = (
    VerdictMap("m4", ("ipv4_addr",), (("10.0.0.1", Jump("other")), ("10.0.0.2", Goto("more")))),
    VerdictMap("m6", ("ipv6_addr",), (("fd00::1", Goto("other")),)),
    VerdictMap("m4all", ("ipv4_addr",), ((EVERYTHING_ELSE, Jump("more")), ("10.0.0.1", CONTINUE))),
    VerdictMap("m6all", ("ipv6_addr",), ((EVERYTHING_ELSE, Goto("other")), ("fd00::1", CONTINUE))),
    VerdictMap("ms4", ("ipv4_addr", "inet_proto", "inet_service"), ((Tuple(("10.0.0.1", *WEB)), Goto("other")),)),
    VerdictMap("ms6", ("ipv6_addr", "inet_proto", "inet_service"), ((Tuple(("fd00::1", *DNS)), Goto("other")),)),
    VerdictMap("mp", ("inet_proto", "inet_service"), ((Tuple(WEB), Goto("other")), (Tuple(DNS), Jump("more")))),
    VerdictMap("nowhere", ("ipv4_addr",)),
)
COMMENTS = ("", "x", "NetworkPolicy shop/web ingress[0]", "x" * 128, NASTY.encode("ascii", "replace").decode()[:128])


def table(*rules: Rule) -> Table:
    """Where every name that a statement may use means something."""
    chains = (Chain("more"), Chain("other"), Chain("rules", rules))
    return Table("nodewall", ("hits",), SETS, MAPS, chains)


# --- all forms there are ----------------------------------------------------------------------------------------------


def parts(thing: object) -> Iterator[object]:
    """A statement and everything in it."""
    yield thing
    if isinstance(thing, tuple):
        for each in thing:
            yield from parts(each)
    elif is_dataclass(thing):
        for one in fields(thing):
            yield from parts(getattr(thing, one.name))


def test_every_kind_of_statement_selector_and_operand_is_tried() -> None:
    tried = {type(part) for part in parts((*STATEMENTS.values(), SETS, MAPS))}
    grammar = {kind for union in (Statement, Selector, Operand) for kind in get_args(union)}
    assert not grammar - tried


def shape(statement: Statement) -> str:
    """A statement without its values: what decides how it is encoded. The two ends of a packet are one: both are tried
    with an address, and nothing else depends on which of them it is.
    """
    match statement:
        case Is(MarkBits(), _, negated):
            return f"bits of the mark {negated}"
        case Is(left, right, negated):
            return f"{left} {type(right).__name__} {negated}".replace("daddr", "saddr")
        case Dispatch(key, _):
            return f"dispatch {key}".replace("daddr", "saddr")
        case Reject() | Verdict():
            return str(statement)
    return type(statement).__name__


TRIED = {shape(statement) for statements in STATEMENTS.values() for statement in statements}


def untried(drawn: Table) -> set[str]:
    return {shape(each) for chain in drawn.chains for rule in chain.rules for each in rule.statements} - TRIED


@pytest.mark.parametrize("chosen", SETTINGS.values(), ids=SETTINGS)
def test_every_form_that_is_drawn_is_tried_alone(chosen: Settings) -> None:
    assert not untried(render(EVERYTHING, chosen))


# --- both ways --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Bed, Bed]]:
    with bed() as one, bed() as other:
        yield one, other


def compare(two: tuple[Bed, Bed], wanted: Table) -> None:
    """Make the table by libnftables in one namespace and by us in the other, and see that it is the same.

    The base chains are made by libnftables in both, as they are in life: by the full replace at start.
    """
    theirs, ours = two
    theirs.run(theirs.kernel.apply(replacing(wanted).json()))
    hooks = Table(wanted.name, chains=tuple(replace(chain, rules=()) for chain in wanted.chains if chain.hook))
    ours.run(ours.kernel.apply(replacing(hooks).json()))
    rest = diff(hooks, wanted)
    if rest:
        assert batch.encoded(rest.json()["nftables"], (1, 0, 6), {}) is not None, "libnftables would do it"
        ours.run(ours.kernel.apply(rest.json()))
    same(two)


def same(two: tuple[Bed, Bed]) -> None:
    theirs, ours = two
    assert bytecode.differences(bytecode.held(ours.namespace), bytecode.held(theirs.namespace)) == []
    assert nft.canonical(ours.namespace) == nft.canonical(theirs.namespace)


@pytest.mark.parametrize("statements", STATEMENTS.values(), ids=STATEMENTS)
def test_a_rule(two: tuple[Bed, Bed], statements: tuple[Statement, ...]) -> None:
    compare(two, table(Rule(statements)))


def test_many_rules_and_what_is_said_about_them(two: tuple[Bed, Bed]) -> None:
    rules = [Rule(statements, comment) for statements in STATEMENTS.values() for comment in COMMENTS[:2]]
    compare(two, table(*rules[::2]))
    compare(two, table(*(Rule((DROP,), comment) for comment in COMMENTS)))


OWN = {"family": "inet", "table": "nodewall"}
NEW_TABLE: list[dict[str, Any]] = [
    {verb: {"table": {"family": "inet", "name": "nodewall"}}} for verb in ("add", "delete", "add")
]


@pytest.mark.parametrize("flags", [[], ["interval"]], ids=["single", "intervals"])
@pytest.mark.parametrize("types", ["ipv4_addr", "ifname", ["inet_proto", "inet_service"]], ids=str)
@pytest.mark.parametrize("size", [1, 65535])
def test_a_set_of_a_size(two: tuple[Bed, Bed], size: int, types: str | list[str], flags: list[str]) -> None:
    declared = [{"add": {"set": {**OWN, "name": "s", "type": types, "size": size, "flags": flags}}}]
    if not flags:
        declared.append({"add": {"map": {**OWN, "name": "m", "type": types, "map": "verdict", "size": size}}})
    theirs, ours = two
    theirs.run(theirs.kernel.apply({"nftables": [*NEW_TABLE, *declared]}))
    ours.run(ours.kernel.apply({"nftables": NEW_TABLE}))
    assert batch.encoded(declared, (1, 0, 6), {}) is not None
    ours.run(ours.kernel.apply({"nftables": declared}))
    same(two)


@pytest.mark.parametrize("chosen", SETTINGS.values(), ids=SETTINGS)
def test_a_table_of_everything(two: tuple[Bed, Bed], chosen: Settings) -> None:
    compare(two, render(EVERYTHING, chosen))


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_table_of_a_truth_case(two: tuple[Bed, Bed], case: Case) -> None:
    state = state_of(case)
    drawn = render(compile_node(state, min(state.nodes)), Settings(fold_from=0))
    assert not untried(drawn)
    compare(two, drawn)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(state=clusters(), chosen=st.sampled_from(list(SETTINGS.values())))
def test_a_random_table(two: tuple[Bed, Bed], state: ClusterState, chosen: Settings) -> None:
    drawn = render(compile_node(state, "n1"), chosen)
    assert not untried(drawn)
    compare(two, drawn)
