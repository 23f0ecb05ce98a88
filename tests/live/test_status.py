"""Whether a policy is in force: said of each node that matters, and not said too early."""

import asyncio
from dataclasses import replace

import pytest

from nodewall.compile import compile_all
from nodewall.kube.http import connect
from nodewall.kube.resource import CLUSTER_NETWORK_POLICIES
from nodewall.live import status
from nodewall.live.cluster import NodeReport
from nodewall.live.standing import Standing
from nodewall.model.errors import BadInputError
from nodewall.model.policy import Kind, PolicyRef
from tests.kube.fake_api import FakeApi, Refuse
from tests.live.clusters import NODES, POLICIES, behind, cluster, fill, publish, state, unapplied

DB = PolicyRef(Kind.NETWORK_POLICY, "shop", "db")
GUARDS = PolicyRef(Kind.CLUSTER_EXTENDED, "", "guards")
OPEN = POLICIES.partition("---")[2]
"""The same cluster without the NetworkPolicy."""
WEB_MOVED = POLICIES.replace("5432", "5433")
OTHER = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
"""


def nodes(found: status.Answer) -> dict[str, bool]:
    return {each.node: each.in_force for each in found.nodes}


def test_a_policy_matters_where_it_has_pods() -> None:
    found = status.answer(cluster(POLICIES), DB)
    assert nodes(found) == {"n2": True}
    assert found.in_force
    assert nodes(status.answer(cluster(POLICIES), GUARDS)) == {"n1": True, "n2": True}


def test_without_a_name_every_node_matters() -> None:
    found = status.answer(cluster(POLICIES, n1=behind("n1")), None)
    assert nodes(found) == {"n1": False, "n2": True, "n3": True}
    assert not found.in_force


MISSING: dict[str, tuple[NodeReport | None, str]] = {
    "no rule set": (None, "has no rule set yet"),
    "not compiled yet": (behind("n2", OPEN), "does not say this yet"),
    "another spec": (behind("n2", WEB_MOVED), "does not say this yet"),
    "not applied": (unapplied("n2", POLICIES), "the kernel refused it"),
    "an older one in force": (replace(behind("n2", POLICIES), applied_digest="0"), "an older one is in force"),
    "damaged": (NodeReport(None, problem="spec.digest: is not that of the content"), "cannot be read: spec.digest"),
}


@pytest.mark.parametrize(("report", "why"), MISSING.values(), ids=MISSING)
def test_what_is_missing_is_said(report: NodeReport | None, why: str) -> None:
    found = status.answer(cluster(POLICIES, n2=report), DB)
    (node,) = found.nodes
    assert not node.in_force
    assert why in node.why


def test_what_a_policy_no_longer_selects_still_matters_while_a_node_holds_it() -> None:
    gone = POLICIES.replace("{app: db}}\n  ingress", "{app: none}}\n  ingress")
    assert nodes(status.answer(cluster(gone, n2=behind("n2", POLICIES)), DB)) == {"n2": False}
    found = status.answer(cluster(gone), DB)
    assert found.nodes == ()
    assert found.in_force
    assert "selects no pod" in status.text(found)


def test_another_policy_that_is_underway_does_not_matter() -> None:
    """A busy cluster is never all in force, and each of its policies is."""
    found = cluster(POLICIES, OTHER, n1=behind("n1", POLICIES))
    assert status.answer(found, GUARDS).in_force
    assert not status.answer(found, PolicyRef(Kind.NETWORK_POLICY, "shop", "web")).in_force


def test_a_peer_that_comes_matters() -> None:
    """A peer's address that the node does not know yet is a part of the policy."""
    moved = state(NODES.replace("10.1.0.5", "10.1.0.7"), POLICIES)
    assert not status.answer(replace(cluster(POLICIES), state=moved), DB).in_force


def isolating(count: int) -> str:
    kind = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nspec: {podSelector: {}}\n"
    return "---\n".join(f"{kind}metadata: {{name: p{number}, namespace: shop}}\n" for number in range(count))


def test_isolation_by_more_policies_than_are_named_is_compared_as_well() -> None:
    last = PolicyRef(Kind.NETWORK_POLICY, "shop", "p9")
    assert status.answer(cluster(isolating(10)), last).in_force
    assert nodes(status.answer(cluster(isolating(10), n1=behind("n1", isolating(9))), last)) == {
        "n1": False,
        "n2": True,
    }


def test_a_node_that_is_degraded_enforces_and_says_so() -> None:
    weak = replace(behind("n2", POLICIES), degraded="traffic bypasses the hook")
    found = status.answer(cluster(POLICIES, n2=weak), DB)
    assert found.in_force
    assert "degraded: traffic bypasses the hook" in status.text(found)


def test_problems_of_the_policy_are_told() -> None:
    broken = replace(cluster(POLICIES), refused={DB: ("spec.ingress[0]: cannot be used",)})
    assert "problem: spec.ingress[0]: cannot be used" in status.text(status.answer(broken, DB))


def test_a_policy_that_is_not_there_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="no such policy"):
        status.answer(cluster(POLICIES), PolicyRef(Kind.NETWORK_POLICY, "shop", "other"))
    with pytest.raises(BadInputError, match="no such policy"):
        status.answer(cluster(POLICIES), PolicyRef(Kind.EXTENDED, "shop", "db"))


NAMES = {
    "networkpolicy/shop/db": DB,
    "NetworkPolicy/shop/db": DB,
    "netpol/shop/db": DB,
    "networkpolicies.networking.k8s.io/shop/db": DB,
    "xnp/a/b": PolicyRef(Kind.EXTENDED, "a", "b"),
    "cxnp/guards": GUARDS,
    "clusternetworkpolicy/x": PolicyRef(Kind.CLUSTER, "", "x"),
}


@pytest.mark.parametrize(("text", "ref"), NAMES.items())
def test_a_name_is_read_as_kubectl_reads_kinds(text: str, ref: PolicyRef) -> None:
    assert status.parse(text) == ref


@pytest.mark.parametrize(
    "text", ["", "pod/a/b", "netpol/db", "netpol/a/b/c", "netpol//b", "cxnp/a/b", "cxnp/", "shop/db"]
)
def test_what_is_no_name_is_bad_input(text: str) -> None:
    with pytest.raises(BadInputError):
        status.parse(text)


def test_the_text_is_one_line_per_node_whatever_an_agent_says() -> None:
    found = status.Answer(DB, (Standing("n1", 1, False, "no\nline\x1b[31m", "one\rmore"), Standing("node-2", 20, True)))
    assert status.text(found).splitlines() == [
        "NetworkPolicy shop/db: NOT IN FORCE on 1 of 2 nodes",
        "  n1         1 pod  not in force: no\\nline\\x1b[31m; degraded: one\\rmore",
        "  node-2   20 pods  in force",
    ]


def test_the_object_for_programs() -> None:
    assert status.as_object(status.answer(cluster(POLICIES), DB)) == {
        "policy": {"kind": "NetworkPolicy", "namespace": "shop", "name": "db"},
        "inForce": True,
        "nodes": [{"name": "n2", "pods": 1, "inForce": True, "why": "", "degraded": ""}],
        "problems": [],
    }


# --- against a server -------------------------------------------------------------------------------------------------


async def asked(api: FakeApi, policy: PolicyRef | None, wait: float = 0) -> status.Answer:
    async with connect(api.credentials()) as session:
        return await status.ask(session, policy, wait)


async def test_live_objects_are_read_without_the_kinds_that_are_not_installed() -> None:
    async with FakeApi() as api:
        api.uninstall(CLUSTER_NETWORK_POLICIES)
        fill(api, NODES, POLICIES)
        publish(api, compile_all(state(NODES, POLICIES)))
        assert (await asked(api, DB)).in_force
        assert (await asked(api, None)).in_force


async def test_trouble_with_a_kind_is_no_absence() -> None:
    async with FakeApi() as api:
        fill(api, NODES, POLICIES)
        api.fail("list", Refuse(403, "no", "Forbidden"), times=20)
        with pytest.raises(Exception, match="no"):
            await asked(api, DB)


async def test_waiting_ends_when_it_is_in_force() -> None:
    async with FakeApi() as api:
        fill(api, NODES, POLICIES)

        async def later() -> None:
            async with asyncio.timeout(10):
                while len(api.asked("list")) < 11:  # noqa: ASYNC110 - requests come from elsewhere
                    await asyncio.sleep(0.01)
            publish(api, compile_all(state(NODES, POLICIES)))

        found, _ = await asyncio.gather(asked(api, DB, wait=20), later())
        assert found.in_force


async def test_waiting_has_an_end() -> None:
    async with FakeApi() as api:
        fill(api, NODES, POLICIES)
        publish(api, compile_all(state(NODES)))
        found = await asked(api, DB, wait=0.6)
        assert not found.in_force
        assert len([seen for seen in api.asked("list") if "networkpolicies" in seen.path]) > 1
