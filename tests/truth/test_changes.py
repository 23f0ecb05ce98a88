"""Every change takes effect, on the nodes that it concerns and in the kernel, without starting anything anew."""

from dataclasses import dataclass

import pytest

from nodewall.compile import Compiler
from nodewall.evaluate import ask
from nodewall.model.cluster import ClusterState
from nodewall.render import diff, render, replace
from nodewall.render.table import Table
from tests.truth.case import Case
from tests.truth.flows import flows_of
from tests.truth.nodes import Nodes, changes
from tests.truth.reading import state_of
from tests.truth.worlds import cluster_policy, policy

pytestmark = pytest.mark.kernel

CLOSED_TO_CLIENTS = policy(
    "p",
    "{podSelector: {matchLabels: {app: web}}, ingress: [{from: ["
    "{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: client}}}]}]}",
)
ALLOW_ALL, DENY_ALL = (policy("p", f"{{podSelector: {{}}, ingress: {rules}}}") for rules in ("[{}]", "[]"))
BOTH = "a/client -> a/web 80"


@dataclass(frozen=True, slots=True)
class Step:
    """The cluster as it then is (``world`` "": as before), and what is true."""

    probes: str
    world: str = ""
    policies: str | None = None


def _world(client: str = "app=client", web: str = "app=web", team: str = "blue", more: str = "") -> str:
    return f"node n1 zone=a\nnode n2\nns a team={team}\npod a/web n1 {web}\npod a/client n2 {client}\n{more}"


HISTORIES: dict[str, list[Step]] = {
    "allow-all, deny-all, deleted": [
        Step(f"{BOTH} : allow", _world(), ALLOW_ALL),
        Step(f"{BOTH} : deny", policies=DENY_ALL),
        Step(f"{BOTH} : allow", policies=""),
    ],
    "a label of a peer pod": [
        Step(f"{BOTH} : allow", _world(), CLOSED_TO_CLIENTS),
        Step(f"{BOTH} : deny", _world(client="app=other")),
        Step(f"{BOTH} : deny", _world(client="other=client")),
        Step(f"{BOTH} : allow", _world()),
    ],
    "a label of a subject pod": [
        Step(f"{BOTH} : deny", _world(client="app=other"), CLOSED_TO_CLIENTS),
        Step(f"{BOTH} : allow", _world(client="app=other", web="app=free")),
        Step(f"{BOTH} : deny", _world(client="app=other")),
    ],
    "a label of a namespace": [
        Step(f"{BOTH} : allow", _world(), CLOSED_TO_CLIENTS),
        Step(f"{BOTH} : deny", _world(team="green")),
        Step(f"{BOTH} : allow", _world()),
    ],
    "a peer finishes and another pod gets its address": [
        Step(
            "ip:10.0.2.77 -> a/web 80 : allow", _world(more="pod a/job n2 app=client at:10.0.2.77"), CLOSED_TO_CLIENTS
        ),
        Step("ip:10.0.2.77 -> a/web 80 : deny", _world(more="pod a/job n2 app=client finished at:10.0.2.77")),
        Step(
            "ip:10.0.2.77 a/next -> a/web 80 : deny",
            _world(more="pod a/job n2 app=client finished at:10.0.2.77\npod a/next n2 at:10.0.2.77"),
        ),
        Step("ip:10.0.2.77 -> a/web 80 : allow", _world(more="pod a/next n2 app=client at:10.0.2.77")),
    ],
    "a subject is deleted and another pod gets its address": [
        Step(
            "ip:203.0.113.7 -> ip:10.0.1.77 80 : deny",
            _world(more="pod a/old n1 app=web at:10.0.1.77"),
            CLOSED_TO_CLIENTS,
        ),
        Step("ip:203.0.113.7 -> ip:10.0.1.77 80 : allow", _world(more="pod a/new n1 at:10.0.1.77")),
        Step("ip:203.0.113.7 -> ip:10.0.1.77 80 : deny", _world(more="pod a/new n1 app=web at:10.0.1.77")),
    ],
    "two owners of an address: it stays while either lives": [
        Step(
            "ip:10.0.2.77 -> a/web 80 : deny",
            _world(more="pod a/one n2 app=client at:10.0.2.77\npod a/two n2 app=other at:10.0.2.77"),
            CLOSED_TO_CLIENTS,
        ),
        Step("ip:10.0.2.77 -> a/web 80 : allow", _world(more="pod a/one n2 app=client at:10.0.2.77")),
    ],
    "an address that comes later": [
        Step("ip:10.0.2.10 -> a/web 80 : deny", _world(client="app=client bare"), CLOSED_TO_CLIENTS),
        Step(f"{BOTH} : allow", _world()),
    ],
    "a label of a node moves a policy": [
        Step(
            f"{BOTH} : deny",
            _world(),
            cluster_policy(
                "p",
                "{tier: Admin, priority: 1, nodes: {matchLabels: {zone: a}}, subject: {namespaces: {}},"
                " ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
            ),
        ),
        Step(f"{BOTH} : allow", _world().replace("zone=a", "zone=b")),
        Step(f"{BOTH} : deny", _world()),
    ],
    "the endpoints of a Service": [
        Step(
            f"{BOTH} : deny",
            _world(more="slice a/s a/s 10.0.1.10 80/TCP\nslice a/t a/s fd00:1::a 80/TCP"),
            cluster_policy(
                "p",
                "{tier: Admin, priority: 1, subject: {namespaces: {}},"
                " egress: [{action: Deny, to: [{services: [{namespace: a, name: s}]}]}]}",
            ),
        ),
        Step(f"{BOTH} : allow", _world(more="slice a/s a/s 10.0.1.10 81/TCP\nslice a/t a/s fd00:1::a 81/TCP")),
        Step(f"{BOTH} : allow", _world()),
    ],
    "Audit becomes Enforce": [
        Step(
            f"{BOTH} : {verdict}",
            _world(),
            cluster_policy(
                "p",
                f"{{tier: Admin, priority: 1, mode: {mode}, subject: {{namespaces: {{}}}},"
                " ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
            ),
        )
        for mode, verdict in (("Audit", "allow"), ("Enforce", "deny"), ("Disabled", "allow"))
    ],
}


class _Controlled:
    """Nodes whose tables follow the compiler change by change."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes, self._compiler, self._state = nodes, Compiler(), ClusterState()
        self._tables: dict[str, Table] = {}

    def become(self, state: ClusterState) -> None:
        dirty = self._compiler.apply(changes(self._state, state))
        self._state = state
        for name in state.nodes:
            self._nodes.change(state, name, None)  # its pods' links, whatever the table says
        for name in dirty:
            known = self._tables.get(name)
            table = render(self._compiler.ruleset(name), previous=known)
            self._nodes.change(state, name, diff(known, table) if known else replace(table))
            self._tables[name] = table


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_change_takes_effect(cluster: Nodes, history: list[Step]) -> None:
    controlled = _Controlled(cluster)
    world, policies = "", ""
    for step in history:
        world, policies = step.world or world, policies if step.policies is None else step.policies
        case = Case("step", (), world, policies, step.probes)
        state = state_of(case)
        controlled.become(state)
        for probe in case.parsed_probes():
            assert {found.allowed for found in ask(state, probe.source, probe.destination, probe.traffic)} == {
                probe.allowed
            }
            passed = cluster.verdicts(state, list(flows_of(state, probe)))
            assert set(passed) == {probe.allowed}, f"{probe} after\n{world}\n{policies}"
