"""The options of ``nodewall agent``, declared: a row each with its flag, its environment variable, its meaning."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from nodewall.model.address import Network
from nodewall.model.errors import BadInputError
from nodewall.render import NewPodPolicy, Strict
from nodewall.telemetry.logs import Format, Level
from nodewall.telemetry.web import Address

STATE_DIRECTORY = Path("/var/lib/nodewall")
HEALTH = Address("127.0.0.1", 9811)


class Established(StrEnum):
    """What becomes of live connections when the rules change."""

    KEEP = "Keep"
    STRICT = "Strict"


@dataclass(frozen=True, slots=True)
class Options:
    """What the agent was told. Made by ``parse``."""

    node: str
    kubeconfig: Path | None
    state_directory: Path
    health: Address
    metrics: Address | None
    new_pods: NewPodPolicy
    pod_cidrs: tuple[Network, ...]
    established: Established
    mark_mask: int
    log_level: Level
    log_format: Format | None


@dataclass(frozen=True, slots=True)
class Option:
    """One row. ``parse`` takes text and raises ValueError with what it wants instead."""

    field: str
    flag: str
    variable: str
    parse: Callable[[str], Any]
    help: str
    default: Any = None
    required: bool = False


def _node(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", text) or len(text) > 253:
        raise ValueError("must be the name of a Node: lower-case letters, digits, '-' and '.'")
    return text


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError("must be ADDRESS:PORT, an IPv6 address in brackets") from None
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must end in a port, 0 to 65535")
    return Address(host.strip("[]"), int(port))


def _directory(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError("must be an absolute path")
    return Path(text)


def _one_of(kind: type[StrEnum]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        found = next((each for each in kind if each.lower() == text.lower()), None)
        if found is None:
            raise ValueError(f"must be one of {', '.join(kind)}")
        return found

    return parse


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"must be CIDRs, separated by commas ({error})") from None


def _mask(text: str) -> int:
    try:
        mask = int(text, 0)
        Strict(generation=0, mask=mask)
    except ValueError:
        raise ValueError("must be one run of at least two bits of 32, like 0xfff00000") from None
    return mask


STATE = Option(
    "state_directory",
    "--state-directory",
    "NODEWALL_STATE_DIRECTORY",
    _directory,
    "where the last good rule set is kept for a start without API server",
    STATE_DIRECTORY,
)

LOGGING = (
    Option("log_level", "--log-level", "NODEWALL_LOG_LEVEL", _one_of(Level), "least level that is logged", Level.INFO),
    Option(
        "log_format",
        "--log-format",
        "NODEWALL_LOG_FORMAT",
        _one_of(Format),
        "json or text; text on a terminal unless given",
    ),
)

AGENT = (
    Option("node", "--node", "NODEWALL_NODE", _node, "name of the Node that this agent runs on", required=True),
    Option(
        "kubeconfig",
        "--kubeconfig",
        "NODEWALL_KUBECONFIG",
        Path,
        "how to reach the API server; in a pod its ServiceAccount, unless given",
    ),
    STATE,
    Option("health", "--health-address", "NODEWALL_HEALTH_ADDRESS", _address, "where /healthz and /readyz are", HEALTH),
    Option(
        "metrics",
        "--metrics-address",
        "NODEWALL_METRICS_ADDRESS",
        _address,
        "where /metrics is; beside health, unless given",
    ),
    Option(
        "new_pods",
        "--new-pods",
        "NODEWALL_NEW_PODS",
        _one_of(NewPodPolicy),
        "what happens to packets of a local pod that the rule set does not list yet: Drop, Reject or Allow",
        NewPodPolicy.DROP,
    ),
    Option(
        "pod_cidrs",
        "--pod-cidrs",
        "NODEWALL_POD_CIDRS",
        _networks,
        "CIDRs that only this node's pods have addresses of, separated by commas; those of the Node, unless given",
        (),
    ),
    Option(
        "established",
        "--established",
        "NODEWALL_ESTABLISHED",
        _one_of(Established),
        "Keep lets live connections end by themselves, Strict judges them again when the rules get stricter",
        Established.KEEP,
    ),
    Option(
        "mark_mask",
        "--mark-mask",
        "NODEWALL_MARK_MASK",
        _mask,
        "bits of the connection mark that Strict may use; nobody else may use them",
        Strict(generation=0).mask,
    ),
    *LOGGING,
)

CLEANUP = (STATE, *LOGGING)


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


def agent(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options of ``nodewall agent``. Raises BadInputError."""
    return Options(**vars(parse("nodewall agent", AGENT, arguments, environ)))


def _help(option: Option) -> str:
    default = f"; {option.default} by default" if isinstance(option.default, Path | str | Address) else ""
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
