"""What is on record: the right verdict, pods, policy and rule for each kind of verdict, and nothing that is not so.

Real packets, both directions, on one node and across, both families, TCP, UDP and ICMP; on both datapaths.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from e2e import netns
from e2e.api import Object
from e2e.cluster import Pod, Scene, reference
from e2e.command import run
from e2e.components import Installation
from e2e.local import LocalCluster
from e2e.manifests import HttpProbe
from e2e.policies import network_policy, port
from e2e.probe import Endpoint, Probe, Verdict, tcp, udp
from e2e.processes import Process
from e2e.table import Table, await_table, compare
from e2e.verdicts import Flow, Record, Verdicts, flow_of, flow_of_probe
from e2e.waiting import until

INGRESS, EGRESS = "Ingress", "Egress"
PEERS = {INGRESS: "from", EGRESS: "to"}
TERMINAL = '\x1b[31mred\x1b[0m\nnext "quoted"'
"""A label that would break a line, colour a terminal and end a string."""


@dataclass(frozen=True)
class Case:
    """What befalls a port: how a probe ends, and what must be on record (nothing else may)."""

    port: int
    verdict: Verdict
    record: dict[str, Any]


def explicit(verdict: str, name: str, kind: str = "ExtendedNetworkPolicy", **more: Any) -> dict[str, Any]:
    """What a record of one of our rules says."""
    policy = {"kind": kind, "name": name} | ({"namespace": "x"} if kind == "ExtendedNetworkPolicy" else {})
    return {"verdict": verdict, "policy": policy, "tier": TIERS[name], **more}


TIERS = {"guards": "Namespace", "admins": "Admin", "trial": "Baseline", "np": "NetworkPolicy"}
DENY = {"drop_reason_desc": "POLICY_DENY"}
CASES = (
    Case(80, Verdict.TIMEOUT, explicit("deny", "admins", "ClusterExtendedNetworkPolicy", rule="never", **DENY)),
    Case(81, Verdict.TIMEOUT, explicit("deny", "guards", rule="closed", label=TERMINAL, **DENY)),
    Case(82, Verdict.REFUSED, explicit("deny", "guards", rule="refused", label="plain", **DENY)),
    Case(83, Verdict.OPEN, explicit("accept", "guards", rule="open", label="plain")),
    Case(84, Verdict.OPEN, {"verdict": "accept", "tier": "NetworkPolicy", "rule": "{direction}[0]"}),
    Case(85, Verdict.TIMEOUT, {"verdict": "deny", "tier": "NetworkPolicy", "drop_reason_desc": "POLICY_DENIED"}),
)
AUDITED = {
    83: {"verdict": "would-deny", "rule": "would-close"},
    84: {"verdict": "would-accept", "rule": "would-open"},
    85: {"verdict": "would-pass", "rule": "would-leave"},
}
"""What a policy in Audit mode has on record beside."""


def ports(*numbers: int) -> list[Object]:
    return [{each: {"destinationPort": {"number": number}}} for number in numbers for each in ("tcp", "udp")]


def rule(direction: str, action: str, name: str, protocols: list[Object], **more: Any) -> Object:
    return {"action": action, "name": name, PEERS[direction]: [{"namespaces": {}}], "protocols": protocols, **more}


def policies(direction: str, role: str) -> list[Object]:
    """One of each kind, about the pods of this role in this direction."""
    section, selector = direction.lower(), {"matchLabels": {"role": role}}
    logging = {"verdicts": ["Accept", "Deny"], "rate": 1000, "burst": 1000, "label": "plain"}
    subject = {"pods": {"namespaceSelector": {}, "podSelector": selector}}
    guards = [
        rule(direction, "Deny", "closed", ports(81), logging={"label": TERMINAL}),
        rule(direction, "Deny", "refused", ports(82), denyWith="Reject"),
        rule(direction, "Accept", "open", ports(83)),
        rule(direction, "Deny", "no-echo", [{"icmp": {"type": 8}}, {"icmpv6": {"type": 128}}]),
    ]
    trial = [
        rule(direction, "Deny", "would-close", ports(83)),
        rule(direction, "Accept", "would-open", ports(84)),
        rule(direction, "Pass", "would-leave", ports(85)),
    ]
    own = {"apiVersion": "nodewall.io/v1alpha1", "kind": "ExtendedNetworkPolicy"}
    wide = {"apiVersion": "nodewall.io/v1alpha1", "kind": "ClusterExtendedNetworkPolicy"}
    return [
        own
        | {"metadata": {"name": "guards", "namespace": "x"}}
        | {"spec": {"priority": 10, "podSelector": selector, "logging": logging, section: guards}},
        wide
        | {"metadata": {"name": "admins"}}
        | {
            "spec": {
                "tier": "Admin",
                "priority": 10,
                "subject": subject,
                "logging": logging,
                section: [rule(direction, "Deny", "never", ports(80))],
            }
        },
        wide
        | {"metadata": {"name": "trial"}}
        | {
            "spec": {
                "tier": "Baseline",
                "priority": 10,
                "mode": "Audit",
                "subject": subject,
                "logging": logging,
                section: trial,
            }
        },
        network_policy(
            "x",
            "np",
            {
                "podSelector": selector,
                "policyTypes": [direction],
                section: [{PEERS[direction]: [{"namespaceSelector": {}}], "ports": [*port(84), *port(84, "UDP")]}],
            },
        ),
        network_policy("x", "np2", {"podSelector": selector, "policyTypes": [direction]}),
    ]


@pytest.fixture
def pods(policed: Scene, local_cluster: LocalCluster) -> Scene:
    """A server, and two clients: one on its node, one on another. Everything is recorded in their namespace."""
    policed.namespace("x")
    local_cluster.api.patch(reference("Namespace", "x"), {"metadata": {"annotations": {"nodewall.io/log": "All"}}})
    policed.pod("x/server", node=0, role="server")
    policed.pod("x/near", node=0, role="client")
    policed.pod("x/far", node=1, role="client")
    return policed


@pytest.fixture
def agents(engine: Installation) -> Iterable[Any]:
    return engine.of("agent")


def table_of(scene: Scene) -> Table:
    numbers = [case.port for case in CASES]
    table = Table.of(
        scene.endpoints("x/near", "x/far"),
        [make(number) for number in numbers for make in (tcp, udp)],
        targets=scene.endpoints("x/server"),
    )
    for case in CASES:
        if case.verdict is not Verdict.OPEN:
            for make in (tcp, udp):
                table = table.closed(port=make(case.port), by=case.verdict)
    return table


def located(endpoint: Endpoint, node: str, scene: Scene) -> dict[str, str]:
    """An end of a flow as that node knows it."""
    pod = scene.pods[endpoint.name]
    if pod.node != node:
        return {"kind": "remote"}
    return {"kind": "pod", "namespace": pod.namespace, "pod_name": pod.name}


def expected(probe: Probe, content: dict[str, Any], direction: str, scene: Scene) -> dict[str, Any]:
    """The whole of what a record about this probe says, but for time, ids, the client's port and the count."""
    subject = probe.target if direction == INGRESS else probe.source
    node = scene.pods[subject.name].node
    whole = {
        "node_name": node,
        "traffic_direction": direction.upper(),
        "source": located(probe.source, node, scene),
        "destination": located(probe.target, node, scene),
        **content,
    }
    return {key: value.format(direction=direction.lower()) if key == "rule" else value for key, value in whole.items()}


def says(record: Record, content: dict[str, Any]) -> bool:
    return all(record.get(key) == value for key, value in content.items())


def fits(records: list[Record], contents: list[dict[str, Any]]) -> bool:
    """Each of these is on record, and nothing else."""
    return all(any(says(record, content) for record in records) for content in contents) and all(
        any(says(record, content) for content in contents) for record in records
    )


@pytest.mark.parametrize("direction", [INGRESS, EGRESS])
def test_each_verdict_is_on_record_with_its_pods_policy_and_rule(
    pods: Scene, agents: list[Any], direction: str
) -> None:
    pods.apply(*policies(direction, "server" if direction == INGRESS else "client"))
    table = table_of(pods)
    await_table(pods.cluster.prober, table)
    cases = {case.port: case for case in CASES}
    wanted = {
        probe: [
            expected(probe, content, direction, pods)
            for content in (cases[probe.port.number].record, AUDITED.get(probe.port.number))
            if content
        ]
        for probe in table.probes()
    }
    verdicts = Verdicts(agents)

    def missing() -> list[Probe]:
        found = verdicts.all()
        by_flow = {probe: [r for r in found if "IP" in r and flow_of(r) == flow_of_probe(probe)] for probe in wanted}
        return [probe for probe, contents in wanted.items() if not fits(by_flow[probe], contents)]

    def complete() -> bool:
        pods.cluster.prober.measure(table.probes())
        return not missing()

    until("everything on record", complete, within=20, every=1.2)
    isolated = [r for r in verdicts.all() if r.get("drop_reason_desc") == "POLICY_DENIED"]
    both = [{"kind": "NetworkPolicy", "namespace": "x", "name": name} for name in ("np", "np2")]
    for record in isolated:
        assert record[f"{direction.lower()}_denied_by"] == both
        assert record["isolating_policies"] == 2
        assert "policy" not in record


@pytest.mark.parametrize("direction", [INGRESS, EGRESS])
def test_an_echo_that_is_denied_is_on_record_with_its_type(
    pods: Scene, agents: list[Any], local_cluster: LocalCluster, direction: str
) -> None:
    pods.apply(*policies(direction, "server" if direction == INGRESS else "client"))
    await_table(pods.cluster.prober, table_of(pods))
    verdicts = Verdicts(agents)
    server = pods.pods["x/server"]
    for name in ("x/near", "x/far"):
        for source, target in zip(pods.pods[name].addresses, server.addresses, strict=True):
            assert not pinged(local_cluster, pods.pods[name], target)
            protocol, layer, kind = ("ICMPv6", "ICMPv6", 128) if ":" in target else ("ICMP", "ICMPv4", 8)
            probe = Probe(pods.pods[name].endpoint, server.endpoint, tcp(1), 6 if ":" in target else 4)
            content = expected(probe, explicit("deny", "guards", rule="no-echo"), direction, pods)
            content["l4"] = {layer: {"type": kind, "code": 0}}
            flow = (source, target, protocol, -1)
            until(f"{flow} on record", lambda f=flow, c=content: fits(verdicts.of(f), [c]), within=10)  # type: ignore[misc]


def pinged(cluster: LocalCluster, pod: Pod, address: str) -> bool:
    command = [*netns.argv(cluster.namespace_of(pod)), "ping", "-c", "1", "-W", "1", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_nothing_is_denied_on_record_that_was_accepted(
    pods: Scene, agents: list[Any], local_cluster: LocalCluster
) -> None:
    """A whole table, counted: a deny for each attempt that failed by a rule, and not one for those that did not."""
    pods.apply(*policies(INGRESS, "server"))
    local_cluster.api.patch(reference("Namespace", "x"), {"metadata": {"annotations": {"nodewall.io/log": "Deny"}}})
    numbers = [case.port for case in CASES]
    table = Table.of(pods.endpoints(), [make(number) for number in numbers for make in (tcp, udp)])
    for case in CASES:
        if case.verdict is not Verdict.OPEN:
            for make in (tcp, udp):
                table = table.closed(target="x/server", port=make(case.port), by=case.verdict)
    await_table(pods.cluster.prober, table)
    verdicts, attempts = Verdicts(agents), Counter[Flow]()

    def denied() -> Counter[Flow]:
        found = Counter[Flow]()
        for record in verdicts.all():
            if record["verdict"] == "deny" and "IP" in record:
                found[flow_of(record)] += record["count"]
        return found

    def attempted() -> bool:
        """Once more, because what is over the rate is not on record. Whether all of the denied are by now."""
        observed = pods.cluster.prober.measure(table.probes())
        attempts.update(flow_of_probe(probe) for probe, each in observed.items() if each.verdict is not Verdict.OPEN)
        return set(denied()) >= set(attempts)

    until("a deny for each", attempted, within=20, every=1.2)
    assert len(attempts) == 32
    assert set(denied()) == set(attempts)


def flood(cluster: LocalCluster, pod: Pod, target: str, number: int, count: int) -> None:
    """So many UDP datagrams from one pod, as fast as it goes."""

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(count):
                sender.sendto(b"x", (target, number))

    netns.inside(cluster.namespace_of(pod), send)


def hits(cluster: LocalCluster, node: str, rule_id: str) -> int:
    """Packets that the kernel counted for a rule."""
    command = ["nft", "-j", "list", "counter", "inet", "nodewall", f"r_{rule_id}"]
    listed = json.loads(run([*netns.argv(cluster.topology.nodes[node].namespace), *command]))["nftables"]
    return next(int(each["counter"]["packets"]) for each in listed if "counter" in each)


def closed_by_one_rule(scene: Scene, name: str) -> Table:
    """The server's port 81 is closed by one rule, ten records a second."""
    logging = {"verdicts": ["Deny"], "rate": 10, "burst": 20}
    closed = rule(INGRESS, "Deny", "closed", ports(81), logging=logging)
    spec = {"priority": 10, "podSelector": {"matchLabels": {"role": "server"}}, "ingress": [closed]}
    metadata = {"name": name, "namespace": "x"}
    kind = {"apiVersion": "nodewall.io/v1alpha1", "kind": "ExtendedNetworkPolicy"}
    scene.apply(kind | {"metadata": metadata, "spec": spec})
    sources = scene.endpoints("x/near", "x/far")
    table = Table.of(sources, [tcp(80), tcp(81), udp(81)], targets=scene.endpoints("x/server"))
    table = table.closed(port=tcp(81)).closed(port=udp(81))
    await_table(scene.cluster.prober, table)
    return table


def told(verdicts: Verdicts, rule_id: str) -> int:
    """Hits that the records account for: those they are about, and those they say were suppressed."""
    ours = [record for record in verdicts.all() if record["rule_id"] == rule_id]
    return sum(record["count"] + record.get("suppressed", 0) for record in ours)


def the_rule(verdicts: Verdicts, name: str) -> str:
    """The id of the policy's only rule, from a record of it."""

    def ids() -> list[str]:
        return [record["rule_id"] for record in verdicts.all() if record.get("policy", {}).get("name") == name]

    return until("a record", ids, within=10)[0]


def test_a_rate_holds_and_what_it_cuts_off_is_counted(
    pods: Scene, agents: list[Any], local_cluster: LocalCluster
) -> None:
    verdicts, begun = Verdicts(agents), time.monotonic()
    table = closed_by_one_rule(pods, "rated")
    rule_id = the_rule(verdicts, "rated")
    before = hits(local_cluster, "node-1", rule_id)
    flood(local_cluster, pods.pods["x/near"], pods.pods["x/server"].addresses[0], 81, 5000)
    all_hits = hits(local_cluster, "node-1", rule_id)
    assert all_hits == before + 5000
    until("all of it told", lambda: told(verdicts, rule_id) >= all_hits, within=30)
    seconds = time.monotonic() - begun
    assert told(verdicts, rule_id) == all_hits
    assert sum(r["count"] for r in verdicts.all() if r["rule_id"] == rule_id) <= 20 + 10 * seconds + 1
    await_table(pods.cluster.prober, table)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_agent_that_restarts_tells_of_what_it_missed(
    pods: Scene, engine: Installation, local_cluster: LocalCluster, end: str
) -> None:
    """More packets than the rate allows, before, while and after the agent is away."""
    verdicts = Verdicts(engine.of("agent"))
    closed_by_one_rule(pods, end)
    rule_id, agent = the_rule(verdicts, end), engine.on("agent", "node-1")
    target = pods.pods["x/server"].addresses[0]
    flood(local_cluster, pods.pods["x/near"], target, 81, 100)
    agent.stop() if end == "stop" else agent.kill()
    flood(local_cluster, pods.pods["x/near"], target, 81, 200)
    while_away = hits(local_cluster, "node-1", rule_id)
    agent.start()
    agent.await_ready()
    flood(local_cluster, pods.pods["x/near"], target, 81, 300)
    since = hits(local_cluster, "node-1", rule_id)  # the table was replaced, and its counters began anew
    assert 300 <= since < while_away
    until("all of it told", lambda: told(verdicts, rule_id) >= while_away + since, within=30)
    if end == "stop":
        assert told(verdicts, rule_id) == while_away + since


def syn_flood(cluster: LocalCluster, pod: Pod, target: str, *, seconds: float, rate: int) -> int:
    """SYNs of ever new connections to ever new ports from 1000 on, so many a second; returns how many."""
    source = pod.addresses[0]
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, *map(socket.inet_aton, (source, target)))

    def send() -> int:
        sent, begun = 0, time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
            while (passed := time.monotonic() - begun) < seconds:
                for _ in range(int(passed * rate) - sent):
                    ports = struct.pack(">HH", 1024 + sent % 60000, 1000 + sent % 60000)
                    sender.sendto(head + ports + struct.pack(">IIBBHHH", sent, 0, 0x50, 2, 1024, 0, 0), (target, 0))
                    sent += 1
                time.sleep(0.001)  # gives the rate, hides nothing
        return sent

    return netns.inside(cluster.namespace_of(pod), send)


def recorded(verdicts: Verdicts, rule_id: str) -> int:
    """Attempts that the rule's records are about."""
    return sum(record["count"] for record in verdicts.all() if record["rule_id"] == rule_id)


def resident(process: Process) -> int:
    """Bytes of memory that the agent of this process group has."""
    pages = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError):  # other processes end meanwhile
            if os.getpgid(int(path.name)) == process.identity.pid:
                pages.append(int((path / "statm").read_text().split()[1]))
    return max(pages) * os.sysconf("SC_PAGE_SIZE")


def test_a_flood_changes_no_verdict_and_costs_no_memory(
    pods: Scene, engine: Installation, local_cluster: LocalCluster
) -> None:
    """10,000 denied SYNs a second for three seconds, each another flow, at the highest rate of records there is."""
    server, agent = pods.pods["x/server"], engine.on("agent", "node-1")
    logging = {"verdicts": ["Deny"], "rate": 1000, "burst": 1000}
    wide = [{"tcp": {"destinationPort": {"range": {"start": 1000, "end": 65535}}}}]
    closed = rule(INGRESS, "Deny", "flooded", [*wide, *ports(81)], logging=logging)
    spec = {"priority": 10, "podSelector": {"matchLabels": {"role": "server"}}, "ingress": [closed]}
    kind = {"apiVersion": "nodewall.io/v1alpha1", "kind": "ExtendedNetworkPolicy"}
    verdicts = Verdicts(engine.of("agent"))
    pods.apply(kind | {"metadata": {"name": "flooded", "namespace": "x"}, "spec": spec})
    table = Table.of(pods.endpoints("x/near", "x/far"), [tcp(80), tcp(81)], targets=pods.endpoints("x/server"))
    table = table.closed(port=tcp(81))
    await_table(pods.cluster.prober, table)
    rule_id = the_rule(verdicts, "flooded")
    assert agent.process
    memory, before, begun = resident(agent.process), recorded(verdicts, rule_id), time.monotonic()
    with ThreadPoolExecutor(max_workers=1) as beside:
        flooding = beside.submit(
            syn_flood, local_cluster, pods.pods["x/near"], server.addresses[0], seconds=3.0, rate=10_000
        )
        while not flooding.done():
            assert not compare(pods.cluster.prober, table).wrong()
            assert agent.http_status(HttpProbe("127.0.0.1", 9811, "/healthz")) == 200
    most = 1000 + 1000 * (time.monotonic() - begun)
    assert flooding.result() >= 29_000
    assert most < flooding.result() / 4
    assert hits(local_cluster, "node-1", rule_id) >= flooding.result()
    until("all of it told", lambda: told(verdicts, rule_id) >= hits(local_cluster, "node-1", rule_id), within=40)
    assert told(verdicts, rule_id) == hits(local_cluster, "node-1", rule_id)
    assert 1000 < recorded(verdicts, rule_id) - before <= most
    assert resident(agent.process) - memory < 16 << 20


CONNECTS = """
import socket, sys, time
address, seconds = sys.argv[1], float(sys.argv[2])
for _ in sys.stdin:
    done, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.create_connection((address, 80), timeout=5) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")  # no TIME_WAIT
        done += 1
    print(done / seconds, flush=True)
"""


class Connecting:
    """A process in a pod that makes one connection after the other for a window at a time."""

    def __init__(self, cluster: LocalCluster, pod: Pod, target: str, seconds: float) -> None:
        command = [*netns.argv(cluster.namespace_of(pod)), sys.executable, "-c", CONNECTS, target, str(seconds)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self) -> float:
        """Connections per second over one window."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.mark.soak
@pytest.mark.datapath("routed")
def test_records_of_a_flood_cost_the_allowed_no_connections(pods: Scene, local_cluster: LocalCluster) -> None:
    """10,000 denied SYNs a second at a rule on record and at one that is not, in turns; connections at an open port
    meanwhile. `make bench` says the same of processor time.
    """
    quiet = pods.pod("x/quiet", node=0, role="quiet")
    wide = [{"tcp": {"destinationPort": {"range": {"start": 1000, "end": 65535}}}}]
    kind = {"apiVersion": "nodewall.io/v1alpha1", "kind": "ExtendedNetworkPolicy"}
    for role, logging in (("server", {"logging": {"verdicts": ["Deny"], "rate": 10, "burst": 20}}), ("quiet", {})):
        closed = rule(INGRESS, "Deny", "flooded", wide, **logging)
        spec = {"priority": 10, "podSelector": {"matchLabels": {"role": role}}, "ingress": [closed]}
        pods.apply(kind | {"metadata": {"name": role, "namespace": "x"}, "spec": spec})
    table = Table.of(pods.endpoints("x/far"), [tcp(80), tcp(1080)], targets=pods.endpoints("x/server", "x/quiet"))
    await_table(pods.cluster.prober, table.closed(port=tcp(1080)))
    floods = {True: pods.pods["x/server"].addresses[0], False: quiet.addresses[0]}
    rates: dict[bool, list[float]] = {True: [], False: []}
    sent, seconds, windows = 0, 0.7, 80
    connecting = Connecting(local_cluster, pods.pods["x/far"], floods[True], 0.5)
    try:
        with ThreadPoolExecutor(max_workers=1) as beside:
            for number in range(windows):
                on_record = number % 4 in (0, 3)  # as often first as second
                flooding = beside.submit(
                    syn_flood, local_cluster, pods.pods["x/near"], floods[on_record], seconds=seconds, rate=10_000
                )
                rates[on_record].append(connecting.rate())
                sent += flooding.result()
    finally:
        connecting.end()
    assert sent >= 0.9 * 10_000 * seconds * windows
    assert median(rates[True]) >= 0.97 * median(rates[False]), rates
