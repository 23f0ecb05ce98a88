"""The agent's process: from a NodeRuleSet to the kernel and back to its status, whatever happens around it."""

import asyncio
import base64
import json
import signal
from pathlib import Path

import pytest

from nodewall.api import ruleset as codec
from nodewall.kube.resource import NODE_RULE_SETS
from tests.agent.node import DEADLINE, Node, on_node, until
from tests.agent.rulesets import NODE, content
from tests.kube.fake_api import Refuse

pytestmark = pytest.mark.kernel


async def in_force(node: Node, *peers: str) -> None:
    """An agent runs and has applied a rule set with these peers."""
    node.publish(content(*peers))
    await node.start()
    await until(node.applied, "the rule set is applied")


def test_a_rule_set_gets_into_the_kernel_and_the_status_says_so(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        assert "10.0.2.1" in node.table()
        said = node.status
        assert (said["pods"], said["policies"], said["rules"], said["addresses"]) == (1, 1, 2, 1)
        assert said["observedGeneration"] == node.api.objects(NODE_RULE_SETS)["", NODE]["metadata"]["generation"]
        assert (node.condition("Applied")["status"], node.condition("Degraded")["status"]) == ("True", "False")
        assert await node.http("/readyz") == (200, "ok\n")
        assert await node.http("/healthz") == (200, "ok\n")
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while not await turns(node):
            assert asyncio.get_running_loop().time() < deadline, "its turns are measured"
            await asyncio.sleep(0.05)

    on_node(namespace, tmp_path, work)


async def turns(node: Node) -> float:
    """How many turns of the agent's event loop were measured."""
    page = (await node.http("/metrics"))[1].splitlines()
    return float(next(line for line in page if line.startswith("nodewall_agent_loop_lag_seconds_count")).split()[1])


def test_a_change_follows_and_an_unchanged_event_sends_nothing(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        node.publish(content("10.0.2.1", "10.0.2.2"))
        await until(node.applied, "the change is applied")
        assert "10.0.2.2" in node.table()
        document = codec.document(content("10.0.2.1", "10.0.2.2"))
        document["metadata"]["annotations"] = {"touched": "yes"}
        node.put(document)
        node.publish(content("10.0.2.3"))
        await until(node.applied, "the next change is applied")
        kinds = [line["fields"]["kind"] for line in node.log if line["message"] == "rule set applied"]
        assert kinds == ["replace", "diff", "diff"]

    on_node(namespace, tmp_path, work)


def test_a_deleted_rule_set_does_not_open_the_node(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        before = node.table()
        node.api.remove(NODE_RULE_SETS, NODE)
        await until(lambda: any("no NodeRuleSet for this node" in line for line in node.messages()), "it says so")
        assert node.table() == before
        node.publish(content("10.0.2.2"))
        await until(node.applied, "the new one is applied, and its status written")

    on_node(namespace, tmp_path, work)


def test_a_damaged_rule_set_leaves_the_table_and_the_condition_says_why(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        before = node.table()
        document = codec.document(content())
        document["spec"]["addressGroups"] = []
        node.put(document)
        await until(lambda: node.condition("Applied").get("status") == "False", "the condition turns")
        assert node.condition("Applied")["reason"] == "RuleSetUnusable"
        assert "spec.digest" in node.condition("Degraded")["message"]
        assert node.table() == before
        node.publish(content("10.0.2.2"))
        await until(node.applied, "the mended one is applied")
        await until(lambda: node.condition("Degraded")["status"] == "False", "the condition turns back")

    on_node(namespace, tmp_path, work)


def test_a_node_without_a_rule_set_is_not_ready_and_says_why(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await node.start()
        await until(lambda: "connected to the API server" in node.messages(), "it has looked")
        code, said = await node.http("/readyz")
        assert code == 503
        assert "there is no NodeRuleSet for this node" in said
        assert node.table() == ""

    on_node(namespace, tmp_path, work)


def test_a_name_that_is_not_the_token_s_node_applies_nothing(namespace: str, tmp_path: Path) -> None:
    """The other node's rule set would open this one, and its report be refused."""

    async def work(node: Node) -> None:
        node.token = _bound_to("another")
        node.publish(content("10.0.2.1"))
        await node.start()
        await until(lambda: any("bound to node another" in line["message"] for line in node.log), "it says so")
        assert node.table() == ""
        assert (await node.http("/readyz"))[0] == 503
        await node.stop()
        node.token = _bound_to(NODE)
        await node.start()
        await until(node.applied, "with its own token it applies the rule set")

    on_node(namespace, tmp_path, work)


def _bound_to(node: str) -> str:
    claims = json.dumps({"kubernetes.io": {"node": {"name": node}}}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_table_outlives_the_agent(number: int, namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        before = node.table()
        assert await node.stop(number) in {0, -signal.SIGKILL}
        assert node.table() == before

    on_node(namespace, tmp_path, work)


def test_a_restart_without_api_server_keeps_the_table_as_it_is(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        await until((node.folder / "state" / "noderuleset.json").exists, "the rule set is saved")
        await node.stop(signal.SIGKILL)
        await node.api.refuse_connections()
        before = node.table()
        await node.start()
        await until(
            lambda: "the API server cannot be watched; the table in force stays" in node.messages(), "it says so"
        )
        assert node.table() == before
        assert "rule set applied" not in [line["message"] for line in node.log[-3:]]
        node.publish(content("10.0.2.2"))
        await node.api.listen()
        await until(node.applied, "it converges when the API server is back", 45)

    on_node(namespace, tmp_path, work)


def test_a_reboot_without_api_server_enforces_the_saved_rule_set(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        before = node.table()
        await until((node.folder / "state" / "noderuleset.json").exists, "the rule set is saved")
        await node.stop()
        await node.api.refuse_connections()
        node.nft("delete table inet nodewall")
        await node.start()
        await until(node.table, "the table is back")
        await until(lambda: node.table() == before, "it is the same table")

    on_node(namespace, tmp_path, work)


def test_an_agent_that_is_stopped_leaves_the_newest_rule_set_behind(namespace: str, tmp_path: Path) -> None:
    """Though it writes one only now and then."""

    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        saved = node.folder / "state" / "noderuleset.json"
        await until(saved.exists, "the rule set is saved")
        for peer in ("10.0.2.2", "10.0.2.3"):
            node.publish(content(peer))
            await until(lambda peer=peer: peer in node.table(), "the change is applied")  # type: ignore[misc]
        assert await node.stop() == 0
        assert "10.0.2.3" in saved.read_text()

    on_node(namespace, tmp_path, work)


def test_a_damaged_saved_rule_set_is_not_used(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "noderuleset.json").write_text('{"metadata": {"name": "n1"}, "spec": {}}')
        await node.start()
        await until(lambda: "the saved rule set cannot be used" in node.messages(), "it says so")
        node.publish(content("10.0.2.1"))
        await until(node.applied, "the rule set from the API is applied")

    on_node(namespace, tmp_path, work)


@pytest.mark.parametrize("extra", [(), ("--established=Strict",)])
def test_a_disk_that_takes_nothing_degrades_and_stops_nothing(
    extra: tuple[str, ...], namespace: str, tmp_path: Path
) -> None:
    async def work(node: Node) -> None:
        node.publish(content("10.0.2.1"))
        await node.start("--state-directory=/dev/null/state", *extra)
        await until(node.applied, "the rule set is applied all the same")
        await until(lambda: node.condition("Degraded").get("reason") == "RuleSetUnsaved", "it says so")
        assert "cannot be saved" in node.condition("Degraded")["message"]
        assert not [line for line in node.log if "exception" in line]

    on_node(namespace, tmp_path, work)


MISSING = {
    "permission": (Refuse(403, "forbidden", "Forbidden"), "does not let us watch NodeRuleSets"),
    "token": (Refuse(401, "Unauthorized", "Unauthorized"), "does not accept our token"),
    "server error": (Refuse(500, "internal"), "cannot be watched; the table in force stays"),
}


@pytest.mark.parametrize(("fault", "message"), MISSING.values(), ids=MISSING)
def test_a_missing_piece_is_said_in_words_and_tried_again(
    fault: Refuse, message: str, namespace: str, tmp_path: Path
) -> None:
    async def work(node: Node) -> None:
        node.publish(content("10.0.2.1"))
        node.api.fail("list", fault, times=2)
        await node.start()
        await until(lambda: any(message in line for line in node.messages()), "it says what is missing")
        assert (await node.http("/readyz"))[0] == 503
        await until(node.applied, "it goes on when the piece is there")
        assert not [line for line in node.log if "exception" in line]

    on_node(namespace, tmp_path, work)


def test_a_missing_definition_is_said_in_words(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        node.api.uninstall(NODE_RULE_SETS)
        await node.start()
        await until(lambda: any("CustomResourceDefinition" in line for line in node.messages()), "it says so")
        node.api.install(NODE_RULE_SETS)
        node.publish(content("10.0.2.1"))
        await until(node.applied, "it goes on when the definition is there", 30)

    on_node(namespace, tmp_path, work)


def test_a_taken_port_ends_the_agent_with_one_line(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await node.start(f"--metrics-address=127.0.0.1:{node.api.port}")
        assert node.process is not None
        assert await node.process.wait() == 1
        last = node.log[-1]
        assert "cannot serve health and metrics" in last["message"]
        assert "exception" not in last

    on_node(namespace, tmp_path, work)


def test_cleanup_says_when_an_agent_undoes_it(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        assert await node.cleanup() == 0
        said = (node.folder / "cleanup-log").read_text()
        assert "an agent runs here and puts the table back; end it, and clean up again" in said
        await until(node.table, "the table is back")

    on_node(namespace, tmp_path, work)


def test_cleanup_removes_table_and_file_and_can_be_repeated(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await in_force(node, "10.0.2.1")
        await until((node.folder / "state" / "noderuleset.json").exists, "the rule set is saved")
        await node.stop()
        await node.api.refuse_connections()
        for _ in range(2):
            assert await node.cleanup() == 0
            assert node.table() == ""
            assert not list((node.folder / "state").iterdir())
            assert "an agent runs here" not in (node.folder / "cleanup-log").read_text()

    on_node(namespace, tmp_path, work)
