"""The main job, for real: two nodes, four pods, a NetworkPolicy, and what packets do before and after it.

Everything shown is measured with the sockets that the tests measure with, or printed by kubectl and nft.
"""

import os
import time
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table as Grid
from rich.text import Text

from e2e import netns
from e2e.cluster import Scene
from e2e.command import run
from e2e.components import Installation
from e2e.controlplane import ControlPlane
from e2e.instance import Instance
from e2e.local import LocalCluster
from e2e.probe import Probe, Verdict, tcp
from e2e.table import Comparison, Table, await_table

POLICY = Path(__file__).parent / "demo-policy.yaml"
PODS = {
    "shop/web": (0, {"app": "web"}),
    "shop/db": (1, {"app": "db"}),
    "clients/alice": (0, {"user": "alice"}),
    "clients/bob": (1, {"user": "bob"}),
}
_STYLES = {Verdict.OPEN: ("open", "green"), Verdict.TIMEOUT: ("closed", "bold red")}


def main() -> int:
    """Show it, and leave nothing behind. Exit code 0 only when packets did what the policy says."""
    console = Console(highlight=False, width=None if os.isatty(1) else 120)
    instance = Instance.from_environment("demo")
    instance.claim()
    try:
        _show(console, instance)
    finally:
        console.print("\n[bold]Cleaning up[/]: namespaces, processes and files of the demo go")
        instance.remove()
    return 0


def _show(console: Console, instance: Instance) -> None:
    _step(console, "Starting etcd and a real kube-apiserver")
    control_plane = ControlPlane.start(instance, say=lambda text: console.print(f"  {text}"))
    _step(console, "Making two nodes and four pods: network namespaces with IPv4 and IPv6, joined by routes")
    cluster = LocalCluster.start(control_plane, "routed")
    _step(console, "kubectl apply -f manifests/, then the controller and an agent on each node")
    installation = Installation.install(cluster)
    try:
        installation.start()
        with Scene(cluster) as scene:
            _policy(console, cluster, scene)
    finally:
        installation.stop()
        cluster.end()


def _policy(console: Console, cluster: LocalCluster, scene: Scene) -> None:
    for namespace in ("shop", "clients"):
        scene.namespace(namespace, team=namespace)
    for key, (index, labels) in PODS.items():
        scene.pod(key, node=index, ports=(), **labels)
    before = Table.of(scene.endpoints(), [tcp(80)])
    _step(console, "Before: who reaches whom on TCP 80")
    _print(console, await_table(cluster.prober, before))

    _step(console, "The policy")
    console.print(Syntax(POLICY.read_text(), "yaml", background_color="default"))
    _step(console, "kubectl apply -f demo-policy.yaml")
    console.print(cluster.kubectl("apply", "-f", str(POLICY)).rstrip(), markup=False)
    applied = time.monotonic()
    result = await_table(cluster.prober, _after(before), stays=0)
    took = time.monotonic() - applied
    _step(console, "After: the same measurement")
    _print(console, result)
    console.print(
        f"  as the policy says, measured {took:.1f} s after kubectl returned (closed cells cost their timeout)"
    )

    _step(console, "kubectl get noderulesets")
    console.print(cluster.kubectl("get", "noderulesets").rstrip(), markup=False)
    node = cluster.nodes[1]
    _step(console, f"The nft table of {node}, where the database runs")
    listing = run([*netns.argv(cluster.topology.nodes[node].namespace), "nft", "list", "table", "inet", "nodewall"])
    console.print(listing.rstrip(), markup=False, soft_wrap=True)


def _after(before: Table) -> Table:
    """What the policy means, stated by hand."""
    return (
        before.closed(target="shop/web")
        .opened(source="clients/alice", target="shop/web")
        .closed(target="shop/db")
        .opened(source="shop/web", target="shop/db")
        .closed(source="shop/db")
    )


def _step(console: Console, text: str) -> None:
    console.print(Text(f"\n# {text}", style="bold cyan"))


def _print(console: Console, result: Comparison) -> None:
    """Sources down, targets across; one word where both families agree."""
    grid = Grid("from \\ to", *(target.name for target in result.table.targets))
    for source in result.table.sources:
        row = [_cell(result, source.name, target.name) for target in result.table.targets]
        grid.add_row(source.name, *row)
    console.print(grid)


def _cell(result: Comparison, source: str, target: str) -> Text:
    verdicts = {p.family: o.verdict for p, o in result.observed.items() if _is(p, source, target)}
    if not verdicts:
        return Text("-", style="dim")
    if len(set(verdicts.values())) == 1:
        return Text(*_STYLES.get(verdicts[4], (str(verdicts[4]), "yellow")))
    return Text(", ".join(f"IPv{family} {verdict}" for family, verdict in verdicts.items()), style="yellow")


def _is(probe: Probe, source: str, target: str) -> bool:
    return (probe.source.name, probe.target.name) == (source, target)
