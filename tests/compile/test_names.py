"""A name made in steps is the name made at once: a class must not be another one because it is long."""

from ipaddress import IPv4Network

import pytest

from nodewall.compile.names import name, naming
from nodewall.compile.stepwise import at_once
from nodewall.model.address import IpBlock
from nodewall.model.policy import Action, Direction, PortRange, Protocol, Tier
from nodewall.model.ruleset import Audit, Isolation, Match, Rule, RuleClass, RuleLog


def rule(number: int) -> Rule:
    block = IpBlock(IPv4Network(f"10.{number}.0.0/16"))
    match = Match(groups=(f'g"{number},',), blocks=(block,), ports=(PortRange(Protocol.TCP, number, number),))
    return Rule(f"ä{number}", Tier.NETWORK_POLICY, Action.ACCEPT, match, log=RuleLog(1, 2) if number % 2 else None)


@pytest.mark.parametrize("audits", [0, 1, 16, 17, 40])
@pytest.mark.parametrize("rules", [0, 1, 15, 16, 17, 31, 32, 33, 200])
@pytest.mark.parametrize("isolated", [True, False])
def test_steps_change_nothing(rules: int, audits: int, isolated: bool) -> None:
    value = RuleClass(
        "",
        Direction.INGRESS,
        tuple(map(rule, range(rules))),
        Isolation("i", ("shop/a", "shop/b"), 2, None) if isolated else None,
        tuple(Audit(tuple(map(rule, range(number)))) for number in range(audits)),
    )
    assert at_once(naming("i", value)) == name("i", value)


def test_a_long_one_takes_many_steps() -> None:
    value = RuleClass("", Direction.INGRESS, tuple(map(rule, range(200))), None, ())
    assert sum(1 for _ in naming("i", value)) > 10
