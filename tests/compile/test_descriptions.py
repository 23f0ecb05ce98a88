"""What groups are called is for people, and must not be what fills a rule set."""

import pytest

from nodewall.compile.groups import LONGEST_DESCRIPTION, GroupKey, NamedPorts, describe, describe_ports
from nodewall.model.labels import EVERYTHING, Operator, Requirement, Selector
from nodewall.model.policy import NamespaceNames, NodePeer, PodPeer, PortName, Protocol

MANY = Selector.of([Requirement("app", Operator.NOT_IN, tuple(f"v{number}" for number in range(20_000)))])
NAMES = NamespaceNames(tuple(f"n{number}" for number in range(1_000)))


@pytest.mark.parametrize("key", [PodPeer(MANY), PodPeer(EVERYTHING, MANY), PodPeer(NAMES), NodePeer(MANY)])
def test_a_selector_without_end_is_cut(key: GroupKey) -> None:
    found = describe(key)
    assert len(found) == LONGEST_DESCRIPTION
    assert found.endswith("...")


def test_so_is_it_with_a_port_name_before_it() -> None:
    found = describe_ports(NamedPorts(PodPeer(MANY), PortName("http", Protocol.TCP)))
    assert len(found) == LONGEST_DESCRIPTION
    assert found.startswith("port http/TCP of pods * in namespaces app notin (")


def test_what_people_write_is_whole() -> None:
    peer = PodPeer(NamespaceNames(("shop",)), Selector.of([Requirement("app", Operator.IN, ("web",))]))
    assert describe(peer) == "pods app=web in shop"
