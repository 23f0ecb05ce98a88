"""The verbs, each importing its half only when it runs; the one place where everything is put together.

``agent``, ``controller`` and ``cleanup`` are handed their arguments as they are, before anything else is imported: a
node does not pay for the command line of people. The other verbs need no cluster, or ask one that runs.

Exit codes: 0 done (``why``: allowed, ``status``: in force), 1 failed (denied, not in force), 2 what was given cannot be
used (a file, a name, the way to the cluster), 3 a mistake of ours.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

from nodewall.model.errors import BadInputError

if TYPE_CHECKING:
    import typer

    from nodewall.api.documents import Loaded, Source

DONE, DENIED, BAD_INPUT, UNEXPECTED = 0, 1, 2, 3
Outcome = tuple[int, str]
"""Exit code, and what goes to stdout: written in one place, so that a closed pipe is met there only."""

PIPE_CLOSED, INTERRUPTED = 141, 130
"""As if the signal had ended us."""


def main(arguments: Sequence[str] | None = None) -> int:
    """``nodewall``. Returns the exit code; never a traceback as the only answer."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or bool(os.environ.get("NODEWALL_DEBUG"))
    try:
        return _run([one for one in given if one != "--debug"])
    except BadInputError as error:
        _say(str(error))
        return BAD_INPUT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains while it ends
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # the last resort of the process
        if debug:
            raise
        _say(f"unexpected {type(error).__name__}: {error}; NODEWALL_DEBUG=1 shows where. Please report it")
        return UNEXPECTED


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] in _HALVES:
        module, function, _ = _HALVES[arguments[0]]
        run: Callable[[Sequence[str], Mapping[str, str]], int] = getattr(import_module(module), function)
        return run(arguments[1:], os.environ)
    return _for_people(arguments)


_HALVES = {
    "controller": ("nodewall.controller.main", "controller", "Compile the cluster's policies for every node."),
    "agent": ("nodewall.agent.main", "agent", "Enforce this node's rule set."),
    "cleanup": ("nodewall.agent.main", "cleanup", "Remove what the agent left on this node."),
}
"""Verb -> module, function (arguments, environment) -> exit code, what it is for."""


def _say(message: str) -> None:
    """One line on stderr, whatever is in it: names of files too may hold what moves a terminal."""
    plain = "".join(each if each.isprintable() else " " for each in message)
    print(f"nodewall: {' '.join(plain.split())}", file=sys.stderr)  # noqa: T201 - the user's terminal


def _for_people(arguments: list[str]) -> int:
    """All other verbs."""
    code, text = _ask(arguments)
    sys.stdout.write(text)
    sys.stdout.flush()
    return code


def _ask(arguments: list[str]) -> Outcome:
    from typer import Abort

    try:
        outcome = _app()(arguments or ["--help"], prog_name=_program(), standalone_mode=False)
    except Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        usage = getattr(error, "format_message", None)  # typer's own click, or the one beside it, by version
        if usage is None:
            raise
        raise BadInputError(f"{usage().rstrip('.')}; see {_program()} --help") from None
    return outcome if isinstance(outcome, tuple) else (outcome or DONE, "")


def _program() -> str:
    """How we were called: ``kubectl nodewall`` finds the program of that name."""
    name = Path(sys.argv[0]).name
    return name.replace("-", " ", 1) if name.startswith("kubectl-") else "nodewall"


Verb = TypeVar("Verb", bound=Callable[..., Any])


class _Lister(Protocol):
    def __call__(self, name: str | None = None, *, help: str) -> Callable[[Verb], Verb]:  # noqa: A002 - its name there
        """Makes a function a verb."""


def _app() -> "typer.Typer":
    import typer

    from nodewall.live import verbs

    app = typer.Typer(
        name="nodewall",
        help="A Kubernetes NetworkPolicy engine that enforces with nftables. Every verb explains itself with --help.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    several = typer.Option("--file", "-f", metavar="FILE|DIR|-", help="YAML or JSON; may be given several times.")
    single = typer.Option("--file", "-f", metavar="FILE|-", help="YAML or JSON.")
    verb = _lister(app)

    @verb(help="Print the NodeRuleSets that the objects in files compile to.")
    def compile(  # noqa: A001 - the verb
        file: Annotated[list[str], several],
        node: Annotated[str | None, typer.Option(metavar="NAME", help="Only the rule set of this node.")] = None,
    ) -> Outcome:
        return _compile(file, node)

    @verb(help="Print the nft table that the agent would apply for a NodeRuleSet.")
    def render(
        file: Annotated[str, single],
        json: Annotated[bool, typer.Option("--json", help="libnftables' JSON instead of text.")] = False,
    ) -> Outcome:
        return _render(file, json)

    @verb(help="Say whether traffic is allowed, and by which policy and rule: in files, or in the cluster.")
    def why(
        source: Annotated[str, typer.Argument(metavar="FROM", help="NAMESPACE/POD, ip:ADDRESS or node:NAME.")],
        destination: Annotated[str, typer.Argument(metavar="TO", help="NAMESPACE/POD, ip:ADDRESS or node:NAME.")],
        port: Annotated[str, typer.Option(metavar="PORT/PROTOCOL", help="Like 5432/TCP, http, icmp/8 or ip/47.")],
        file: Annotated[list[str] | None, several] = None,
        output: verbs.Form = "text",
        via_service: Annotated[bool, typer.Option("--via-service", help="The traffic came through a Service.")] = False,
        kubeconfig: verbs.Kubeconfig = None,
        context: verbs.Context = "",
    ) -> Outcome:
        verbs.check_form(output)
        question = (source, destination, port, via_service)
        return _why(file, question, output) if file else verbs.why((kubeconfig, context), question, output)

    @verb(help="In the agent's pod: show which policies decide how often on this node.")
    def top(
        rules: Annotated[bool, typer.Option("--rules", help="A line for each rule.")] = False,
        output: verbs.Form = "text",
        state_directory: Annotated[Path, typer.Option(metavar="DIR", help="The agent's.")] = Path("/var/lib/nodewall"),
    ) -> Outcome:
        verbs.check_form(output)
        return _top(state_directory, rules, output)

    @verb(help="Print the custom resource definitions.")
    def crds(
        directory: Annotated[
            Path | None, typer.Option(metavar="DIR", help="Write one file per kind there instead.")
        ] = None,
    ) -> Outcome:
        return _crds(directory)

    @verb(help="Print every setting of the agent and the controller, as a page of Markdown.")
    def settings() -> Outcome:
        return _settings()

    @verb(help="Print every metric of the agent and the controller, as a page of Markdown.")
    def metrics() -> Outcome:
        return _metrics()

    @verb(help="Print the version.")
    def version() -> Outcome:
        return _version()

    verbs.add(verb)
    for name, (_, _, purpose) in _HALVES.items():
        verb(name, help=purpose)(lambda: (UNEXPECTED, ""))  # listed by --help only; _run takes these before
    return app


def _lister(app: "typer.Typer") -> _Lister:
    def verb(name: str | None = None, *, help: str) -> Callable[[Verb], Verb]:  # noqa: A002 - its name there
        """Listed with all of its help: what is not said to be short would be cut off."""
        return app.command(name, help=help, short_help=help)

    return verb


# --- files ------------------------------------------------------------------------------------------------------------

_SUFFIXES = (".yaml", ".yml", ".json")
_STDIN = "-"


def _sources(names: Iterable[str]) -> "list[Source]":
    """The texts of files, of directories (their YAML and JSON files, not those of folders inside) and of stdin."""
    return [source for name in names for source in _source(name)]


def _source(name: str) -> "Iterable[Source]":
    from nodewall.api.documents import Source

    if name == _STDIN:
        return [Source("stdin", sys.stdin.buffer.read())]
    path = Path(name)
    try:
        if not path.is_dir():
            return [Source(name, path.read_bytes())]
        _tell_passed_by(path)
        found = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES and one.is_file())
        if not found:
            raise BadInputError(f"holds no {', '.join(_SUFFIXES)} file", source=name)
        return [Source(str(one), one.read_bytes()) for one in found]
    except (OSError, ValueError) as error:
        raise BadInputError(getattr(error, "strerror", None) or str(error), source=name) from None


def _tell_passed_by(directory: Path) -> None:
    folders = sorted(one.name for one in directory.iterdir() if one.is_dir() and not one.name.startswith("."))
    if folders:
        _say(f"{directory}: not read are the folders in it: {_some(folders)}; give each with -f")


def _load(names: list[str]) -> "Loaded":
    from nodewall.api.documents import load

    loaded = load(_sources(names))
    if loaded.skipped:
        counts = ", ".join(f"{count} {kind}" for kind, count in loaded.skipped.items())
        _say(f"skipped what no policy depends on: {counts}")
    for subject, problem in loaded.problems:
        _say(f"warning: {subject}: {problem}")
    return loaded


_HINT = (
    "so add those of the cluster: kubectl get nodes,namespaces,pods,services,endpointslices -A -o yaml > objects.yaml"
)


# --- verbs ------------------------------------------------------------------------------------------------------------


def _compile(names: list[str], node: str | None) -> Outcome:
    from nodewall.api.ruleset import document
    from nodewall.api.yamltext import write
    from nodewall.compile import compile_all, compile_node

    state = _load(names).state
    _tell_unenforced(state, node)
    if node is not None and node not in state.nodes:
        known = ", ".join(sorted(state.nodes)) or "none"
        raise BadInputError(f"no Node {node!r} among the objects; there is {known}", source=", ".join(names))
    if not state.nodes:
        raise BadInputError(f"no Node among the objects, {_HINT}", source=", ".join(names))
    rulesets = compile_all(state) if node is None else {node: compile_node(state, node)}
    return DONE, write([document(one) for one in rulesets.values()])


def _tell_unenforced(state: Any, node: str | None) -> None:
    """Pods that are in no rule set although their author may expect it."""
    bound = {pod.node for pod in state.pods.values() if pod.addresses and not pod.host_network}
    without = sorted("/".join(key) for key, pod in state.pods.items() if not pod.addresses)
    if without:
        _say(f"{len(without)} pods have no address in status.podIPs yet: {_some(without)}")
    if node is None and bound - state.nodes.keys():
        _say(f"pods are bound to nodes that are not among the objects: {_some(sorted(bound - state.nodes.keys()))}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(one or "(none)" for one in names[:5]) + (", ..." if len(names) > 5 else "")


def _render(name: str, as_json: bool) -> Outcome:
    from nodewall.api.documents import read
    from nodewall.api.ruleset import API_VERSION, KIND, decode
    from nodewall.render import render, replace, text

    found = [document for source in _sources([name]) for document in read(source)]
    for one in found:
        if one.value.get("kind") != KIND or one.value.get("apiVersion") != API_VERSION:
            raise one.refuse(f"expected a {KIND} of {API_VERSION}; `nodewall compile` makes them", "kind")
    if len(found) != 1:
        advice = "choose one with `nodewall compile --node NAME`" if found else "`nodewall compile` makes them"
        raise BadInputError(f"holds {len(found)} NodeRuleSets, where one is expected; {advice}", source=name)
    try:
        table = render(decode(found[0].value))
    except BadInputError as error:
        raise found[0].refuse(error.message, error.path) from None
    if as_json:
        import msgspec

        return DONE, msgspec.json.encode(replace(table).json()).decode() + "\n"
    return DONE, text(table)


def _why(names: list[str], question: tuple[str, str, str, bool], output: str) -> Outcome:
    from nodewall.evaluate import as_object, ask, explain
    from nodewall.live.verbs import json

    source, destination, port, via_service = question
    state = _load(names).state
    try:
        answers = ask(state, source, destination, port, via_service=via_service)
    except BadInputError as error:
        if state.pods:
            raise
        raise BadInputError(f"{error}; no Pod is among the objects, {_HINT}", source=", ".join(names)) from None
    code = DONE if all(one.allowed for one in answers) else DENIED
    if output == "json":
        return code, json([as_object(one) for one in answers])
    return code, "\n\n".join(explain(one) for one in answers) + "\n"


def _top(state_directory: Path, rules: bool, output: str) -> Outcome:
    from nodewall.agent import top
    from nodewall.live.verbs import json

    found = top.read(state_directory, by_rule=rules)
    return DONE, json(top.as_objects(found)) if output == "json" else top.text(found, by_rule=rules)


def _crds(directory: Path | None) -> Outcome:
    from nodewall.api import crds

    if directory is None:
        return DONE, "---\n".join(crds.files().values())
    try:
        crds.write(directory)
    except OSError as error:
        raise BadInputError(error.strerror or str(error), source=str(directory)) from None
    return DONE, ""


def _settings() -> Outcome:
    from nodewall.agent.options import AGENT, CLEANUP
    from nodewall.controller.options import CONTROLLER
    from nodewall.telemetry.settings import Program, page

    controller = Program("controller", "manifests/50-controller.yaml", CONTROLLER)
    agent = Program("agent", "manifests/51-agent.yaml", AGENT)
    return DONE, page([controller, agent, Program("cleanup", "uninstall/20-cleanup.yaml", CLEANUP)])


def _metrics() -> Outcome:
    from nodewall.telemetry.catalogue import page

    return DONE, page()


def _version() -> Outcome:
    from nodewall import __version__

    return DONE, f"nodewall {__version__}\n"


if __name__ == "__main__":
    sys.exit(main())
