"""One truth table: a world, policies as a user would write them, and packets with the verdict that a person gave them.

A probe line reads ``SOURCES -> DESTINATIONS TRAFFIC... : allow|deny``, in the words of ``nodewall why``::

    a/client ip:203.0.113.7 -> a/web 80 53/UDP : deny

Each combination is one packet for each address family that its ends share.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_VERDICTS = {"allow": True, "deny": False}


@dataclass(frozen=True, slots=True)
class Probe:
    source: str
    destination: str
    traffic: str
    allowed: bool
    via_service: bool = False

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination} {self.traffic}{' via its Service' if self.via_service else ''}"


@dataclass(frozen=True, slots=True)
class Case:
    """``statements``: numbers (or section names) in docs/semantics.md that this table guards.

    ``world``: in the words of ``world.py``.
    ``broken``: an API server would refuse a part of ``policies``; the table says what it closes where it is stored.
    """

    name: str
    statements: tuple[int | str, ...]
    world: str
    policies: str
    probes: str
    broken: bool = False

    def parsed_probes(self) -> tuple[Probe, ...]:
        found = tuple(probe for line in self.probes.strip().splitlines() if line.strip() for probe in _probes(line))
        if not found:
            raise ValueError(f"case {self.name} asserts nothing")
        return found


def _probes(line: str) -> Iterator[Probe]:
    question, _, verdict = line.rpartition(" : ")
    sources, _, rest = question.partition("->")
    words = rest.split()
    destinations = [word for word in words if _is_party(word)]
    for source in sources.split():
        for destination in destinations:
            for traffic in words[len(destinations) :]:
                name, _, via = traffic.partition("@")
                yield Probe(source, destination, name, _VERDICTS[verdict.strip()], via == "svc")


def _is_party(word: str) -> bool:
    if word.startswith(("ip:", "node:")):
        return True
    first, separator, second = word.partition("/")
    traffic = first.isdigit() or first in ("icmp", "icmpv6", "ip") or second in ("TCP", "UDP", "SCTP")
    return bool(separator) and not traffic
