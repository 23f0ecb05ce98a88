"""The options of ``nodewall agent``, declared: a row each with its flag, its environment variable, its meaning."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path

from nodewall.model.address import Network
from nodewall.render import NewPodPolicy, Strict
from nodewall.telemetry.logs import Format, Level
from nodewall.telemetry.options import KUBECONFIG, LOGGING, Form, Option, listening, one_of, parse
from nodewall.telemetry.web import Address

STATE_DIRECTORY = Path("/var/lib/nodewall")
HEALTH = Address("127.0.0.1", 9811)


class Established(StrEnum):
    """What becomes of live connections when the rules change."""

    KEEP = "Keep"
    STRICT = "Strict"


@dataclass(frozen=True, slots=True)
class Options:
    """What the agent was told. Made by ``agent``."""

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


def _node(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", text) or len(text) > 253:
        raise ValueError
    return text


def _directory(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError
    return Path(text)


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def _mask(text: str) -> int:
    mask = int(text, 0)
    Strict(generation=0, mask=mask)
    return mask


STATE = Option(
    "state_directory",
    "--state-directory",
    "NODEWALL_STATE_DIRECTORY",
    Form("an absolute path", _directory),
    "where the last good rule set is kept for a start without API server",
    STATE_DIRECTORY,
    beside="`volumes` and `volumeMounts`, in `uninstall/20-cleanup.yaml` too",
)

AGENT = (
    Option(
        "node",
        "--node",
        "NODEWALL_NODE",
        Form("the name of a Node: lower-case letters, digits, '-' and '.'", _node),
        "name of the Node that this agent runs on; the manifest gives it in `args`",
        required=True,
    ),
    KUBECONFIG,
    STATE,
    *listening(HEALTH),
    Option(
        "new_pods",
        "--new-pods",
        "NODEWALL_NEW_PODS",
        one_of(NewPodPolicy),
        "what happens to packets of a local pod that the rule set does not list yet: Drop, Reject or Allow",
        NewPodPolicy.DROP,
    ),
    Option(
        "pod_cidrs",
        "--pod-cidrs",
        "NODEWALL_POD_CIDRS",
        Form("CIDRs without host bits, separated by commas", _networks),
        "CIDRs that only this node's pods have addresses of, separated by commas; those of the Node, unless given",
        (),
    ),
    Option(
        "established",
        "--established",
        "NODEWALL_ESTABLISHED",
        one_of(Established),
        "Keep lets live connections end by themselves, Strict judges them again when the rules get stricter",
        Established.KEEP,
    ),
    Option(
        "mark_mask",
        "--mark-mask",
        "NODEWALL_MARK_MASK",
        Form("one run of at least two bits of 32, like 0xfff00000", _mask),
        "bits of the connection mark that Strict may use; nobody else may use them",
        Strict(generation=0).mask,
        shown=hex,
    ),
    *LOGGING,
)

CLEANUP = (STATE, *LOGGING)


def agent(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options of ``nodewall agent``. Raises BadInputError."""
    return Options(**vars(parse("nodewall agent", AGENT, arguments, environ)))
