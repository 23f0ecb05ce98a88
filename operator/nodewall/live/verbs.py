"""The verbs that ask a cluster, as a person types them. Each imports its part only when it runs."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from nodewall.model.errors import BadInputError

Outcome = tuple[int, str]
"""Exit code, and what goes to stdout. 0: yes, done; 1: no."""

Way = tuple[Path | None, str]
"""Kubeconfig and context, as given."""

Form = Annotated[str, typer.Option("--output", "-o", metavar="text|json", help="How to answer.")]
Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="The way to the cluster; else the pod's own, else $KUBECONFIG."),
]
Context = Annotated[str, typer.Option("--context", metavar="NAME", help="Not the kubeconfig's current context.")]


def add(verb: Callable[..., Any]) -> None:
    """Make them verbs of the program."""
    verb(help="Say whether a policy is in force on every node that matters; without a name, if all are.")(status)
    verb(help="Show the verdict records of all nodes.")(logs)


def check_form(output: str) -> None:
    """Raises BadInputError."""
    if output not in ("text", "json"):
        raise BadInputError(f"{output!r} must be text or json", path="--output")


def json(value: object) -> str:
    """For programs, and readable."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def why(way: Way, question: tuple[str, str, str, bool], output: str) -> Outcome:
    """The verb itself is the command line's: it answers from files too."""
    from nodewall.live import access
    from nodewall.live import why as part

    asked = part.Question(*question)
    found = access.ask(access.Way(*way), lambda session: part.ask(session, asked))
    return int(not found.allowed), json(part.as_objects(found)) if output == "json" else part.text(found)


def status(
    policy: Annotated[
        str, typer.Argument(metavar="[KIND/NAMESPACE/NAME]", help="A NetworkPolicy, or one of the other kinds.")
    ] = "",
    wait: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Wait so long for it to be in force.")] = 0,
    output: Form = "text",
    kubeconfig: Kubeconfig = None,
    context: Context = "",
) -> Outcome:
    """`nodewall status`."""
    from nodewall.live import access
    from nodewall.live import status as part

    check_form(output)
    ref = part.parse(policy) if policy else None
    found = access.ask(access.Way(kubeconfig, context), lambda session: part.ask(session, ref, wait))
    return int(not found.in_force), json(part.as_object(found)) if output == "json" else part.text(found)


def logs(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAME", help="About pods or policies of this namespace.")
    ] = "",
    pod: Annotated[str, typer.Option(metavar="NAMESPACE/NAME", help="From or to this pod.")] = "",
    policy: Annotated[str, typer.Option(metavar="[NAMESPACE/]NAME", help="By this policy, alone or with others.")] = "",
    verdict: Annotated[
        list[str] | None, typer.Option(metavar="VERDICT", help="accept, deny, would-deny ...; several may be given.")
    ] = None,
    node: Annotated[str, typer.Option(metavar="NAME", help="Of this node's agent only.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="Not older than 30s, 10m, 2h, 1d.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="text|json", help="Text on a terminal, else JSON, unless given.")
    ] = "",
    system_namespace: Annotated[str, typer.Option(metavar="NAME", help="Where the agents are.")] = "nodewall-system",
    kubeconfig: Kubeconfig = None,
    context: Context = "",
) -> Outcome:
    """`nodewall logs`."""
    from nodewall.live import access, records
    from nodewall.live import logs as part

    check_form(output or "text")
    terminal = sys.stdout.isatty()
    wish = part.Wish(
        wanted=records.Filter(namespace, pod, policy, tuple(verdict or ())),
        since=records.seconds(since) if since else None,
        follow=follow,
        node=node,
        raw=output == "json" or (not output and not terminal),
        coloured=terminal and not os.environ.get("NO_COLOR"),
        namespace=system_namespace,
    )
    access.ask(access.Way(kubeconfig, context), lambda session: part.show(session, wish, _at_once))
    return 0, ""


def _at_once(line: str) -> None:
    """Whoever follows wants it now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
