"""docs/install.md, line by line: installed, enforcing, removed without a trace, installed again.

Real controllers make pods of the manifests' workloads and wait for them to end; the pods are containers of the image.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e import netns
from e2e.cluster import Scene
from e2e.command import CommandError, run
from e2e.components import ROOT
from e2e.controlplane import ControlPlane
from e2e.hostpods import HostPods
from e2e.instance import Instance
from e2e.local import LocalCluster
from e2e.oci import ContainerRuntime
from e2e.policies import INGRESS, deny, ingress, port
from e2e.probe import tcp
from e2e.table import Table, await_table
from e2e.waiting import until
from e2e.watching import watched

DOCUMENT = (ROOT / "docs/install.md").read_text()
PORTS = (tcp(80),)
XNP = """
apiVersion: nodewall.io/v1alpha1
kind: ExtendedNetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {priority: 1, podSelector: {}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}
"""


def commands(section: str) -> list[list[str]]:
    """The lines of the code block that is marked so."""
    (block,) = re.findall(rf"<!-- test: {section} -->\n```\n(.*?)```", DOCUMENT, re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


@pytest.fixture(scope="module")
def own(containers: ContainerRuntime) -> Iterator[LocalCluster]:
    """A cluster of its own, whose Deployments and DaemonSets become pods."""
    instance = Instance.named(f"u{os.getpid()}"[:10])
    instance.claim()
    try:
        control_plane = ControlPlane.start(instance, with_workloads=True)
        cluster = LocalCluster.start(control_plane, "routed")
        with HostPods(cluster, containers).kept():
            yield cluster
        control_plane.end()
    finally:
        instance.remove()


@pytest.fixture
def shop(own: LocalCluster) -> Iterator[Scene]:
    """Two pods that reach each other as long as nobody says no."""
    with Scene(own) as scene:
        scene.namespace("shop")
        scene.pod("shop/one", node=0)
        scene.pod("shop/two", node=1)
        yield scene


def do(cluster: LocalCluster, lines: list[list[str]]) -> str:
    said = ""
    for line in lines:
        assert line[0] == "kubectl"
        said = cluster.kubectl(*(_here(word) for word in line[1:]))
    return said


def _here(word: str) -> str:
    return str(ROOT / word) if word in ("manifests/", "uninstall/") else word


def everything(scene: Scene) -> Table:
    return Table.of(scene.endpoints(), PORTS)


def tables(cluster: LocalCluster) -> dict[str, str]:
    """Node -> what nftables has there."""
    nodes = cluster.topology.nodes
    return {name: run([*netns.argv(node.namespace), "nft", "list", "tables"]).strip() for name, node in nodes.items()}


def saved(cluster: LocalCluster) -> list[Path]:
    """What is on the disks of the nodes."""
    return [path for node in cluster.nodes for path in cluster.disk_of(node).rglob("*") if path.is_file()]


def ours(cluster: LocalCluster) -> list[str]:
    """The names of all objects, of every kind that can be listed, with our name in it."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    listed = [kind for kind in kinds if not kind.startswith("events")]
    names = cluster.kubectl("get", ",".join(listed), "-A", "-o", "name", "--ignore-not-found").splitlines()
    return sorted({name for name in names if "nodewall" in name})


def finalizers(cluster: LocalCluster) -> set[str]:
    """Of every object that is ours or that a policy of ours is about; the API server's own on definitions aside."""
    kinds = "xnp,cxnp,nrs,networkpolicies,pods,leases,noderulesets,daemonsets,deployments"
    path = "{range .items[*]}{.metadata.finalizers[*]}{end}"
    return set(cluster.kubectl("get", kinds, "-A", "-o", f"jsonpath={path}").split())


def test_what_cleans_a_node_may_do_what_its_agent_may() -> None:
    agent, cleanup = (
        yaml.safe_load((ROOT / file).read_text())["spec"]["template"]["spec"]
        for file in ("manifests/51-agent.yaml", "uninstall/20-cleanup.yaml")
    )
    for key in ("tolerations", "nodeSelector", "hostNetwork", "volumes", "securityContext"):
        assert cleanup[key] == agent[key], key
    for key in ("image", "securityContext", "volumeMounts"):
        assert cleanup["initContainers"][0][key] == agent["containers"][0][key], key


def test_installed_removed_and_installed_again(own: LocalCluster, shop: Scene) -> None:
    before = ours(own)
    assert before == []
    listed = do(own, commands("install"))
    assert [line.split()[0] for line in listed.splitlines()[1:]] == list(own.nodes)
    own.kubectl("apply", "-f", "-", given=XNP)
    await_table(own.prober, everything(shop).closed())
    assert set(tables(own).values()) == {"table inet nodewall"}
    assert saved(own)
    assert finalizers(own) == set()

    remove = commands("remove")
    for stopped_after in range(1, len(remove)):
        do(own, remove[:stopped_after])  # and then somebody closed the lid
    do(own, remove)
    assert ours(own) == before
    assert set(tables(own).values()) == {""}
    assert saved(own) == []
    await_table(own.prober, everything(shop))
    do(own, remove)
    assert ours(own) == before

    do(own, commands("install"))
    shop.apply(deny("shop", INGRESS))
    await_table(own.prober, everything(shop).closed())


def older() -> str:
    """The workloads of a version that had another setting each, and definitions without the newest kind."""
    found = []
    for file in sorted((ROOT / "manifests").glob("*.yaml")):
        found += [each for each in yaml.safe_load_all(file.read_text()) if "peergroups" not in each["metadata"]["name"]]
    for each in found:
        if each["kind"] in ("DaemonSet", "Deployment"):
            container = each["spec"]["template"]["spec"]["containers"][0]
            container["env"] = [*container["env"], {"name": "NODEWALL_LOG_LEVEL", "value": "debug"}]
    return yaml.safe_dump_all(found)


def test_an_upgrade_opens_nothing_and_closes_nothing(own: LocalCluster, shop: Scene) -> None:
    """New connections are judged right all the while, by nodes on which everything of ours is replaced."""
    own.kubectl("apply", "-f", "-", given=older())
    do(own, commands("upgrade")[1:])
    shop.apply(ingress("shop", "one", {"from": [{"podSelector": {}}], "ports": [*port(80), *port(90)]}))
    await_table(own.prober, Table.of(shop.endpoints(), (tcp(80), tcp(81))).closed().opened(port=tcp(80)))
    table = Table.of(shop.endpoints(), (tcp(90), tcp(91))).closed().opened(port=tcp(90))
    before = {each["metadata"]["uid"] for each in own.api.list("v1", "Pod", "nodewall-system")}
    assert len(before) == 4
    with watched(own, table) as tally:
        do(own, commands("upgrade"))
    assert tally.wrong == {}
    assert tally.rounds >= 5
    after = {each["metadata"]["uid"] for each in own.api.list("v1", "Pod", "nodewall-system")}
    assert len(after) == 4
    assert not before & after
    shop.apply(deny("shop", INGRESS))
    shop.delete(ingress("shop", "one"))
    await_table(own.prober, Table.of(shop.endpoints(), (tcp(80), tcp(81))).closed())


def test_a_controller_without_a_node_of_its_own_stays_pending(own: LocalCluster) -> None:
    """As the second one does on a cluster with one node, until the document's command says that it is meant so."""
    do(own, commands("install"))
    target = ("-n", "nodewall-system", "deployment/nodewall-controller")
    own.kubectl("scale", *target, f"--replicas={len(own.nodes) + 1}")
    until("one is pending", lambda: places(own) == ["", *own.nodes], within=20)
    with pytest.raises(CommandError, match="timed out waiting"):
        own.kubectl("rollout", "status", *target, "--timeout=4s")
    assert places(own) == ["", *own.nodes]
    (command,) = re.findall(
        r"`kubectl (scale -n nodewall-system\s+deployment/nodewall-controller --replicas=1)`", DOCUMENT
    )
    own.kubectl(*command.split())
    until("one is left", lambda: len(places(own)) == 1, within=20)
    own.kubectl("rollout", "status", *target, "--timeout=60s")


def places(cluster: LocalCluster) -> list[str]:
    """The nodes of the controllers; "" for one that is on none."""
    ours = {"labelSelector": "app.kubernetes.io/component=controller"}
    pods = cluster.api.list("v1", "Pod", "nodewall-system", **ours)
    return sorted(each["spec"].get("nodeName", "") for each in pods)


def test_the_agents_are_gone_before_their_tables_are_removed(own: LocalCluster, shop: Scene) -> None:
    """An agent that still ran would have its table back within a second."""
    do(own, commands("install"))
    do(own, commands("remove")[:1])
    pods = own.api.list("v1", "Pod", "nodewall-system")
    assert pods == []
    assert set(tables(own).values()) == {"table inet nodewall"}, "removing the agents opens nothing"
