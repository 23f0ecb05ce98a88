"""The verbs of the harness: `python -m e2e cluster | cluster-down | reach | demo`."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e import kubelets
from e2e.binaries import BinaryMissingError
from e2e.command import CommandError
from e2e.components import MANIFESTS, ComponentError, Installation
from e2e.controlplane import ControlPlane, ControlPlaneError
from e2e.instance import Instance, InstanceInUseError, sweep_abandoned
from e2e.kubelets import declared_ports
from e2e.local import LocalCluster
from e2e.manifests import ManifestError, has_manifests
from e2e.probe import Endpoint, Port
from e2e.processes import Process
from e2e.table import LEGEND, Table, letter, render
from e2e.topology import DATAPATHS

SAMPLES = Path(__file__).parent / "samples.yaml"

HOW_TO = """
The cluster is up: two nodes that {datapath} ({nodes}), a few pods, and {engine}.

  export KUBECONFIG={kubeconfig}
  alias kubectl={kubectl}

  kubectl get nodes,pods -A -o wide
  kubectl get noderulesets
  {session}{python} -m e2e reach            who reaches whom, measured
  kubectl apply -f your-policy.yaml
  kubectl run web --image=none --port=80 --labels=app=web      a pod more (images are not run)
  ip netns exec {node} nft list table inet nodewall
  ip netns exec {pod} bash         inside a pod
  kubectl logs -n nodewall-system nodewall-agent-{first}      what an agent says; the files are in
  ls {logs}

It stays until `{session}make cluster-down`.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    arguments = _parser().parse_args(argv)
    if os.geteuid() != 0:
        print("network namespaces need root: run this as root", file=sys.stderr)
        return 2
    try:
        code: int = arguments.verb(arguments)
    except (BinaryMissingError, InstanceInUseError, ControlPlaneError, ComponentError, CommandError) as error:
        print(error, file=sys.stderr)
        return 1
    except ManifestError as error:
        print(f"{MANIFESTS}: {error}", file=sys.stderr)
        return 1
    return code


def cluster(arguments: argparse.Namespace) -> int:
    """Bring up a cluster and leave it running."""
    instance = Instance.from_environment()
    instance.claim(lasting=True)
    _say("starting etcd and kube-apiserver")
    control_plane = ControlPlane.start(instance, with_controllers=True, say=_say)
    _say("making two nodes")
    local = LocalCluster.start(control_plane, arguments.datapath)
    _start_kubelets(instance)
    control_plane.kubectl("apply", "-f", str(SAMPLES))
    selector = ("wait", "--for=condition=Ready", "pods", "--all", "--timeout=30s")
    for namespace in ("shop", "clients"):
        control_plane.kubectl(*selector, f"--namespace={namespace}")
    has_engine = has_manifests(MANIFESTS)
    try:
        if has_engine:
            _say("installing nodewall")
            Installation.install(local).start()
    finally:
        _explain(local, has_engine)
    return 0


def cluster_down(arguments: argparse.Namespace) -> int:
    """Remove the cluster of `cluster`, and what killed sessions left."""
    instance = Instance.from_environment()
    print(f"removing {instance.state}" if instance.state.exists() else f"{instance.state}: nothing there")
    instance.remove()
    for id_ in sweep_abandoned():
        print(f"removed what the killed session {id_} left")
    return 0


def reach(arguments: argparse.Namespace) -> int:
    """Measure who reaches whom, on every port that some pod declares."""
    try:
        control_plane = ControlPlane.attach(Instance.from_environment())
    except FileNotFoundError:
        instance = Instance.from_environment()
        print(f"{instance.state}: no cluster is up; `make cluster` makes one", file=sys.stderr)
        return 1
    local = LocalCluster.attach(control_plane)
    tables = _tables(local, arguments.family)
    observed = local.prober.measure([probe for table in tables for probe in table.probes()], serve=False)
    for table in tables:
        print(render(table, lambda probe: letter(observed[probe].verdict)), end="\n\n")
    print(LEGEND.partition("  a!b")[0])
    local.prober.close()
    local.api.close()
    return 0


def run_kubelets(arguments: argparse.Namespace) -> int:
    """What `cluster` leaves running for the pods."""
    kubelets.main(Instance.from_environment())
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Show a policy change what packets do."""
    code: int = importlib.import_module("e2e.demo").main()
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e", description="a cluster of network namespaces")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, function in (("cluster", cluster), ("cluster-down", cluster_down), ("reach", reach), ("demo", demo)):
        verb = verbs.add_parser(name, help=function.__doc__)
        verb.set_defaults(verb=function)
        if function is cluster:
            verb.add_argument("--datapath", choices=list(DATAPATHS), default="routed", help="how nodes connect pods")
        if function is reach:
            verb.add_argument(
                "--family", type=int, choices=(4, 6), nargs="+", default=[4, 6], help="IPv4, IPv6; both unless given"
            )
    verbs.add_parser("kubelets").set_defaults(verb=run_kubelets)
    return parser


def _start_kubelets(instance: Instance) -> None:
    argv = [sys.executable, "-m", "e2e", "kubelets"]
    env = os.environ | {"NODEWALL_E2E_ID": instance.id, "PYTHONPATH": str(MANIFESTS.parent)}
    process = Process.start("kubelets", argv, instance.log("kubelets"), env)
    instance.add_process(process.identity)


def _explain(local: LocalCluster, has_engine: bool) -> None:
    instance = local.topology.instance
    words = {
        "datapath": {"routed": "route", "bridged": "bridge"}[local.datapath],
        "nodes": ", ".join(local.nodes),
        "engine": "nodewall" if has_engine else "no engine: there are no manifests yet",
        "kubeconfig": local.control_plane.kubeconfig,
        "kubectl": local.control_plane.programs["kubectl"],
        "session": f"NODEWALL_E2E_ID={instance.id} " if instance.id else "",
        "python": os.path.relpath(sys.executable),
        "first": local.nodes[0],
        "node": local.topology.nodes[local.nodes[0]].namespace,
        "pod": instance.name("p-shop.web"),
        "logs": instance.state / "logs",
    }
    print(HOW_TO.format(**words))


def _tables(local: LocalCluster, families: Sequence[int]) -> list[Table]:
    """A table per port, from every pod to those that declare it."""
    targets: dict[Port, list[Endpoint]] = {}
    for obj in local.api.list("v1", "Pod"):
        known = local.wires.get(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}")
        if known is None:
            continue
        for port in declared_ports(obj):
            targets.setdefault(port, []).append(known[0].endpoint)
    sources = [pod.endpoint for pod, _ in local.wires.values()]
    return [Table.of(sources, [port], targets=targets[port], families=families) for port in sorted(targets)]


def _say(text: str) -> None:
    print(f"- {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
