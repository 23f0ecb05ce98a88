"""With every group of peers held apart from the rule sets: the same verdicts, the same answers, the same recoveries."""

import time
from collections.abc import Callable, Iterator

import pytest

from e2e import netns
from e2e.api import Object
from e2e.cluster import Scene, reference
from e2e.command import run
from e2e.components import Component, Installation
from e2e.controlplane import ControlPlane
from e2e.local import LocalCluster
from e2e.policies import egress, ingress, labels, port
from e2e.probe import tcp
from e2e.table import Table, await_table
from e2e.test_live import Person
from e2e.waiting import until

pytestmark = pytest.mark.datapath("routed")

SETTING = "NODEWALL_SHARE_GROUPS_ABOVE"
API_VERSION = "nodewall.io/v1alpha1"
PORTS = (tcp(80), tcp(81))


@pytest.fixture(scope="module")
def sharing(engine: Installation) -> Iterator[Installation]:
    """The installation with a setting of its controllers changed, and back again."""
    _set(engine, "0")
    yield engine
    _set(engine, None)


def _set(engine: Installation, value: str | None) -> None:
    """As `kubectl set env` would."""
    for each in engine.of("controller"):
        environment = each.pod["spec"]["containers"][0].setdefault("env", [])
        environment[:] = [one for one in environment if one["name"] != SETTING]
        if value is not None:
            environment.append({"name": SETTING, "value": value})
        each.restart()
    for each in engine.of("controller"):
        each.await_ready()


@pytest.fixture
def pods(policed: Scene, sharing: Installation) -> Scene:
    policed.namespace("x", team="x")
    policed.namespace("y", team="y")
    policed.pod("x/server", node=0, app="server")
    policed.pod("x/near", node=0, role="client")
    policed.pod("y/far", node=1, role="client")
    policed.pod("y/other", node=1, role="other")
    return policed


@pytest.fixture
def person(local_cluster: LocalCluster) -> Person:
    return Person(local_cluster)


CLIENTS = {"from": [{"namespaceSelector": {}, "podSelector": labels(role="client")}]}


def to_server(scene: Scene) -> Table:
    return Table.of(scene.endpoints("x/near", "y/far", "y/other"), PORTS, targets=scene.endpoints("x/server"))


def clients_only(scene: Scene) -> Table:
    return to_server(scene).closed(source="y/other")


def rule_set(scene: Scene, node: str = "node-1") -> Object:
    return scene.cluster.api.get(API_VERSION, "NodeRuleSet", node)


def groups(scene: Scene) -> list[Object]:
    """Those that node-1 needs now; what nobody names any more goes a while later."""
    named = {each["name"] for each in rule_set(scene)["spec"].get("sharedGroups", [])}
    return [each for each in scene.cluster.api.list(API_VERSION, "PeerGroup") if each["spec"]["group"] in named]


def generations(scene: Scene) -> dict[str, int]:
    found = scene.cluster.api.list(API_VERSION, "NodeRuleSet")
    return {each["metadata"]["name"]: each["metadata"]["generation"] for each in found}


def apply_and_wait(scene: Scene, *policies: Object, table: Callable[[Scene], Table]) -> None:
    scene.apply(*policies)
    await_table(scene.cluster.prober, table(scene))


def test_groups_are_apart_and_verdicts_what_they_were(pods: Scene) -> None:
    apply_and_wait(pods, ingress("x", "p", CLIENTS, pods={"app": "server"}), table=clients_only)
    spec = rule_set(pods)["spec"]
    assert spec["addressGroups"] == []
    assert [each["holds"] for each in spec["sharedGroups"]] == ["Addresses"]
    addresses = {each for name in ("x/near", "y/far") for each in pods.pods[name].addresses}
    assert {each for group in groups(pods) for each in group["spec"]["members"]} == addresses


def test_who_joins_and_leaves_is_no_matter_of_rule_sets(pods: Scene) -> None:
    apply_and_wait(pods, ingress("x", "p", CLIENTS, pods={"app": "server"}), table=clients_only)
    before = generations(pods)
    pods.relabel("y/other", role="client")
    await_table(pods.cluster.prober, to_server(pods))
    pods.relabel("y/far", role="other")
    await_table(pods.cluster.prober, to_server(pods).closed(source="y/far"))
    assert generations(pods) == before


def test_a_namespace_is_relabelled(pods: Scene) -> None:
    rule = {"from": [{"namespaceSelector": labels(team="y")}]}
    apply_and_wait(
        pods, ingress("x", "p", rule, pods={"app": "server"}), table=lambda s: to_server(s).closed(source="x/*")
    )
    pods.relabel("y", team="z")
    await_table(pods.cluster.prober, to_server(pods).closed())
    pods.relabel("x", team="y")
    await_table(pods.cluster.prober, to_server(pods).closed(source="y/*"))


def test_ports_by_name_are_pairs(pods: Scene) -> None:
    """Groups of destinations are apart as well."""
    rule = {"to": [{"namespaceSelector": {}, "podSelector": labels(app="server")}], "ports": port(80)}
    apply_and_wait(
        pods,
        egress("y", "out", rule),
        table=lambda s: to_server(s).closed(source="y/*").opened(source="y/*", port=tcp(80)),
    )


def test_an_agent_that_restarts_and_one_that_is_killed(pods: Scene, sharing: Installation) -> None:
    apply_and_wait(pods, ingress("x", "p", CLIENTS, pods={"app": "server"}), table=clients_only)
    agent = sharing.on("agent", "node-1")
    agent.kill()
    pods.relabel("y/other", role="client")
    agent.start()
    agent.await_ready()
    await_table(pods.cluster.prober, to_server(pods))


def test_a_node_reboots_while_the_api_server_is_away(
    pods: Scene, sharing: Installation, local_cluster: LocalCluster, control_plane: ControlPlane
) -> None:
    """The members are on the node's disk, beside the rule set."""
    apply_and_wait(pods, ingress("x", "p", CLIENTS, pods={"app": "server"}), table=clients_only)
    agent = sharing.on("agent", "node-1")
    until("saved", lambda: _is_saved(agent, pods), within=20)
    agent.kill()
    in_node = netns.argv(local_cluster.topology.nodes["node-1"].namespace)
    run([*in_node, "nft", "delete", "table", "inet", "nodewall"])
    control_plane.kill_apiserver()
    try:
        agent.resume()
        await_table(pods.cluster.prober, clients_only(pods))
    finally:
        control_plane.start_apiserver()
    until("ready", lambda: all(each.is_ready() for each in sharing.components.values()), within=60)
    pods.relabel("y/other", role="client")
    await_table(pods.cluster.prober, to_server(pods), within=60)


def _is_saved(agent: Component, scene: Scene) -> bool:
    file = agent.cluster.disk_of(agent.node) / "var/lib/nodewall/noderuleset.json"
    return file.exists() and all(each in file.read_text() for each in scene.pods["y/far"].addresses)


def test_what_others_write_to_a_group_is_repaired(pods: Scene) -> None:
    apply_and_wait(pods, ingress("x", "p", CLIENTS, pods={"app": "server"}), table=clients_only)
    (group,) = groups(pods)
    target = reference("PeerGroup", group["metadata"]["name"], api_version=API_VERSION)
    pods.cluster.api.patch(target, {"spec": {"members": [pods.pods["y/other"].addresses[0]]}})
    until("repaired", lambda: _members(pods, group) == group["spec"]["members"], within=10)
    pods.cluster.api.delete(target)
    until("made again", lambda: _members(pods, group) == group["spec"]["members"], within=10)
    await_table(pods.cluster.prober, clients_only(pods))


def _members(scene: Scene, group: Object) -> list[str] | None:
    found = scene.cluster.api.find(API_VERSION, "PeerGroup", group["metadata"]["name"])
    return found["spec"]["members"] if found else None


def test_status_and_why_know_the_members(pods: Scene, person: Person) -> None:
    pods.apply(ingress("x", "p", CLIENTS, pods={"app": "server"}))
    code, said = person("status", "netpol/x/p", "--wait", "20")
    assert code == 0, said
    await_table(pods.cluster.prober, clients_only(pods), within=0)
    pods.relabel("y/other", role="client")
    code, said = person("status", "netpol/x/p", "--wait", "20")
    assert code == 0, said
    await_table(pods.cluster.prober, to_server(pods), within=0)
    code, said = person("why", "y/other", "x/server", "--port", "80")
    assert (code, "ALLOWED" in said) == (0, True)
    assert "node node-1 enforces this" in said


def test_where_an_agent_is_away_a_new_member_is_not_in_force(
    pods: Scene, person: Person, sharing: Installation
) -> None:
    pods.apply(ingress("x", "p", CLIENTS, pods={"app": "server"}))
    assert person("status", "netpol/x/p", "--wait", "20")[0] == 0
    away = sharing.on("agent", "node-1")
    away.stop()
    try:
        pods.relabel("y/other", role="client")
        time.sleep(1)
        code, said = person("status", "netpol/x/p", "--wait", "1")
        assert (code, "newest members" in said) == (1, True), said
    finally:
        away.start()
        away.await_ready()
    assert person("status", "netpol/x/p", "--wait", "20")[0] == 0
