"""Address blocks (semantics 24-28)."""

import pytest

from nodewall.compile import compile_all
from nodewall.model.policy import NetworkPolicy
from tests.compile.verdicts import allowed
from tests.compile.world import allow, block, cluster, from_peers, pods_of, policy

CARVED = policy("x/carved", ingress=allow(from_peers(block("203.0.113.0/24", "203.0.113.0/29"))))
INSIDE = policy("x/inside", ingress=allow(from_peers(block("203.0.113.4/32"))))
FROM_Y = policy("x/from-y", ingress=allow(from_peers(pods_of("y"))))
NOT_Y = policy("x/not-y", ingress=allow(from_peers(block("10.0.0.0/8", "10.1.2.0/24", "10.2.2.0/24"))))
ALL4 = policy("x/all4", ingress=allow(from_peers(block("0.0.0.0/0"))))
ALL6 = policy("x/all6", ingress=allow(from_peers(block("::/0"))))
OUT = policy("x/out", egress=allow(from_peers(block("203.0.113.0/24"))))

CASES = [
    ("a block allows what is in it", [CARVED], "203.0.113.9 -> x/a:80/TCP", True),
    ("and nothing else", [CARVED], "203.0.114.9 -> x/a:80/TCP", False),
    ("24: except carves its own block", [CARVED], "203.0.113.4 -> x/a:80/TCP", False),
    ("24: another policy may still allow it", [CARVED, INSIDE], "203.0.113.4 -> x/a:80/TCP", True),
    ("24: also when the peer is a selector", [NOT_Y, FROM_Y], "y/a -> x/a:80/TCP", True),
    ("25: pod addresses match", [NOT_Y], "z/a -> x/a:80/TCP", True),
    ("25: carved ones do not", [NOT_Y], "y/a -> x/a:80/TCP", False),
    ("26: 0.0.0.0/0 covers IPv4", [ALL4], "203.0.113.9 -> x/a:80/TCP", True),
    ("26: but no IPv6", [ALL4], "y/a -> x/a:80/TCP6", False),
    ("26: ::/0 covers IPv6", [ALL6], "y/a -> x/a:80/TCP6", True),
    ("26: but no IPv4", [ALL6], "y/a -> x/a:80/TCP", False),
    ("egress to a block", [OUT], "x/a -> 203.0.113.9:80/TCP", True),
    ("egress to another", [OUT], "x/a -> 203.0.114.9:80/TCP", False),
    (
        "36: a node's address is an address",
        [policy(ingress=allow(from_peers(block("192.0.2.2/32"))))],
        "192.0.2.2 -> x/a:80/TCP",
        True,
    ),
]


@pytest.mark.parametrize(
    ("policies", "packet", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_verdict(policies: list[NetworkPolicy], packet: str, expected: bool) -> None:
    assert allowed(cluster(*policies), packet) is expected


def test_the_order_of_blocks_and_excepts_makes_no_difference() -> None:
    excepts = ("10.3.0.0/16", "10.1.0.0/16", "10.2.0.0/16")
    peers = (block("10.0.0.0/8", *excepts), block("192.0.2.0/24"))
    mirrored = (block("192.0.2.0/24"), block("10.0.0.0/8", *reversed(excepts)))
    one, other = (cluster(policy(ingress=allow(from_peers(*each)))) for each in (peers, mirrored))
    assert compile_all(one) == compile_all(other)
