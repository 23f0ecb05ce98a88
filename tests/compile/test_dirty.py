"""What a change makes dirty: the nodes that it concerns, how urgently, and no other node."""

from dataclasses import replace
from typing import Any

import pytest

from nodewall.compile import Change, Compiler, Input, Reason, compile_all
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState, ContainerPort, EndpointSlice, LogWish, Namespace, Node, Phase, Service
from nodewall.model.labels import EVERYTHING, Labels
from nodewall.model.policy import (
    ANYONE,
    SAME_NAMESPACE,
    Action,
    Kind,
    Mode,
    NodePeer,
    PodPeer,
    PolicyRef,
    PortName,
    ServiceAccountPeer,
    ServicePeer,
    Subject,
)
from tests.compile.world import (
    TCP,
    allow,
    at_ports,
    cluster,
    from_peers,
    labelled,
    pod,
    pods_of,
    policy,
    rules,
    tier_policy,
)

NEW, REMOVED, CHANGED, GONE = Reason.NEW_POD, Reason.PEER_REMOVED, Reason.CHANGED, Reason.GONE

WEB = Subject(labelled(ns="web"), labelled(app="web"))
STATE = cluster(
    policy("web/from-client", labelled(app="web"), ingress=allow(from_peers(pods_of("web", labelled(app="client"))))),
    policy("db/out", labelled(app="db"), egress=allow(at_ports(PortName("sql", TCP)))),
    tier_policy("by-team", ingress=rules((Action.DENY, (PodPeer(labelled(team="red")),))), subject=WEB),
    tier_policy("by-service", egress=rules((Action.DENY, (ServicePeer("db", "sql"),))), subject=WEB),
    tier_policy("by-node", egress=rules((Action.DENY, (NodePeer(labelled(role="edge")),))), subject=WEB),
    tier_policy("by-account", ingress=rules((Action.DENY, (ServiceAccountPeer("db", "robot"),))), subject=WEB),
    tier_policy(
        "on-ssd", egress=rules((Action.DENY, ANYONE)), nodes=labelled(disk="ssd"), subject=Subject(labelled(ns="lab"))
    ),
    tier_policy(
        "tenants", ingress=rules((Action.DENY, (PodPeer(SAME_NAMESPACE),))), subject=Subject(labelled(team="blue"))
    ),
    policy("lab/named", ingress=allow(at_ports(PortName("web", TCP)))),
    pods=[
        pod("web/web", ["10.0.1.1"], "n1", labels=Labels({"app": "web"})),
        pod("web/client", ["10.0.2.1"], "n2", labels=Labels({"app": "client"})),
        pod("db/db", ["10.0.3.1"], "n3", ports=["sql:5432/TCP"], labels=Labels({"app": "db"})),
        pod("lab/lab", ["10.0.4.1"], "n4", labels=Labels({"app": "lab"})),
        pod("blue/one", ["10.0.5.1"], "n5"),
    ],
    namespaces=[Namespace(name, Labels({"ns": name})) for name in ("web", "db", "lab")]
    + [Namespace("blue", Labels({"team": "blue"}))],
    nodes=[
        *(Node(f"n{number}", labels=Labels({"number": str(number)})) for number in (1, 2, 3, 4, 6)),
        Node("n5", labels=Labels({"role": "edge"}), addresses=(Address("192.0.2.5"),)),
    ],
    slices=[EndpointSlice("db", "sql-1", "sql", (Address("10.0.3.1"),), ((TCP, 5432),))],
)


def pod_change(key: str, **changed: Any) -> Change:
    """The pod as it is in the cluster, but for these fields; ``labels`` as a dict."""
    namespace, _, name = key.partition("/")
    old = STATE.pods.get((namespace, name)) or pod(key)
    if "labels" in changed:
        changed["labels"] = Labels(changed["labels"])
    if "addresses" in changed:
        changed["addresses"] = tuple(map(Address, changed["addresses"]))
    return Change(Input.POD, (namespace, name), replace(old, **changed))


def gone(kind: Input, key: Any) -> Change:
    return Change(kind, key, None)


def namespace_change(name: str, **labels: str) -> Change:
    return Change(Input.NAMESPACE, name, Namespace(name, Labels({"ns": name} | labels)))


def node_change(name: str, **changed: Any) -> Change:
    return Change(Input.NODE, name, replace(STATE.nodes.get(name) or Node(name), **changed))


def tier_change(name: str, **changed: Any) -> Change:
    ref = PolicyRef(Kind.CLUSTER_EXTENDED, "", name)
    return Change(Input.TIER_POLICY, ref, replace(STATE.tier_policies[ref], **changed))


def slice_change(addresses: list[str], port: int) -> Change:
    found = EndpointSlice("db", "sql-1", "sql", tuple(map(Address, addresses)), ((TCP, port),))
    return Change(Input.SLICE, ("db", "sql-1"), found)


CLOSED = policy("lab/closed", ingress=())
FROM_CLIENT = STATE.network_policies["web", "from-client"]
ROBOT = ("web/web", "robot")
NOBODY_NEW = pod_change("lab/new", labels={"app": "x"}, addresses=["10.0.9.9"], node="n6")

CASES: list[tuple[str, list[Change], dict[str, Reason]]] = [
    ("a pod that no rule means is its own node's", [NOBODY_NEW], {"n6": NEW}),
    (
        "an allowed peer comes",
        [pod_change("web/new", labels={"app": "client"}, addresses=["10.0.9.9"], node="n6")],
        {"n1": CHANGED, "n6": NEW},
    ),
    ("an allowed peer goes", [gone(Input.POD, ("web", "client"))], {"n1": REMOVED, "n2": CHANGED}),
    ("an allowed peer finishes", [pod_change("web/client", phase=Phase.FINISHED)], {"n1": REMOVED, "n2": CHANGED}),
    ("an allowed peer is relabelled", [pod_change("web/client", labels={"app": "x"})], {"n1": REMOVED}),
    ("it gets another address", [pod_change("web/client", addresses=["10.0.9.9"])], {"n1": REMOVED, "n2": NEW}),
    ("it gets one more", [pod_change("web/client", addresses=["10.0.2.1", "fd00::1"])], {"n1": CHANGED, "n2": NEW}),
    ("it terminates, and stays", [pod_change("web/client", terminating=True)], {}),
    ("a label that nobody asks for", [pod_change("web/client", labels={"app": "client", "x": "y"})], {}),
    ("a subject is relabelled", [pod_change("web/web", labels={"app": "x"})], {"n1": CHANGED}),
    ("a subject moves to another node", [pod_change("web/web", node="n2")], {"n1": CHANGED, "n2": NEW}),
    ("ports that nobody asks for", [pod_change("web/web", ports=(ContainerPort("x", TCP, 1),))], {}),
    (
        "an exposed port that egress rules name",
        [pod_change("db/db", ports=(ContainerPort("sql", TCP, 1),))],
        {"n3": REMOVED},
    ),
    (
        "a pod that takes another's address",
        [pod_change("lab/new", addresses=["10.0.2.1"], created="2027", node="n6")],
        {"n1": REMOVED, "n2": CHANGED, "n6": NEW},
    ),
    (
        "and leaves it again",
        [pod_change("lab/new", addresses=["10.0.2.1"], created="2027", node="n6"), gone(Input.POD, ("lab", "new"))],
        {},
    ),
    ("a pod that comes and goes", [NOBODY_NEW, gone(Input.POD, ("lab", "new"))], {}),
    ("a service account's pod", [pod_change("db/db", service_account="robot")], {"n1": CHANGED}),
    ("the namespace joins the peers", [namespace_change("db", team="red")], {"n1": CHANGED}),
    ("the namespace joins the subjects", [namespace_change("lab", team="blue")], {"n4": CHANGED}),
    ("a namespace label that nobody asks for", [namespace_change("db", x="y")], {}),
    (
        "the namespace wants other records",
        [Change(Input.NAMESPACE, "web", Namespace("web", Labels({"ns": "web"}), log=LogWish.ALL))],
        {"n1": CHANGED},
    ),
    ("the namespace object goes", [gone(Input.NAMESPACE, "web")], {"n1": CHANGED}),
    (
        "the namespace terminates",
        [Change(Input.NAMESPACE, "web", Namespace("web", Labels({"ns": "web"}), terminating=True))],
        {},
    ),
    (
        "a tenant's pod joins its namespace's group",
        [pod_change("blue/two", addresses=["10.0.9.9"], node="n6")],
        {"n5": CHANGED, "n6": NEW},
    ),
    ("a node appears", [node_change("n7")], {"n7": CHANGED}),
    (
        "a node appears that has pods",
        [pod_change("lab/new", addresses=["10.0.9.9"], node="n7"), node_change("n7")],
        {"n7": NEW},
    ),
    ("a node goes", [gone(Input.NODE, "n2")], {"n2": GONE}),
    ("a node goes and comes back", [gone(Input.NODE, "n2"), node_change("n2")], {"n2": NEW}),
    ("a node without pods goes and comes back", [gone(Input.NODE, "n6"), node_change("n6")], {"n6": CHANGED}),
    (
        "a node that is a peer gets another address",
        [node_change("n5", addresses=(Address("192.0.2.55"),))],
        {"n1": REMOVED},
    ),
    ("a node that is a peer goes", [gone(Input.NODE, "n5")], {"n1": REMOVED, "n5": GONE}),
    ("a node is a peer no longer", [node_change("n5", labels=Labels())], {"n1": REMOVED}),
    ("a port that ingress rules name", [pod_change("lab/lab", ports=(ContainerPort("web", TCP, 1),))], {"n4": CHANGED}),
    ("a node is relabelled into a policy", [node_change("n4", labels=Labels({"disk": "ssd"}))], {"n4": CHANGED}),
    (
        "a node is relabelled into a peer",
        [node_change("n6", labels=Labels({"role": "edge"}), addresses=(Address("192.0.2.6"),))],
        {"n1": CHANGED},
    ),
    ("a node label that nobody asks for", [node_change("n4", labels=Labels({"disk": "hdd"}))], {}),
    ("endpoints change", [slice_change(["10.0.3.1", "10.0.3.2"], 5432)], {"n1": CHANGED}),
    ("endpoints go", [slice_change([], 5432)], {"n1": REMOVED}),
    ("their port changes", [slice_change(["10.0.3.1"], 5433)], {"n1": REMOVED}),
    ("the slice goes", [gone(Input.SLICE, ("db", "sql-1"))], {"n1": REMOVED}),
    (
        "another Service's slice",
        [Change(Input.SLICE, ("db", "x"), EndpointSlice("db", "x", "x", (Address("10.0.3.1"),), ()))],
        {},
    ),
    ("a Service", [Change(Input.SERVICE, ("db", "sql"), Service("db", "sql"))], {}),
    ("a policy comes", [Change(Input.NETWORK_POLICY, ("lab", "closed"), CLOSED)], {"n4": CHANGED}),
    ("a policy that selects nobody", [Change(Input.NETWORK_POLICY, ("x", "p"), policy("x/p", ingress=()))], {}),
    ("a policy goes", [gone(Input.NETWORK_POLICY, ("web", "from-client"))], {"n1": CHANGED}),
    (
        "a policy selects others",
        [Change(Input.NETWORK_POLICY, ("web", "from-client"), replace(FROM_CLIENT, pods=EVERYTHING))],
        {"n2": CHANGED},
    ),
    ("a policy as it was", [Change(Input.NETWORK_POLICY, ("web", "from-client"), replace(FROM_CLIENT))], {}),
    ("a policy is only audited", [tier_change("by-team", mode=Mode.AUDIT)], {"n1": CHANGED}),
    ("a policy is disabled", [tier_change("by-team", mode=Mode.DISABLED)], {"n1": CHANGED}),
    ("a policy holds on all nodes", [tier_change("on-ssd", nodes=None)], {"n4": CHANGED}),
]


def listed(state: ClusterState) -> list[Change]:
    return [Change(kind, key, value) for kind in Input for key, value in getattr(state, kind.value).items()]


@pytest.mark.parametrize(("changes", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_change(changes: list[Change], expected: dict[str, Reason]) -> None:
    compiler = Compiler()
    compiler.apply(listed(STATE))
    assert dict(compiler.apply(changes)) == expected
    inputs = {kind: dict(getattr(STATE, kind.value)) for kind in Input}
    for change in changes:
        inputs[change.kind].pop(change.key, None)
        if change.new:
            inputs[change.kind][change.key] = change.new
    after = compile_all(ClusterState(**{kind.value: values for kind, values in inputs.items()}))
    assert {node: compiler.ruleset(node) for node in compiler.nodes} == after


def test_every_node_is_dirty_at_first_those_with_pods_first() -> None:
    dirty = Compiler().apply(listed(STATE))
    assert dirty == {f"n{number}": NEW if number < 6 else CHANGED for number in range(1, 7)}


def test_a_node_is_not_told_of_a_group_that_it_needs_no_more() -> None:
    compiler = Compiler()
    compiler.apply(listed(STATE))
    compiler.apply([pod_change("web/web", labels={"app": "x"})])
    assert compiler.apply([gone(Input.POD, ("web", "client"))]) == {"n2": CHANGED}


def test_an_unknown_node_has_no_rule_set() -> None:
    compiler = Compiler()
    with pytest.raises(KeyError):
        compiler.ruleset("n1")


def test_nothing_is_said_about_half_a_batch() -> None:
    compiler = Compiler()
    steps = compiler.steps(listed(STATE))
    next(steps)
    with pytest.raises(RuntimeError):
        compiler.ruleset("n1")
    with pytest.raises(RuntimeError):
        next(compiler.steps([]))
