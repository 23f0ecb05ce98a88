"""The options of ``nodewall controller``, declared: a row each with its flag, its environment variable, its meaning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodewall.model.cluster import LogWish
from nodewall.telemetry.logs import Format, Level
from nodewall.telemetry.options import KUBECONFIG, LOGGING, Form, Option, listening, one_of, parse, whole_number
from nodewall.telemetry.web import Address

HEALTH = Address("127.0.0.1", 9810)
SHARE_ABOVE = 50
"""docs/adr/0007 has the counts."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the controller was told. Made by ``controller``."""

    kubeconfig: Path | None
    log_default: LogWish
    log_rate: int
    log_burst: int
    share_above: int | None
    health: Address
    metrics: Address | None
    log_level: Level
    log_format: Format | None


def _above(text: str) -> int | None:
    return None if text.lower() == "never" else int(whole_number(0, 1_000_000)(text))


CONTROLLER = (
    KUBECONFIG,
    Option(
        "log_default",
        "--policy-log",
        "NODEWALL_POLICY_LOG",
        one_of(LogWish),
        "which verdicts of NetworkPolicies are recorded in namespaces that do not say so themselves:"
        " Deny, Accept, All or None",
        LogWish.DENY,
    ),
    Option(
        "log_rate",
        "--policy-log-rate",
        "NODEWALL_POLICY_LOG_RATE",
        whole_number(1, 1000),
        "records per second of one NetworkPolicy rule on one node",
        10,
    ),
    Option(
        "log_burst",
        "--policy-log-burst",
        "NODEWALL_POLICY_LOG_BURST",
        whole_number(1, 10_000),
        "records at once of one NetworkPolicy rule on one node",
        20,
    ),
    Option(
        "share_above",
        "--share-groups-above",
        "NODEWALL_SHARE_GROUPS_ABOVE",
        Form("a whole number from 0 to 1000000, or never", _above),
        "how many nodes (and a fiftieth of all) may use a group of peers before it is held in PeerGroups instead of in"
        " the NodeRuleSet of each",
        SHARE_ABOVE,
    ),
    *listening(HEALTH),
    *LOGGING,
)


def controller(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options of ``nodewall controller``. Raises BadInputError."""
    return Options(**vars(parse("nodewall controller", CONTROLLER, arguments, environ)))
