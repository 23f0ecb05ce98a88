"""Which pods a rule means: the two selector forms, the database and the web server of the documentation."""

import pytest

from e2e.cluster import Scene
from e2e.local import LocalCluster
from e2e.policies import EGRESS, INGRESS, ingress, labels, network_policy, port
from e2e.probe import Endpoint, tcp, udp
from e2e.table import Table, await_table

DATABASE = network_policy(
    "default",
    "database",
    {
        "podSelector": labels(role="db"),
        "policyTypes": [INGRESS, EGRESS],
        "ingress": [
            {
                "from": [
                    {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                    {"namespaceSelector": labels(project="myproject")},
                    {"podSelector": labels(role="frontend")},
                ],
                "ports": port(6379),
            }
        ],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": port(5978)}],
    },
)
AND = {"namespaceSelector": labels(user="alice"), "podSelector": labels(role="client")}


@pytest.fixture
def shop(policed: Scene) -> Scene:
    """The database on the first node, and everybody who may want it on both."""
    policed.namespace("default")
    policed.namespace("mine", project="myproject")
    policed.namespace("theirs")
    policed.pod("default/db", node=0, role="db")
    for node, place in ((0, "near"), (1, "far")):
        policed.pod(f"default/front-{place}", node=node, role="frontend")
        policed.pod(f"default/back-{place}", node=node, role="backend")
        policed.pod(f"mine/{place}", node=node)
        policed.pod(f"theirs/front-{place}", node=node, role="frontend")
    return policed


def test_database_ingress(shop: Scene) -> None:
    shop.apply(DATABASE)
    clients = [each for each in shop.endpoints() if each.name != "default/db"]
    table = Table.of(clients, [tcp(6379), tcp(6380), udp(6379)], targets=shop.endpoints("default/db"))
    allowed = ("default/front-*", "mine/*")
    await_table(shop.cluster.prober, table.closed().opened(source=allowed, port=tcp(6379)))


def test_database_outside(shop: Scene, local_cluster: LocalCluster) -> None:
    shop.apply(DATABASE)
    inside, carved, elsewhere = (
        local_cluster.external_endpoint(address) for address in ("172.17.0.5", "172.17.1.5", "203.0.113.7")
    )
    database = shop.endpoints("default/db")
    came_in = Table.of([inside, carved, elsewhere], [tcp(6379), tcp(5978)], targets=database, families=[4])
    await_table(local_cluster.prober, came_in.closed().opened(source=inside.name, port=tcp(6379)))
    allowed, other = (local_cluster.external_endpoint(address) for address in ("10.0.0.5", "10.0.1.5"))
    went_out = Table.of(database, [tcp(5978), tcp(6379)], targets=[allowed, other], families=[4])
    await_table(local_cluster.prober, went_out.closed().opened(target=allowed.name, port=tcp(5978)))


def test_database_reaches_nobody_else(shop: Scene) -> None:
    shop.apply(DATABASE)
    others = [each for each in shop.endpoints() if each.name != "default/db"]
    await_table(shop.cluster.prober, Table.of(shop.endpoints("default/db"), [tcp(5978)], targets=others).closed())


@pytest.fixture
def users(policed: Scene) -> Scene:
    policed.namespace("default", user="bob")
    policed.namespace("alice", user="alice")
    policed.pod("default/server-near", node=0, app="server")
    policed.pod("default/server-far", node=1, app="server")
    for namespace in ("default", "alice"):
        policed.pod(f"{namespace}/client", node=0, role="client")
        policed.pod(f"{namespace}/other", node=1, role="other")
    return policed


def clients_of(scene: Scene) -> list[Endpoint]:
    return scene.endpoints("default/client", "default/other", "alice/client", "alice/other")


def servers_of(scene: Scene) -> list[Endpoint]:
    return scene.endpoints("default/server-near", "default/server-far")


def test_both_selectors_in_one_entry_are_and(users: Scene) -> None:
    users.apply(ingress("default", "and", {"from": [AND]}, pods={"app": "server"}))
    table = Table.of(clients_of(users), [tcp(80), udp(80)], targets=servers_of(users))
    await_table(users.cluster.prober, table.closed().opened(source="alice/client"))


def test_selectors_in_separate_entries_are_or(users: Scene) -> None:
    entries = [{key: value} for key, value in AND.items()]
    users.apply(ingress("default", "or", {"from": entries}, pods={"app": "server"}))
    table = Table.of(clients_of(users), [tcp(80), udp(80)], targets=servers_of(users))
    await_table(users.cluster.prober, table.closed().opened(source=("alice/*", "default/client")))


def test_the_other_client_of_the_web_server_times_out(policed: Scene) -> None:
    policed.namespace("default")
    policed.pod("default/nginx", node=0, app="nginx")
    for node, place in ((0, "near"), (1, "far")):
        policed.pod(f"default/client-{place}", node=node, role="nginxclient")
        policed.pod(f"default/stranger-{place}", node=node, role="stranger")
    rule = {"from": [{"podSelector": labels(role="nginxclient")}], "ports": port(80)}
    policed.apply(ingress("default", "nginx", rule, pods={"app": "nginx"}))
    clients = [each for each in policed.endpoints() if each.name != "default/nginx"]
    table = Table.of(clients, [tcp(80), tcp(443)], targets=policed.endpoints("default/nginx"))
    await_table(policed.cluster.prober, table.closed().opened(source="default/client-*", port=tcp(80)))
