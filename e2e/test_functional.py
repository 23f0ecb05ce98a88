"""Six functional scenarios, each with the pods on one node and spread over two."""

import pytest

from e2e.cluster import Scene
from e2e.local import LocalCluster
from e2e.policies import INGRESS, deny, ingress, labels, port
from e2e.probe import tcp, udp
from e2e.table import Table, await_table

PORTS = (tcp(80), tcp(81), udp(80))
SPREADS = {"one node": (0, 0, 0, 0), "two nodes": (0, 1, 0, 1)}


@pytest.fixture(params=list(SPREADS))
def spread(policed: Scene, request: pytest.FixtureRequest) -> Scene:
    """Namespaces a and b with the pods one and two each."""
    nodes = iter(SPREADS[request.param])
    for namespace in ("a", "b"):
        policed.namespace(namespace, tenant=namespace)
        for name in ("one", "two"):
            policed.pod(f"{namespace}/{name}", node=next(nodes), app=name)
    return policed


def everything(scene: Scene) -> Table:
    return Table.of(scene.endpoints(), PORTS)


def test_namespaces_isolated_from_each_other_members_open(spread: Scene) -> None:
    for namespace in ("a", "b"):
        spread.apply(ingress(namespace, "members", {"from": [{"podSelector": {}}]}))
    table = everything(spread).closed(source="a/*", target="b/*").closed(source="b/*", target="a/*")
    await_table(spread.cluster.prober, table)


def test_namespaces_isolated_members_closed_too(spread: Scene) -> None:
    for namespace in ("a", "b"):
        spread.apply(deny(namespace, INGRESS))
    await_table(spread.cluster.prober, everything(spread).closed())


def test_white_list_from_b_to_a(spread: Scene) -> None:
    spread.apply(ingress("a", "from-b", {"from": [{"namespaceSelector": labels(tenant="b")}]}), deny("b", INGRESS))
    table = everything(spread).closed().opened(source="b/*", target="a/*")
    await_table(spread.cluster.prober, table)


def test_one_outside_network_only(spread: Scene, local_cluster: LocalCluster) -> None:
    blocks = [{"ipBlock": {"cidr": "203.0.113.0/25"}}, {"ipBlock": {"cidr": "2001:db8:17::/64"}}]
    spread.apply(ingress("a", "outside", {"from": blocks}))
    inside = local_cluster.external_endpoint("203.0.113.7", "2001:db8:17::5")
    outside = local_cluster.external_endpoint("203.0.113.200", "2001:db8:17:1::5")
    table = Table.of([inside, outside], PORTS, targets=spread.endpoints("a/one", "a/two"))
    await_table(local_cluster.prober, table.closed(source=outside.name))
    await_table(local_cluster.prober, everything(spread).closed(target="a/*"))


def test_white_list_to_certain_pods_and_ports(spread: Scene) -> None:
    rule = {
        "from": [{"namespaceSelector": labels(tenant="b"), "podSelector": labels(app="two")}],
        "ports": [*port(80), *port(80, "UDP")],
    }
    spread.apply(deny("a", INGRESS), ingress("a", "some", rule, pods={"app": "one"}))
    table = everything(spread).closed(target="a/*")
    for each in (tcp(80), udp(80)):
        table = table.opened(source="b/two", target="a/one", port=each)
    await_table(spread.cluster.prober, table)


def test_two_policies_add_up(spread: Scene) -> None:
    spread.apply(
        ingress("a", "first", {"from": [{"podSelector": labels(app="two")}], "ports": port(80)}),
        ingress("a", "second", {"from": [{"namespaceSelector": labels(tenant="b")}], "ports": port(81)}),
    )
    table = (
        everything(spread)
        .closed(target="a/*")
        .opened(source="a/two", target="a/one", port=tcp(80))
        .opened(source="b/*", target="a/*", port=tcp(81))
    )
    await_table(spread.cluster.prober, table)
