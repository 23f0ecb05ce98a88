"""Policies for a whole namespace: deny and allow everything, in each direction and in both."""

import pytest

from e2e.cluster import Scene
from e2e.policies import EGRESS, INGRESS, allow_all, deny
from e2e.probe import tcp, udp
from e2e.table import Table, await_table

PORTS = (tcp(80), udp(53))


@pytest.fixture
def pods(policed: Scene) -> Scene:
    """x and y have pods on both nodes, x two of them on the first."""
    for namespace in ("x", "y"):
        policed.namespace(namespace)
        policed.pod(f"{namespace}/near", node=0)
        policed.pod(f"{namespace}/far", node=1)
    policed.pod("x/second", node=0)
    return policed


def agrees(scene: Scene, table: Table) -> None:
    await_table(scene.cluster.prober, table)


def everything(scene: Scene) -> Table:
    return Table.of(scene.endpoints(), PORTS)


def test_without_a_policy_everything_is_open(pods: Scene) -> None:
    agrees(pods, everything(pods))


def test_default_deny_ingress(pods: Scene) -> None:
    pods.apply(deny("x", INGRESS))
    agrees(pods, everything(pods).closed(target="x/*"))


def test_allow_all_ingress_beats_deny(pods: Scene) -> None:
    pods.apply(deny("x", INGRESS))
    agrees(pods, everything(pods).closed(target="x/*"))
    pods.apply(allow_all("x", INGRESS))
    agrees(pods, everything(pods))


def test_default_deny_egress(pods: Scene) -> None:
    pods.apply(deny("x", EGRESS))
    agrees(pods, everything(pods).closed(source="x/*"))


def test_allow_all_egress_leaves_ingress_denied(pods: Scene) -> None:
    pods.apply(deny("x", INGRESS, EGRESS))
    agrees(pods, everything(pods).closed(source="x/*").closed(target="x/*"))
    pods.apply(allow_all("x", EGRESS))
    agrees(pods, everything(pods).closed(target="x/*"))


def test_deny_both_then_delete_opens_again(pods: Scene) -> None:
    policy = deny("x", INGRESS, EGRESS)
    pods.apply(policy)
    agrees(pods, everything(pods).closed(source="x/*").closed(target="x/*"))
    pods.delete(policy)
    agrees(pods, everything(pods))


def test_allow_at_the_server_does_not_rescue_deny_at_the_client(pods: Scene) -> None:
    pods.apply(deny("x", EGRESS), allow_all("y", INGRESS))
    agrees(pods, everything(pods).closed(source="x/*"))
