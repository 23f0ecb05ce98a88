"""Which directions a policy isolates, and what its rule lists allow (semantics 2-12)."""

import pytest

from nodewall.model.policy import NetworkPolicy
from tests.compile.verdicts import allowed
from tests.compile.world import (
    ALL,
    SCTP,
    TCP,
    UDP,
    allow,
    at_ports,
    cluster,
    from_peers,
    pods_of,
    policy,
    ports,
)

CLOSED = policy("x/closed", ingress=(), egress=())
IN = policy("x/in", ingress=())
OUT = policy("x/out", egress=())
OPEN_IN = policy("x/open", ingress=allow(ALL))
FROM_Y = policy("x/from-y", ingress=allow(from_peers(pods_of("y"))))
AT_80 = policy("x/at-80", ingress=allow(at_ports(ports(TCP, 80))))
ANY_TCP = policy("x/tcp", ingress=allow(at_ports(ports(TCP, 0, 65535))))
ANY_UDP = policy("x/udp", ingress=allow(at_ports(ports(UDP, 0, 65535))))
ONE_SCTP = policy("x/sctp", ingress=allow(at_ports(ports(SCTP, 7777))))
Y_80 = policy("x/y-80", ingress=allow(((pods_of("y"),), (ports(TCP, 80),))))
Y_80_Z_81 = policy("x/both", ingress=allow(((pods_of("y"),), (ports(TCP, 80),)), ((pods_of("z"),), (ports(TCP, 81),))))

CASES = [
    ("none: open", [], "y/a -> x/a:80/TCP", True),
    ("2: egress only, ingress open", [OUT], "y/a -> x/a:80/TCP", True),
    ("3: egress without rules denies all egress", [OUT], "x/a -> y/a:80/TCP", False),
    ("4: ingress without rules isolates", [IN], "y/a -> x/a:80/TCP", False),
    ("4: and closes the external ones too", [IN], "203.0.113.7 -> x/a:80/TCP", False),
    ("4: both families", [IN], "y/a -> x/a:80/TCP6", False),
    ("4: members of the namespace are closed out as well", [IN], "x/b -> x/a:80/TCP", False),
    ("4: other namespaces stay open", [IN], "x/a -> y/a:80/TCP", True),
    ("5: an empty rule allows pods", [OPEN_IN], "y/a -> x/a:80/TCP", True),
    ("5: and external ones", [OPEN_IN], "203.0.113.7 -> x/a:9/UDP", True),
    ("6: no peers mean anyone", [AT_80], "203.0.113.7 -> x/a:80/TCP", True),
    ("6: no ports mean all", [FROM_Y], "y/a -> x/a:1234/SCTP", True),
    ("6: but only for those peers", [FROM_Y], "z/a -> x/a:1234/SCTP", False),
    ("7: TCP without a port: all of TCP", [ANY_TCP], "y/a -> x/a:81/TCP", True),
    ("7: and no UDP", [ANY_TCP], "y/a -> x/a:81/UDP", False),
    ("8: UDP only isolates TCP", [ANY_UDP], "y/a -> x/a:53/TCP", False),
    ("8: UDP only allows UDP", [ANY_UDP], "y/a -> x/a:53/UDP", True),
    ("8: SCTP only isolates TCP", [ONE_SCTP], "y/a -> x/a:7777/TCP", False),
    ("8: SCTP only allows SCTP", [ONE_SCTP], "y/a -> x/a:7777/SCTP", True),
    ("9: policies add up", [AT_80, FROM_Y], "y/a -> x/a:81/TCP", True),
    ("9: each in its own terms", [AT_80, FROM_Y], "z/a -> x/a:81/TCP", False),
    ("9: allow all beats deny all", [IN, OPEN_IN], "z/a -> x/a:81/TCP", True),
    ("9: any port AND any peer of a rule", [Y_80], "y/a -> x/a:81/TCP", False),
    ("9: ports of one rule, peers of another: no", [Y_80_Z_81], "y/a -> x/a:81/TCP", False),
    ("10: the client's own isolation holds", [OUT, policy("y/open", ingress=allow(ALL))], "x/a -> y/a:80/TCP", False),
    ("12: ingress is independent of egress", [IN], "x/a -> z/a:80/TCP", True),
    ("12: both", [CLOSED], "x/a -> z/a:80/TCP", False),
    ("13: with the last policy gone it is open", [], "z/a -> x/a:80/TCP", True),
]


@pytest.mark.parametrize(
    ("policies", "packet", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_verdict(policies: list[NetworkPolicy], packet: str, expected: bool) -> None:
    assert allowed(cluster(*policies), packet) is expected
