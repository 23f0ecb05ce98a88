"""What the documents name is there: reasons, Events, metrics, words of the log, options, verbs, files.

Everything is compared with its declaration, so whoever renames one sees the documents that still say the old name.
"""

import importlib
import pkgutil
import re
import shlex
from enum import Enum
from pathlib import Path

import pytest
import typer
import yaml

import nodewall
from nodewall import cli
from nodewall.agent import decide
from nodewall.agent import options as agent_options
from nodewall.api import crds
from nodewall.controller import options as controller_options
from nodewall.controller import status
from nodewall.telemetry import events, metrics
from tests.docs.documents import DOCUMENTS, ROOT, blocks, first_words, links, name, prose, rows, spans

OPERATIONS = ROOT / "docs/operations.md"
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "operator").rglob("*.py")))
EVERY = pytest.mark.parametrize("document", DOCUMENTS, ids=name)
METRICS = {metric.name: metric for metric in (*metrics.CONTROLLER, *metrics.AGENT)}


# -- docs/operations.md lists all of them, and no other


@pytest.mark.parametrize(
    ("table", "declared"),
    [(0, decide.Reason), (1, status.Reason), (2, events.Reason)],
    ids=["of a NodeRuleSet", "of a policy", "of an Event"],
)
def test_the_reasons_are_those_that_are_declared(table: int, declared: type[Enum]) -> None:
    listed = first_words(OPERATIONS, "Reasons", table)
    assert sorted(listed) == sorted(reason.value for reason in declared)


@pytest.mark.parametrize(("table", "declared"), [(0, {"Applied", "Degraded"}), (1, {*status.Type})])
def test_a_reason_stands_beside_a_condition_that_there_is(table: int, declared: set[str]) -> None:
    named = {row[1].partition("=")[0] for row in rows(OPERATIONS, "Reasons", table)}
    assert named - {"-"} == declared


def test_the_types_of_events_are_those_that_there_are() -> None:
    assert {row[1] for row in rows(OPERATIONS, "Reasons", 2)} == {*events.Severity}


# -- whatever any document names


@EVERY
def test_metrics_and_their_labels_exist(document: Path) -> None:
    for found in re.findall(r"\bnodewall_(?:controller|agent)_\w+", document.read_text()):
        assert re.sub(r"_(bucket|sum|count)$", "", found) in METRICS
    for metric, label, value in re.findall(r'(nodewall_\w+)\{(\w+)="([^"]+)"', document.read_text()):
        declared = {each.__name__.lower(): {*each} for each in METRICS[metric].labels}
        assert value in declared[label]


def test_metrics_are_found_where_they_are() -> None:
    """The check above checks something."""
    assert {"nodewall_agent_degraded", "nodewall_controller_leads"} <= {*first_words(OPERATIONS, "Metrics")}


def named_in_code() -> set[str]:
    """Every class of the program, and every value of its enumerations."""
    found: set[str] = set()
    for module in pkgutil.walk_packages(nodewall.__path__, "nodewall."):
        for each in vars(importlib.import_module(module.name)).values():
            if isinstance(each, type) and each.__module__.startswith("nodewall."):
                found |= {each.__name__, *map(str, each if issubclass(each, Enum) else ())}
    return found


OURS = named_in_code() | {yaml.safe_load(text)["spec"]["names"]["kind"] for text in crds.files().values()}
KUBERNETES = {
    "ClusterNetworkPolicy",
    "ClusterRole",
    "CustomResourceDefinition",
    "DaemonSet",
    "EndpointSlice",
    "NetworkPolicy",
    "RuntimeDefault",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
}
FOREIGN = {
    "docs/compare.md": None,  # is about other programs
    "docs/logging.md": {"AntreaNetworkPolicy", "K8sNetworkPolicy"},
}


@EVERY
def test_words_of_the_api_exist(document: Path) -> None:
    allowed = FOREIGN.get(name(document), set())
    if allowed is None:
        return
    words = {word for span in spans(document) for word in re.findall(r"^[A-Z][a-z]+(?:[A-Z][a-z]+)+$", span)}
    assert words - OURS - KUBERNETES - allowed == set()


def test_what_the_log_says_is_what_the_program_says() -> None:
    """In docs/operations.md, words in code font that are no command: each part between dots stands in the sources."""
    said = [span for span in spans(OPERATIONS) if re.match(r"[a-zA-Z]+ \w+ \w+", span)]
    texts = [span for span in said if span.split()[0] not in {"kubectl", "nodewall", "nft"}]
    assert len(texts) > 5
    # A message may go on in the next line of the source, and have a name or a number in the middle.
    sources = re.sub(r'"\n\s*f?"', "", SOURCES)
    for part in (part for text in texts for part in text.rstrip(":").split(" ... ")):
        assert part in sources


# -- commands

TABLES = {
    "agent": agent_options.AGENT,
    "controller": controller_options.CONTROLLER,
    "cleanup": agent_options.CLEANUP,
}
OPTIONS = {option.flag for table in TABLES.values() for option in table}
VARIABLES = {option.variable for table in TABLES.values() for option in table}
OF_OTHER_PROGRAMS = {"--register-with-taints", "--build-arg", "--secret", "--cascade=foreground"}


def flags_by_verb() -> dict[str, set[str]]:
    application = cli._app()  # noqa: SLF001 - the only list of them
    found = {verb: {option.flag for option in table} for verb, table in TABLES.items()}
    for verb, command in typer.main.get_command(application).commands.items():  # type: ignore[attr-defined]
        found.setdefault(verb, {flag for parameter in command.params for flag in parameter.opts})
    return found


VERBS = flags_by_verb()


def nodewall_commands(document: Path) -> list[list[str]]:
    """Each use of the program, as words, up to where the shell does something else."""
    lines = [line for block in blocks(document) if not block.language for line in block.commands()]
    uses = [re.split(r"[|;>()]|&&", part)[0] for line in (*lines, *spans(document)) for part in re.split(r"\| ", line)]
    found = (re.search(r"(?:^|(?<=\s))(?:kubectl )?nodewall ([a-z].*)$", use.strip()) for use in uses)
    return [shlex.split(each[1]) for each in found if each and not each.string.startswith(("docker", "make"))]


@EVERY
def test_verbs_and_their_options_exist(document: Path) -> None:
    for verb, *words in nodewall_commands(document):
        assert verb in VERBS
        given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
        assert given - VERBS[verb] - {"--help"} == set(), verb


def test_the_verbs_are_found_where_they_are() -> None:
    """The check above checks something."""
    assert ["status"] in nodewall_commands(OPERATIONS)
    assert {words[0] for words in nodewall_commands(ROOT / "README.md")} >= {"why", "compile", "render", "cleanup"}


@EVERY
def test_options_and_variables_exist(document: Path) -> None:
    text = " ".join(spans(document))
    alone = {span for each in spans(document) for span in [re.split(r"[=\s]", each)[0]] if each.startswith("--")}
    flags = {flag for verb in VERBS.values() for flag in verb}
    assert alone - flags - OPTIONS - {each.partition("=")[0] for each in OF_OTHER_PROGRAMS} == set()
    for variable in re.findall(r"\bNODEWALL_[A-Z_]+", text):
        assert variable in VARIABLES or variable in known_to_the_repository()


def known_to_the_repository() -> set[str]:
    texts = [path.read_text() for path in (*ROOT.glob("e2e/*.py"), *ROOT.glob("scripts/*"), ROOT / "Makefile")]
    return {found for text in (*texts, SOURCES) for found in re.findall(r"\bNODEWALL_[A-Z_]+", text)}


@EVERY
def test_targets_of_make_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [line for block in blocks(document) if not block.language for line in block.commands()]
    used = {found for text in (*lines, *spans(document)) for found in re.findall(r"^make ([a-z-]+)", text)}
    assert used <= targets


def test_the_folders_are_those_that_there_are() -> None:
    architecture, code = ROOT / "docs/architecture.md", ROOT / "operator/nodewall"
    folders = {f"{each.parent.name}/" for each in code.glob("*/__init__.py")}
    assert {row[0].strip("`") for row in rows(architecture, "The folders are the data flow")} == {*folders, "cli.py"}


# -- links


@EVERY
def test_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://")
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(document: Path) -> set[str]:
    """As code hosts make them of headings."""
    titles = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}
