"""The last good table stays until a better one is there as a whole."""

from copy import deepcopy
from dataclasses import replace
from random import Random

import pytest

from nodewall.agent import decide
from nodewall.agent.changes import owners
from nodewall.agent.decide import (
    DRIFT_SHOWN,
    REPAIR_PAUSE,
    RESTORED_HOLD,
    Adopt,
    Apply,
    Finding,
    Kind,
    Reason,
    RuleSet,
    State,
)
from nodewall.agent.setup import Links, Setup
from nodewall.model.address import Address
from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import Endpoint, NodeRuleSet
from nodewall.render import NewPodPolicy, Strict, diff, render
from nodewall.render import replace as whole
from tests.agent.rulesets import NODE, broken, content, ruleset
from tests.render.rulesets import EVERYTHING

NOW = 100.0
PLAIN = Setup()


def fresh(*, table: bool = False, saved: RuleSet | None = None) -> State:
    return decide.start(PLAIN, table, saved)


def in_force(rules: RuleSet) -> State:
    """A state in which the rule set has been applied."""
    state = decide.read(fresh(), rules, NOW)
    step = decide.next_step(state, NOW)
    assert isinstance(step, Apply)
    return decide.succeeded(state, step.target, "2026-01-01T00:00:00Z")


def apply_of(state: State, now: float = NOW) -> Apply:
    step = decide.next_step(state, now)
    assert isinstance(step, Apply)
    return step


# --- start ------------------------------------------------------------------------------------------------------------


def test_at_the_start_there_is_nothing_to_do() -> None:
    assert decide.next_step(fresh(), NOW) is None


def test_the_first_rule_set_replaces_the_whole_table() -> None:
    step = apply_of(decide.read(fresh(table=True), ruleset(1), NOW))
    assert step.kind is Kind.REPLACE
    assert step.target.ruleset == ruleset(1)


def test_after_a_reboot_the_saved_rule_set_goes_in_at_once() -> None:
    assert apply_of(fresh(saved=ruleset(7))).target.ruleset == ruleset(7)


def test_a_table_of_an_earlier_run_stays_until_a_rule_set_comes() -> None:
    assert decide.next_step(fresh(table=True, saved=ruleset(7)), NOW) is None


# --- changes ----------------------------------------------------------------------------------------------------------


def test_the_same_rule_set_again_does_nothing() -> None:
    state = decide.read(in_force(ruleset(1)), ruleset(1), NOW)
    assert decide.next_step(state, NOW) is None


def test_a_new_peer_is_one_element() -> None:
    state = in_force(ruleset(1, content("10.0.2.1")))
    step = apply_of(decide.read(state, ruleset(2, content("10.0.2.1", "10.0.2.2")), NOW))
    assert step.kind is Kind.DIFF
    assert step.transaction.operations == 1


@pytest.mark.parametrize("members", [100, 100_000])
def test_the_work_is_that_of_the_change(members: int) -> None:
    peers = [f"10.{2 + number // 50_000}.{number // 250 % 200}.{number % 250}" for number in range(members)]
    state = in_force(ruleset(1, content(*peers)))
    step = apply_of(decide.read(state, ruleset(2, content(*peers[1:], "10.9.0.1")), NOW))
    assert step.transaction.operations == 2


def test_a_change_that_is_bigger_than_the_table_replaces_it() -> None:
    state = in_force(ruleset(1, content(*(f"10.2.{number // 250}.{number % 250}" for number in range(3000)))))
    assert apply_of(decide.read(state, ruleset(2, content("10.3.0.1")), NOW)).kind is Kind.REPLACE


def test_a_rule_set_that_draws_the_same_table_sends_nothing() -> None:
    state = decide.read(in_force(ruleset(1)), ruleset(2), NOW)
    step = decide.next_step(state, NOW)
    assert isinstance(step, Adopt)
    assert decide.succeeded(state, step.target, "").applied == step.target


def test_other_settings_redraw_the_same_rule_set() -> None:
    state = decide.set_up(in_force(ruleset(1)), Setup(links=Links(own=("veth1",))))
    assert apply_of(state).kind is Kind.DIFF


def test_the_same_settings_change_nothing() -> None:
    state = in_force(ruleset(1))
    assert decide.set_up(state, Setup()) is state


# --- what must not open the node --------------------------------------------------------------------------------------


def test_a_deleted_rule_set_leaves_the_table_and_says_so() -> None:
    state = decide.absent(in_force(ruleset(1)))
    assert decide.next_step(state, NOW) is None
    assert state.trouble is not None
    assert state.trouble.reason is Reason.MISSING


def test_a_rule_set_that_comes_again_ends_the_trouble() -> None:
    state = decide.read(decide.absent(in_force(ruleset(1))), ruleset(1, uid="u2"), NOW)
    assert state.trouble is None


def test_an_unusable_rule_set_leaves_the_table_and_says_why() -> None:
    state = decide.unusable(in_force(ruleset(1)), decide.Observed("u1", 2), "spec.digest: does not match")
    assert decide.next_step(state, NOW) is None
    assert state.trouble == Finding(Reason.UNUSABLE, "spec.digest: does not match; the last good table stays")
    assert state.observed == decide.Observed("u1", 2)


def test_without_a_table_nothing_is_said_to_stay() -> None:
    for found, said in ((False, "nothing is enforced until then"), (True, "the last good table stays")):
        state = decide.start(decide.DEFAULTS, found, None)
        for without in (decide.absent(state), decide.unusable(state, decide.Observed("u1", 2), "spec: missing")):
            assert without.trouble
            assert without.trouble.message.endswith(f"; {said}")


def test_a_rule_set_that_cannot_be_drawn_gives_way_to_the_one_in_force() -> None:
    state = decide.read(in_force(ruleset(1)), ruleset(2, broken()), NOW)
    with pytest.raises(BadInputError):
        decide.next_step(state, NOW)
    state = decide.undrawable(state, "no class")
    assert state.wanted == ruleset(1)
    assert decide.next_step(state, NOW) is None
    assert state.trouble is not None


def test_a_first_rule_set_that_cannot_be_drawn_is_given_up() -> None:
    state = decide.undrawable(decide.read(fresh(), ruleset(1, broken()), NOW), "no class")
    assert decide.next_step(state, NOW) is None


# --- restored from a backup -------------------------------------------------------------------------------------------


def test_a_rule_set_from_the_past_is_held() -> None:
    state = decide.read(in_force(ruleset(50)), ruleset(40), NOW)
    assert decide.next_step(state, NOW) is None
    assert state.trouble is not None
    assert state.trouble.reason is Reason.RESTORED
    assert decide.wake_at(state) == NOW + RESTORED_HOLD


def test_a_saved_rule_set_tells_the_past_too() -> None:
    state = decide.read(fresh(table=True, saved=ruleset(50)), ruleset(40), NOW)
    assert decide.next_step(state, NOW) is None


def test_the_same_event_again_does_not_prolong_the_hold() -> None:
    held = decide.read(in_force(ruleset(50)), ruleset(40), NOW)
    again = decide.read(held, ruleset(40), NOW + 10)
    assert again.held == held.held
    assert decide.next_step(again, NOW + 10) is None


def test_what_the_controller_writes_after_a_restore_is_believed() -> None:
    held = decide.read(in_force(ruleset(50)), ruleset(40), NOW)
    state = decide.read(held, ruleset(41, content("10.0.2.1")), NOW + 1)
    assert apply_of(state).target.ruleset.generation == 41
    assert state.trouble is None


def test_a_restored_rule_set_is_believed_when_nobody_contradicts() -> None:
    held = decide.read(in_force(ruleset(50)), ruleset(40, content("10.0.2.1")), NOW)
    assert decide.tick(held, NOW + RESTORED_HOLD - 1).held is not None
    state = decide.tick(held, NOW + RESTORED_HOLD)
    assert apply_of(state, NOW + RESTORED_HOLD).target.ruleset.generation == 40
    assert state.trouble is None


def test_an_older_generation_with_the_same_content_is_no_news() -> None:
    state = decide.read(in_force(ruleset(50)), ruleset(40, digest="d50"), NOW)
    assert state.trouble is None
    assert state.held is None


def test_a_recreated_object_is_believed_whatever_its_generation() -> None:
    state = decide.read(in_force(ruleset(50)), ruleset(1, content("10.0.2.1"), uid="u2"), NOW)
    assert apply_of(state).target.ruleset.uid == "u2"


# --- refused by the kernel --------------------------------------------------------------------------------------------


REFUSAL = Finding(Reason.KERNEL_REFUSED, "Device or resource busy")


def test_a_refused_diff_is_followed_by_a_replace_at_once() -> None:
    state = decide.read(in_force(ruleset(1)), ruleset(2, content("10.0.2.1")), NOW)
    state = decide.failed(state, apply_of(state), REFUSAL, NOW)
    assert apply_of(state).kind is Kind.REPLACE


def test_a_refused_replace_waits_longer_each_time() -> None:
    state, now, waits = decide.read(fresh(), ruleset(1), NOW), NOW, []
    for _ in range(9):
        state = decide.failed(state, apply_of(state, now), REFUSAL, now)
        assert decide.next_step(state, now) is None
        assert decide.wake_at(state) == state.retry_at
        waits.append(state.retry_at - now)
        now = state.retry_at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert state.refusal == REFUSAL


def test_a_newer_rule_set_does_not_wait_for_a_refused_one() -> None:
    state = decide.read(fresh(), ruleset(1), NOW)
    state = decide.failed(state, apply_of(state), REFUSAL, NOW)
    assert apply_of(decide.read(state, ruleset(2), NOW)).target.ruleset.generation == 2


def test_success_ends_the_refusal() -> None:
    state = decide.read(fresh(), ruleset(1), NOW)
    step = apply_of(state)
    state = decide.succeeded(decide.failed(state, step, REFUSAL, NOW), step.target, "")
    assert (state.refusal, state.failures, decide.wake_at(state)) == (None, 0, None)


# --- somebody else ----------------------------------------------------------------------------------------------------


def test_drift_is_repaired_by_a_replace_at_once() -> None:
    state = decide.drifted(in_force(ruleset(1)), "nft (pid 42)", NOW)
    assert apply_of(state).kind is Kind.REPLACE


def test_drift_before_the_first_rule_set_is_repaired_from_disk() -> None:
    state = decide.drifted(fresh(table=True, saved=ruleset(7)), "nft (pid 42)", NOW)
    assert apply_of(state).target.ruleset == ruleset(7)


def test_drift_is_counted_and_named_for_a_while() -> None:
    state = in_force(ruleset(1))
    for now in (NOW, NOW + 10):
        state = decide.drifted(state, "nft (pid 42)", now)
        state = decide.succeeded(state, apply_of(state, now).target, "")
    assert state.drift is not None
    assert (state.drift.who, state.drift.count) == ("nft (pid 42)", 2)
    assert decide.wake_at(state) == NOW + 10 + DRIFT_SHOWN
    later = decide.tick(state, NOW + 10 + DRIFT_SHOWN)
    assert later.drift is not None
    assert (later.drift.who, later.drift.count) == ("", 2)
    assert decide.wake_at(later) is None


def test_a_fight_over_the_table_is_paced() -> None:
    state = decide.drifted(in_force(ruleset(1)), "nft (pid 42)", NOW)
    state = decide.succeeded(state, apply_of(state).target, "")
    state = decide.drifted(state, "nft (pid 43)", NOW + 0.01)
    assert decide.next_step(state, NOW + 0.01) is None
    assert decide.wake_at(state) == NOW + REPAIR_PAUSE
    assert apply_of(state, NOW + REPAIR_PAUSE).kind is Kind.REPLACE


def test_lost_announcements_replace_the_table_and_accuse_nobody() -> None:
    state = decide.uncertain(in_force(ruleset(1)))
    assert apply_of(state).kind is Kind.REPLACE
    assert state.drift is None


def test_findings_of_one_reason_replace_each_other_only() -> None:
    state = decide.found(fresh(), Reason.BYPASS, ["b", "a"])
    state = decide.found(state, Reason.UNSAVED, ["disk full"])
    state = decide.found(state, Reason.BYPASS, ["c"])
    assert [(finding.reason, finding.message) for finding in state.findings] == [
        (Reason.BYPASS, "c"),
        (Reason.UNSAVED, "disk full"),
    ]


# --- addresses that change hands --------------------------------------------------------------------------------------


def pods(*owned: tuple[str, str]) -> NodeRuleSet:
    """Pods by (name, address), all isolated."""
    endpoints = tuple(Endpoint("shop", name, (Address(address),), ingress="web") for name, address in sorted(owned))
    return replace(content(), endpoints=endpoints)


def test_an_address_that_leaves_is_named_with_the_step() -> None:
    state = decide.read(
        in_force(ruleset(1, pods(("a", "10.0.1.1"), ("b", "10.0.1.2")))), ruleset(2, pods(("a", "10.0.1.1"))), NOW
    )
    assert apply_of(state).gone == {"10.0.1.2"}


def test_an_address_belongs_to_nobody_before_it_belongs_to_another() -> None:
    old, new = pods(("a", "10.0.1.1"), ("b", "10.0.1.2")), pods(("c", "10.0.1.1"), ("b", "10.0.1.2"))
    state = decide.read(in_force(ruleset(1, old)), ruleset(2, new), NOW)
    first = apply_of(state)
    assert first.gone == {"10.0.1.1"}
    assert owners(first.target.ruleset.content).keys() == {"10.0.1.2"}
    second = apply_of(decide.succeeded(state, first.target, ""))
    assert second.gone == frozenset()
    assert second.target.ruleset == ruleset(2, new)


def test_a_step_in_between_is_neither_saved_nor_reported_as_applied() -> None:
    old, new = pods(("a", "10.0.1.1")), pods(("b", "10.0.1.1"))
    between = apply_of(decide.read(in_force(ruleset(1, old)), ruleset(2, new), NOW)).target.ruleset
    assert (between.source, between.digest) == (b"", "")


def test_after_a_restart_the_saved_rule_set_tells_who_owned_what() -> None:
    state = decide.read(fresh(table=True, saved=ruleset(1, pods(("a", "10.0.1.1")))), ruleset(2, pods()), NOW)
    assert apply_of(state).gone == {"10.0.1.1"}


def test_after_a_reboot_there_are_no_connections_to_remove() -> None:
    state = decide.read(fresh(saved=ruleset(1, pods(("a", "10.0.1.1")))), ruleset(2, pods()), NOW)
    assert apply_of(state).gone == frozenset()


# --- live connections -------------------------------------------------------------------------------------------------

STRICT = Setup(strict=Strict(generation=7))


def strictly(rules: RuleSet) -> State:
    state = decide.read(decide.start(STRICT, table_found=False, saved=None), rules, NOW)
    return decide.succeeded(state, apply_of(state).target, "")


def generation(state: State) -> int:
    step = apply_of(state)
    assert step.target.settings.strict is not None
    return step.target.settings.strict.generation


def test_keep_touches_no_mark() -> None:
    state = decide.read(in_force(ruleset(1, content("10.0.2.1"))), ruleset(2, content()), NOW)
    assert apply_of(state).target.settings.strict is None


def test_the_first_table_has_the_generation_of_the_start() -> None:
    state = decide.read(decide.start(STRICT, table_found=False, saved=None), ruleset(1), NOW)
    assert generation(state) == 7


def test_a_peer_that_goes_is_a_new_generation_and_one_that_comes_is_none() -> None:
    one, two = ruleset(1, content("10.0.2.1")), ruleset(2, content("10.0.2.1", "10.0.2.2"))
    assert generation(decide.read(strictly(one), two, NOW)) == 7
    assert generation(decide.read(strictly(two), replace(one, generation=3), NOW)) == 8


def test_a_refused_generation_is_used_by_the_next_try() -> None:
    state = decide.read(strictly(ruleset(1, content("10.0.2.1"))), ruleset(2, content()), NOW)
    state = decide.failed(state, apply_of(state), REFUSAL, NOW)
    assert generation(state) == 8


def test_generations_follow_each_other() -> None:
    state = strictly(ruleset(1, content("10.0.2.1")))
    for number in (2, 3):
        peers = ("10.0.2.1",) if number % 2 else ()
        state = decide.read(state, ruleset(number, content(*peers)), NOW)
        state = decide.succeeded(state, apply_of(state).target, "")
    assert state.setup.strict == Strict(generation=8)


def test_what_connected_during_a_drift_is_judged_again() -> None:
    assert generation(decide.drifted(strictly(ruleset(1)), "nft (pid 42)", NOW)) == 8


# --- new pods ---------------------------------------------------------------------------------------------------------


def test_the_guard_comes_with_the_first_rule_set() -> None:
    step = apply_of(decide.read(fresh(), ruleset(1), NOW))
    assert step.target.settings.guard is not None
    assert step.target.settings.guard.policy is NewPodPolicy.DROP
    assert step.target.settings.guard.networks == content().pod_cidrs


def test_a_guard_without_scope_is_found_out() -> None:
    state = decide.read(fresh(), ruleset(1, replace(content(), pod_cidrs=())), NOW)
    assert [finding.reason for finding in state.findings] == [Reason.UNGUARDED]
    state = decide.set_up(state, Setup(links=Links(own=("cni0",), shared=("cni0",))))
    assert state.findings == ()


# --- what was drawn before ------------------------------------------------------------------------------------------

CONTENTS = (
    content("10.0.2.1"),
    content("10.0.2.1", "10.0.2.2"),
    content("10.0.2.1", pods=("10.0.1.10",)),
    content(pods=()),
    EVERYTHING,
    replace(EVERYTHING, node=NODE, rules=()),
    replace(EVERYTHING, node=NODE, endpoints=EVERYTHING.endpoints[:1]),
    broken(),
)
SETUPS = (PLAIN, Setup(NewPodPolicy.REJECT, links=Links(("veth1",), ("cni0",))), Setup(strict=Strict(1)))


@pytest.mark.parametrize("seed", range(4))
def test_an_agent_that_remembers_does_what_one_without_a_memory_would(seed: int) -> None:
    """Through new rule sets (the same objects, or equal ones as after a restart), drift, other settings, refusals."""
    chance = Random(seed)  # noqa: S311 - the same each time
    state, now, kinds = fresh(), NOW, set[Kind]()
    for generation in range(1, 60):
        now += 1000
        chosen = chance.choice(CONTENTS)
        state = decide.read(state, ruleset(generation, chance.choice((chosen, deepcopy(chosen)))), now)
        if not chance.randrange(4):
            state = decide.drifted(state, "somebody", now)
        if not chance.randrange(4):
            state = decide.set_up(state, chance.choice(SETUPS))
        for step in iter(lambda: _next(state, now), None):  # noqa: B023 - called here
            _check(step, state)
            kinds.add(step.kind)
            now += 100
            if chance.randrange(4):
                state = decide.succeeded(state, step.target, "")
            else:
                state = decide.failed(state, step, Finding(Reason.KERNEL_REFUSED, "no"), now - 90)
    assert kinds == {*Kind}


def _next(state: State, now: float) -> Apply | None:
    try:
        step = decide.next_step(state, now)
    except BadInputError:
        return None
    return step if isinstance(step, Apply) else None


def _check(step: Apply, state: State) -> None:
    anew = render(step.target.ruleset.content, step.target.settings)
    assert step.target.table == anew
    if step.kind is Kind.REPLACE:
        assert step.transaction == whole(anew)
        return
    assert state.applied is not None
    before = render(state.applied.ruleset.content, state.applied.settings)
    assert step.transaction == diff(before, anew)
