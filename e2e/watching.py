"""Somebody who asks the same questions all the time while other things happen, and remembers every wrong answer."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.local import LocalCluster
from e2e.meanwhile import meanwhile
from e2e.probe import Probe, Prober, Verdict
from e2e.table import Table


@dataclass(slots=True)
class Tally:
    """What was asked and what was wrong; complete once the watch is over. `rounds` is how often all was asked."""

    expected: dict[Probe, Verdict]
    rounds: int = 0
    wrong: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def asked(self) -> int:
        """Verdicts in all."""
        return self.rounds * len(self.expected)

    def take(self, prober: Prober) -> None:
        """Ask everything once. Who should answer gets a second, longer chance: a busy machine denies nobody."""
        open_ones = [probe for probe, verdict in self.expected.items() if verdict is Verdict.OPEN]
        for probe, seen in prober.measure(list(self.expected), answers_expected=open_ones).items():
            if seen.verdict is not self.expected[probe]:
                self.wrong[_words(probe), seen.verdict] += 1
        self.rounds += 1


def _words(probe: Probe) -> str:
    return f"{probe.source.name} -> {probe.target.name} {probe.port} IPv{probe.family}"


@contextmanager
def watched(cluster: LocalCluster, table: Table) -> Iterator[Tally]:
    """Ask all that the table says, again and again until the context ends.

    By workers of its own, so the table's ports must be nobody else's. Every answer is a new connection's.
    """
    tally, prober = Tally(table.expected()), Prober(cluster.prober.argv_of)
    try:
        tally.take(prober)
        with meanwhile(lambda: tally.take(prober)):
            yield tally
    finally:
        prober.close()
