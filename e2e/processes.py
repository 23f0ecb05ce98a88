"""Long-running processes: each the leader of its own group, with a log file, told apart by process id and start time.

A process id alone may have been given to a stranger by the time somebody ends leftovers; id, start time and boot
together are never reused.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of one boot; `started` is its start time in clock ticks since boot."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """The identity of a process that exists; ProcessLookupError otherwise."""
        return cls(pid, _stat(pid)[1], _boot())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Identity":
        """The counterpart of `to_json`; other keys are ignored."""
        return cls(int(value["pid"]), int(value["started"]), str(value["boot"]))

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def own_identity() -> Identity:
    """The identity of the calling process."""
    return Identity.of(os.getpid())


def is_alive(identity: Identity) -> bool:
    """Whether this very process runs; one that waits to be reaped does not."""
    try:
        state, started = _stat(identity.pid)
    except ProcessLookupError:
        return False
    return identity.boot == _boot() and started == identity.started and state not in "ZX"


def end_group(identity: Identity, grace: float = 3.0) -> None:
    """End the process and its group: asked first, killed after `grace` seconds; gone already is fine."""
    for signal_, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if not is_alive(identity):
            return
        _signal_group(identity, signal_)
        _wait_gone(identity, patience)


@dataclass(slots=True)
class Process:
    """A started process; the one place that reaps it."""

    name: str
    argv: tuple[str, ...]
    log: Path
    identity: Identity
    handle: "subprocess.Popen[bytes]"

    @classmethod
    def start(
        cls, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str], fds: Sequence[int] = ()
    ) -> "Process":
        """Start `argv` with exactly this environment; output is appended to `log`; `fds` stay open in it."""
        with log.open("ab") as output:
            handle = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                pass_fds=fds,
                start_new_session=True,
            )
        return cls(name, tuple(argv), log, Identity.of(handle.pid), handle)

    def running(self) -> bool:
        """Whether it has not ended."""
        return self.handle.poll() is None

    def end(self, grace: float = 5.0) -> int:
        """Ask it to end, kill it after `grace` seconds, and return its exit code (negative: the signal)."""
        if self.running():
            _signal_group(self.identity, signal.SIGTERM)
        try:
            return self.handle.wait(grace)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill it and its group at once (SIGKILL), as a crash would, and return its exit code."""
        if self.running():
            _signal_group(self.identity, signal.SIGKILL)
        return self.handle.wait(5.0)

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _stat(pid: int) -> tuple[str, int]:
    """State letter and start time of a process, from /proc/PID/stat (the name may hold blanks and brackets)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessLookupError(pid) from error
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _signal_group(identity: Identity, signal_: signal.Signals) -> None:
    try:
        os.killpg(identity.pid, signal_)
    except ProcessLookupError:
        return


def _wait_gone(identity: Identity, patience: float) -> None:
    end = time.monotonic() + patience
    while is_alive(identity) and time.monotonic() < end:
        time.sleep(0.02)
