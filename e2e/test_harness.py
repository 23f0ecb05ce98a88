"""The harness itself: what it brings up is real, what it measures can be wrong, and nothing of it is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e import netns
from e2e.api import Api, ApiError
from e2e.cluster import Pod, Scene, reference
from e2e.command import run
from e2e.components import Installation
from e2e.controlplane import ControlPlane
from e2e.instance import Instance, InstanceInUseError, sweep_abandoned
from e2e.local import LocalCluster
from e2e.probe import Port, Probe, Verdict, tcp, udp
from e2e.processes import Identity, is_alive
from e2e.table import Table, await_table, compare
from e2e.tokens import bound_token

ROOT = Path(__file__).resolve().parent.parent
NET_ADMIN = 1 << 12
FIRST_OF_TCP = "tcp flags & (syn | ack) == syn"
PORTS = (tcp(80), tcp(81), udp(53))


def all_pods(scene: Scene) -> None:
    """Two namespaces with a pod each on both nodes, and a second one on the first."""
    for namespace in ("x", "y"):
        scene.namespace(namespace)
        for name, node in (("a", 0), ("b", 0), ("c", 1)):
            scene.pod(f"{namespace}/{name}", node=node)


def api_of(cluster: LocalCluster, pod: Pod) -> Api:
    """A client with the token of a pod."""
    obj = cluster.api.get("v1", "Pod", pod.name, pod.namespace)
    return cluster.control_plane.api_as(bound_token(cluster.api, obj))


@contextmanager
def rule_on(
    cluster: LocalCluster, node: str, rule: str, hook: str = "type filter hook forward priority 0"
) -> Iterator[None]:
    """A rule made by hand in the namespace of a node."""
    nft = [*netns.argv(cluster.topology.nodes[node].namespace), "nft"]
    run([*nft, "-f", "-"], given=f"table inet by-hand {{\nchain c {{\n{hook};\n{rule}\n}}\n}}\n")
    try:
        yield
    finally:
        run([*nft, "delete table inet by-hand"])


def verdicts(cluster: LocalCluster, probes: list[Probe]) -> set[Verdict]:
    """All verdicts that the probes get."""
    return {observation.verdict for observation in cluster.prober.measure(probes).values()}


def namespaces_of(instance: Instance) -> list[str]:
    """The network namespaces of an instance that exist."""
    return [path.name for path in Path("/run/netns").iterdir() if path.name.startswith(instance.name(""))]


class TestControlPlane:
    def test_is_ready_and_knows_its_version(self, control_plane: ControlPlane) -> None:
        assert control_plane.api.text("/readyz") == "ok"
        assert control_plane.api.request("GET", "/version")["major"] == "1"

    def test_a_token_without_rights_is_refused_by_rbac(self, scene: Scene, local_cluster: LocalCluster) -> None:
        scene.namespace("x")
        pod = scene.pod("x/a")
        stranger = api_of(local_cluster, pod)
        with pytest.raises(ApiError, match='cannot list resource "pods"') as refusal:
            stranger.list("v1", "Pod")
        stranger.close()
        assert refusal.value.reason == "Forbidden"

    def test_a_bound_token_names_pod_and_node(self, scene: Scene, local_cluster: LocalCluster) -> None:
        scene.namespace("x")
        pod = scene.pod("x/a", node=1)
        holder = api_of(local_cluster, pod)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
        user = holder.create(review)["status"]["userInfo"]
        holder.close()
        assert user["username"] == "system:serviceaccount:x:default"
        assert user["extra"]["authentication.kubernetes.io/node-name"] == [local_cluster.nodes[1]]
        assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["a"]

    def test_kubectl_reaches_it_through_the_forwarder(self, local_cluster: LocalCluster) -> None:
        said = local_cluster.kubectl("get", "nodes", "-o", "name").split()
        assert said == [f"node/{name}" for name in local_cluster.nodes]

    def test_a_removed_namespace_is_gone_with_its_content(self, local_cluster: LocalCluster) -> None:
        local_cluster.add_namespace("short-lived")
        config_map = reference("ConfigMap", "left", "short-lived")
        local_cluster.api.create(config_map)
        local_cluster.remove_namespace("short-lived")
        local_cluster.add_namespace("short-lived")
        assert local_cluster.api.find("v1", "ConfigMap", "left", "short-lived") is None
        local_cluster.remove_namespace("short-lived")
        assert local_cluster.api.find("v1", "Namespace", "short-lived") is None

    def test_survives_its_own_death(self, control_plane: ControlPlane) -> None:
        control_plane.kill_apiserver()
        with pytest.raises(OSError):  # noqa: PT011 (any way of not answering will do)
            control_plane.api.text("/readyz")
        control_plane.start_apiserver()
        assert control_plane.api.find("v1", "Namespace", "default")


class TestReachability:
    def test_without_an_engine_everybody_reaches_everybody(self, scene: Scene) -> None:
        all_pods(scene)
        await_table(scene.cluster.prober, Table.of(scene.endpoints(), PORTS))

    def test_sources_are_seen_as_they_are(self, scene: Scene) -> None:
        all_pods(scene)
        result = compare(scene.cluster.prober, Table.of(scene.endpoints(), PORTS[:1]))
        seen = {probe: result.observed[probe].seen_source for probe in result.expected}
        assert seen == {probe: probe.source.address(probe.family) for probe in seen}

    def test_the_world_outside_and_the_nodes(self, scene: Scene, local_cluster: LocalCluster) -> None:
        all_pods(scene)
        world = [
            local_cluster.external_endpoint("172.17.0.5", "2001:db8:17::5"),
            local_cluster.external_endpoint("14.215.0.9"),
            *map(local_cluster.node_endpoint, local_cluster.nodes),
        ]
        table = Table.of([*scene.endpoints(), *world], PORTS)
        result = await_table(local_cluster.prober, table)
        assert any(probe.source.name == "external/14.215.0.9" for probe in result.expected)

    def test_a_node_without_the_api_server_still_forwards(self, scene: Scene, local_cluster: LocalCluster) -> None:
        all_pods(scene)
        node = local_cluster.nodes[0]
        local_cluster.topology.set_management(node, up=False)
        try:
            await_table(local_cluster.prober, Table.of(scene.endpoints(), PORTS))
        finally:
            local_cluster.topology.set_management(node, up=True)

    def test_an_address_goes_to_the_next_pod(self, scene: Scene, local_cluster: LocalCluster) -> None:
        all_pods(scene)
        before = scene.pods["x/a"]
        probe = Probe(scene.pods["x/b"].endpoint, before.endpoint, tcp(80), 4)
        assert local_cluster.prober.one(probe).verdict is Verdict.OPEN
        host = local_cluster.host_of(before)
        scene.remove_pod("x/a")
        after = local_cluster.add_pod("x", "new", before.node, host=host)
        assert after.addresses == before.addresses
        await_table(local_cluster.prober, Table.of([*scene.endpoints(), after.endpoint], PORTS))


class TestTheProbeCanFail:
    """Rules made by hand; each of these proves that a verdict other than open is possible and told apart."""

    @pytest.fixture
    def pair(self, scene: Scene) -> tuple[Pod, Pod]:
        """A client and a server on the same node."""
        scene.namespace("x")
        return scene.pod("x/client"), scene.pod("x/server")

    @pytest.mark.parametrize(
        ("port", "statement", "verdict"),
        [
            (tcp(80), "drop", Verdict.TIMEOUT),
            (udp(53), "drop", Verdict.TIMEOUT),
            (tcp(80), "reject with tcp reset", Verdict.REFUSED),
            (udp(53), "reject with icmpx port-unreachable", Verdict.REFUSED),
            (udp(53), "reject with icmpx admin-prohibited", Verdict.UNREACHABLE),
        ],
        ids=lambda value: str(value).replace(" ", "-"),
    )
    def test_verdict_of_a_rule(
        self, local_cluster: LocalCluster, pair: tuple[Pod, Pod], port: Port, statement: str, verdict: Verdict
    ) -> None:
        client, server = pair
        probes = [Probe(client.endpoint, server.endpoint, port, family) for family in (4, 6)]
        rule = f"meta l4proto {port.protocol} th dport {port.number} {statement}"
        assert verdicts(local_cluster, probes) == {Verdict.OPEN}
        with rule_on(local_cluster, client.node, rule):
            assert verdicts(local_cluster, probes) == {verdict}
        assert verdicts(local_cluster, probes) == {Verdict.OPEN}

    def test_nobody_listening_is_refused(self, local_cluster: LocalCluster, pair: tuple[Pod, Pod]) -> None:
        client, server = pair
        for port in (tcp(99), udp(99)):
            probe = Probe(client.endpoint, server.endpoint, port, 6)
            assert local_cluster.prober.one(probe, serve=False).verdict is Verdict.REFUSED

    def test_an_answer_by_somebody_else_is_not_open(self, local_cluster: LocalCluster, pair: tuple[Pod, Pod]) -> None:
        client, server = pair
        other = local_cluster.add_pod("x", "other", client.node)
        translation = f"ip daddr {server.addresses[0]} tcp dport 80 dnat ip to {other.addresses[0]}"
        hook = "type nat hook prerouting priority -100"
        local_cluster.prober.one(Probe(client.endpoint, other.endpoint, tcp(80), 4))
        with rule_on(local_cluster, client.node, translation, hook):
            observed = local_cluster.prober.one(Probe(client.endpoint, server.endpoint, tcp(80), 4))
        assert observed.verdict is Verdict.MISROUTED
        assert observed.seen_source == other.key

    def test_a_held_connection_notices_the_rule(self, local_cluster: LocalCluster, pair: tuple[Pod, Pod]) -> None:
        client, server = pair
        for port in (tcp(80), udp(53)):
            probe = Probe(client.endpoint, server.endpoint, port, 6)
            assert local_cluster.prober.hold(probe, "flow").verdict is Verdict.OPEN
            with rule_on(local_cluster, client.node, f"meta l4proto {port.protocol} drop"):
                assert local_cluster.prober.ask(probe, "flow").verdict is Verdict.TIMEOUT
            local_cluster.prober.release(probe, "flow")

    def test_the_table_names_the_cells_that_differ(self, scene: Scene, local_cluster: LocalCluster) -> None:
        all_pods(scene)
        table = Table.of(scene.endpoints(), [tcp(80)], families=[4])
        closed = table.closed(source="y/*", target="x/a")
        rule = f"{FIRST_OF_TCP} ip daddr {scene.pods['x/a'].addresses[0]} drop"
        with rule_on(local_cluster, local_cluster.nodes[0], rule):
            await_table(local_cluster.prober, table.closed(target="x/a"), stays=0.0)
            with pytest.raises(AssertionError, match="not as stated") as difference:
                await_table(local_cluster.prober, closed, within=0.1)
        assert "2 of 30 cells differ" in str(difference.value)
        assert "x/b -> x/a tcp/80 IPv4" in str(difference.value)
        assert "o!x" in str(difference.value)

    def test_a_state_that_does_not_stay_is_noticed(self, scene: Scene, local_cluster: LocalCluster) -> None:
        scene.namespace("x")
        ends = [scene.pod("x/a").endpoint, scene.pod("x/b").endpoint]
        limited = f"{FIRST_OF_TCP} limit rate over 1/hour burst 3 packets drop"
        with (
            rule_on(local_cluster, local_cluster.nodes[0], limited),
            pytest.raises(AssertionError, match="did not stay so"),
        ):
            await_table(local_cluster.prober, Table.of(ends, [tcp(80)], families=[4]))

    def test_a_misspelt_name_is_an_error(self, scene: Scene) -> None:
        all_pods(scene)
        with pytest.raises(LookupError, match="x/z"):
            Table.of(scene.endpoints(), PORTS).closed(target="x/z")


class TestComponents:
    """A workload that only tells what it finds stands in for our own."""

    @pytest.fixture(params=[0])
    def uid(self, request: pytest.FixtureRequest) -> int:
        """The user that the sample runs as."""
        return int(request.param)

    @pytest.fixture
    def told(self, local_cluster: LocalCluster, tmp_path: Path, uid: int) -> Iterator[Installation]:
        # What a hostPath makes belongs to root; an emptyDir is open to the user of the pod.
        volume = "hostPath: {path: /var/lib/sample, type: DirectoryOrCreate}" if uid == 0 else "emptyDir: {}"
        (tmp_path / "sample.yaml").write_text(SAMPLE.replace("UID", str(uid)).replace("VOLUME", volume))
        installation = Installation.install(local_cluster, tmp_path)
        try:
            yield installation
        finally:
            installation.remove()
            local_cluster.remove_namespace("sample")

    @pytest.mark.parametrize("uid", [0, 65532], indirect=True)
    def test_it_runs_as_its_manifest_says(self, told: Installation, local_cluster: LocalCluster, uid: int) -> None:
        told.start()
        for node in local_cluster.nodes:
            component = told.on("teller", node)
            facts = dict(line.split("=", 1) for line in component.http(8099, "/facts")[1].splitlines())
            assert facts["arguments"] == f"--node={node} $(UNKNOWN) $(NODE_NAME)"
            assert facts["addresses"] == " ".join(local_cluster.topology.nodes[node].plan.addresses)
            assert (facts["uid"], facts["gid"]) == (str(uid), "65533")
            effective = 0 if uid else NET_ADMIN
            assert (int(facts["CapBnd"], 16), int(facts["CapEff"], 16)) == (NET_ADMIN, effective)
            assert facts["NoNewPrivs"] == "1"
            assert facts["token"] == f"system:serviceaccount:sample:teller of {node}"
            assert facts["writable"] == "/var/lib/sample/deep"
            bridge = ["cni0"] if local_cluster.datapath == "bridged" else []
            assert facts["links"].split() == [*bridge, "eth0", "lo", "mgmt0"]
        assert not Path("/var/lib/sample").exists()

    def test_a_volume_of_the_host_outlives_the_process(self, told: Installation, local_cluster: LocalCluster) -> None:
        told.start()
        component = told.on("teller", local_cluster.nodes[0])
        other = told.on("teller", local_cluster.nodes[1])
        before = [int(each.http(8099, "/lives")[1]) for each in (component, other)]
        assert component.kill() == -signal.SIGKILL
        assert not component.running()
        component.start()
        component.await_ready()
        after = [int(each.http(8099, "/lives")[1]) for each in (component, other)]
        assert after == [before[0] + 1, before[1]]

    def test_it_ends_when_asked(self, told: Installation, local_cluster: LocalCluster) -> None:
        told.start()
        assert told.on("teller", local_cluster.nodes[0]).stop() == -signal.SIGTERM


@pytest.mark.usefixtures("instance")
class TestNothingIsLeft:
    def test_of_a_removed_cluster(self) -> None:
        other = Instance.named(f"r{os.getpid()}")
        other.claim()
        control_plane = ControlPlane.start(other)
        cluster = LocalCluster.start(control_plane, "routed")
        with Scene(cluster) as scene:
            all_pods(scene)
            pids = [each.identity.pid for each in control_plane.processes.values()]
            assert len(namespaces_of(other)) == 11
        cluster.end()
        control_plane.end()
        other.remove()
        assert namespaces_of(other) == []
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        assert not other.state.exists()

    def test_of_an_owner_that_was_killed(self) -> None:
        other = Instance.named(f"k{os.getpid()}")
        program = CRASHING.format(id=other.id)
        crash = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
        assert crash.returncode == -signal.SIGKILL, crash.stderr
        assert len(namespaces_of(other)) == 3
        sleeper = Identity.of(int(crash.stdout))
        assert is_alive(sleeper)
        assert other.id in sweep_abandoned()
        assert namespaces_of(other) == []
        assert not is_alive(sleeper)

    def test_what_is_alive_is_not_swept(self, instance: Instance, control_plane: ControlPlane) -> None:
        assert instance.id not in sweep_abandoned()
        with pytest.raises(InstanceInUseError, match="in use"):
            Instance.named(instance.id).claim()
        assert control_plane.api.text("/readyz") == "ok"

    @pytest.mark.usefixtures("local_cluster")
    def test_the_root_namespace_has_no_link_or_route_of_ours(self) -> None:
        said = run(["ip", "-o", "link"]) + run(["ip", "route"]) + run(["ip", "-6", "route"])
        for ours in ("10.244.", "10.199.", "192.168.60.", "fd00:60:", "fd00:10:244:", "cni0", "mgmt0"):
            assert ours not in said


CRASHING = """
import os, signal
from e2e.instance import Instance
from e2e.processes import Process
instance = Instance.named("{id}")
instance.claim()
for what in ("cp", "node-1", "p-x.a"):
    instance.add_namespace(what)
process = Process.start("sleeper", ["sleep", "600"], instance.log("sleeper"), dict(os.environ))
instance.add_process(process.identity)
print(process.identity.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

SAMPLE = r"""
apiVersion: v1
kind: Namespace
metadata: {name: sample}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: teller, namespace: sample}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: teller, namespace: sample}
spec:
  selector: {matchLabels: {app: teller}}
  template:
    metadata: {labels: {app: teller}}
    spec:
      serviceAccountName: teller
      hostNetwork: true
      securityContext: {runAsUser: UID, runAsGroup: 65533}
      containers:
      - name: teller
        image: none
        command: [python, -c, "import os; exec(os.environ['PROGRAM'])"]
        args: [--node=$(NODE_NAME), $(UNKNOWN), $$(NODE_NAME)]
        env:
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: ADDRESSES, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
        - name: PROGRAM
          value: |
            import http.server, json, os, pathlib, ssl, sys, urllib.request
            account = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
            lives = pathlib.Path("/var/lib/sample/deep/lives")
            lives.write_text(str(int(lives.read_text() if lives.exists() else 0) + 1))

            def review():
                server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
                request = urllib.request.Request(
                    server + "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                    json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode(),
                    {"Authorization": "Bearer " + (account / "token").read_text(), "Content-Type": "application/json"},
                )
                context = ssl.create_default_context(cafile=str(account / "ca.crt"))
                user = json.load(urllib.request.urlopen(request, context=context))["status"]["userInfo"]
                return user["username"] + " of " + user["extra"]["authentication.kubernetes.io/node-name"][0]

            def writable(directory):
                file = pathlib.Path(directory) / "nodewall-e2e-written"
                try:
                    file.touch()
                except OSError:
                    return False
                file.unlink()
                return True

            def facts():
                status = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines())
                yield "arguments", " ".join(sys.argv[1:])
                yield "addresses", os.environ["ADDRESSES"].replace(",", " ")
                yield "uid", os.getuid()
                yield "gid", os.getgid()
                yield from ((key, status[key]) for key in ("CapBnd", "CapEff", "NoNewPrivs"))
                yield "token", review()
                places = ("/", "/etc", "/var/lib", "/var/lib/sample", "/var/lib/sample/deep", str(account))
                yield "writable", " ".join(filter(writable, places))
                yield "links", " ".join(sorted(each for each in os.listdir("/sys/class/net") if "veth" not in each))

            class Answer(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    text = {"/facts": lambda: "\n".join(f"{k}={v}" for k, v in facts()),
                            "/lives": lives.read_text, "/ready": lambda: "yes"}[self.path]()
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(text.encode())

            http.server.HTTPServer(("127.0.0.1", 8099), Answer).serve_forever()
        ports: [{name: facts, containerPort: 8099, hostIP: 127.0.0.1}]
        readinessProbe: {httpGet: {host: 127.0.0.1, port: facts, path: /ready}}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL], add: [NET_ADMIN]}
        volumeMounts: [{name: state, mountPath: /var/lib/sample/deep}]
      volumes: [{name: state, VOLUME}]
"""
