"""Network namespaces: make, remove, configure with `ip -batch`, and do something inside one from this process.

A thread can enter another network namespace without its process following, so sockets and /proc/sys of a namespace
are reachable from here by a thread of one call's life.
"""

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from e2e.command import run

T = TypeVar("T")

_DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def path(name: str) -> Path:
    """The file that stands for the namespace."""
    return _DIRECTORY / name


def add(name: str) -> None:
    """Make a namespace with its loopback up."""
    run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])


def delete(name: str) -> None:
    """Remove a namespace; its links go with it. One that does not exist is fine."""
    if path(name).exists():
        run(["ip", "netns", "del", name])


def batch(name: str, commands: Iterable[str]) -> None:
    """Run `ip` commands inside the namespace, in order, in one process; the first failure raises CommandError."""
    run(["ip", "-n", name, "-batch", "-"], given="\n".join(commands) + "\n")


def argv(name: str) -> list[str]:
    """The prefix that makes a command run inside the namespace; the process id stays that of the command."""
    return ["nsenter", f"--net={path(name)}", "--"]


def enter(name: str) -> None:
    """Move the calling thread into the namespace, for good."""
    descriptor = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path(name)))
    finally:
        os.close(descriptor)


def inside(name: str, action: Callable[[], T]) -> T:
    """Call `action` in a thread of its own inside the namespace; its result or exception becomes the caller's."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            enter(name)
            results.append(action())
        except BaseException as error:  # noqa: BLE001 (raised in the caller below)
            errors.append(error)

    thread = threading.Thread(target=work, name=f"inside-{name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def set_sysctls(name: str, values: Mapping[str, int]) -> None:
    """Write sysctls of the namespace; keys are paths below net/, such as ipv4/ip_forward."""

    def write() -> None:
        for key, value in values.items():
            (Path("/proc/sys/net") / key).write_text(str(value))

    inside(name, write)


def connect(name: str, address: tuple[str, int], timeout: float = 2.0) -> socket.socket:
    """A TCP connection made inside the namespace and usable from here."""
    return inside(name, lambda: socket.create_connection(address, timeout))
