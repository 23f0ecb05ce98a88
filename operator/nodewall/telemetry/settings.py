"""Every setting as a page for people, drawn from the declarations: what is written there cannot be out of date."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nodewall.telemetry.options import Option


@dataclass(frozen=True, slots=True)
class Program:
    """A verb with settings, and the manifest that runs it."""

    verb: str
    manifest: str
    table: Sequence[Option]


_INTRODUCTION = """\
# Settings

Written by `nodewall settings`; the declarations are `options.py` of each half. A flag wins over the environment
variable, and that over the default; an empty value is the default. `-` means that there is none: the last column says
what is done without. The variable is also the key in the manifest: an entry of the container's `env`, or
`kubectl set env`. Anything else than the values below ends the process at once with exit code 2, and one line that
names the setting and says what it takes.
"""

_REST = """\
## Beside these

| variable | read by | what for |
|---|---|---|
| `POD_NAME`, `POD_NAMESPACE` | controller | who holds the lease, and where it is; the manifest fills them in |
| `KUBERNETES_SERVICE_HOST`, `KUBERNETES_SERVICE_PORT` | both | the API server, as every pod is told |
| `KUBECONFIG` | both, outside of a pod | the way to the API server |
| `NODEWALL_DEBUG` | every verb | set to anything, a mistake of the program shows where it happened |

What is decided elsewhere: which verdicts of a namespace's NetworkPolicies are recorded by its annotation
[`nodewall.io/log`](logging.md), and which of a policy of ours by its own `logging`.
"""


def page(programs: Iterable[Program]) -> str:
    """Markdown."""
    return "\n".join([_INTRODUCTION, *map(_section, programs), _REST])


def _section(program: Program) -> str:
    head = f"## nodewall {program.verb}\n\nIn `{program.manifest}`.\n\n"
    table = "| flag | environment and manifest | default | values | meaning |\n|---|---|---|---|---|\n"
    return head + table + "".join(_row(option) for option in program.table)


def _row(option: Option) -> str:
    default = f"`{option.default_text}`" if option.default_text else "must be given" if option.required else "-"
    meaning = option.help + (f"; in the manifest together with {option.beside}" if option.beside else "")
    cells = (f"`{option.flag}`", f"`{option.variable}`", default, option.parse.wants, meaning)
    return f"| {' | '.join(cells)} |\n"
