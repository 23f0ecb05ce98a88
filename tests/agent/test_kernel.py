"""The only door to libnftables, in front of a real kernel."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from e2e import netns
from nodewall.agent import kernel as door
from nodewall.agent.kernel import Kernel, KernelRefusedError, KernelUnavailableError, check_own, version, words
from nodewall.render import Settings, render, replace
from tests.agent.rulesets import content

T = TypeVar("T")
TABLE = {"family": "inet", "name": "nodewall"}


def commands(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"nftables": list(entries)}


def chain(name: str) -> dict[str, Any]:
    return {"add": {"chain": {"family": "inet", "table": "nodewall", "name": name}}}


def rule(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"add": {"rule": {"family": "inet", "table": "nodewall", "chain": "c_1", "expr": list(statements)}}}


def in_namespace(name: str, work: Callable[[Kernel], Awaitable[T]]) -> T:
    """Do the work with a kernel door opened inside the namespace."""

    async def main() -> T:
        kernel = await Kernel.open()
        try:
            return await work(kernel)
        finally:
            kernel.close()

    return netns.inside(name, lambda: asyncio.run(main()))


def listing(name: str) -> str:
    command = [*netns.argv(name), "nft", "list", "ruleset"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- pure -------------------------------------------------------------------------------------------------------------


WORDS = {
    "one": (
        "internal:0:0-0: Error: Could not process rule: Device or resource busy\n\n",
        "Device or resource busy (something the change removes is still in use)",
    ),
    "each once": ("internal:0:0-0: Error: Could not process rule: X\n" * 5, "X"),
    "many": ("".join(f"internal:0:0-0: Error: {n}\n" for n in range(5)), "0; 1; 2; and 2 more"),
    "quoted command": ('internal:0:0-0: Error: Invalid\n{"nftables": [\n^^^^\n', "Invalid"),
    "no location": ("  something\n else ", "something else"),
    "nothing": ("", "libnftables gave no reason"),
}


@pytest.mark.parametrize(("stderr", "expected"), WORDS.values(), ids=WORDS)
def test_reasons_in_words(stderr: str, expected: str) -> None:
    assert words(stderr) == expected


VERSIONS = {
    '{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "x"}}]}': (1, 0, 6),
    '{"nftables": [{"metainfo": {"version": "1.1.3"}}]}': (1, 1, 3),
    '{"nftables": [{"metainfo": {"version": "1.2"}}]}': (1, 2),
    '{"nftables": []}': (),
    "": (),
}


@pytest.mark.parametrize(("output", "expected"), VERSIONS.items())
def test_version(output: str, expected: tuple[int, ...]) -> None:
    assert version(output) == expected


FOREIGN = {
    "table": {"add": {"table": {"family": "inet", "name": "other"}}},
    "family": {"add": {"table": {"family": "ip", "name": "nodewall"}}},
    "chain": {"add": {"chain": {"family": "inet", "table": "other", "name": "c_1"}}},
    "everything": {"flush": {"ruleset": {}}},
    "list": {"list": {"ruleset": {}}},
}


@pytest.mark.parametrize("command", FOREIGN.values(), ids=FOREIGN)
def test_other_tables_are_out_of_reach(command: dict[str, Any]) -> None:
    with pytest.raises(KernelRefusedError, match="not ours"):
        check_own(commands(command))


def test_a_log_prefix_that_would_abort_the_process_never_gets_there() -> None:
    check_own(commands(rule({"log": {"prefix": "x" * 127}})))
    with pytest.raises(KernelRefusedError, match="longer than 127 bytes"):
        check_own(commands(rule({"log": {"prefix": "ü" * 64}})))


# --- kernel -----------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_a_table_is_applied_listed_and_deleted(namespace: str) -> None:
    async def work(kernel: Kernel) -> None:
        assert not await kernel.has_table()
        assert await kernel.list_table() is None
        assert not await kernel.delete_table()
        await kernel.apply(replace(render(content("10.0.2.1"), Settings())).json())
        assert await kernel.has_table()
        assert "10.0.2.1" in json.dumps(await kernel.list_table())
        assert await kernel.delete_table()
        assert not await kernel.has_table()

    in_namespace(namespace, work)


@pytest.mark.kernel
def test_a_refused_transaction_leaves_no_trace(namespace: str) -> None:
    async def work(kernel: Kernel) -> None:
        await kernel.apply(commands({"add": {"table": TABLE}}, chain("c_1")))
        before = listing(namespace)
        gone = {"delete": {"chain": {"family": "inet", "table": "nodewall", "name": "c_9"}}}
        with pytest.raises(KernelRefusedError, match="No such file or directory"):
            await kernel.apply(commands(chain("c_2"), gone))
        assert listing(namespace) == before
        await kernel.apply(commands(chain("c_2")))  # and the door still works

    in_namespace(namespace, work)


@pytest.mark.kernel
def test_strings_stay_data(namespace: str) -> None:
    evil = '" ; delete table inet other ; add chain inet nodewall c_evil ; #\n\x1b[31m'

    async def work(kernel: Kernel) -> None:
        ruled = rule({"log": {"prefix": evil}}, {"accept": None})
        ruled["add"]["rule"]["comment"] = evil
        await kernel.apply(commands({"add": {"table": TABLE}}, chain("c_1"), ruled))
        listed = await kernel.list_table()
        assert listed is not None
        assert [entry["chain"]["name"] for entry in listed if "chain" in entry] == ["c_1"]
        assert [entry["rule"]["comment"] for entry in listed if "rule" in entry] == [evil]

    subprocess.run([*netns.argv(namespace), "nft", "add table inet other"], check=True)
    in_namespace(namespace, work)
    assert "table inet other" in listing(namespace)


@pytest.mark.kernel
def test_other_owners_tables_survive_our_cleanup(namespace: str) -> None:
    subprocess.run([*netns.argv(namespace), "nft", "add table inet nodewall2; add table ip nodewall"], check=True)

    async def work(kernel: Kernel) -> None:
        assert not await kernel.has_table()
        await kernel.apply(commands({"add": {"table": TABLE}}))
        await kernel.delete_table()

    in_namespace(namespace, work)
    assert listing(namespace).split() == ["table", "inet", "nodewall2", "{", "}", "table", "ip", "nodewall", "{", "}"]


def last_netlink_socket() -> int:
    """The descriptor of the one that was opened last: libnftables' came before."""
    return max(int(path.name) for path in Path("/proc/self/fd").iterdir() if is_netlink(int(path.name)))


def is_netlink(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            return copy.family == socket.AF_NETLINK
    except OSError:  # no socket, or closed since
        return False


@pytest.mark.kernel
def test_a_socket_that_fails_is_an_error_of_the_kernel(namespace: str) -> None:
    """So that whoever asks does not have to know what is asked by."""

    async def work(kernel: Kernel) -> None:
        await kernel.apply(commands({"add": {"table": TABLE}}))
        reading, writing = os.pipe()
        os.dup2(reading, last_netlink_socket())
        os.close(reading)
        os.close(writing)
        with pytest.raises(KernelUnavailableError, match=r"nftables does not answer: .*non-socket"):
            await kernel.generation()
        with pytest.raises(KernelUnavailableError, match=r"nftables does not answer: .*non-socket"):
            await kernel.has_table()
        with pytest.raises(KernelRefusedError, match=r"the kernel did not take the change: .*non-socket"):
            await kernel.apply(commands(chain("c_1")))

    in_namespace(namespace, work)


@pytest.mark.kernel
def test_an_older_library_is_refused_by_name(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "OLDEST_LIBRARY", (99, 0, 0))

    async def work(_kernel: Kernel) -> None:
        raise AssertionError("it was opened")

    with pytest.raises(KernelUnavailableError, match=r"libnftables [0-9.]+ is too old: 99\.0\.0 is needed"):
        in_namespace(namespace, work)


@pytest.mark.kernel
def test_without_permission_the_capability_is_named() -> None:
    script = "import asyncio; from nodewall.agent.kernel import Kernel; asyncio.run(Kernel.open())"
    command = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run([*command, sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "KernelUnavailableError: Operation not permitted" in done.stderr
    assert "NET_ADMIN" in done.stderr
