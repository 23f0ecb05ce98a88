"""etcd and a real kube-apiserver with RBAC in a network namespace of their own, and the ways in.

Nodes reach it over a management network that carries nothing else (a bridge inside the control plane's namespace),
so that a node can lose the API server while its pods' traffic goes on. From the root namespace it is reached through a
forwarder on the loopback: no link, route or rule ever appears there.
"""

import base64
import http.client
import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e import binaries, certificates, forwarder, netns, podlogs
from e2e.api import Api, ApiError, Object
from e2e.command import CommandError, run
from e2e.instance import Instance
from e2e.processes import Process
from e2e.python import isolated
from e2e.waiting import DeadlineError, until

ADDRESS = "10.199.0.1"
PORT = 6443
MANAGEMENT_BRIDGE = "mgmt0"
MANAGEMENT_PREFIX = 16
SERVICE_RANGES = ("10.96.0.0/16", "fd00:10:96::/112")
_SERVICE_ADDRESS = "10.96.0.1"
_STARTS = 3
_ETCD = ("127.0.0.1", 2379)

# Those of its loops that need no kubelet and no cloud; the node lifecycle loop would call our nodes unreachable.
_CONTROLLERS = (
    "namespace-controller",
    "serviceaccount-controller",
    "garbage-collector-controller",
    "root-ca-certificate-publisher-controller",
)
_WORKLOAD_CONTROLLERS = ("daemonset-controller", "deployment-controller", "replicaset-controller")


class ControlPlaneError(Exception):
    """The control plane did not come up; the text carries the end of the log that matters."""


@dataclass(slots=True)
class ControlPlane:
    """A running control plane; `with_controllers` says that a kube-controller-manager runs too."""

    instance: Instance
    programs: dict[str, Path]
    pki: certificates.Certificates
    port: int
    with_controllers: bool
    processes: dict[str, Process] = field(default_factory=dict)
    api: Api = field(init=False)

    def __post_init__(self) -> None:
        self.api = self.api_as(None)

    @classmethod
    def start(
        cls,
        instance: Instance,
        *,
        with_controllers: bool = False,
        with_workloads: bool = False,
        say: binaries.Say = print,
    ) -> "ControlPlane":
        """Bring up the control plane of an instance that has been claimed; it is ready when this returns.

        With workloads, Deployments and DaemonSets are made pods of by their own controllers, for `e2e.hostpods` to run.
        Raises BinaryMissingError and ControlPlaneError.
        """
        with_controllers |= with_workloads
        wanted = (binaries.APISERVER, binaries.KUBECTL, *([binaries.CONTROLLER_MANAGER] if with_controllers else []))
        programs = binaries.provide(wanted, say) | {"etcd": binaries.etcd()}
        _make_namespace(instance)
        pki = certificates.make(instance.directory("pki"), ("127.0.0.1", "::1", ADDRESS, _SERVICE_ADDRESS))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            control_plane = cls(instance, programs, pki, listener.getsockname()[1], with_controllers)
            control_plane._start_forwarder(listener)
        _write_kubeconfig(control_plane.kubeconfig, pki, f"https://127.0.0.1:{control_plane.port}")
        control_plane._start("etcd", _etcd_arguments(programs["etcd"], instance))
        control_plane._start_podlogs()
        control_plane.start_apiserver()
        if with_controllers:
            control_plane._start_controllers(_CONTROLLERS + (_WORKLOAD_CONTROLLERS if with_workloads else ()))
        _await_default_namespace(control_plane.api)
        control_plane._write_facts()
        return control_plane

    @classmethod
    def attach(cls, instance: Instance) -> "ControlPlane":
        """The control plane that another process brought up; it can be used from here, not ended.

        Raises FileNotFoundError when none is up.
        """
        facts = json.loads((instance.state / "controlplane.json").read_text())
        programs = {name: Path(path) for name, path in facts["programs"].items()}
        pki = certificates.made(instance.state / "pki")
        return cls(instance, programs, pki, facts["port"], facts["with_controllers"])

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return self.instance.name("cp")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, good from the root namespace."""
        return self.instance.state / "kubeconfig"

    def api_as(self, token: str | None) -> Api:
        """A client with the identity of a bearer token; the administrator without one."""
        context = ssl.create_default_context(cafile=str(self.pki.ca.certificate))
        if token is None:
            context.load_cert_chain(self.pki.admin.certificate, self.pki.admin.key)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return Api(lambda: http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context), headers)

    def kubectl(self, *args: str, given: str | None = None) -> str:
        """Run kubectl as the administrator and return what it prints; raises CommandError."""
        env = os.environ | {"KUBECONFIG": str(self.kubeconfig)}
        return run([str(self.programs["kubectl"]), *args], given=given, env=env)

    def start_apiserver(self, *more: str) -> None:
        """Start kube-apiserver (again), with `more` arguments, and wait until it is ready.

        One that gives up while it starts is started anew, as a kubelet would: its start hooks have deadlines of their
        own, which a machine with much else to do can miss. Raises ControlPlaneError after `_STARTS` attempts.
        """
        for left in reversed(range(_STARTS)):
            self._start("kube-apiserver", [*_apiserver_arguments(self.pki, self.instance), *more])
            try:
                self._await_ready()
            except ControlPlaneError:
                if not left:
                    raise
                self._stop("kube-apiserver", kill=True)
            else:
                return

    def kill_apiserver(self) -> None:
        """Kill kube-apiserver as a crash would; etcd keeps what it has."""
        self._stop("kube-apiserver", kill=True)

    def stop_apiserver(self) -> None:
        """Ask kube-apiserver to end, as an upgrade would: it says goodbye to every watch."""
        self._stop("kube-apiserver", kill=False)

    def start_etcd(self) -> None:
        """Start etcd (again) on the data that is there; the API server waits for it by itself."""
        self._start("etcd", _etcd_arguments(self.programs["etcd"], self.instance))

    def kill_etcd(self) -> None:
        """Kill etcd as a crash would; what it has written stays in `etcd_data`."""
        self._stop("etcd", kill=True)

    @contextmanager
    def frozen_apiserver(self) -> Iterator[None]:
        """kube-apiserver stands still meanwhile; its connections stay, as far as others leave them."""
        group = self.processes["kube-apiserver"].identity.pid
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)

    def compact_etcd(self) -> None:
        """Let etcd forget all history, as it does of its own accord after some minutes: what is now stays.

        Two writes come first: whoever was up to date before would go on with the first, which is forgotten as well.
        """
        until("etcd there", lambda: self._is_answered("/health", None), within=20, every=0.1)
        write = {"key": _base64_text("/e2e"), "value": _base64_text("written")}
        *_, last = (self._ask_etcd("/v3/kv/put", write) for _ in range(2))
        self._ask_etcd("/v3/kv/compaction", {"revision": last["header"]["revision"], "physical": True})

    def _is_answered(self, path: str, body: Object | None) -> bool:
        try:
            return bool(self._ask_etcd(path, body))
        except (OSError, http.client.HTTPException):
            return False

    def _ask_etcd(self, path: str, body: Object | None) -> Object:
        """The answer of etcd's JSON gateway; raises ControlPlaneError when it refuses."""
        connection = http.client.HTTPConnection(*_ETCD)
        connection.sock = netns.connect(self.namespace, _ETCD)
        try:
            connection.request("GET" if body is None else "POST", path, json.dumps(body) if body else None)
            response = connection.getresponse()
            answer: Object = json.loads(response.read())
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise ControlPlaneError(f"etcd refuses {path}: {answer}")
        return answer

    @property
    def etcd_data(self) -> Path:
        """The directory that etcd keeps everything in; to be copied or replaced while etcd does not run."""
        return self.instance.directory("etcd")

    @contextmanager
    def running_controllers(self, *names: str) -> Iterator[None]:
        """These loops of kube-controller-manager run meanwhile."""
        self.programs |= binaries.provide((binaries.CONTROLLER_MANAGER,), print)
        self._start_controllers(names)
        try:
            yield
        finally:
            self._stop("kube-controller-manager", kill=True)

    def end(self) -> None:
        """End every process. Killed: what they would tidy up at leisure is removed anyway."""
        self.api.close()
        for name in reversed(list(self.processes)):
            self._stop(name, kill=True)

    def _start(self, name: str, arguments: list[str], env: dict[str, str] | None = None) -> None:
        argv = [*netns.argv(self.namespace), str(self.programs[name]), *arguments]
        process = Process.start(name, argv, self.instance.log(name), {"PATH": os.defpath, "HOME": "/", **(env or {})})
        self.instance.add_process(process.identity)
        self.processes[name] = process

    def _stop(self, name: str, *, kill: bool) -> None:
        process = self.processes.pop(name)
        if kill:
            process.kill()
        else:
            process.end()
        self.instance.forget_process(process.identity)

    def _write_facts(self) -> None:
        programs = {name: str(path) for name, path in self.programs.items()}
        facts = {"port": self.port, "with_controllers": self.with_controllers, "programs": programs}
        (self.instance.state / "controlplane.json").write_text(json.dumps(facts))

    def _start_controllers(self, names: tuple[str, ...]) -> None:
        kubeconfig = self.instance.state / "kubeconfig-inside"
        _write_kubeconfig(kubeconfig, self.pki, f"https://{ADDRESS}:{PORT}")
        self._start("kube-controller-manager", _controller_arguments(self.pki, kubeconfig, names))

    def _start_forwarder(self, listener: socket.socket) -> None:
        argv = [*isolated(forwarder.__file__), str(listener.fileno()), str(netns.path(self.namespace)), ADDRESS]
        log = self.instance.log("forwarder")
        process = Process.start("forwarder", [*argv, str(PORT)], log, {"PATH": os.defpath}, [listener.fileno()])
        self.instance.add_process(process.identity)
        self.processes["forwarder"] = process

    def _start_podlogs(self) -> None:
        pair, authority = self.pki.server, self.pki.ca.certificate
        paths = (pair.certificate, pair.key, authority, self.instance.state)
        arguments = (ADDRESS, str(podlogs.PORT), *map(str, paths))
        argv = [*netns.argv(self.namespace), *isolated(podlogs.__file__, *arguments)]
        process = Process.start("podlogs", argv, self.instance.log("podlogs"), {"PATH": os.defpath})
        self.instance.add_process(process.identity)
        self.processes["podlogs"] = process

    def _await_ready(self) -> None:
        try:
            until("kube-apiserver ready", self._is_ready, within=90, every=0.1)
        except DeadlineError as error:
            raise ControlPlaneError(f"{error}\n{self.processes['kube-apiserver'].tail()}") from error

    def _is_ready(self) -> bool:
        for name, process in self.processes.items():
            if not process.running():
                raise ControlPlaneError(f"{name} ended with code {process.handle.returncode}\n{process.tail()}")
        try:
            return self.api.text("/readyz") == "ok"
        except (OSError, ApiError, http.client.HTTPException):
            return False


def default_service_account(namespace: str) -> Object:
    """The ServiceAccount that pods of a namespace get; its controller makes it where one runs."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}


def _make_namespace(instance: Instance) -> None:
    name = instance.add_namespace("cp")
    netns.batch(
        name,
        [
            f"link add {MANAGEMENT_BRIDGE} type bridge",
            f"address add {ADDRESS}/{MANAGEMENT_PREFIX} dev {MANAGEMENT_BRIDGE}",
            f"link set {MANAGEMENT_BRIDGE} up",
        ],
    )


def _etcd_arguments(etcd: Path, instance: Instance) -> list[str]:
    arguments = [
        f"--data-dir={instance.directory('etcd')}",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
    ]
    # Nothing here outlives the machine, so waiting for the disk buys nothing; releases before 3.5 have no such switch.
    return [*arguments, "--unsafe-no-fsync"] if "--unsafe-no-fsync" in _help(etcd) else arguments


def _help(etcd: Path) -> str:
    try:
        return run([str(etcd), "--help"], timeout=10)
    except CommandError:
        return ""


def _apiserver_arguments(pki: certificates.Certificates, instance: Instance) -> list[str]:
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={ADDRESS}",
        f"--secure-port={PORT}",
        f"--cert-dir={instance.directory('pki')}",
        f"--tls-cert-file={pki.server.certificate}",
        f"--tls-private-key-file={pki.server.key}",
        f"--client-ca-file={pki.ca.certificate}",
        f"--kubelet-certificate-authority={pki.ca.certificate}",
        f"--kubelet-client-certificate={pki.admin.certificate}",
        f"--kubelet-client-key={pki.admin.key}",
        "--kubelet-preferred-address-types=InternalDNS",  # see `e2e.local`: an IP would be one of the node's addresses
        "--authorization-mode=Node,RBAC",
        "--anonymous-auth=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={pki.token_key}",
        f"--service-account-key-file={pki.token_public_key}",
        f"--service-cluster-ip-range={','.join(SERVICE_RANGES)}",
        "--allow-privileged=true",
        "--enable-priority-and-fairness=false",
        "--watch-cache-sizes=",
        "--profiling=false",
        "--v=1",
    ]


def _controller_arguments(pki: certificates.Certificates, kubeconfig: Path, names: tuple[str, ...]) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--controllers={','.join(names)}",
        f"--root-ca-file={pki.ca.certificate}",
        "--use-service-account-credentials=false",
        "--leader-elect=false",
    ]


def _write_kubeconfig(path: Path, pki: certificates.Certificates, server: str) -> None:
    """An administrator's kubeconfig that needs no other file; JSON is YAML too."""
    user = {"client-certificate-data": _base64(pki.admin.certificate), "client-key-data": _base64(pki.admin.key)}
    cluster = {"server": server, "certificate-authority-data": _base64(pki.ca.certificate)}
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "nodewall", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "nodewall", "context": {"cluster": "nodewall", "user": "admin"}}],
        "current-context": "nodewall",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _base64_text(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _await_default_namespace(api: Api) -> None:
    """The API server makes `default` a moment after it is ready; give it the account that pods need."""
    until("namespace default", lambda: api.find("v1", "Namespace", "default"), within=30)
    api.ensure(default_service_account("default"))
