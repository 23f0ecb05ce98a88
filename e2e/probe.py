"""Who reaches whom, measured with real TCP and UDP sockets.

Each place (a pod's, node's or external host's network namespace, or a pod of somebody's cluster) has one long-lived
worker, `probe_worker`, which serves and asks. A measurement hands every worker its whole share and then collects the
answers, so all attempts of all places run at the same time.

A verdict is the attempt's own. Only in one direction is it doubted: where the caller expects an answer, a timeout is
asked again once with more patience, because a loaded machine can make an open connection slow but nothing makes a
closed one answer.
"""

import json
import select
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, Any

TIMEOUT = 0.4  # seconds after which an attempt without an answer is a timeout
PATIENT_TIMEOUT = 2.5  # the same for the second attempt; long enough for two retransmitted SYNs


class Verdict(StrEnum):
    """How an attempt ended. The first four are the worker's words."""

    OPEN = "open"
    REFUSED = "refused"  # a TCP reset or ICMP port unreachable
    UNREACHABLE = "unreachable"  # any other error, such as ICMP administratively prohibited
    TIMEOUT = "timeout"
    MISROUTED = "misrouted"  # answered by somebody else than the one that was asked


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A transport port; protocol is tcp or udp."""

    protocol: str
    number: int

    def __str__(self) -> str:
        return f"{self.protocol}/{self.number}"


def tcp(number: int) -> Port:
    """A TCP port."""
    return Port("tcp", number)


def udp(number: int) -> Port:
    """A UDP port."""
    return Port("udp", number)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Somebody who asks and answers: its name in tables, its addresses, and the place whose worker acts for it."""

    name: str
    addresses: tuple[str, ...]
    place: str

    def address(self, family: int) -> str | None:
        """Its first address of a family (4 or 6)."""
        return next((each for each in self.addresses if (":" in each) == (family == 6)), None)


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: does `target` answer `source` on this port in this family (4 or 6)?"""

    source: Endpoint
    target: Endpoint
    port: Port
    family: int


@dataclass(frozen=True, slots=True)
class Observation:
    """The verdict, and the source address that the target saw (who answered instead, when misrouted; else empty)."""

    verdict: Verdict
    seen_source: str = ""


Answer = tuple[str, str, str]  # verdict, who answered or which error, the source address that the answerer saw


class ProbeError(Exception):
    """A worker did not do what it was told; says nothing about the network."""


@dataclass(slots=True)
class Worker:
    """The channel to one worker process."""

    place: str
    process: "subprocess.Popen[bytes]"
    errors: IO[bytes]
    serving: set[tuple[str, str, int]] = field(default_factory=set)
    _received: bytes = b""

    @classmethod
    def start(cls, place: str, argv: Sequence[str]) -> "Worker":
        """Start the worker of a place; it ends when this process does, however that ends."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        return cls(place, process, errors)

    def send(self, operation: str, **arguments: Any) -> None:
        """Give one order; `receive` must follow before the next."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"op": operation, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failure("ended") from error

    def receive(self, within: float) -> list[Answer]:
        """The answer to the last order."""
        answer = json.loads(self._line(time.monotonic() + within))
        if "error" in answer:
            raise self._failure(answer["error"])
        return [(verdict, who, seen) for verdict, who, seen in answer.get("results", ())]

    def end(self) -> None:
        """Let it end and reap it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.terminate()
        self.process.wait(10)
        self.errors.close()

    def _line(self, end: float) -> bytes:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self._received:
            if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise self._failure("silent")
            chunk = self.process.stdout.read1(1 << 20)  # type: ignore[attr-defined]
            if not chunk:
                raise self._failure("ended")
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _failure(self, what: str) -> ProbeError:
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace")[-2000:]
        return ProbeError(f"probe worker of {self.place}: {what}\n{said}")


@dataclass(slots=True)
class Prober:
    """Measures; a place's worker starts when it is first needed, by the command that `argv_of` gives."""

    argv_of: Callable[[str], Sequence[str]]
    workers: dict[str, Worker] = field(default_factory=dict)

    def start(self, places: Iterable[str]) -> None:
        """Start workers ahead, all at the same time."""
        for place in places:
            self._worker(place)

    def measure(
        self,
        probes: Sequence[Probe],
        *,
        answers_expected: Collection[Probe] = (),
        timeout: float = TIMEOUT,
        serve: bool = True,
    ) -> dict[Probe, Observation]:
        """Ask every question at once; targets are made to listen where they are asked, unless somebody `serve`s there.

        A timeout of a probe in `answers_expected` is asked again once, with PATIENT_TIMEOUT.
        """
        if serve:
            self._serve(probes)
        observed = self._ask(probes, timeout)
        doubted = [p for p in probes if observed[p].verdict is Verdict.TIMEOUT and p in answers_expected]
        return observed | self._ask(doubted, PATIENT_TIMEOUT)

    def one(self, probe: Probe, *, serve: bool = True) -> Observation:
        """One measurement; without `serve` nobody needs to listen at the target."""
        if serve:
            self._serve([probe])
        return self._ask([probe], TIMEOUT)[probe]

    def serve(self, endpoint: Endpoint, ports: Iterable[Port]) -> None:
        """Have an endpoint listen on ports, on all its addresses, until this process ends."""
        families = [family for family in (4, 6) if endpoint.address(family)]
        self._serve([Probe(endpoint, endpoint, port, family) for port in ports for family in families])

    def hold(self, probe: Probe, name: str) -> Observation:
        """Open a connection (for UDP: use one source port) and keep it under `name` for `ask`."""
        self._serve([probe])
        return self._order(probe, "hold", name=name, attempt=_attempt(probe), timeout=PATIENT_TIMEOUT)

    def ask(self, probe: Probe, name: str, timeout: float = TIMEOUT) -> Observation:
        """Ask again on the kept connection."""
        return self._order(probe, "ask", name=name, timeout=timeout)

    def release(self, probe: Probe, name: str) -> None:
        """Close the kept connection."""
        worker = self._worker(probe.source.place)
        worker.send("release", name=name)
        worker.receive(10)

    def forget(self, place: str) -> None:
        """End the worker of a place that is about to go."""
        worker = self.workers.pop(place, None)
        if worker:
            worker.end()

    def close(self) -> None:
        """End every worker."""
        for place in list(self.workers):
            self.forget(place)

    def _worker(self, place: str) -> Worker:
        if place not in self.workers:
            self.workers[place] = Worker.start(place, self.argv_of(place))
        return self.workers[place]

    def _order(self, probe: Probe, operation: str, *, timeout: float, **arguments: Any) -> Observation:
        worker = self._worker(probe.source.place)
        worker.send(operation, timeout=timeout, **arguments)
        return _judged(probe, worker.receive(timeout + 20)[0])

    def _serve(self, probes: Sequence[Probe]) -> None:
        """Have each target listen where it is about to be asked; what it serves already is not sent again."""
        wanted: dict[Endpoint, set[tuple[str, str, int]]] = defaultdict(set)
        for probe in probes:
            address = probe.target.address(probe.family)
            if address:
                wanted[probe.target].add((probe.port.protocol, address, probe.port.number))
        for endpoint, sockets in wanted.items():
            worker = self._worker(endpoint.place)
            if missing := sorted(sockets - worker.serving):
                worker.send("listen", identity=endpoint.name, sockets=missing)
                worker.receive(20)
                worker.serving |= sockets

    def _ask(self, probes: Sequence[Probe], timeout: float) -> dict[Probe, Observation]:
        shares: dict[str, list[Probe]] = defaultdict(list)
        for probe in probes:
            shares[probe.source.place].append(probe)
        orders = {place: [_attempt(probe) for probe in share] for place, share in shares.items()}
        try:
            for place, attempts in orders.items():
                self._worker(place).send("connect", attempts=attempts, timeout=timeout)
            answers = {place: self._worker(place).receive(timeout + 30) for place in orders}
        except ProbeError:
            self.close()  # others may still owe an answer, which would be taken for that to the next order
            raise
        return {
            probe: _judged(probe, answer)
            for place, share in shares.items()
            for probe, answer in zip(share, answers[place], strict=True)
        }


def _attempt(probe: Probe) -> tuple[str, str, str, int]:
    source, target = probe.source.address(probe.family), probe.target.address(probe.family)
    if source is None or target is None:
        raise ProbeError(f"{probe.source.name} and {probe.target.name} do not both have an IPv{probe.family} address")
    return probe.port.protocol, source, target, probe.port.number


def _judged(probe: Probe, answer: Answer) -> Observation:
    verdict, who, seen_source = answer
    if verdict == Verdict.OPEN and who != probe.target.name:
        return Observation(Verdict.MISROUTED, who)
    return Observation(Verdict(verdict), seen_source)
