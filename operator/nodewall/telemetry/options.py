"""The options of a process, declared as a table: a row each with its flag, its environment variable and its meaning.

Both halves say where they listen and how they log in the same words, so those rows are here too.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from nodewall.model.errors import BadInputError
from nodewall.telemetry.logs import Format, Level
from nodewall.telemetry.web import Address


@dataclass(frozen=True, slots=True)
class Form:
    """What values look like: ``wants`` says it, ``read`` raises ValueError for all others."""

    wants: str
    read: Callable[[str], Any]

    def __call__(self, text: str) -> Any:
        """The value in ``text``. Raises ValueError saying what is wanted."""
        try:
            return self.read(text)
        except ValueError:
            raise ValueError(f"must be {self.wants}") from None


@dataclass(frozen=True, slots=True)
class Option:
    """One row. ``shown`` is how the default is written, so that it can be given back; ``beside`` is what has to be
    changed in the manifest together with it.
    """

    field: str
    flag: str
    variable: str
    parse: Form
    help: str
    default: Any = None
    required: bool = False
    shown: Callable[[Any], str] = str
    beside: str = ""

    @property
    def default_text(self) -> str:
        """What a user would have to write to get the default; empty when there is none, or none to write."""
        return self.shown(self.default) if isinstance(self.default, Path | str | int | Address) else ""


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError
    ip_address(host.strip("[]"))
    return Address(host.strip("[]"), int(port))


def _file(text: str) -> Path:
    if Path(text).is_dir():
        raise ValueError
    return Path(text)


ADDRESS = Form("ADDRESS:PORT, an IPv6 address in brackets, the port 0 to 65535", _address)


def one_of(kind: type[StrEnum]) -> Form:
    """A value of an enumeration, in any case."""
    values = {str(value).lower(): value for value in kind}

    def read(text: str) -> Any:
        if text.lower() not in values:
            raise ValueError
        return values[text.lower()]

    return Form(f"one of {', '.join(kind)}", read)


def whole_number(least: int, most: int) -> Form:
    """An integer between two others, both included."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return Form(f"a whole number from {least} to {most}", read)


KUBECONFIG = Option(
    "kubeconfig",
    "--kubeconfig",
    "NODEWALL_KUBECONFIG",
    Form("a file", _file),
    "how to reach the API server; in a pod its ServiceAccount, unless given",
)
LOGGING = (
    Option("log_level", "--log-level", "NODEWALL_LOG_LEVEL", one_of(Level), "least level that is logged", Level.INFO),
    Option(
        "log_format",
        "--log-format",
        "NODEWALL_LOG_FORMAT",
        one_of(Format),
        "json or text; text on a terminal unless given",
    ),
)


def listening(health: Address) -> tuple[Option, ...]:
    """Where health and metrics are served."""
    return (
        Option(
            "health",
            "--health-address",
            "NODEWALL_HEALTH_ADDRESS",
            ADDRESS,
            "where /healthz and /readyz are",
            health,
            beside="`ports` and both probes",
        ),
        Option(
            "metrics",
            "--metrics-address",
            "NODEWALL_METRICS_ADDRESS",
            ADDRESS,
            "where /metrics is; beside health, unless given",
        ),
    )


def parse(
    program: str, table: Sequence[Option], arguments: Sequence[str], environ: Mapping[str, str]
) -> argparse.Namespace:
    """The values of a table by field: flag before variable before default.

    Raises BadInputError naming the option. ``--help`` prints and exits, as argparse does.
    """
    parser = argparse.ArgumentParser(prog=program, allow_abbrev=False, exit_on_error=False)
    for option in table:
        parser.add_argument(option.flag, dest=option.field, metavar="VALUE", help=_help(option))
    try:
        given, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise BadInputError(str(error), source=program) from None
    if unknown:
        raise BadInputError(f"unknown option {unknown[0]}; see --help", source=program)
    return argparse.Namespace(**{option.field: _value(option, given, environ) for option in table})


def _help(option: Option) -> str:
    default = f"; {option.default_text} by default" if option.default_text else ""
    return f"{option.help} (${option.variable}{default})"


def _value(option: Option, given: argparse.Namespace, environ: Mapping[str, str]) -> Any:
    flag = getattr(given, option.field)
    text, source = (
        (flag, option.flag) if flag is not None else (environ.get(option.variable, ""), f"${option.variable}")
    )
    if not text:
        if option.required:
            raise BadInputError(f"must be given, here or in ${option.variable}", source=option.flag)
        return option.default
    try:
        return option.parse(text)
    except ValueError as error:
        raise BadInputError(f"{text!r}: {error}", source=source) from None
