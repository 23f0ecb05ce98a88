"""Two controllers: one writes, the other follows it when it dies, sleeps or goes."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from e2e import netns
from e2e.cluster import Scene, reference
from e2e.components import Component, Installation
from e2e.controlplane import ADDRESS
from e2e.local import LocalCluster
from e2e.meanwhile import meanwhile
from e2e.policies import ingress, labels, port
from e2e.probe import tcp
from e2e.table import Table, await_table
from e2e.waiting import until

pytestmark = pytest.mark.datapath("routed")

FOLLOWS_SECONDS = 15.0
PORTS = (tcp(80), tcp(81))


@pytest.fixture
def controllers(engine: Installation) -> Iterator[list[Component]]:
    """Both, at work; and again afterwards."""
    found = engine.of("controller")
    assert [each.node for each in found] == ["node-1", "node-2"]
    until("one leads", lambda: len(leading(found)) == 1, within=FOLLOWS_SECONDS)
    yield found
    for each in found:
        if not each.running():
            each.start()
        each.await_ready()


@pytest.fixture
def policed(policed: Scene) -> Scene:
    """With somebody to ask."""
    policed.namespace("x")
    policed.pod("x/server", node=0)
    policed.pod("x/client", node=1, role="client")
    return policed


def metric(component: Component, series: str) -> float:
    """One series of a controller; 0 while nobody answers."""
    try:
        text = component.http(9810, "/metrics")[1]
    except OSError:
        return 0.0
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def leading(components: list[Component]) -> list[Component]:
    return [each for each in components if each.running() and metric(each, "nodewall_controller_leads") == 1]


def published(component: Component, outcome: str) -> float:
    return metric(component, f'nodewall_controller_publishes_total{{outcome="{outcome}"}}')


def opened(scene: Scene, number: int) -> Callable[[], None]:
    """Open one port to the client, and see that it is the only one."""
    rule = {"from": [{"podSelector": labels(role="client")}], "ports": port(number)}

    def change() -> None:
        scene.apply(ingress("x", "p", rule))
        table = Table.of(scene.endpoints("x/client"), PORTS, targets=scene.endpoints("x/server"))
        await_table(scene.cluster.prober, table.closed().opened(port=tcp(number)))

    return change


def generations(cluster: LocalCluster) -> dict[str, int]:
    """How often each rule set was ever changed."""
    found = cluster.api.list("nodewall.io/v1alpha1", "NodeRuleSet")
    return {each["metadata"]["name"]: each["metadata"]["generation"] for each in found}


def one_and_other(controllers: list[Component]) -> tuple[Component, Component]:
    (leader,) = leading(controllers)
    (other,) = (each for each in controllers if each is not leader)
    return leader, other


def send(component: Component, number: signal.Signals) -> None:
    assert component.process is not None
    os.killpg(component.process.identity.pid, number)


def test_one_writes_and_the_other_is_ready(
    controllers: list[Component], policed: Scene, local_cluster: LocalCluster
) -> None:
    leader, other = one_and_other(controllers)
    before = published(other, "done")
    opened(policed, 80)()
    assert published(leader, "done") > 0
    assert published(other, "done") == before
    assert other.is_ready()
    lease = local_cluster.api.get("coordination.k8s.io/v1", "Lease", "nodewall-controller", "nodewall-system")
    assert lease["spec"]["holderIdentity"] == leader.name


def test_who_is_killed_is_followed_and_nothing_is_written_anew(
    controllers: list[Component], policed: Scene, local_cluster: LocalCluster
) -> None:
    opened(policed, 80)()
    leader, other = one_and_other(controllers)
    before, compared = generations(local_cluster), published(other, "unchanged")
    leader.kill()
    until("the other leads", lambda: leading([other]), within=FOLLOWS_SECONDS)
    until("it has compared all", lambda: published(other, "unchanged") >= compared + len(before), within=5)
    assert generations(local_cluster) == before
    opened(policed, 81)()
    leader.start()
    leader.await_ready()
    assert leading(controllers) == [other]


@contextmanager
def changes(scene: Scene) -> Iterator[None]:
    """So many that somebody is always compiling and writing: each adds a peer to a rule, or takes one away."""
    names = [f"x/peer-{number}" for number in range(5)]
    for name in names:
        scene.pod(name, node=1)

    def relabel() -> None:
        for role in ("client", None):
            for name in names:
                scene.relabel(name, role=role)

    with meanwhile(relabel):
        yield


def test_who_is_killed_under_load_is_followed_in_time(controllers: list[Component], policed: Scene) -> None:
    opened(policed, 80)()
    leader, other = one_and_other(controllers)
    with changes(policed):
        written = published(leader, "done")
        until("under load", lambda: published(leader, "done") > written + 10, within=20)
        leader.kill()
        killed, before = time.monotonic(), published(other, "done")
        until("the other writes", lambda: published(other, "done") > before, within=FOLLOWS_SECONDS)
        assert time.monotonic() - killed < FOLLOWS_SECONDS
    opened(policed, 81)()


HOLE = """table ip hole {
  chain out {
    type filter hook output priority 0
    ip daddr %s drop
  }
}
"""


@contextmanager
def black_hole(cluster: LocalCluster, node: str) -> Iterator[None]:
    """The API server is where it was, and no packet to it comes back: connections stay open and say nothing."""
    inside = netns.argv(cluster.topology.nodes[node].namespace)
    rules = HOLE % ADDRESS
    subprocess.run([*inside, "nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "nft", "delete", "table", "ip", "hole"], check=True)


def test_who_hears_nothing_any_more_stops_writing_and_comes_back(
    controllers: list[Component], policed: Scene, local_cluster: LocalCluster
) -> None:
    opened(policed, 80)()
    leader, other = one_and_other(controllers)
    assert leader.node
    with black_hole(local_cluster, leader.node):
        until("it leads no more", lambda: metric(leader, "nodewall_controller_leads") == 0, within=FOLLOWS_SECONDS)
        until("the other leads", lambda: leading([other]), within=FOLLOWS_SECONDS)
        assert leader.running()
        assert not leader.is_ready()
        done = published(leader, "done")
        policed.apply(ingress("x", "p"))
    until("ready again", leader.is_ready, within=60)
    assert leading(controllers) == [other]
    opened(policed, 81)()
    assert published(leader, "done") == done


def test_who_crashes_and_is_back_before_anybody_followed_goes_on_leading(
    controllers: list[Component], policed: Scene
) -> None:
    leader, other = one_and_other(controllers)
    leader.kill()
    leader.start()
    until("it leads again", lambda: leading([leader]), within=8)
    assert leading([other]) == []
    opened(policed, 80)()


def _lands_late(cluster: LocalCluster) -> None:
    """The write that was under way when its sender fell asleep: an older rule set, repaired at once."""
    target = ("nodewall.io/v1alpha1", "NodeRuleSet", "node-1")
    before = cluster.api.get(*target)["spec"]
    cluster.api.patch(reference("NodeRuleSet", "node-1", api_version=target[0]), {"spec": {"classes": []}})
    until("repaired", lambda: cluster.api.get(*target)["spec"] == before, within=1)


def test_who_slept_too_long_wakes_up_as_the_other(
    controllers: list[Component], policed: Scene, local_cluster: LocalCluster
) -> None:
    opened(policed, 80)()
    leader, other = one_and_other(controllers)
    before = published(leader, "done")
    send(leader, signal.SIGSTOP)
    try:
        until("the other leads", lambda: leading([other]), within=FOLLOWS_SECONDS)
        opened(policed, 81)()
        _lands_late(local_cluster)
        settled = generations(local_cluster)
    finally:
        send(leader, signal.SIGCONT)
    until("it knows", lambda: leader.running() and metric(leader, "nodewall_controller_leads") == 0, within=5)
    assert leader.is_ready()
    assert published(leader, "done") == before
    assert generations(local_cluster) == settled
    opened(policed, 80)()
    assert published(leader, "done") == before


def test_who_is_stopped_gives_the_lease_back(controllers: list[Component], policed: Scene) -> None:
    leader, other = one_and_other(controllers)
    assert leader.stop() == 0
    until("the other leads", lambda: leading([other]), within=4)
    opened(policed, 80)()
