"""At the limits of what the API server holds: the last that fitted stays in force, and everybody concerned is told.

Real objects of half a megabyte, at a real API server. What is larger than its own limit never gets that far.
"""

import json
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Address
from itertools import count, islice
from typing import Any
from zlib import crc32

import pytest

from e2e.api import ApiError, Object
from e2e.cluster import Pod, Scene
from e2e.components import Component, Installation
from e2e.local import LocalCluster
from e2e.policies import ingress, labels
from e2e.probe import tcp
from e2e.table import Table, await_table
from e2e.test_live import Person
from e2e.test_outages import all_applied, condition, is_applied, listening, rule_sets
from e2e.test_shared_groups import sharing
from e2e.waiting import until

pytestmark = pytest.mark.datapath("routed")

__all__ = ["sharing"]

LIMIT = 524_288
"""Bytes of a rule set."""
PART_LIMIT = 262_144
"""Bytes of a PeerGroup."""
PORTS = (tcp(80),)
RULE_SET = ("nodewall.io/v1alpha1", "NodeRuleSet")
NETWORK_POLICY = "networking.k8s.io/v1"


@pytest.fixture
def person(local_cluster: LocalCluster) -> Person:
    return Person(local_cluster)


@pytest.fixture
def shop(policed: Scene) -> Scene:
    """A server that friends may reach, a stranger, and somebody on the other node."""
    policed.namespace("x")
    policed.namespace("y")
    policed.pod("x/server", node=0, app="server")
    policed.pod("x/friend", node=1, role="friend")
    policed.pod("y/stranger", node=0)
    policed.pod("y/other", node=1, app="other")
    return policed


def to_server(scene: Scene) -> Table:
    return Table.of(scene.endpoints("x/friend", "y/stranger"), PORTS, targets=scene.endpoints("x/server"))


def friends_only(scene: Scene) -> Table:
    return to_server(scene).closed(source="y/stranger")


def blocks(base: str, number: int) -> list[Object]:
    """So many networks that nobody here is in, as peers."""
    networks = islice(IPv4Network(base).subnets(new_prefix=26), 0, 2 * number, 2)  # every other: none merges
    return [{"ipBlock": {"cidr": str(each)}} for each in networks]


def with_blocks(name: str, peers: list[Object], *more: Object) -> Object:
    return ingress("x", name, {"from": [*more, *peers]}, pods={"app": "server"})


def size(rule_set: Object) -> int:
    return len(json.dumps(rule_set["spec"], separators=(",", ":")))


def held(cluster: LocalCluster) -> str | None:
    """What the first node's object says of why it is older than its policies."""
    why: str | None = rule_sets(cluster)["node-1"]["metadata"]["annotations"].get("nodewall.io/held")
    return why


def about(cluster: LocalCluster, kind: str, name: str, reason: str) -> list[Object]:
    """The Events of this reason at one object."""
    found = cluster.api.list("v1", "Event")
    return [each for each in found if _is_about(each, kind, name) and each["reason"] == reason]


def _is_about(event: Object, kind: str, name: str) -> bool:
    return (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == (kind, name)


def leader(engine: Installation) -> Component:
    def leads(each: Component) -> bool:
        return "nodewall_controller_leads 1.0" in each.http(9810, "/metrics")[1].splitlines()

    return until("one leads", lambda: next(filter(leads, engine.of("controller")), None), within=20)


def test_a_rule_set_at_the_limit_is_in_force_and_one_beyond_it_changes_nothing(
    shop: Scene, local_cluster: LocalCluster, engine: Installation, person: Person
) -> None:
    friends = {"podSelector": labels(role="friend")}
    shop.apply(with_blocks("large", blocks("11.0.0.0/8", 19_800), friends))
    await_table(local_cluster.prober, friends_only(shop), within=30)
    until("applied", lambda: all_applied(local_cluster), within=30)
    before = rule_sets(local_cluster)["node-1"]
    assert LIMIT * 0.99 < size(before) <= LIMIT
    print(f"{size(before)} bytes in force")

    shop.apply(with_blocks("more", blocks("12.0.0.0/8", 5_000), {"namespaceSelector": {}}))
    (event,) = until("told at the node", lambda: about(local_cluster, "Node", "node-1", "RuleSetTooLarge"), within=30)
    assert f"{LIMIT} is the limit: the last one stays; most of it is NetworkPolicy x/large (" in event["message"]
    until("it says so itself", lambda: held(local_cluster) == "RuleSetTooLarge", within=10)
    printed = local_cluster.kubectl("get", "noderuleset", "node-1").splitlines()
    assert dict(zip(*map(str.split, printed), strict=True))["HELD"] == "RuleSetTooLarge"
    (event,) = until(
        "and at the policy", lambda: about(local_cluster, "NetworkPolicy", "more", "PolicyDegraded"), within=20
    )
    assert (event["type"], event["involvedObject"]["namespace"]) == ("Warning", "x")
    assert event["message"].endswith("an older one stays in force, on node node-1")
    assert about(local_cluster, "NetworkPolicy", "large", "PolicyDegraded") == []
    code, said = person("status", "netpol/x/more")
    assert (code, "NOT IN FORCE" in said) == (1, True), said
    assert "nodewall_controller_oversized_rule_sets 1.0" in leader(engine).http(9810, "/metrics")[1]

    kept = rule_sets(local_cluster)["node-1"]
    assert kept["metadata"]["generation"] == before["metadata"]["generation"]
    assert is_applied(kept)
    assert condition(kept, "Degraded")["status"] == "False"
    await_table(local_cluster.prober, friends_only(shop), within=0)
    shop.apply(ingress("y", "elsewhere", pods={"app": "other"}))
    others = Table.of(shop.endpoints("x/friend"), PORTS, targets=shop.endpoints("y/other"))
    await_table(local_cluster.prober, others.closed())

    local_cluster.api.delete(with_blocks("large", []))
    await_table(local_cluster.prober, to_server(shop), within=30)
    until("told", lambda: about(local_cluster, "NetworkPolicy", "more", "PolicyRecovered"), within=20)
    assert "nodewall_controller_oversized_rule_sets 0.0" in leader(engine).http(9810, "/metrics")[1]
    until("it says no more", lambda: held(local_cluster) is None, within=10)
    assert "RuleSetTooLarge" not in local_cluster.kubectl("get", "noderuleset", "node-1")


def test_what_somebody_else_writes_beyond_all_limits(
    shop: Scene, local_cluster: LocalCluster, engine: Installation
) -> None:
    """The API server takes it up to a limit of its own. The node does not, and keeps what it has."""
    shop.apply(ingress("x", "p", {"from": [{"podSelector": labels(role="friend")}]}, pods={"app": "server"}))
    await_table(local_cluster.prober, friends_only(shop))
    for each in engine.of("controller"):
        each.kill()
    try:
        until("applied and said so", lambda: all_applied(local_cluster), within=20)  # no write comes in between
        with pytest.raises(ApiError, match=r"larger than max|too large"):
            replace_stuffed(local_cluster, 2_000_000)
        assert is_applied(rule_sets(local_cluster)["node-1"])
        replace_stuffed(local_cluster, 1_200_000)
        until("the condition says why", lambda: applied(local_cluster).get("reason") == "RuleSetUnusable", within=20)
        assert "spec.digest" in applied(local_cluster)["message"]
        await_table(local_cluster.prober, friends_only(shop), within=0)
    finally:
        for each in engine.of("controller"):
            each.start()
        for each in engine.of("controller"):
            each.await_ready()
    until("all applied", lambda: all_applied(local_cluster), within=60)
    assert size(rule_sets(local_cluster)["node-1"]) < 10_000
    await_table(local_cluster.prober, friends_only(shop), within=0)


def applied(cluster: LocalCluster) -> Object:
    return condition(rule_sets(cluster)["node-1"], "Applied")


def replace_stuffed(cluster: LocalCluster, length: int) -> None:
    """By what is there, as often as an agent's report comes in between. Raises ApiError for any other refusal."""

    def replaced() -> bool:
        try:
            cluster.api.replace(stuffed(rule_sets(cluster)["node-1"], length))
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    until("replaced", replaced, within=20)


def stuffed(rule_set: Object, length: int) -> Object:
    """With so many bytes of members that it did not have."""
    members = [str(IPv6Address(number)) for number in range(1 << 120, (1 << 120) + length // 12)]
    group = {"name": "stuffed", "description": "", "addresses": members}
    return rule_set | {"spec": rule_set["spec"] | {"addressGroups": [group]}}


# --- PeerGroups -------------------------------------------------------------------------------------------------------


def test_a_group_of_which_too_much_falls_into_one_part_holds_up_nobody_else(
    shop: Scene, sharing: Installation, local_cluster: LocalCluster
) -> None:
    """Somebody who may write EndpointSlices chooses addresses so that they do."""
    server = shop.pods["x/server"]
    assert not any(map(is_in_the_first_part, server.addresses)), "another address of the server is needed"
    shop.apply(service(), only_the_service())
    table = Table.of(shop.endpoints("x/friend"), PORTS, targets=shop.endpoints("x/server"))
    await_table(local_cluster.prober, table.closed())
    has_said = listening(leader(sharing))
    for addresses in (addresses_of_all_parts(), addresses_of_the_first_part()):
        for number in range(7):
            shop.apply(endpoint_slice(f"many-{number}", list(islice(addresses, 1000))))
        # A group that is on its way into more parts would wait for all of them.
        until("in as many parts as it needs", lambda: parts_of_the_group(local_cluster) == PARTS, within=60)
    until("it is said", lambda: has_said("a PeerGroup is too large, and its last members stay"), within=60)
    parts = local_cluster.api.list("nodewall.io/v1alpha1", "PeerGroup")
    assert all(size(each) <= PART_LIMIT for each in parts)

    shop.apply(*slices_of(server))
    await_table(local_cluster.prober, table, within=30)
    until("no node is held up", lambda: all_applied(local_cluster), within=30)
    for number in range(7):
        local_cluster.api.delete(endpoint_slice(f"many-{number}", []))
    shop.apply(*slices_of(server, ready=False))
    await_table(local_cluster.prober, table.closed(), within=30)


def service() -> Object:
    spec = {"clusterIP": "None", "ports": [{"name": "web", "port": 80, "protocol": "TCP"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "x"}, "spec": spec}


def only_the_service() -> Object:
    to_service = {"name": "db", "action": "Accept", "to": [{"services": [{"namespace": "x", "name": "db"}]}]}
    rest = {"name": "rest", "action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}
    spec = {"priority": 20, "podSelector": labels(role="friend"), "egress": [to_service, rest]}
    metadata = {"name": "only-the-service", "namespace": "x"}
    return {
        "apiVersion": "nodewall.io/v1alpha1",
        "kind": "ExtendedNetworkPolicy",
        "metadata": metadata,
        "spec": spec,
    }


def endpoint_slice(name: str, addresses: list[str], *, family: str = "IPv6", ready: bool = True) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "x", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": family,
        "ports": [{"name": "web", "port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": ready}} for each in addresses],
    }


def slices_of(pod: Pod, **more: Any) -> list[Object]:
    four, six = ([each for each in pod.addresses if (":" in each) is long] for long in (False, True))
    return [endpoint_slice("four", four, family="IPv4", **more), endpoint_slice("six", six, family="IPv6", **more)]


PARTS = 32
"""Of a group of 7,000 members: 256 in each, were they not chosen."""


def is_in_the_first_part(member: str) -> bool:
    return crc32(f"{member}/TCP/80".encode()) % PARTS == 0


def parts_of_the_group(cluster: LocalCluster) -> int:
    """0 before it is in any."""
    groups = cluster.api.list("nodewall.io/v1alpha1", "PeerGroup")
    return max((each["spec"]["parts"] for each in groups if "x/db" in each["spec"]["description"]), default=0)


def addresses_of_all_parts() -> Iterator[str]:
    """Long ones, so that few will do."""
    return (str(IPv6Address(number)) for number in count(0x20010DB8_11112222_33334444_55556666))


def addresses_of_the_first_part() -> Iterator[str]:
    return filter(is_in_the_first_part, addresses_of_all_parts())
