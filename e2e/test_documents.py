"""The commands of the documents, typed as a reader would: in the cluster that `make cluster` leaves running.

What a reader has to fill in (NODE, your-policy.yaml) is filled in; all else is run as it stands there, by a shell.
`why` may say no; every other command has to end with 0, and what follows the log has to go on until it is stopped.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from e2e.components import ROOT
from e2e.instance import Instance
from tests.docs.documents import DOCUMENTS, README, blocks, commands_marked, rows

OPERATIONS, LOGGING, INSTALL = (ROOT / "docs" / name for name in ("operations.md", "logging.md", "install.md"))
POLICY = ROOT / "e2e/demo-policy.yaml"
BIN = Path(sys.executable).parent
FILLED_IN = {
    "your-policy.yaml": str(POLICY),
    "FILE|DIR": str(POLICY),
    "-f DIR": f"-f {POLICY}",
    "NAMESPACE/POD NAMESPACE/POD": "clients/bob shop/web",
    "noderuleset NODE": "noderuleset node-1",
    "--node NODE": "--node node-1",
}
FIRST, *TRY, LAST = commands_marked("try", README)


@dataclass(frozen=True, slots=True)
class Shell:
    """Where commands are typed, and with what: a reader's, or that of a node."""

    env: Mapping[str, str]
    place: Path
    prefix: tuple[str, ...] = ()

    def run(self, command: str, within: float = 120) -> str:
        """What it printed. Fails when it ends with another code than it may."""
        for word, value in FILLED_IN.items():
            command = command.replace(word, value)
        line = [*self.prefix, "bash", "-o", "pipefail", "-c", command]
        with subprocess.Popen(
            line, cwd=self.place, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                said = process.communicate(timeout=2 if follows(command) else within)[0]
            except subprocess.TimeoutExpired:
                process.terminate()
                assert follows(command), f"{command}: not done after {within:g} s"
                return ""
        assert not follows(command), f"{command}: ended by itself: {said}"
        assert process.returncode in ({0, 1} if "nodewall why" in command else {0}), f"{command}: {said}"
        return said


def follows(command: str) -> bool:
    return bool(re.search(r"nodewall logs .*(-f|--follow)\b", command))


@dataclass(frozen=True, slots=True)
class Cluster:
    """What `make cluster` says: how to reach it, and where its nodes are."""

    reader: Shell
    node: Shell
    disk: Path


@pytest.fixture(scope="module")
def up(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The first line of "Try it", and at the end its last one. `instance`: for no cluster but ours."""
    own = Instance.named(f"d{os.getpid()}"[:10])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    here = Shell(inherited | {"NODEWALL_E2E_ID": own.id}, ROOT)
    try:
        said = here.run(FIRST, within=300)
        yield _told(said, here, tmp_path_factory.mktemp("reader"))
    finally:
        here.run(LAST)
        assert not own.state.exists()


def _told(said: str, here: Shell, place: Path) -> Cluster:
    """Read what it prints as a person does, and put the programs on the PATH by the names that the documents use."""
    kubeconfig, kubectl, node, logs = (
        re.search(pattern, said, re.MULTILINE)
        for pattern in (r"KUBECONFIG=(.+)$", r"alias kubectl=(.+)$", r"netns exec (\S+) nft", r"^  ls (.+)$")
    )
    assert kubeconfig
    assert kubectl
    assert node
    assert logs
    programs = place / "bin"
    programs.mkdir()
    (programs / "kubectl").symlink_to(kubectl[1])
    for name in ("nodewall", "kubectl-nodewall"):
        (programs / name).symlink_to(BIN / "nodewall")
    env = {**here.env, "KUBECONFIG": kubeconfig[1], "PATH": f"{programs}:{os.environ['PATH']}"}
    netns = ("ip", "netns", "exec", node[1])
    return Cluster(Shell(env, ROOT), Shell(env, ROOT, netns), Path(logs[1]).parent / "nodes/node-1")


@pytest.fixture(scope="module")
def tried(up: Cluster) -> Cluster:
    """After "Try it"; the rest of the documents acts on what that leaves."""
    for command in TRY:
        up.reader.run(command)
    up.reader.run("nodewall status --wait 30")
    return up


def test_the_demo_shows_it_and_leaves_nothing(instance: Instance) -> None:
    """`make test`, the other line of this block, is what runs this."""
    demo, test = commands_marked("verbs", README)
    assert (demo, test) == ("make demo", "make test")
    own = Instance.named(f"e{os.getpid()}"[:10])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    said = Shell(inherited | {"NODEWALL_E2E_ID": own.id}, ROOT).run(demo, within=300)
    assert "as the policy says, measured" in said
    assert not own.state.exists()


def test_the_cluster_of_the_readme_can_be_tried(tried: Cluster) -> None:
    assert "DENIED" in tried.reader.run(next(command for command in TRY if "nodewall why" in command))


@pytest.mark.parametrize("command", commands_marked("cluster", *DOCUMENTS))
def test_a_command_about_the_cluster(tried: Cluster, command: str) -> None:
    tried.reader.run(command)


@pytest.mark.parametrize("command", commands_marked("node", *DOCUMENTS))
def test_a_command_on_a_node(tried: Cluster, command: str) -> None:
    assert tried.node.run(command)


def test_without_a_cluster(tried: Cluster, tmp_path: Path) -> None:
    """The objects come from one, here and in the document; nothing after that has a way to it."""
    fetch, *others = commands_marked("files", README)
    Shell(tried.reader.env, tmp_path).run(fetch)
    alone = Shell({name: value for name, value in tried.reader.env.items() if name != "KUBECONFIG"}, tmp_path)
    table, verdict = (alone.run(command) for command in others)
    assert "table inet nodewall {" in table
    assert "DENIED" in verdict


def look_inside() -> list[str]:
    return [command for row in rows(README, "Look inside") for command in re.findall(r"`([^`]+)`", row[1])]


@pytest.mark.parametrize("command", [each for each in look_inside() if each.startswith(("kubectl", "nodewall", "nft"))])
def test_looking_inside(tried: Cluster, command: str, tmp_path: Path) -> None:
    """What is done on the node or in the agent's pod is done there, with the agent's directory."""
    command = command.replace("\\|", "|")
    if command.startswith(("nodewall top", "nodewall cleanup")):
        command += f" --state-directory {tried.disk}/var/lib/nodewall"
    shell = tried.node if re.match("nft|nodewall (top|cleanup)", command) else tried.reader
    if "objects.yaml" in command:
        shell.run(f"{commands_marked('files', README)[0]} ; mv objects.yaml {tmp_path}")
        shell = Shell(shell.env, tmp_path)
    shell.run(command)


def test_health_is_where_the_documents_say(tried: Cluster) -> None:
    """What operations.md and the README call the controller's and the agent's, on the node's loopback."""
    pages = re.findall(r"`(http://127\.0\.0\.1:\d+)`", OPERATIONS.read_text())
    assert len(pages) == 2
    for page in pages:
        for path in ("healthz", "readyz", "metrics"):
            asked = f"import urllib.request as r; print(r.urlopen('{page}/{path}').status)"
            assert tried.node.run(f'{sys.executable} -c "{asked}"') == "200\n"


def test_what_is_there_to_see_it_work_is_taken_by_the_api_server(tried: Cluster, tmp_path: Path) -> None:
    """The pods and the policy of docs/install.md, as a dry run: their namespace has to be there first."""
    (text,) = (block.text for block in blocks(INSTALL) if "kind: Pod" in block.text)
    (tmp_path / "try.yaml").write_text(text)
    said = tried.reader.run(
        "kubectl create namespace nodewall-try; kubectl create serviceaccount default -n nodewall-try;"
        f" kubectl apply --dry-run=server --validate=strict -f {tmp_path}/try.yaml;"
        " kubectl delete namespace nodewall-try"
    )
    assert said.count("(server dry run)") == len(list(yaml.safe_load_all(text)))
    assert "Warning" not in said.replace("Warning: resource namespaces/nodewall-try is missing", "")


def test_every_block_that_is_marked_for_here_is_run_here() -> None:
    marked = {block.test for document in DOCUMENTS for block in blocks(document)}
    assert marked >= {"verbs", "try", "cluster", "node", "files"}
    assert LOGGING in {block.document for document in DOCUMENTS for block in blocks(document) if block.test}
