"""What the operator chose for the whole cluster."""

from dataclasses import dataclass

from nodewall.model.cluster import LogWish
from nodewall.model.ruleset import RuleLog


@dataclass(frozen=True, slots=True)
class Settings:
    """``log_default`` holds for NetworkPolicies of namespaces without the log annotation.

    ``log_rate`` (records per second) and ``log_burst`` limit each recorded rule of a NetworkPolicy, and each isolation.
    ``share_above``: a group that more nodes use is held apart from their rule sets; None: none is.
    """

    log_default: LogWish = LogWish.DENY
    log_rate: int = 10
    log_burst: int = 20
    share_above: int | None = None

    @property
    def log(self) -> RuleLog:
        return RuleLog(self.log_rate, self.log_burst)
