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
class Option:
    """One row. ``parse`` takes text and raises ValueError with what it wants instead; ``shown`` is how the default is
    written, so that it can be given back.
    """

    field: str
    flag: str
    variable: str
    parse: Callable[[str], Any]
    help: str
    default: Any = None
    required: bool = False
    shown: Callable[[Any], str] = str

    @property
    def default_text(self) -> str:
        """What a user would have to write to get the default; empty when there is none, or none to write."""
        return self.shown(self.default) if isinstance(self.default, Path | str | int | Address) else ""


def address(text: str) -> Address:
    """ADDRESS:PORT."""
    host, _, port = text.rpartition(":")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError("must be ADDRESS:PORT, an IPv6 address in brackets") from None
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError("must end in a port, 0 to 65535")
    return Address(host.strip("[]"), int(port))


def one_of(kind: type[StrEnum]) -> Callable[[str], Any]:
    """A value of an enumeration, in any case."""
    values = {str(value).lower(): value for value in kind}

    def parse(text: str) -> Any:
        if text.lower() not in values:
            raise ValueError(f"must be one of {', '.join(kind)}")
        return values[text.lower()]

    return parse


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """An integer between two others, both included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


KUBECONFIG = Option(
    "kubeconfig",
    "--kubeconfig",
    "NODEWALL_KUBECONFIG",
    Path,
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
            "health", "--health-address", "NODEWALL_HEALTH_ADDRESS", address, "where /healthz and /readyz are", health
        ),
        Option(
            "metrics",
            "--metrics-address",
            "NODEWALL_METRICS_ADDRESS",
            address,
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
