"""Explicit rules: order of evaluation, Pass, what each kind can reach (semantics, "Order of evaluation"; 56-58)."""

from dataclasses import replace

import pytest

from nodewall.compile import compile_all
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    NOBODY,
    SAME_NAMESPACE,
    Action,
    DenyWith,
    Direction,
    Kind,
    Mode,
    NetworkPolicy,
    NodePeer,
    PodPeer,
    ServiceAccountPeer,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)
from nodewall.model.ruleset import Rule
from tests.compile.verdicts import allowed, class_of
from tests.compile.world import (
    ALL,
    PODS,
    TCP,
    allow,
    block,
    cluster,
    labelled,
    pod,
    policy,
    ports,
    rules,
    tier_policy,
)

ACCEPT, DENY, PASS = Action.ACCEPT, Action.DENY, Action.PASS
FROM_Y = (PodPeer(labelled(ns="y")),)
INTO_X = Subject(labelled(ns="x"))

Policy = NetworkPolicy | TierPolicy


def ingress(key: str, *given: object, tier: Tier = Tier.ADMIN, **more: object) -> TierPolicy:
    return tier_policy(key, tier, ingress=rules(*given), **{"subject": INTO_X} | more)  # type: ignore[arg-type]


def own(key: str, *given: object, **more: object) -> TierPolicy:
    return tier_policy(key, ingress=rules(*given), **more)  # type: ignore[arg-type]


DENY_Y = ingress("deny-y", (DENY, FROM_Y))
ACCEPT_Y = ingress("accept-y", (ACCEPT, FROM_Y))
PASS_Y = ingress("pass-y", (PASS, FROM_Y), priority=5)
BASE_DENY = ingress("base-deny", (DENY, ANYONE), tier=Tier.BASELINE)
BASE_ACCEPT = ingress("base-accept", (ACCEPT, FROM_Y), tier=Tier.BASELINE, priority=5)
CLOSED = policy("x/closed", ingress=())
OPEN = policy("x/open", ingress=allow(ALL))
OUT_CLOSED = policy("x/out-closed", egress=())
BASE_OUT = tier_policy("base-out", Tier.BASELINE, subject=INTO_X, egress=rules((DENY, ANYONE)))
OWN_DENY, OWN_ACCEPT = own("x/own-deny", (DENY, FROM_Y)), own("x/own-accept", (ACCEPT, FROM_Y))
BOTH = (ACCEPT, FROM_Y), (DENY, FROM_Y)
AT_80 = (DENY, FROM_Y, (ports(TCP, 80),))

CASES: list[tuple[str, list[Policy], str, bool]] = [
    ("deny beats a NetworkPolicy's allow", [DENY_Y, OPEN], "y/a -> x/a:80/TCP", False),
    ("and nobody else's traffic", [DENY_Y, OPEN], "z/a -> x/a:80/TCP", True),
    ("no implicit isolation", [DENY_Y], "z/a -> x/a:80/TCP", True),
    ("nor by an Accept", [ACCEPT_Y], "z/a -> x/a:80/TCP", True),
    ("Admin accept beats default deny", [ACCEPT_Y, CLOSED], "y/a -> x/a:80/TCP", True),
    ("what it does not match stays isolated", [ACCEPT_Y, CLOSED], "z/a -> x/a:80/TCP", False),
    ("Pass hands over to NetworkPolicy", [PASS_Y, ACCEPT_Y, CLOSED], "y/a -> x/a:80/TCP", False),
    ("Pass leaves the tier, deny skipped", [PASS_Y, DENY_Y], "y/a -> x/a:80/TCP", True),
    ("Pass hands over to the namespace first", [PASS_Y, OWN_ACCEPT, CLOSED], "y/a -> x/a:80/TCP", True),
    ("then to Baseline", [PASS_Y, DENY_Y, BASE_DENY], "y/a -> x/a:80/TCP", False),
    ("Baseline deny yields to an allow", [BASE_DENY, OPEN], "z/a -> x/a:80/TCP", True),
    ("Baseline denies where no policy isolates", [BASE_DENY], "z/a -> x/a:80/TCP", False),
    ("Baseline accept before a later deny", [BASE_DENY, BASE_ACCEPT], "y/a -> x/a:80/TCP", True),
    ("Baseline accept opens no isolation", [BASE_ACCEPT, CLOSED], "y/a -> x/a:80/TCP", False),
    ("Baseline holds in the other direction: ingress", [BASE_DENY, OUT_CLOSED], "y/a -> x/a:80/TCP", False),
    ("Baseline holds in the other direction: egress", [BASE_OUT, CLOSED], "x/a -> y/a:80/TCP", False),
    ("the namespace tier beats NetworkPolicy: deny", [OWN_DENY, OPEN], "y/a -> x/a:80/TCP", False),
    ("the namespace tier beats NetworkPolicy: accept", [OWN_ACCEPT, CLOSED], "y/a -> x/a:80/TCP", True),
    ("the namespace tier cannot override Admin", [DENY_Y, OWN_ACCEPT], "y/a -> x/a:80/TCP", False),
    ("it cannot reach beyond its namespace", [own("z/own", (DENY, ANYONE))], "y/a -> x/a:80/TCP", True),
    ("56: the first match decides: accept", [ingress("p", *BOTH)], "y/a -> x/a:80/TCP", True),
    ("56: the first match decides: deny", [ingress("p", *BOTH[::-1])], "y/a -> x/a:80/TCP", False),
    ("56: a narrow deny before a wide accept", [ingress("p", AT_80, BOTH[0])], "y/a -> x/a:80/TCP", False),
    ("56: leaves the rest accepted", [ingress("p", AT_80, BOTH[0]), CLOSED], "y/a -> x/a:81/TCP", True),
    ("lower priority first", [replace(DENY_Y, priority=1), replace(ACCEPT_Y, priority=2)], "y/a -> x/a:80/TCP", False),
    ("whatever the names", [replace(DENY_Y, priority=3), replace(ACCEPT_Y, priority=2)], "y/a -> x/a:80/TCP", True),
    ("equal: by name", [DENY_Y, ACCEPT_Y], "y/a -> x/a:80/TCP", True),
    ("equal: our cluster kind first", [DENY_Y, replace(ACCEPT_Y, kind=Kind.CLUSTER)], "y/a -> x/a:80/TCP", False),
    ("Disabled is as if absent", [replace(DENY_Y, mode=Mode.DISABLED)], "y/a -> x/a:80/TCP", True),
    ("Audit changes no verdict", [replace(DENY_Y, mode=Mode.AUDIT)], "y/a -> x/a:80/TCP", True),
    ("a subject nobody can read selects nobody", [replace(DENY_Y, subject=NOBODY)], "y/a -> x/a:80/TCP", True),
    ("57: no peers match nothing: deny", [ingress("p", (DENY, ()))], "y/a -> x/a:80/TCP", True),
    ("57: no ports match nothing: deny", [ingress("p", (DENY, ANYONE, ()))], "y/a -> x/a:80/TCP", True),
    (
        "57: no members, accept",
        [ingress("p", (ACCEPT, (PodPeer(labelled(ns="no")),))), CLOSED],
        "y/a -> x/a:80/TCP",
        False,
    ),
    ("57: no members, deny", [ingress("p", (DENY, (PodPeer(labelled(ns="no")),)))], "y/a -> x/a:80/TCP", True),
]


@pytest.mark.parametrize(
    ("policies", "packet", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_verdict(policies: list[Policy], packet: str, expected: bool, turned: bool) -> None:
    assert allowed(cluster(*(policies[::-1] if turned else policies)), packet) is expected


def rules_of(state_policies: list[Policy], direction: Direction = Direction.INGRESS) -> tuple[Rule, ...]:
    ruleset = compile_all(cluster(*state_policies))["n1"]
    found = class_of(ruleset, ruleset.endpoints[0], direction)
    return found.rules if found else ()


def test_tenants_are_kept_apart_by_same_namespace() -> None:
    same = rules((ACCEPT, (PodPeer(SAME_NAMESPACE),)), (DENY, (PodPeer(EVERYTHING),)))
    state = cluster(tier_policy(ingress=same))
    assert allowed(state, "x/a -> x/b:80/TCP")
    assert allowed(state, "y/a -> y/b:80/TCP")
    assert not allowed(state, "x/a -> y/b:80/TCP")
    assert allowed(state, "203.0.113.7 -> y/b:80/TCP")


def test_same_namespace_with_labels_and_in_egress() -> None:
    same = rules((ACCEPT, (PodPeer(SAME_NAMESPACE, labelled(pod="b")),)), (DENY, (PodPeer(EVERYTHING),)))
    state = cluster(tier_policy(egress=same))
    assert allowed(state, "x/a -> x/b:80/TCP")
    assert not allowed(state, "x/a -> x/c:80/TCP")
    assert not allowed(state, "x/a -> y/b:80/TCP")


def test_a_service_account_is_a_peer() -> None:
    scraper = pod("y/s", ["10.1.9.1"], service_account="prometheus")
    impostor = pod("z/s", ["10.1.9.2"], service_account="prometheus")
    accept = (ACCEPT, (ServiceAccountPeer("y", "prometheus"),))
    state = cluster(ingress("p", accept, (DENY, ANYONE)), pods=[*PODS, scraper, impostor])
    assert allowed(state, "y/s -> x/a:80/TCP")
    assert not allowed(state, "z/s -> x/a:80/TCP")
    assert not allowed(state, "y/a -> x/a:80/TCP")


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_nodes_are_peers_by_their_labels(direction: str) -> None:
    deny = tier_policy(**{direction: rules((DENY, (NodePeer(labelled(zone="west")),)))})  # type: ignore[arg-type]
    west, east = ("192.0.2.2", "x/a"), ("192.0.2.1", "x/a")
    packets = [
        f"{one} -> {other}:80/TCP"
        for one, other in (each[:: -1 if direction == "egress" else 1] for each in (west, east))
    ]
    assert [allowed(cluster(deny), each) for each in packets] == [False, True]


def test_a_policy_is_limited_to_pods_on_matching_nodes() -> None:
    deny = ingress("p", (DENY, FROM_Y), nodes=labelled(zone="west"))
    assert allowed(cluster(deny), "y/a -> x/a:80/TCP")
    assert not allowed(cluster(deny), "y/a -> x/b:80/TCP")


def test_the_metadata_address_is_denied_to_every_pod() -> None:
    state = cluster(tier_policy(egress=rules((DENY, (block("169.254.169.254/32"),)))))
    assert not allowed(state, "x/a -> 169.254.169.254:80/TCP")
    assert not allowed(state, "z/c -> 169.254.169.254:80/TCP")
    assert allowed(state, "x/a -> 169.254.169.253:80/TCP")


def test_behind_an_isolation_baseline_is_not_even_compiled() -> None:
    tiers = {each.tier for each in rules_of([DENY_Y, OPEN, BASE_DENY])}
    assert tiers == {Tier.ADMIN, Tier.NETWORK_POLICY}


def test_audited_rules_stand_beside_the_enforced_ones_each_policy_alone() -> None:
    audits = [replace(each, mode=Mode.AUDIT) for each in (DENY_Y, ACCEPT_Y, BASE_DENY)]
    ruleset = compile_all(cluster(*audits, OPEN))["n1"]
    found = class_of(ruleset, ruleset.endpoints[0], Direction.INGRESS)
    assert found
    assert [[each.action for each in audit.rules] for audit in found.audits] == [[ACCEPT], [DENY], [DENY]]
    assert all(each.log for audit in found.audits for each in audit.rules), "a record is all that Audit does"
    assert [each.tier for each in found.rules] == [Tier.NETWORK_POLICY]


def test_an_audited_policy_alone_still_makes_a_class() -> None:
    ruleset = compile_all(cluster(replace(DENY_Y, mode=Mode.AUDIT)))["n1"]
    assert [bool(each.ingress) for each in ruleset.endpoints] == [True, False, False]
    assert [each.rule for each in ruleset.rules] == ["ingress[0]"]


def test_an_audited_rule_that_can_match_nothing_makes_no_class() -> None:
    ruleset = compile_all(cluster(ingress("p", (DENY, ()), mode=Mode.AUDIT)))["n1"]
    assert ruleset.classes == ()


def test_how_to_deny_is_the_rules() -> None:
    reject = TierRule(0, DENY, FROM_Y, ANY_PORT, deny_with=DenyWith.REJECT)
    found = rules_of([ingress("p", reject, (DENY, ANYONE))])
    assert [each.deny_with for each in found] == [DenyWith.REJECT, DenyWith.DROP]


def test_58_every_priority_of_a_tier_keeps_its_place() -> None:
    peers = [(block(f"10.{number // 256}.{number % 256}.0/24"),) for number in range(1001)]
    made = [ingress(f"p{(number * 10) % 1001}", (DENY, each), priority=number) for number, each in enumerate(peers)]
    found = rules_of([*made[500:], *made[:500]])
    assert [each.match.blocks for each in found] == peers
