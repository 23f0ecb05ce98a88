"""What processes have used so far, from /proc."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def group_of(leader: int) -> list[int]:
    """The processes of this leader's group, itself included."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _group(pid) == leader]  # noqa: PTH208


def cpu_seconds(leader: int) -> float:
    """User and system time of a group."""
    return sum(sum(map(int, _stat(pid)[11:13])) for pid in group_of(leader)) / _TICKS


def peak_megabytes(leader: int) -> float:
    """The most memory that a process of the group ever had resident."""
    return max(_kilobytes(pid, "VmHWM:") for pid in group_of(leader)) / 1024


def own_peak_megabytes() -> float:
    """The most memory that this process ever had resident; what its parent had before is not in it."""
    return _kilobytes(os.getpid(), "VmHWM:") / 1024


def megabytes(leader: int) -> float:
    """What the largest process of the group has resident now."""
    return max(_kilobytes(pid, "VmRSS:") for pid in group_of(leader)) / 1024


def _group(pid: int) -> int:
    try:
        return int(_stat(pid)[2])
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """The fields after the command, which may hold anything; the first is the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _kilobytes(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(what)), 0)
