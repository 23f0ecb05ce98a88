"""What people ask a running cluster: is my policy in force, why is this denied, what is busy on this node."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from e2e import netns
from e2e.cluster import Scene, reference
from e2e.components import Installation
from e2e.local import LocalCluster
from e2e.policies import INGRESS, deny, ingress, port
from e2e.probe import tcp
from e2e.table import Table, await_table
from e2e.waiting import until

NODEWALL = Path(sys.executable).parent / "nodewall"


class Person:
    """Types verbs, with the administrator's kubeconfig."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._kubeconfig = str(cluster.control_plane.kubeconfig)

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """(exit code, what was printed)."""
        command = [str(NODEWALL), *arguments, "--kubeconfig", self._kubeconfig]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def person(local_cluster: LocalCluster) -> Person:
    return Person(local_cluster)


@pytest.fixture
def pods(policed: Scene) -> Scene:
    policed.namespace("x")
    policed.pod("x/server", node=0, role="server")
    policed.pod("x/far", node=1, role="client")
    return policed


OPEN_80 = ingress("x", "web", {"from": [{"podSelector": {}}], "ports": port(80)}, pods={"role": "server"})


def test_a_policy_is_in_force_when_it_is_said_to_be(pods: Scene, person: Person) -> None:
    """Not a packet before: what is said to be in force is, at the first try."""
    sources, targets = pods.endpoints("x/far"), pods.endpoints("x/server")
    for number in (80, 81, 82, 83):
        rule = {"from": [{"podSelector": {}}], "ports": port(number)}
        pods.apply(ingress("x", "web", rule, pods={"role": "server"}))
        code, said = person("status", "netpol/x/web", "--wait", "20")
        assert code == 0, said
        assert "NetworkPolicy x/web: in force on 1 of 1 nodes" in said
        table = Table.of(sources, [tcp(each) for each in (80, 81, 82, 83)], targets=targets)
        await_table(pods.cluster.prober, table.closed().opened(port=tcp(number)), within=0)


def test_where_an_agent_is_away_it_is_not(pods: Scene, person: Person, engine: Installation) -> None:
    away = engine.on("agent", "node-1")
    pods.apply(deny("x", INGRESS))
    assert person("status", "netpol/x/deny-ingress", "--wait", "20")[0] == 0
    away.stop()
    try:
        pods.apply(OPEN_80)
        code, said = person("status", "netpol/x/web", "--wait", "2")
        assert code == 1
        assert "NOT IN FORCE on 0 of 1 nodes" in said
        assert "node-1" in said
        code, said = person("status", "netpol/x/deny-ingress")
        assert (code, "node-2" in said) == (1, True)
        code, said = person("why", "x/far", "x/server", "--port", "80")
        assert (code, "ALLOWED" in said) == (0, True)
        assert "node node-1 does NOT enforce this yet" in said
        assert "node node-2 enforces this" in said
    finally:
        away.start()
        away.await_ready()
    assert person("status", "--wait", "20")[0] == 0


def test_a_denial_is_explained(pods: Scene, person: Person) -> None:
    pods.apply(OPEN_80)
    assert person("status", "netpol/x/web", "--wait", "20")[0] == 0
    code, said = person("why", "x/far", "x/server", "--port", "81", "-o", "json")
    (found,) = json.loads(said)
    assert (code, found["allowed"]) == (1, False)
    assert {each["name"]: each["enforced"] for each in found["nodes"]} == {"node-1": True, "node-2": True}


def test_what_is_busy_on_a_node(pods: Scene, local_cluster: LocalCluster) -> None:
    pods.apply(OPEN_80)
    table = Table.of(pods.endpoints("x/far"), [tcp(80), tcp(81)], targets=pods.endpoints("x/server"))
    await_table(pods.cluster.prober, table.closed(port=tcp(81)))
    before = busy(local_cluster)
    pods.cluster.prober.measure(table.probes())
    after = busy(local_cluster)
    assert {key: after[key] - before.get(key, 0) for key in ("ingress[0]", "ingress isolation")} == {
        "ingress[0]": 2,
        "ingress isolation": 2,
    }


def busy(cluster: LocalCluster) -> dict[str, Any]:
    """Hits of the policy's rules on node-1, as `top` shows them where the agent runs."""
    state = cluster.disk_of("node-1") / "var/lib/nodewall"
    command = [str(NODEWALL), "top", "--rules", "-o", "json", "--state-directory", str(state)]
    where = netns.argv(cluster.topology.nodes["node-1"].namespace)
    said = subprocess.run([*where, *command], capture_output=True, text=True, check=True).stdout
    return {each["rule"]: each["packets"] for each in json.loads(said) if each["policy"] == "NetworkPolicy x/web"}


def test_kubectl_finds_it_as_a_plugin(
    pods: Scene, local_cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With kubectl's own way to the cluster, and under the name that it was called by."""
    (tmp_path / "kubectl-nodewall").symlink_to(NODEWALL)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    pods.apply(deny("x", INGRESS))
    said = local_cluster.kubectl("nodewall", "status", "netpol/x/deny-ingress", "--wait", "20")
    assert "NetworkPolicy x/deny-ingress: in force on 2 of 2 nodes" in said
    assert "Usage: kubectl nodewall status" in local_cluster.kubectl("nodewall", "status", "--help")


# --- logs, through kube-apiserver -------------------------------------------------------------------------------------


def closed_and_recorded(pods: Scene, cluster: LocalCluster, closed: int = 81) -> Table:
    """x/far may ask x/server on 80 alone; both verdicts are on record."""
    cluster.api.patch(reference("Namespace", "x"), {"metadata": {"annotations": {"nodewall.io/log": "All"}}})
    pods.apply(OPEN_80)
    table = Table.of(pods.endpoints("x/far"), [tcp(80), tcp(closed)], targets=pods.endpoints("x/server"))
    await_table(cluster.prober, table.closed(port=tcp(closed)))
    return table


def about(said: str, pods: Scene, number: int) -> list[dict[str, Any]]:
    """The records, one a line, of what came to this port of the server."""
    address = pods.pods["x/server"].addresses[0]
    found = [json.loads(line) for line in said.rpartition("\n")[0].splitlines()]  # the last one may be half there
    ends = [(each, each.get("IP", {}), each.get("l4", {}).get("TCP", {})) for each in found]
    return [each for each, ip, l4 in ends if (ip.get("destination"), l4.get("destination_port")) == (address, number)]


def test_the_records_of_all_agents(pods: Scene, person: Person, local_cluster: LocalCluster) -> None:
    table = closed_and_recorded(pods, local_cluster)
    recorded = ("logs", "--namespace", "x", "--since", "1m", "-o", "json")

    def denied() -> list[dict[str, Any]]:
        local_cluster.prober.measure(table.probes())  # what is over the rate is not on record
        return about(person(*recorded, "--verdict", "deny")[1], pods, 81)

    for each in until("a deny", denied, within=20):
        assert (each["verdict"], each["node_name"]) == ("deny", "node-1")
        assert each["destination"] == {"kind": "pod", "namespace": "x", "pod_name": "server"}
        assert each["ingress_denied_by"] == [{"kind": "NetworkPolicy", "namespace": "x", "name": "web"}]
    code, said = person(*recorded, "--policy", "x/web", "--node", "node-1")
    assert code == 0
    assert about(said, pods, 80)
    assert not about(person(*recorded, "--verdict", "deny")[1], pods, 80)
    assert not about(person(*recorded, "--node", "node-2")[1], pods, 81)


def test_a_line_for_people_names_the_other_end(pods: Scene, person: Person, local_cluster: LocalCluster) -> None:
    """The node that judged it knew only an address."""
    table = closed_and_recorded(pods, local_cluster)

    def lines() -> list[str]:
        local_cluster.prober.measure(table.probes())
        said = person("logs", "-n", "x", "--since", "1m", "--verdict", "deny", "-o", "text")[1]
        return [line for line in said.splitlines() if "x/far" in line and "x/server" in line]

    assert "x/web" in until("a line with both pods", lines, within=20)[0]


@contextmanager
def following(cluster: LocalCluster, output: Path, *arguments: str) -> Iterator[None]:
    """`nodewall logs --follow` while the block runs."""
    command = [str(NODEWALL), "logs", "--follow", *arguments, "--kubeconfig", str(cluster.control_plane.kubeconfig)]
    with output.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def test_records_are_followed_as_they_come(
    pods: Scene, engine: Installation, local_cluster: LocalCluster, tmp_path: Path
) -> None:
    """In this life of the agent and in its next one."""
    number, output = 8301, tmp_path / "said"
    closed_and_recorded(pods, local_cluster, number)
    attempt = Table.of(pods.endpoints("x/far"), [tcp(number)], targets=pods.endpoints("x/server"))

    def told() -> int:
        return sum(each["count"] for each in about(output.read_text(), pods, number))

    def more(than: int) -> bool:
        local_cluster.prober.measure(attempt.probes())
        return told() > than

    with following(local_cluster, output, "-n", "x", "--verdict", "deny", "-o", "json"):
        for _ in range(2):
            until("one more", partial(more, told()), within=20)
            engine.on("agent", "node-1").restart()
            engine.on("agent", "node-1").await_ready()


@pytest.mark.datapath("routed")
def test_records_are_followed_across_a_restart_of_the_api_server(
    pods: Scene, local_cluster: LocalCluster, tmp_path: Path
) -> None:
    """What was denied meanwhile is told, and nothing twice."""
    number, output = 8302, tmp_path / "said"
    closed_and_recorded(pods, local_cluster, number)
    attempt = Table.of(pods.endpoints("x/far"), [tcp(number)], targets=pods.endpoints("x/server"), families=[4])

    def told() -> list[str]:
        return [str(each) for each in about(output.read_text(), pods, number)]

    with following(local_cluster, output, "-n", "x", "--verdict", "deny", "-o", "json"):
        until("what was there", told, within=20)
        local_cluster.control_plane.stop_apiserver()
        try:
            before = len(told())
            local_cluster.prober.measure(attempt.probes())
        finally:
            local_cluster.control_plane.start_apiserver()
        until("what was denied meanwhile", lambda: len(told()) > before, within=30)
    assert len(set(told())) == len(told())


def test_kubectl_shows_what_an_agent_says(engine: Installation, local_cluster: LocalCluster) -> None:
    agent = engine.on("agent", "node-1")
    logs = ("logs", "-n", "nodewall-system", agent.name)
    wrote = agent.log.read_text()
    assert local_cluster.kubectl(*logs).startswith(wrote)
    first, *_, last = wrote.splitlines()
    assert first not in local_cluster.kubectl(*logs, "--tail=1")
    (stamped,) = (each for each in local_cluster.kubectl(*logs, "--timestamps").splitlines() if each.endswith(last))
    time = stamped.removesuffix(f" {last}")
    later = local_cluster.kubectl(*logs, f"--since-time={time[:19]}Z")
    assert last in later
    assert first not in later
