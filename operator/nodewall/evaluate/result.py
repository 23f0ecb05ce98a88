"""What an evaluation found, for people and for programs."""

from dataclasses import dataclass, field

from nodewall.model.policy import Action, Direction, PolicyRef, Tier

TIER_NAMES = {
    Tier.ADMIN: "Admin",
    Tier.NAMESPACE: "Namespace",
    Tier.NETWORK_POLICY: "NetworkPolicy",
    Tier.BASELINE: "Baseline",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A tier that was looked at on the way, and what it said. ``verdict`` None: it left the question open."""

    tier: Tier | None
    verdict: Action | None
    reason: str
    policy: PolicyRef | None = None
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One direction: the egress of the source, or the ingress of the destination.

    ``steps`` are in order, and the last one decided. ``audits`` are what policies in Audit mode would have said, each
    alone; they change nothing.
    """

    direction: Direction
    subject: str
    allowed: bool
    steps: tuple[Step, ...]
    audits: tuple[Step, ...] = ()

    @property
    def decision(self) -> Step:
        return self.steps[-1]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict on a packet: both directions must allow it. A direction that no pod owns has no judgement.

    ``family`` is 4 or 6 where the answer is for that one only; None: for all that the two have in common.
    """

    source: str
    destination: str
    traffic: str
    allowed: bool
    judgements: tuple[Judgement, ...] = field(default=())
    note: str = ""
    family: int | None = None
