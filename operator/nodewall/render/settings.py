"""What an agent may decide about its table."""

from dataclasses import dataclass
from enum import StrEnum

from nodewall.model.address import Network


class NewPodPolicy(StrEnum):
    """What happens to a local pod address that the rule set does not list (yet)."""

    DROP = "Drop"
    ALLOW = "Allow"
    REJECT = "Reject"


@dataclass(frozen=True, slots=True)
class Guard:
    """The new-pod guard, armed. Its scope is the addresses in ``networks`` and whatever is behind ``links``.

    Both empty: the rule set's own ``pod_cidrs`` are the scope. Where there are none either, nothing is guarded, and
    the agent says so.
    """

    policy: NewPodPolicy = NewPodPolicy.DROP
    networks: tuple[Network, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Strict:
    """Judge live connections again after each change of ``generation``.

    A connection that has passed carries the generation in those bits of its mark that ``mask`` names (one run of
    bits, at least two).
    """

    generation: int
    mask: int = 0xFFF00000

    def __post_init__(self) -> None:
        run = self.mask >> self._shift if self.mask > 0 else 0
        if self.mask > 0xFFFFFFFF or run < 3 or run & (run + 1):
            raise ValueError(f"the mask must be one run of at least two bits of 32: {self.mask:#x}")

    @property
    def _shift(self) -> int:
        return (self.mask & -self.mask).bit_length() - 1

    @property
    def value(self) -> int:
        """The generation as a mark. Never 0, which every new connection has."""
        return (self.generation % (self.mask >> self._shift) + 1) << self._shift


@dataclass(frozen=True, slots=True)
class Settings:
    """``guard`` None: not armed. ``strict`` None: established connections keep (and no mark is ever touched).

    ``nflog_group`` is where log records go; ``snaplen`` bytes of each packet go along. ``pod_links`` are links that
    only pods are behind: a source that is not routed back to such a link is dropped, known or not. Where
    ``foreign_veths`` are given, so is it from every veth but those: it may be that of a pod that nobody knows yet.
    Rules are folded from ``fold_from`` on, into ``fold_limit`` elements of a class and family and ``fold_total`` of the
    table at most.
    """

    table: str = "nodewall"
    nflog_group: int = 5577
    snaplen: int = 128
    guard: Guard | None = None
    strict: Strict | None = None
    pod_links: tuple[str, ...] = ()
    foreign_veths: tuple[str, ...] | None = None
    fold_from: int = 16
    fold_limit: int = 10_000
    fold_total: int = 640_000
