"""A table drawn after another one is the same table: what was drawn before only saves work."""

from dataclasses import replace as changed
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodewall.compile import compile_node
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState
from nodewall.model.errors import BadInputError
from nodewall.model.policy import Action, Direction, Kind, Tier
from nodewall.model.ruleset import (
    AddressGroup,
    Audit,
    Endpoint,
    Isolation,
    Match,
    NodeRuleSet,
    PortGroup,
    PortMember,
    Rule,
    RuleClass,
    RuleRef,
)
from nodewall.render import Settings, Strict, Table, diff, render, text
from nodewall.render.reuse import Edit, Pool
from nodewall.render.table import Set
from tests.property.strategies import clusters
from tests.render.rulesets import ANYTHING, DNS4, DNS6, EVERYTHING, FRONT4, FRONT6, LAB4, SETTINGS, WEB4, WEB6, tcp


@settings(max_examples=100, deadline=None)
@given(states=st.lists(clusters(), min_size=2, max_size=4), data=st.data())
def test_the_previous_table_changes_nothing(states: list[ClusterState], data: st.DataObject) -> None:
    previous: Table | None = None
    for state in states:
        chosen = data.draw(st.sampled_from(list(SETTINGS.values())))
        ruleset = compile_node(state, "n1")
        previous = render(ruleset, chosen, previous)
        assert previous == render(ruleset, chosen)


ADDRESSES = st.sampled_from((WEB4, WEB6, FRONT4, FRONT6, LAB4, DNS4, DNS6))
NAMES = ("a", "b", "c_c")
RULES = st.builds(
    Rule,
    st.sampled_from(NAMES),
    st.sampled_from(Tier),
    st.sampled_from(Action),
    st.builds(
        Match,
        groups=st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple),
        ports=st.lists(st.sampled_from((tcp(80), tcp(443), tcp(1, 9))), max_size=2, unique=True).map(tuple),
        port_groups=st.lists(st.sampled_from(NAMES[:2]), max_size=1).map(tuple),
    )
    | st.just(ANYTHING),
)
SOME_RULES = st.lists(RULES, max_size=3).map(tuple)
ISOLATION = Isolation("a", ("shop/web",), 1)
EDITS: dict[str, st.SearchStrategy[tuple[object, ...]]] = {
    "groups": st.tuples(
        *(st.builds(AddressGroup, st.just(n), st.just(""), st.lists(ADDRESSES, unique=True).map(tuple)) for n in NAMES)
    ),
    "port_groups": st.tuples(
        *(
            st.builds(
                PortGroup,
                st.just(n),
                st.just(""),
                st.lists(st.builds(PortMember, ADDRESSES, st.just(tcp(80).protocol), st.just(80)), max_size=2).map(
                    tuple
                ),
            )
            for n in NAMES[:2]
        )
    ),
    "classes": st.tuples(
        *(
            st.builds(
                RuleClass,
                st.just(f"{n}-{way}"),
                st.just(way),
                SOME_RULES,
                st.sampled_from((None, ISOLATION)),
                st.lists(st.builds(Audit, SOME_RULES), max_size=1).map(tuple),
            )
            for n in NAMES
            for way in Direction
        )
    ),
    "rules": st.tuples(
        *(
            st.builds(
                RuleRef,
                st.just(n),
                st.just(Kind.CLUSTER),
                st.just(""),
                st.sampled_from(("x", "y")),
                st.just(Direction.INGRESS),
                st.just("z"),
            )
            for n in NAMES
        )
    ),
    "endpoints": st.lists(
        st.builds(
            Endpoint,
            st.just("shop"),
            st.sampled_from(("p", "q", "r")),
            st.lists(ADDRESSES, max_size=2).map(tuple),
            st.sampled_from(("", "a-Ingress", "b-Ingress")),
            st.sampled_from(("", "a-Egress", "c_c-Egress")),
        ),
        max_size=3,
    ).map(tuple),
}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_way_to_a_rule_set_ends_in_the_same_table(data: st.DataObject) -> None:
    """Names stay few, so that all that they mean changes all the time; what names nothing, or twice, is refused."""
    ruleset = NodeRuleSet("n1", **{part: data.draw(strategy) for part, strategy in EDITS.items()})  # type: ignore[arg-type]
    previous: Table | None = None
    for _ in range(5):
        chosen = data.draw(st.sampled_from((Settings(), *SETTINGS.values())))
        found = _outcome(ruleset, chosen, previous)
        assert found == _outcome(ruleset, chosen, None)
        previous = found if isinstance(found, Table) else previous
        part = data.draw(st.sampled_from(sorted(EDITS)))
        things = data.draw(EDITS[part])
        kept = tuple(thing for thing in things if data.draw(st.integers(0, 9)))
        ruleset = changed(ruleset, **{part: kept})  # type: ignore[arg-type]


def _outcome(ruleset: NodeRuleSet, chosen: Settings, previous: Table | None) -> Table | type[BadInputError]:
    try:
        return render(ruleset, chosen, previous)
    except BadInputError:
        return BadInputError


def _variants() -> dict[str, tuple[NodeRuleSet, Settings]]:
    """Each differs from EVERYTHING in one thing, which must be drawn anew though names stay the same."""
    e = EVERYTHING
    fewer = tuple(changed(group, addresses=group.addresses[:-1]) for group in e.groups)
    others = tuple(changed(group, addresses=(LAB4, DNS6)[: len(group.addresses)]) for group in e.groups)
    more = tuple(changed(group, addresses=(*group.addresses, DNS4, DNS6, WEB4, WEB6)) for group in e.groups)
    ports = tuple(changed(group, members=group.members[:1]) for group in e.port_groups)
    shorter = tuple(changed(one, rules=one.rules[1:]) for one in e.classes)
    renamed = tuple(changed(ref, name="renamed") for ref in e.rules)
    told = RuleRef("tools", Kind.CLUSTER_EXTENDED, "", "told", Direction.INGRESS, "tools")
    turned = tuple(changed(one, name=f"{one.name}-{one.direction}") for one in e.classes)
    swapped = changed(e.endpoints[1], ingress=e.endpoints[0].ingress)
    harmless = tuple(
        changed(one, rules=tuple(changed(r, action=Action.ACCEPT) for r in one.rules)) for one in e.classes
    )
    moved = tuple(
        changed(
            one,
            rules=tuple(
                changed(
                    rule,
                    match=changed(
                        rule.match, ports=tuple(tcp(444) if port == tcp(443) else port for port in rule.match.ports)
                    ),
                )
                for rule in one.rules
            ),
        )
        for one in e.classes
    )
    policy_only = tuple(
        changed(one, rules=tuple(rule for rule in one.rules if rule.tier is Tier.NETWORK_POLICY), audits=())
        for one in e.classes
    )
    return {
        "groups": (changed(e, groups=fewer), Settings()),
        "port groups": (changed(e, port_groups=ports), Settings()),
        "classes": (changed(e, classes=shorter), Settings()),
        "policies": (changed(e, rules=renamed), Settings()),
        "a policy of a rule comes": (changed(e, rules=(*e.rules, told)), Settings()),
        "a policy of a rule goes": (changed(e, rules=e.rules[1:]), Settings()),
        "class names": (
            changed(
                e,
                classes=turned,
                endpoints=tuple(
                    changed(
                        pod,
                        ingress=pod.ingress and f"{pod.ingress}-Ingress",
                        egress=pod.egress and f"{pod.egress}-Egress",
                    )
                    for pod in e.endpoints
                ),
            ),
            Settings(),
        ),
        "another class": (changed(e, endpoints=(e.endpoints[0], swapped, e.endpoints[2])), Settings()),
        "nothing is denied": (changed(e, classes=harmless), Settings()),
        "nothing towards the node": (changed(e, classes=policy_only), Settings()),
        "an address moves": (_with_addresses(e.endpoints[1].addresses, e.endpoints[0].addresses), Settings()),
        "a pod is first": (changed(e, endpoints=(Endpoint("a", "a", (LAB4,), "in-open"), *e.endpoints)), Settings()),
        "pod CIDRs": (changed(e, pod_cidrs=()), SETTINGS["guarded"]),
        "no egress": (changed(e, endpoints=tuple(changed(pod, egress="") for pod in e.endpoints)), Settings()),
        "nothing is denied, guarded": (changed(e, classes=harmless), SETTINGS["guarded"]),
        "ports, folded": (changed(e, classes=moved), Settings(fold_from=0)),
        "others, folded": (changed(e, groups=others), Settings(fold_from=0)),
        "others of other policies, folded": (changed(e, groups=others, rules=renamed), Settings(fold_from=0)),
        "more, folded": (changed(e, groups=more), Settings(fold_from=0)),
        "more, folded in part": (changed(e, groups=more), Settings(fold_from=0, fold_limit=3)),
        "fewer, folded": (changed(e, groups=fewer), Settings(fold_from=0)),
        "fewer, folded in part": (changed(e, groups=fewer), Settings(fold_from=0, fold_limit=3)),
        "endpoints": (changed(e, endpoints=e.endpoints[1:]), Settings()),
        "log group": (e, Settings(nflog_group=1)),
        "snaplen": (e, Settings(snaplen=1)),
        "table": (e, Settings(table="other")),
    } | {name: (e, chosen) for name, chosen in SETTINGS.items() if name not in {"plain", "guard allows"}}


def _with_addresses(first: tuple[Address, ...], second: tuple[Address, ...]) -> NodeRuleSet:
    one, other, *more = EVERYTHING.endpoints
    return changed(EVERYTHING, endpoints=(changed(one, addresses=first), changed(other, addresses=second), *more))


VARIANTS = _variants()
TABLES = {name: render(*variant) for name, variant in VARIANTS.items()}


@pytest.mark.parametrize("first", VARIANTS)
def test_one_change_is_never_missed(first: str) -> None:
    old, anew = render(EVERYTHING), TABLES[first]
    assert anew != old
    assert render(*VARIANTS[first], old) == anew
    assert render(EVERYTHING, None, anew) == old


@pytest.mark.parametrize("first", VARIANTS)
def test_nothing_outlives_two_changes(first: str) -> None:
    """Every variant after every other one, in one memory."""
    previous = render(EVERYTHING)
    names = list(VARIANTS)
    for second in names[names.index(first) :]:
        for name in (second, first):
            previous = render(*VARIANTS[name], previous)
            assert previous == TABLES[name]


def test_words_for_people_are_drawn_anew_too() -> None:
    described = changed(EVERYTHING, groups=tuple(changed(group, description="other") for group in EVERYTHING.groups))
    assert text(render(described, None, render(EVERYTHING))) == text(render(described))


@pytest.mark.parametrize("settings", [Settings(), Settings(fold_from=0)], ids=["plain", "folded"])
def test_a_group_that_was_away_comes_back_as_it_is_now(settings: Settings) -> None:
    """Neither what was drawn while a rule named it nor what its folding was decided by is remembered."""
    away = changed(EVERYTHING, endpoints=(), groups=())
    front, *others = EVERYTHING.groups
    other = changed(EVERYTHING, groups=(changed(front, addresses=(LAB4,)), *others))
    previous = render(away, settings, render(EVERYTHING, settings))
    assert render(other, settings, previous) == render(other, settings)


def test_a_group_that_is_in_no_set_but_folded_is_remembered_as_it_is_now() -> None:
    """Its members are asked for again when another rule of the class is another one."""
    rule = Rule("r", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=("g",), ports=(tcp(80),)))
    judged = RuleClass("c", Direction.INGRESS, (rule,), ISOLATION)
    first = NodeRuleSet("n1", (AddressGroup("g", "", (LAB4,)),), (), (judged,), (Endpoint("a", "b", (WEB4,), "c"),))
    second = changed(first, groups=(AddressGroup("g", "", (DNS4,)),))
    moved = changed(rule, match=Match(groups=("g",), ports=(tcp(81),)))
    third = changed(second, classes=(changed(judged, rules=(moved,)),))
    previous: Table | None = None
    for ruleset in (first, second, third):
        previous = render(ruleset, SETTINGS["folded"], previous)
        assert previous == render(ruleset, SETTINGS["folded"])


def test_a_member_that_is_named_twice_is_one_element() -> None:
    """Taking one of the two out would take the only element."""
    twice = changed(EVERYTHING, groups=(AddressGroup("front", "", (FRONT4, FRONT6, FRONT4)), *EVERYTHING.groups[1:]))
    assert diff(render(EVERYTHING), render(twice)) is None


def test_two_objects_of_one_name_are_refused() -> None:
    empty: Pool[str, Set] = Pool()
    pool = Edit(empty)
    pool.use("a", Set("a", ("x",)))
    pool.use("a", Set("a", ("x",)))
    with pytest.raises(BadInputError, match="two different objects would be named a"):
        pool.use("a", Set("a", ("y",)))
    pool.release("a")
    with pytest.raises(BadInputError, match="two different objects would be named a"):
        pool.use("a", Set("a", ("y",)))
    pool.release("a")
    pool.use("a", Set("a", ("y",)))
    assert pool.pool() == Pool({"a": Set("a", ("y",))}, {"a": 1})


def test_a_drawing_that_fails_leaves_nothing_behind() -> None:
    old, (first, *others) = render(EVERYTHING), EVERYTHING.groups
    wanted = changed(EVERYTHING, groups=(changed(first, addresses=(LAB4,)), *others))
    for ruleset in (changed(wanted, groups=wanted.groups[:1]), _with_endpoint("10.0.0.1; x"), _with_member("@x")):
        with pytest.raises(BadInputError):
            render(ruleset, None, old)
        assert render(wanted, None, old) == render(wanted)
        assert render(EVERYTHING, None, old) == old == render(EVERYTHING)


def test_what_did_not_change_is_the_same_object() -> None:
    old = render(EVERYTHING)
    chains, sets = ({id(thing) for thing in things} for things in (old.chains, old.sets))
    new = render(changed(EVERYTHING, endpoints=EVERYTHING.endpoints[:2]), None, old)
    assert {c.name for c in new.chains if id(c) not in chains} == set()
    assert {s.name for s in new.sets if id(s) not in sets} == {"local4", "local6", "self4", "self6"}


def _with_member(member: str) -> NodeRuleSet:
    first, *rest = EVERYTHING.groups
    return changed(EVERYTHING, groups=(changed(first, addresses=(Address(member),)), *rest))


def _with_endpoint(address: str, ingress: str = "") -> NodeRuleSet:
    return changed(EVERYTHING, endpoints=(Endpoint("x", "y", (Address(address),), ingress),))


@pytest.mark.parametrize(
    ("ruleset", "said"),
    [
        (changed(EVERYTHING, classes=2 * EVERYTHING.classes), "two things of one kind have the same name"),
        (changed(EVERYTHING, groups=2 * EVERYTHING.groups), "two things of one kind have the same name"),
        (changed(EVERYTHING, endpoints=2 * EVERYTHING.endpoints[-1:]), "two endpoints"),
        (_with_addresses((WEB4, WEB4), ()), "two endpoints"),
        (changed(EVERYTHING, classes=()), "no Egress class is named 'out-isolated'"),
        (changed(EVERYTHING, groups=()), "no group is named 'front'"),
        (changed(EVERYTHING, port_groups=()), "no group is named 'dns'"),
        (changed(EVERYTHING, endpoints=(*EVERYTHING.endpoints, Endpoint("x", "y", (WEB4,)))), "two endpoints"),
        (_with_endpoint(WEB4, "out-open"), "no Ingress class is named 'out-open'"),
        (_with_endpoint("10.0.0.1; x"), "not an address"),
        (_with_member("example.com"), "not an address"),
        (_with_member("@g4_lab"), "not an address"),
        (_with_member("dead.beef"), "not an address"),
    ],
)
def test_a_rule_set_that_contradicts_itself_is_refused(ruleset: NodeRuleSet, said: str) -> None:
    """Nothing is left out silently: the agent keeps its last good table and says why."""
    for previous in (None, render(EVERYTHING), render(EVERYTHING, SETTINGS["folded"])):
        with pytest.raises(BadInputError, match=said):
            render(ruleset, None, previous)


@pytest.mark.parametrize("link", ["", "a" * 16, "eth*", "@set", 'a"b', "a b", "a/b", "é"])
def test_a_link_is_a_link(link: str) -> None:
    with pytest.raises(BadInputError, match="not a name of a link"):
        render(EVERYTHING, Settings(pod_links=(link,)))


@pytest.mark.parametrize("mask", [0, 1, 0x8000_0000, 0b101, 0x1_0000_0000, 0x1_8000_0000, -1])
def test_a_mark_mask_is_one_run_of_bits(mask: int) -> None:
    with pytest.raises(ValueError, match="one run of at least two bits"):
        Strict(1, mask)


@pytest.mark.parametrize("mask", [0xFFF00000, 0xFF00, 0b11, 0xFFFFFFFF])
def test_generations_follow_each_other_and_are_never_zero(mask: int) -> None:
    values = [Strict(generation, mask).value for generation in range(5)]
    assert all(value and value & ~mask == 0 for value in values)
    assert all(one != other for one, other in pairwise(values))
