"""The verbs that need no cluster, as a user types them: what they print, and how they end."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from nodewall import __version__, cli
from nodewall.api.ruleset import decode
from nodewall.api.yamltext import documents

CLUSTER = """
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.0.0/24]}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, labels: {app: web}}
spec: {nodeName: n1}
status: {podIP: 10.1.0.5}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, labels: {role: db}}
spec: {nodeName: n2}
status: {podIP: 10.2.0.6}
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
"""


@dataclass(frozen=True)
class Answer:
    """How a run ended."""

    code: int
    out: str
    err: str


class Shell:
    """Runs verbs in a folder of their own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    def __call__(self, *arguments: str, stdin: str = "") -> Answer:
        self._monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin.encode())))
        code = cli.main(arguments)
        found = self._capsys.readouterr()
        return Answer(code, found.out, found.err)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.delenv("NODEWALL_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, monkeypatch, capsys)


def rulesets(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    return {body["metadata"]["name"]: decode(body) for body in documents(answer.out)}


# --- compile ----------------------------------------------------------------------------------------------------------


def test_compile_prints_the_rule_set_of_every_node(run: Shell) -> None:
    answer = run("compile", "-f", run.write("all.yaml", CLUSTER + "---" + POLICY))
    found = rulesets(answer)
    assert sorted(found) == ["n1", "n2"]
    assert [one.isolation is not None for one in found["n2"].classes] == [True]
    assert answer.err == ""
    assert answer.out.startswith(
        "---\napiVersion: nodewall.io/v1alpha1\nkind: NodeRuleSet\nmetadata:\n  name: n1\nspec:\n"
    )


def test_compile_reads_files_folders_and_stdin(run: Shell) -> None:
    whole = rulesets(run("compile", "-f", run.write("all.yaml", CLUSTER + "---" + POLICY)))
    run.write("parts/cluster.yml", CLUSTER)
    run.write("parts/policy.json", json.dumps(next(documents(POLICY))))
    run.write("parts/README.md", "not: [yaml")
    assert rulesets(run("compile", "-f", str(run.folder / "parts"))) == whole
    assert rulesets(run("compile", "-f", "parts/cluster.yml", "--file", "-", stdin=POLICY)) == whole
    assert rulesets(run("compile", "-f", "-", stdin=CLUSTER + "---" + POLICY)) == whole


def test_compile_prints_the_rule_set_of_one_node(run: Shell) -> None:
    path = run.write("all.yaml", CLUSTER + "---" + POLICY)
    assert sorted(rulesets(run("compile", "-f", path, "--node", "n2"))) == ["n2"]
    answer = run("compile", "-f", path, "--node", "n3")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"nodewall: {path}: no Node 'n3' among the objects; there is n1, n2\n"


def test_compile_gives_equal_bytes_for_equal_input(run: Shell) -> None:
    parts = (CLUSTER + "---" + POLICY).split("---")
    first = run("compile", "-f", "-", stdin="---".join(parts)).out
    assert run("compile", "-f", "-", stdin="---".join(reversed(parts))).out == first


def test_compile_says_what_it_leaves_out(run: Shell) -> None:
    more = """---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}
---
{apiVersion: v1, kind: Secret, metadata: {name: a}}
---
{apiVersion: v1, kind: Pod, metadata: {name: new}}
---
{apiVersion: v1, kind: Pod, metadata: {name: far}, spec: {nodeName: n9}, status: {podIP: 10.9.0.1}}
---
apiVersion: nodewall.io/v1alpha1
kind: ExtendedNetworkPolicy
metadata: {name: names}
spec: {priority: 1, podSelector: {}, egress: [{action: Accept, to: [{domainNames: [a.example]}]}]}
"""
    answer = run("compile", "-f", "-", stdin=CLUSTER + more)
    assert sorted(rulesets(answer)) == ["n1", "n2"]
    assert answer.err.splitlines() == [
        "nodewall: skipped what no policy depends on: 1 Deployment, 1 Secret",
        (
            "nodewall: warning: ExtendedNetworkPolicy names: spec.egress[0].to[0].domainNames: is not supported; "
            "write networks, or a services peer"
        ),
        "nodewall: 1 pods have no address in status.podIPs yet: default/new",
        "nodewall: pods are bound to nodes that are not among the objects: n9",
    ]


# --- render -----------------------------------------------------------------------------------------------------------


def test_render_prints_what_the_agent_would_apply(run: Shell) -> None:
    ruleset = run("compile", "-f", "-", "--node", "n2", stdin=CLUSTER + "---" + POLICY).out
    text = run("render", "-f", "-", stdin=ruleset)
    assert (text.code, text.err) == (0, "")
    assert "table inet nodewall {" in text.out
    commands = json.loads(run("render", "-f", run.write("n2.yaml", ruleset), "--json").out)["nftables"]
    assert commands[0] == {"add": {"table": {"family": "inet", "name": "nodewall"}}}


@pytest.mark.kernel
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_render_loads_into_an_empty_namespace(run: Shell, form: list[str]) -> None:
    ruleset = run("compile", "-f", "-", "--node", "n2", stdin=CLUSTER + "---" + POLICY).out
    table = run("render", "-f", "-", *form, stdin=ruleset).out
    load = ["unshare", "--net", "sh", "-c", f"nft {'-j ' if form else ''}-f - && nft list table inet nodewall"]
    done = subprocess.run(load, input=table, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hook forward" in done.stdout


def test_render_refuses_several_rule_sets_with_a_hint(run: Shell) -> None:
    answer = run("render", "-f", "-", stdin=run("compile", "-f", "-", stdin=CLUSTER).out)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "nodewall: -: holds 2 NodeRuleSets, where one is expected; choose one with `nodewall compile --node NAME`\n"
    )


def test_render_refuses_what_was_changed_by_hand(run: Shell) -> None:
    ruleset = run("compile", "-f", "-", "--node", "n2", stdin=CLUSTER + "---" + POLICY).out
    answer = run("render", "-f", run.write("n2.yaml", ruleset.replace("TCP/5432", "TCP/22")))
    assert answer.code == 2
    assert "n2.yaml: NodeRuleSet n2: spec.digest: is not the digest of the rest" in answer.err


# --- why --------------------------------------------------------------------------------------------------------------

QUESTION = ("default/web-0", "default/db-0", "--port")


@pytest.mark.parametrize(("port", "code", "word"), [("5432/TCP", 0, "ALLOWED"), ("80/TCP", 1, "DENIED")])
def test_why_answers_and_ends_accordingly(run: Shell, port: str, code: int, word: str) -> None:
    path = run.write("all.yaml", CLUSTER + "---" + POLICY)
    answer = run("why", "-f", path, *QUESTION, port)
    assert (answer.code, answer.err) == (code, "")
    assert answer.out.startswith(word)
    (found,) = json.loads(run("why", "-f", path, *QUESTION, port, "--output", "json").out)
    assert found["allowed"] is (code == 0)


@pytest.mark.parametrize(
    "arguments",
    [(*QUESTION, "x/y"), ("default/nobody", "default/db-0", "--port", "1/TCP"), (*QUESTION, "1/TCP", "-o", "xml")],
)
def test_why_never_takes_a_bad_question_for_a_denial(run: Shell, arguments: Sequence[str]) -> None:
    answer = run("why", "-f", run.write("all.yaml", CLUSTER), *arguments)
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (2, "", 1)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_crds_prints_them_or_writes_files(run: Shell) -> None:
    printed = list(documents(run("crds").out))
    assert [one["spec"]["names"]["kind"] for one in printed] == [
        "NodeRuleSet",
        "PeerGroup",
        "ExtendedNetworkPolicy",
        "ClusterExtendedNetworkPolicy",
    ]
    assert run("crds", "--directory", ".") == Answer(0, "", "")
    written = [next(documents(path.read_text())) for path in run.folder.iterdir()]
    assert sorted(map(str, written)) == sorted(map(str, printed))
    assert run("crds", "--directory", "missing").code == 2


def test_version(run: Shell) -> None:
    assert run("version") == Answer(0, f"nodewall {__version__}\n", "")


VERBS = ["compile", "render", "why", "crds", "version", "controller", "agent", "cleanup"]


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_verb(run: Shell, arguments: Sequence[str]) -> None:
    answer = run(*arguments)
    assert answer.code == 0
    assert [verb for verb in VERBS if f"\n  {verb} " not in answer.out] == []


def test_help_is_cut_off_nowhere(run: Shell) -> None:
    said = run("--help").out.partition("Commands:")[2]
    assert "..." not in said
    assert "why Say whether traffic is allowed, and by which policy and rule: in files, or in the cluster." in " ".join(
        said.split()
    )


@pytest.mark.parametrize("verb", ["compile", "render", "why", "crds", "version"])
def test_every_verb_explains_itself(run: Shell, verb: str) -> None:
    answer = run(verb, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert f"nodewall {verb}" in answer.out


BAD: list[tuple[Sequence[str], str]] = [
    (("compile",), "--file"),
    (("compile", "-f"), "-f"),
    (("compile", "-f", "missing.yaml"), "missing.yaml: No such file or directory"),
    (("compile", "-f", "a\0b"), "null byte"),
    (("compile", "-f", "empty"), "empty: holds no .yaml, .yml, .json file"),
    (("compile", "-f", "-"), "-: no Node among the objects, so add those of the cluster: kubectl get nodes,"),
    (("why", "-f", "draft.yaml", *QUESTION, "1/TCP"), "there is no such pod; no Pod is among the objects, so add"),
    (
        ("compile", "-f", "bad.yaml"),
        "bad.yaml: NetworkPolicy db: spec.ingress[0].from[0].ipBlock.cidr: '1.2.3.4' is not a CIDR",
    ),
    (("compile", "-f", "odd.yaml"), "odd.yaml: Foo x: kind: unknown kind 'Foo'"),
    (("render", "-f", "missing.yaml"), "missing.yaml: No such file"),
    (("render", "-f", "-"), "-: holds 0 NodeRuleSets"),
    (("render", "-f", "bad.yaml"), "bad.yaml: NetworkPolicy db: kind: expected a NodeRuleSet"),
    (("frobnicate",), "No such command 'frobnicate'; see nodewall --help"),
    (("version", "--loud"), "--loud"),
    (("crds", "extra"), "extra"),
    (("agent",), "--node"),
    (("agent", "--nodes", "x"), "--nodes"),
    (("controller", "--frobnicate"), "--frobnicate"),
    (("cleanup", "--frobnicate"), "--frobnicate"),
]


def test_folders_in_a_folder_are_not_read_without_a_word(run: Shell) -> None:
    run.write("all.yaml", CLUSTER)
    for name in ("b", "a", ".git"):
        (run.folder / name).mkdir()
        run.write(f"{name}/policy.yaml", POLICY)
    answer = run("compile", "-f", str(run.folder))
    assert answer.code == 0
    assert answer.err == f"nodewall: {run.folder}: not read are the folders in it: a, b; give each with -f\n"


@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_what_cannot_be_used_ends_with_one_line(run: Shell, arguments: Sequence[str], words: str) -> None:
    (run.folder / "empty").mkdir()
    bad = POLICY.replace("podSelector: {matchLabels: {app: web}}", "ipBlock: {cidr: 1.2.3.4}")
    run.write("bad.yaml", bad)
    run.write("draft.yaml", POLICY)
    run.write("odd.yaml", "{apiVersion: v1, kind: Foo, metadata: {name: x}}")
    answer = run(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("nodewall: ")
    assert words in answer.err


def test_a_mistake_of_ours_is_never_a_bare_traceback(run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def write(self, _: str) -> int:
            raise ZeroDivisionError("two\nlines")

        def flush(self) -> None: ...

    monkeypatch.setattr(sys, "stdout", Broken())
    answer = run("version")
    assert answer.code == 3
    assert answer.err.startswith("nodewall: unexpected ZeroDivisionError: two lines")
    assert len(answer.err.splitlines()) == 1
    with pytest.raises(ZeroDivisionError):
        run("version", "--debug")
    monkeypatch.setenv("NODEWALL_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("version")


def nodewall(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from nodewall.cli import main; sys.exit(main())", *arguments]


def test_a_closed_pipe_is_not_an_error_worth_words(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(CLUSTER + "---" + POLICY)
    with subprocess.Popen(
        nodewall("compile", "-f", str(path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_the_agent_does_not_pay_for_the_command_line_of_people() -> None:
    script = (
        "import sys; from nodewall.cli import main; code = main(['agent', '--node', '!']); "
        "print(code, *sorted({'typer', 'rich', 'kopf', 'kubernetes_asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_a_name_of_a_file_does_not_reach_the_terminal_as_it_is(run: Shell) -> None:
    run.write("\x1b]0;title\x07\x1b[31m\u202e.yaml", "- 1\n")
    answer = run("compile", "-f", str(run.folder))
    assert answer.code == 2
    assert answer.err.rstrip("\n").isprintable()
