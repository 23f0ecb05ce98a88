"""The options of ``nodewall controller``, declared: a row each with its flag, its environment variable, its meaning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodewall.model.cluster import LogWish
from nodewall.telemetry.logs import Format, Level
from nodewall.telemetry.options import KUBECONFIG, LOGGING, Option, listening, one_of, parse, whole_number
from nodewall.telemetry.web import Address

HEALTH = Address("127.0.0.1", 9810)


@dataclass(frozen=True, slots=True)
class Options:
    """What the controller was told. Made by ``controller``."""

    kubeconfig: Path | None
    log_default: LogWish
    log_rate: int
    log_burst: int
    health: Address
    metrics: Address | None
    log_level: Level
    log_format: Format | None


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
    *listening(HEALTH),
    *LOGGING,
)


def controller(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options of ``nodewall controller``. Raises BadInputError."""
    return Options(**vars(parse("nodewall controller", CONTROLLER, arguments, environ)))
