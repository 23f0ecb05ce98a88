"""What the author of a NetworkPolicy is told when a node keeps an older rule set, and how much at a time."""

from dataclasses import dataclass, field

from nodewall.controller.setbacks import MOST, OVER, Setbacks
from nodewall.controller.store import StoredPolicy
from nodewall.model.policy import NetworkPolicy
from nodewall.telemetry.events import Reason, Severity


def policy(number: int) -> StoredPolicy:
    value = NetworkPolicy("shop", f"p{number}")
    return StoredPolicy(value.ref, f"u{number}", 1, value)


POLICIES = [policy(number) for number in range(2 * MOST + 1)]


@dataclass
class Here:
    """``messages`` by policy: why nodes keep an older rule set instead."""

    messages: dict[str, str] = field(default_factory=dict)
    said: list[tuple[str, Severity, Reason, str]] = field(default_factory=list)
    setbacks: Setbacks = field(init=False)

    def __post_init__(self) -> None:
        self.setbacks = Setbacks(lambda stored: self.messages.get(stored.ref.name, ""), self._say)

    def _say(self, stored: StoredPolicy, severity: Severity, reason: Reason, message: str) -> None:
        self.said.append((stored.ref.name, severity, reason, message))


def test_the_beginning_and_the_end_are_told_and_nothing_in_between() -> None:
    here = Here()
    (one, *_) = POLICIES
    for message in ("", "on node n1", "on node n1 and 7 more", "on node n2", "", ""):
        here.messages["p0"] = message
        assert here.setbacks.is_news(one) is (bool(message) != here.setbacks.is_told(one.ref))
        assert here.setbacks.tell(one)
        assert not here.setbacks.is_news(one)
    assert here.said == [
        ("p0", Severity.WARNING, Reason.POLICY_DEGRADED, "on node n1"),
        ("p0", Severity.NORMAL, Reason.POLICY_RECOVERED, OVER),
    ]


def test_a_round_has_so_many_and_all_have_their_turn() -> None:
    here = Here({each.ref.name: "held" for each in POLICIES})
    rounds = []
    while any(map(here.setbacks.is_news, POLICIES)):
        here.setbacks.begin_round()
        before = len(here.said)
        waiting = [each for each in POLICIES if not here.setbacks.tell(each)]
        assert all(map(here.setbacks.is_news, waiting))
        rounds.append(len(here.said) - before)
    assert rounds == [MOST, MOST, 1]
    assert len({name for name, *_ in here.said}) == len(here.said) == len(POLICIES)


def test_a_policy_that_is_gone_has_no_end_to_be_told() -> None:
    here = Here({"p0": "held"})
    (one, *_) = POLICIES
    here.setbacks.tell(one)
    here.setbacks.forget(one.ref)
    here.messages.clear()
    assert not here.setbacks.is_news(one)


def test_whoever_leads_anew_tells_what_is_so_now() -> None:
    here = Here({"p0": "held"})
    (one, *_) = POLICIES
    here.setbacks.tell(one)
    here.setbacks.begin()
    assert here.setbacks.is_news(one)
