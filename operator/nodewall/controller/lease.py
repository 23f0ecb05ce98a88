"""Which of the controllers writes: what to do about the Lease, decided from what was seen of it. Pure.

Clocks of two machines are never compared: a candidate trusts the holder for as long as it has itself seen the lease
renewed within its duration, and the holder gives up well before that. Instants are seconds of a clock that never goes
back and does not stop while the machine sleeps.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from nodewall.kube.lease import Lease


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds. ``keep`` is how long the holder writes after the beginning of its last renewal that worked.

    Whoever is killed is followed after ``duration`` and at most two of ``poll``. Between ``keep`` and ``duration``
    nobody writes: that is the room for a request under way.
    """

    duration: int = 10
    keep: float = 7.0
    renew: float = 2.0
    poll: float = 1.0
    request: float = 3.0


LONGEST_SECONDS = 60
"""What a lease says of its duration is believed up to this: a slip of somebody's hand must not stop us for days."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The lease as it was read last (None: there is none), and since when it has been like that.

    ``vanished``: there was one before. Whoever held it does not know yet.
    """

    lease: Lease | None
    since: float
    vanished: bool = False


class Move(StrEnum):
    """What to do now."""

    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


def look(before: Sight | None, lease: Lease | None, now: float) -> Sight:
    """The lease was read. Only the holder's own sign of life makes it fresh: a label that somebody adds does not."""
    if before is not None and _sign(before.lease) == _sign(lease):
        return replace(before, lease=lease)
    return Sight(lease, now, vanished=before is not None and lease is None)


def _sign(lease: Lease | None) -> object:
    return lease and (lease.holder, lease.renewed, lease.acquired, lease.transitions)


def move(me: str, sight: Sight, terms: Terms, now: float) -> Move:
    """What ``me`` does about what it saw."""
    lease = sight.lease
    if lease is None:
        return Move.WAIT if sight.vanished and now < sight.since + terms.duration else Move.TAKE
    if not lease.holder:
        return Move.TAKE
    if lease.holder == me:
        return Move.RENEW
    trusted = min(max(lease.seconds, terms.duration), LONGEST_SECONDS)
    return Move.WAIT if now < sight.since + trusted else Move.TAKE


def taken(me: str, lease: Lease | None, terms: Terms, wall: datetime) -> Lease:
    """The lease with a new holder."""
    transitions, version = (lease.transitions + 1, lease.version) if lease else (0, "")
    return Lease(me, terms.duration, wall, wall, transitions, version)


def renewed(lease: Lease, terms: Terms, wall: datetime) -> Lease:
    """The lease with a fresh sign of life."""
    return replace(lease, seconds=terms.duration, renewed=wall)


def released(lease: Lease, wall: datetime) -> Lease:
    """The lease without a holder: the next candidate need not wait."""
    return replace(lease, holder="", seconds=1, renewed=wall)
