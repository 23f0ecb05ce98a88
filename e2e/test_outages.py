"""Everything around the nodes goes and comes back: no verdict changes meanwhile, and what comes afterwards lands."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e import netns
from e2e.api import ApiError, Object
from e2e.cluster import Pod, Scene, pod_object, reference
from e2e.command import CommandError, run
from e2e.components import MANIFESTS, Component, Installation
from e2e.controlplane import ControlPlane
from e2e.local import IMAGE, LocalCluster
from e2e.policies import INGRESS, deny, ingress, labels
from e2e.probe import Verdict, tcp, udp
from e2e.table import Table, await_table
from e2e.waiting import until
from e2e.watching import Tally, watched

pytestmark = pytest.mark.datapath("routed")

PORTS = (tcp(90), udp(90))
"""Of those who watch; nobody else in this file listens there."""
LANDS = (tcp(91),)
RULE_SETS = ("nodewall.io/v1alpha1", "NodeRuleSet")
QUICK, LONG = 3.0, 600.0
"""Seconds for which the API server is away."""
BACK = 60.0
"""Seconds within which everybody has found the API server again: they wait 30 seconds between two tries at most."""


@pytest.fixture
def shop(policed: Scene, engine: Installation) -> Iterator[Scene]:
    """A friend and a stranger on each node, and a server that only friends may reach."""
    policed.namespace("x")
    policed.namespace("y")
    policed.pod("x/server", node=0, app="server")
    policed.pod("x/near", node=0, role="friend")
    policed.pod("x/far", node=1, role="friend")
    policed.pod("y/near", node=0)
    policed.pod("y/far", node=1)
    policed.apply(ingress("x", "p", {"from": [{"podSelector": labels(role="friend")}]}, pods={"app": "server"}))
    await_table(policed.cluster.prober, friends_only(policed, LANDS))
    yield policed
    for each in engine.components.values():
        if not each.running():
            each.start()
        each.await_ready()


def friends_only(scene: Scene, ports: tuple[Any, ...] = PORTS) -> Table:
    sources = scene.endpoints("x/near", "x/far", "y/near", "y/far")
    table = Table.of(sources, ports, targets=scene.endpoints("x/server"))
    return table.closed(source="y/*")


def nobody_wrong(tally: Tally) -> None:
    assert tally.wrong == {}
    assert tally.rounds >= 2
    print(f"{tally.asked} verdicts asked for, none wrong")


def changes_land(scene: Scene) -> None:
    """A policy change in each direction, with nobody's help."""
    opened = friends_only(scene, LANDS).opened()
    scene.apply(ingress("x", "p", {}, pods={"app": "server"}))
    await_table(scene.cluster.prober, opened, within=BACK)
    rule = {"from": [{"podSelector": labels(role="friend")}]}
    scene.apply(ingress("x", "p", rule, pods={"app": "server"}))
    await_table(scene.cluster.prober, friends_only(scene, LANDS))


def rule_sets(cluster: LocalCluster) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in cluster.api.list(*RULE_SETS)}


def generations(cluster: LocalCluster) -> dict[str, int]:
    """How often each rule set was ever changed."""
    return {name: each["metadata"]["generation"] for name, each in rule_sets(cluster).items()}


def condition(rule_set: Object, kind: str) -> Object:
    found = rule_set.get("status", {}).get("conditions", [])
    return next((dict(each) for each in found if each["type"] == kind), {})


def all_applied(cluster: LocalCluster) -> bool:
    """Whether every node says that it enforces what is published."""
    return all(map(is_applied, rule_sets(cluster).values()))


def is_applied(rule_set: Object) -> bool:
    status = rule_set.get("status", {})
    return (
        condition(rule_set, "Applied").get("status") == "True"
        and status["observedGeneration"] == rule_set["metadata"]["generation"]
        and status["appliedDigest"] == rule_set["spec"]["digest"]
    )


def series(component: Component, name: str) -> float:
    """One series of an agent."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", component.http(9811, "/metrics")[1], re.MULTILINE)
    assert found, name
    return float(found[1])


def applies(component: Component) -> float:
    """How many transactions this run of an agent has made."""
    return series(component, 'nodewall_agent_applies_total{outcome="done"}')


def links_known(cluster: LocalCluster) -> bool:
    """Whether each node's table names the links of its pods and no others: an agent looks for them after it has applied
    a rule set, and what it finds is a transaction more.
    """
    return all(_podlinks(cluster, node) == _links(cluster, node) for node in cluster.topology.nodes)


def _links(cluster: LocalCluster, node: str) -> set[str]:
    return {wire.link for pod, wire in cluster.wires.values() if pod.node == node}


def _podlinks(cluster: LocalCluster, node: str) -> set[str]:
    try:
        listed = in_node(cluster, node, "nft", "-j", "list", "set", "inet", "nodewall", "podlinks")
    except CommandError:  # it has none
        return set()
    return set(json.loads(listed)["nftables"][1]["set"].get("elem", ()))


def in_node(cluster: LocalCluster, node: str, *command: str) -> str:
    return run([*netns.argv(cluster.topology.nodes[node].namespace), *command])


# --- the two halves ---------------------------------------------------------------------------------------------------


def test_every_agent_and_the_controller_restart_at_once(
    shop: Scene, local_cluster: LocalCluster, engine: Installation
) -> None:
    """The guard locks nobody out, nobody waits for anybody else, and who came meanwhile gets what is due."""
    with watched(local_cluster, friends_only(shop)) as tally:
        for each in engine.components.values():
            each.kill()
        late = shop.pod("x/late", node=1, role="friend")
        table = Table.of([late.endpoint], LANDS, targets=shop.endpoints("x/server"))
        early = local_cluster.prober.measure(table.probes())
        assert {each.verdict for each in early.values()} == {Verdict.TIMEOUT}
        for each in engine.components.values():
            each.start()
        for each in engine.components.values():
            each.await_ready()
        until("all applied", lambda: all_applied(local_cluster), within=BACK)
        await_table(local_cluster.prober, table, within=BACK)
    nobody_wrong(tally)
    assert min(applies(each) for each in engine.of("agent")) >= 1
    changes_land(shop)


def test_every_node_reboots_while_the_api_server_is_away(
    shop: Scene, local_cluster: LocalCluster, control_plane: ControlPlane, engine: Installation
) -> None:
    """The kernel forgets its tables; the agents put the last good ones in, alone, before they can ask anybody."""
    agents = engine.of("agent")
    until("all saved", lambda: all(map(is_saved, agents)), within=10)
    for each in engine.components.values():
        each.kill()
    for each in agents:
        in_node(local_cluster, each.node, "nft", "delete", "table", *TABLE)
    control_plane.kill_apiserver()
    try:
        started = time.monotonic()
        for each in agents:
            each.resume()
        for each in agents:
            until(f"{each.node} closed", lambda each=each: has_table(local_cluster, each.node), within=20, every=0.01)  # type: ignore[misc]
        window = time.monotonic() - started
        with watched(local_cluster, friends_only(shop)) as tally:
            until("asked enough", lambda: tally.rounds >= 3, within=20)
        nobody_wrong(tally)
    finally:
        control_plane.start_apiserver()
    print(f"open for {window:.2f} s from the start of the process")
    assert window < 10
    for each in engine.of("controller"):
        each.start()
    until("all applied", lambda: all_applied(local_cluster), within=BACK)
    changes_land(shop)


TABLE = ("inet", "nodewall")
SAVED = "var/lib/nodewall/noderuleset.json"


def is_saved(agent: Component) -> bool:
    """Whether what is published for its node is on the node's disk, which takes a second."""
    file = agent.cluster.disk_of(agent.node) / SAVED
    saved: Object = json.loads(file.read_text()) if file.exists() else {}
    return bool(saved) and saved["spec"] == rule_sets(agent.cluster)[agent.node]["spec"]


def has_table(cluster: LocalCluster, node: str) -> bool:
    return "table inet nodewall" in in_node(cluster, node, "nft", "list", "tables")


# --- the API server ---------------------------------------------------------------------------------------------------


def kill_apiserver(control_plane: ControlPlane) -> None:
    control_plane.kill_apiserver()


def stop_apiserver(control_plane: ControlPlane) -> None:
    control_plane.stop_apiserver()


def kill_both(control_plane: ControlPlane) -> None:
    control_plane.kill_apiserver()
    control_plane.kill_etcd()
    control_plane.start_etcd()


@pytest.mark.parametrize(
    ("way", "seconds"),
    [
        pytest.param(stop_apiserver, QUICK, id="stopped"),
        pytest.param(kill_both, QUICK, id="killed with etcd"),
        pytest.param(kill_apiserver, LONG, id="ten minutes", marks=pytest.mark.soak),
    ],
)
def test_the_api_server_is_away(
    way: Callable[[ControlPlane], None],
    seconds: float,
    shop: Scene,
    local_cluster: LocalCluster,
    control_plane: ControlPlane,
    engine: Installation,
) -> None:
    """Nothing is judged otherwise, nothing is written anew, and nobody needs a hand afterwards."""
    until("all applied", lambda: all_applied(local_cluster), within=10)
    until("links known", lambda: links_known(local_cluster), within=10)
    before = generations(local_cluster)
    done = {each.name: applies(each) for each in engine.of("agent")}
    with watched(local_cluster, friends_only(shop)) as tally:
        way(control_plane)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(1.0, max(end - time.monotonic(), 0)))
            assert all(each.running() for each in engine.components.values())
        control_plane.start_apiserver()
        settled = time.monotonic() + 2 * QUICK
        until("connected again", lambda: all(is_connected(each) for each in engine.of("agent")), within=BACK)
        while time.monotonic() < settled:
            assert generations(local_cluster) == before
            time.sleep(0.5)
    nobody_wrong(tally)
    assert {each.name: applies(each) for each in engine.of("agent")} == done
    assert {each.name: each.running() for each in engine.components.values()} == dict.fromkeys(engine.components, True)
    changes_land(shop)


def is_connected(agent: Component) -> bool:
    """Whether the last that the agent said about the API server is good."""
    said = [line for line in agent.log.read_text(errors="replace").splitlines() if "API server" in line]
    return bool(said) and "connected to the API server" in said[-1]


@pytest.mark.soak
def test_etcd_is_away_alone(
    shop: Scene, local_cluster: LocalCluster, control_plane: ControlPlane, engine: Installation
) -> None:
    """The API server answers all the while, with errors."""
    before = generations(local_cluster)
    with watched(local_cluster, friends_only(shop)) as tally:
        control_plane.kill_etcd()
        try:
            until("refused", lambda: not can_write(local_cluster), within=30)
            until("asked enough", lambda: tally.rounds >= 3, within=30)
        finally:
            control_plane.start_etcd()
        until("written again", lambda: can_write(local_cluster), within=BACK)
        assert generations(local_cluster) == before
    nobody_wrong(tally)
    assert all(each.running() for each in engine.components.values())
    changes_land(shop)


def can_write(cluster: LocalCluster) -> bool:
    try:
        cluster.api.patch(reference("Namespace", "y"), {"metadata": {"annotations": {"e2e/at": str(time.time())}}})
    except (ApiError, OSError):
        return False
    return True


@pytest.mark.soak
def test_etcd_is_restored_from_a_backup(
    shop: Scene, local_cluster: LocalCluster, control_plane: ControlPlane, tmp_path: Any
) -> None:
    """Every version goes back: what the API server holds now is what is meant, whatever anybody has seen before."""
    backup = tmp_path / "etcd"
    with stopped(control_plane):
        shutil.copytree(control_plane.etcd_data, backup)
    shop.apply(ingress("x", "p", {"from": [{"namespaceSelector": labels(team="none")}]}, pods={"app": "server"}))
    nobody = friends_only(shop, LANDS).closed()
    await_table(local_cluster.prober, nobody, within=BACK)
    for number in range(30):  # so that versions of the future are far away
        can_write(local_cluster)
        shop.apply(ingress("y", f"noise-{number % 3}", pods={"app": str(number)}))
    with stopped(control_plane):
        shutil.rmtree(control_plane.etcd_data)
        shutil.copytree(backup, control_plane.etcd_data, dirs_exist_ok=True)
    await_table(local_cluster.prober, friends_only(shop, LANDS), within=2 * BACK)
    until("all applied", lambda: all_applied(local_cluster), within=BACK)
    changes_land(shop)


@contextmanager
def stopped(control_plane: ControlPlane) -> Iterator[None]:
    """Neither API server nor etcd runs meanwhile."""
    control_plane.kill_apiserver()
    control_plane.kill_etcd()
    yield
    control_plane.start_etcd()
    control_plane.start_apiserver()


def test_an_agent_that_slept_while_the_api_server_was_replaced(
    shop: Scene, local_cluster: LocalCluster, control_plane: ControlPlane, engine: Installation
) -> None:
    """What it was told last is from another time."""
    agent = engine.on("agent", "node-1")
    with asleep(agent):
        control_plane.stop_apiserver()
        control_plane.start_apiserver()
        shop.apply(ingress("x", "p", pods={"app": "server"}))
        until("published", lambda: not is_applied(rule_sets(local_cluster)["node-1"]), within=BACK)
    await_table(local_cluster.prober, friends_only(shop, LANDS).closed(), within=BACK)
    changes_land(shop)


def test_watches_whose_place_etcd_has_forgotten(
    shop: Scene, local_cluster: LocalCluster, control_plane: ControlPlane, engine: Installation
) -> None:
    """A real 410 within the stream of everybody's watches: they list again, and nothing is judged otherwise meanwhile.

    The API server watches etcd for each of them by itself, because its cache would keep the 410 from them.
    """
    control_plane.stop_apiserver()
    control_plane.start_apiserver("--watch-cache=false")
    try:
        for each in engine.of("agent"):
            until(f"{each.name} connected", lambda each=each: is_connected(each), within=BACK)  # type: ignore[misc]
        changes_land(shop)
        until("links known", lambda: links_known(local_cluster), within=10)
        before = {each.name: expired(each) for each in engine.of("agent")}
        done = {each.name: applies(each) for each in engine.of("agent")}
        with watched(local_cluster, friends_only(shop)) as tally:
            with control_plane.frozen_apiserver():
                control_plane.kill_etcd()
                control_plane.start_etcd()
                control_plane.compact_etcd()
            for each in engine.of("agent"):
                was = before[each.name]
                until(f"410 at {each.name}", lambda each=each, was=was: expired(each) > was, within=BACK)  # type: ignore[misc]
            until("asked enough", lambda: tally.rounds >= 3, within=20)
        nobody_wrong(tally)
        assert {each.name: applies(each) for each in engine.of("agent")} == done
        changes_land(shop)
    finally:
        control_plane.stop_apiserver()
        control_plane.start_apiserver()


def expired(agent: Component) -> float:
    """How many watches of an agent have ended by 410 Gone."""
    return series(agent, 'nodewall_agent_watch_restarts_total{cause="expired"}')


@contextmanager
def asleep(component: Component) -> Iterator[None]:
    assert component.process is not None
    group = component.process.identity.pid
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


def listening(agent: Component) -> Callable[[str], bool]:
    """Whether the agent has said such words since then, whatever verdicts it has put on record after them."""
    begin = agent.log.stat().st_size
    return lambda words: words.encode() in agent.log.read_bytes()[begin:]


# --- rights -----------------------------------------------------------------------------------------------------------


def test_rights_that_are_taken_and_given_back(shop: Scene, local_cluster: LocalCluster, engine: Installation) -> None:
    """Without rights everything stays as it is and is said in words; with them nobody needs a hand."""
    binding = reference("ClusterRoleBinding", "nodewall-agent", api_version="rbac.authorization.k8s.io/v1")
    agent = engine.on("agent", "node-1")
    with watched(local_cluster, friends_only(shop)) as tally:
        has_said = listening(agent)
        local_cluster.api.delete(binding)
        agent.kill()
        agent.start()
        until("said in words", lambda: has_said("is the agent's ClusterRole bound?"), within=20)
        until("asked enough", lambda: tally.rounds >= 2, within=20)
        local_cluster.kubectl("apply", "-f", str(MANIFESTS / "21-agent-access.yaml"))
        agent.await_ready(BACK)
    nobody_wrong(tally)
    changes_land(shop)


# --- NodeRuleSets that others write -----------------------------------------------------------------------------------


def test_a_rule_set_that_is_damaged_and_deleted_while_no_controller_runs(
    shop: Scene, local_cluster: LocalCluster, engine: Installation
) -> None:
    with watched(local_cluster, friends_only(shop)) as tally:
        for each in engine.of("controller"):
            each.kill()
        damaged = rule_sets(local_cluster)["node-1"]
        damaged["spec"] |= {"classes": [], "endpoints": []}
        local_cluster.api.replace(damaged)

        def told() -> bool:
            found = rule_sets(local_cluster)["node-1"]
            return condition(found, "Applied").get("reason") == "RuleSetUnusable"

        until("the condition says why", told, within=10)
        assert "the last good table stays" in condition(rule_sets(local_cluster)["node-1"], "Degraded")["message"]
        assert is_applied(rule_sets(local_cluster)["node-2"])
        has_said = listening(engine.on("agent", "node-1"))
        local_cluster.api.delete(rule_sets(local_cluster)["node-1"])
        until("deletion noticed", lambda: has_said("there is no NodeRuleSet for this node"), within=10)
        until("asked enough", lambda: tally.rounds >= 2, within=20)
        for each in engine.of("controller"):
            each.start()
        until("all applied", lambda: len(rule_sets(local_cluster)) == 2 and all_applied(local_cluster), within=BACK)
    nobody_wrong(tally)
    changes_land(shop)


# --- namespaces and pods ----------------------------------------------------------------------------------------------


def test_pods_of_a_namespace_that_is_deleted_stay_closed_until_they_are_gone(
    shop: Scene, local_cluster: LocalCluster, control_plane: ControlPlane
) -> None:
    """Its pods take their time, and its policies may be gone before them (semantics 41).

    Releases before 1.34 delete policies and pods in any order; this one waits for the pods, so it is helped.
    """
    shop.namespace("z")
    bare = Pod("z", "slow", local_cluster.nodes[0], (), {})
    local_cluster.api.create(pod_object(bare, IMAGE, (), terminationGracePeriodSeconds=600))
    slow = local_cluster.wire(bare)
    local_cluster.report_running(slow)
    shop.apply(deny("z", INGRESS))
    sources = shop.endpoints("x/near", "y/far")
    closed = Table.of(sources, LANDS, targets=[slow.endpoint]).closed()
    await_table(local_cluster.prober, closed)
    with (
        watched(local_cluster, Table.of(sources, PORTS, targets=[slow.endpoint]).closed()) as tally,
        control_plane.running_controllers("namespace-controller"),
    ):
        local_cluster.api.delete(reference("Namespace", "z"))
        until("its pod ending", lambda: "deletionTimestamp" in pod_of(local_cluster, slow)["metadata"], within=30)
        local_cluster.api.delete(deny("z", INGRESS))
        rounds = tally.rounds
        until("asked enough", lambda: tally.rounds >= rounds + 3, within=20)
        local_cluster.api.delete(slow.reference, grace=0)
        until("its namespace gone", lambda: not local_cluster.api.find("v1", "Namespace", "z"), within=30)
    nobody_wrong(tally)
    local_cluster.unwire(slow)


def pod_of(cluster: LocalCluster, pod: Pod) -> Object:
    return cluster.api.get("v1", "Pod", pod.name, pod.namespace)


def test_who_moves_to_the_host_network_or_ends_is_no_friend_any_more(shop: Scene, local_cluster: LocalCluster) -> None:
    """Neither its node's address nor its former one is let in, whoever has that now (semantics 36, 37)."""
    former = shop.pods["x/far"]
    host = local_cluster.host_of(former)
    local_cluster.report_phase(former, "Succeeded")
    local_cluster.unwire(former)
    stranger = local_cluster.add_pod("y", "heir", former.node, {"role": "stranger"}, host=host)
    shop.pods[stranger.key] = stranger
    assert stranger.addresses == former.addresses
    table = Table.of(shop.endpoints("y/heir"), LANDS, targets=shop.endpoints("x/server"))
    await_table(local_cluster.prober, table.closed())
    local_cluster.api.delete(former.reference, grace=0)
    shop.pods.pop("x/far")

    guest = Pod("x", "far", former.node, local_cluster.topology.nodes[former.node].plan.addresses, former.labels)
    local_cluster.api.create(pod_object(guest, IMAGE, (), hostNetwork=True))
    local_cluster.report_running(guest)
    node = local_cluster.node_endpoint(former.node)
    both = Table.of([*shop.endpoints("y/heir", "x/near"), node], LANDS, targets=shop.endpoints("x/server"))
    await_table(local_cluster.prober, both.closed().opened(source="x/near"), stays=1.0)
    local_cluster.api.delete(guest.reference, grace=0)
