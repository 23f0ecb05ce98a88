"""The controller and the node agents as processes in their nodes' network namespaces, run as their manifests say.

Arguments, environment, user, capabilities, volumes and a token bound to the pod all come from what is in the manifests,
so their RBAC is what the tests test. Deployments and DaemonSets are turned into pods here, because nothing else in the
harness would.
"""

import http.client
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from e2e import netns, rootfs
from e2e.api import Object, is_established
from e2e.cluster import reference
from e2e.controlplane import ADDRESS, PORT
from e2e.local import LocalCluster, pod_status
from e2e.manifests import Container, HttpProbe, Workload, container_of, read_workloads
from e2e.processes import Process
from e2e.rootfs import Bind, Privileges
from e2e.tokens import bound_token
from e2e.waiting import DeadlineError, until

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = ROOT / "manifests"

# What a kubelet and its container runtime add to what the image sets.
_ENVIRONMENT = {
    "HOME": "/",
    "KUBERNETES_SERVICE_HOST": ADDRESS,
    "KUBERNETES_SERVICE_PORT": str(PORT),
    "KUBERNETES_SERVICE_PORT_HTTPS": str(PORT),
}


class ComponentError(Exception):
    """A component did not become ready; the text carries the end of its log."""


class Runtime(Protocol):
    """What starts the process of a container; the caller has entered the node's network namespace."""

    @property
    def env(self) -> Mapping[str, str]:
        """What the image sets."""

    def argv(self, container: Container, binds: Sequence[Bind], directory: Path) -> list[str]:
        """The command line that becomes the container; `directory` is its own, for what starting it needs."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """This checkout and its virtual environment in place of an image, on the machine's file system."""

    env: Mapping[str, str] = field(
        default_factory=lambda: {
            "PATH": f"{Path(sys.prefix) / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
    )

    def argv(self, container: Container, binds: Sequence[Bind], directory: Path) -> list[str]:
        """A script that arranges the file system and the privileges in a mount namespace of its own."""
        privileges = Privileges(container.uid, container.gid, container.capabilities, container.may_gain_privileges)
        program = (ROOT, Path(sys.prefix), Path(sys.base_prefix))
        scratch = directory / "layers"
        text = rootfs.script(binds, program, privileges, read_only_root=container.read_only_root, scratch=scratch)
        script = directory / "start.sh"
        script.write_text(text)
        return ["unshare", "--mount", "--propagation", "slave", "--", "sh", str(script), *container.argv]


CHECKOUT = Checkout()


@dataclass(slots=True)
class Component:
    """One pod of a workload on one node; its process can be ended and started again any number of times."""

    cluster: LocalCluster
    workload: Workload
    node: str
    pod: Object
    runtime: Runtime = CHECKOUT
    process: Process | None = None

    @property
    def name(self) -> str:
        """The name of its pod."""
        return str(self.pod["metadata"]["name"])

    @property
    def log(self) -> Path:
        """Its output, of all its lives."""
        return self.cluster.topology.instance.log(self.name)

    @property
    def container(self) -> Container:
        """How the manifest says to run it."""
        return container_of(self.pod, {**self.runtime.env, **_ENVIRONMENT, "HOSTNAME": self.node})

    @property
    def directory(self) -> Path:
        """Where its token, its volumes and its start script are kept."""
        return self.cluster.topology.instance.directory("components", self.name)

    def start(self) -> None:
        """Start its process with a fresh token."""
        self.renew_token()
        self.resume()

    def resume(self) -> None:
        """Start its process with the token that it had, which needs no API server."""
        if self.running():
            raise ComponentError(f"{self.name} runs already")
        container = self.container
        inside = self.runtime.argv(container, self._binds(container), self.directory)
        argv = [*netns.argv(self._namespace), *inside]
        self.process = Process.start(self.name, argv, self.log, container.env)
        self.cluster.topology.instance.add_process(self.process.identity)

    def running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.running()

    def stop(self) -> int:
        """Ask it to end, as a kubelet does, and return its exit code."""
        return self._ended(self._process().end())

    def wait(self, within: float = 30.0) -> int:
        """Wait until it ends by itself and return its exit code."""
        return self._ended(self._process().handle.wait(within))

    def kill(self) -> int:
        """Kill it (SIGKILL) and return its exit code."""
        return self._ended(self._process().kill())

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def renew_token(self) -> None:
        """Put a fresh token where it reads its token from; a kubelet does this before the old one expires."""
        api = self.cluster.api
        directory = self.cluster.topology.instance.directory("components", self.name, "serviceaccount")
        shutil.copy(self.cluster.control_plane.pki.ca.certificate, directory / "ca.crt")
        (directory / "namespace").write_text(self.workload.namespace)
        fresh = directory / "token.new"
        fresh.write_text(bound_token(api, self.pod))
        fresh.replace(directory / "token")

    def is_ready(self) -> bool:
        """What its readiness probe says; without a probe, whether it runs."""
        if not self.running():
            raise ComponentError(f"{self.name} ended with code {self._process().handle.returncode}\n{self.tail()}")
        probe = self.container.readiness
        return probe is None or self.http_status(probe) == http.client.OK

    def await_ready(self, within: float = 20.0) -> None:
        """Wait until it says that it is ready; raises ComponentError with the end of its log."""
        try:
            until(f"{self.name} ready", self.is_ready, within=within)
        except DeadlineError as error:
            raise ComponentError(f"{error}\n{self.tail()}") from error
        report(self.cluster, self.pod, self.node, ready=True)

    def http_status(self, probe: HttpProbe) -> int | None:
        """The status that an HTTP request on its node gets; None when nobody answers."""
        try:
            return self.http(probe.port, probe.path)[0]
        except OSError:
            return None

    def http(self, port: int, path: str) -> tuple[int, str]:
        """Status and body of an HTTP request made on its node, such as for /metrics, to where it is probed too."""
        probe = self.container.readiness
        address = (probe and probe.host) or self.cluster.topology.nodes[self.node].plan.addresses[0]
        connection = http.client.HTTPConnection(address, port)
        connection.sock = netns.connect(self._namespace, (address, port))
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @property
    def _namespace(self) -> str:
        return self.cluster.topology.nodes[self.node].namespace

    def _process(self) -> Process:
        if self.process is None:
            raise ComponentError(f"{self.name} was never started")
        return self.process

    def _ended(self, code: int) -> int:
        self.cluster.topology.instance.forget_process(self._process().identity)
        return code

    def _binds(self, container: Container) -> list[Bind]:
        account = self.cluster.topology.instance.directory("components", self.name, "serviceaccount")
        binds = [Bind(account, rootfs.SERVICE_ACCOUNT, read_only=True)]
        for mount in container.mounts:
            source = self._volume(mount.volume, mount.host_path)
            binds.append(Bind(source, Path(mount.path), mount.read_only))
        return binds

    def _volume(self, volume: str, host_path: str | None) -> Path:
        """The directory behind a volume: of the node for a hostPath, of this pod for an emptyDir."""
        if host_path is None:
            directory = self.cluster.topology.instance.directory("components", self.name, "volumes", volume)
            directory.chmod(0o777)
            return directory
        directory = self.cluster.disk_of(self.node) / host_path.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        return directory


@dataclass(slots=True)
class Installation:
    """What `kubectl apply -f manifests/` leads to: the components by name of their pod, none started yet."""

    cluster: LocalCluster
    runtime: Runtime = CHECKOUT
    components: dict[str, Component] = field(default_factory=dict)

    @classmethod
    def install(cls, cluster: LocalCluster, manifests: Path = MANIFESTS, runtime: Runtime = CHECKOUT) -> "Installation":
        """Apply the manifests, wait for what they define to be served, and make the pods of their workloads."""
        cluster.kubectl("apply", "-f", str(manifests))
        await_definitions(cluster)
        installation = cls(cluster, runtime)
        for workload in read_workloads(manifests):
            for node in _nodes_for(workload, cluster):
                installation.add(workload, node)
        return installation

    def add(self, workload: Workload, node: str) -> Component:
        """Make the pod of a workload on a node."""
        component = Component(self.cluster, workload, node, _make_pod(self.cluster, workload, node), self.runtime)
        self.components[component.name] = component
        return component

    def of(self, workload: str) -> list[Component]:
        """The components of the workload whose name ends so (`agent`: one per node)."""
        return [each for each in self.components.values() if each.workload.name.endswith(workload)]

    def on(self, workload: str, node: str) -> Component:
        """The component of a workload on one node."""
        return next(each for each in self.of(workload) if each.node == node)

    def start(self) -> None:
        """Start all and wait until they are ready."""
        for component in self.components.values():
            component.start()
        for component in self.components.values():
            component.await_ready()

    def stop(self) -> None:
        """Stop those that run."""
        for component in self.components.values():
            if component.running():
                component.stop()

    def remove(self) -> None:
        """Stop all and remove their pods and what they wrote for each other; what was applied stays."""
        self.stop()
        for component in self.components.values():
            self.cluster.api.delete(component.pod, grace=0)
        self.components.clear()
        for rule_set in _rule_sets(self.cluster):
            self.cluster.api.delete(rule_set)


def await_definitions(cluster: LocalCluster) -> None:
    """Wait until every CustomResourceDefinition is served."""
    kind = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    until("definitions served", lambda: all(map(is_established, cluster.api.list(*kind))), within=20)


def _rule_sets(cluster: LocalCluster) -> list[Object]:
    try:
        return cluster.api.list("nodewall.io/v1alpha1", "NodeRuleSet")
    except LookupError:
        return []  # not our manifests


def _nodes_for(workload: Workload, cluster: LocalCluster) -> list[str]:
    """A DaemonSet is on every node; the replicas of our Deployment are on one node each, as their affinity demands."""
    return list(cluster.nodes) if workload.kind == "DaemonSet" else list(cluster.nodes)[: workload.replicas]


def _make_pod(cluster: LocalCluster, workload: Workload, node: str) -> Object:
    template = workload.template
    name = f"{workload.name}-{node}"
    metadata = {**template.get("metadata", {}), "name": name, "namespace": workload.namespace}
    spec = {**template["spec"], "nodeName": node}
    cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return report(cluster, reference("Pod", name, workload.namespace), node, ready=False)


def report(cluster: LocalCluster, pod: Object, node: str, *, ready: bool) -> Object:
    """Tell the API server how a pod on the host network of a node is, as its kubelet would."""
    there = cluster.topology.nodes[node]
    status = pod_status(there.plan.addresses, there, ready=ready)
    return cluster.api.patch(pod, {"status": status}, kind="strategic", subresource="status")
