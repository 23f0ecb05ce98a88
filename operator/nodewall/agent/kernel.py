"""The only door to libnftables, and to the one table of this program.

One context lives for as long as the process (its netlink socket re-reads only headers; a fresh one per call costs 10 ms
and more), in one thread of its own, because a big transaction takes hundreds of milliseconds in C. The commands are
libnftables' JSON schema, where a string stays data; nothing is ever formatted into nft syntax. Where libnftables costs
more than the change, the commands are encoded here (``batch``). Measured in docs/benchmarks.md.

The errors::

    KernelError
    ├── KernelUnavailableError   no libnftables, one that is too old, or no permission: an administrator has to act
    └── KernelRefusedError       this transaction was refused; nothing of it is in force (a batch is atomic)
"""

import asyncio
import errno
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from struct import unpack
from typing import Any, Self

import msgspec
import nftables

from nodewall.agent import admittance, batch
from nodewall.agent.definitions import Sets, after
from nodewall.agent.netlink import (
    ACK,
    NETLINK_NETFILTER,
    Message,
    Netlink,
    NetlinkError,
    Request,
    attribute,
    attributes,
)
from nodewall.agent.spelling import readable_by_all
from nodewall.model.errors import NodewallError

FAMILY = "inet"
TABLE = "nodewall"
OLDEST_LIBRARY = (1, 0, 6)
LONGEST_PREFIX = 127
"""Bytes of a log prefix. libnftables 1.0.6 refuses 128 and aborts the process at 140."""

Commands = Mapping[str, Any]
"""A transaction in libnftables' JSON schema: ``{"nftables": [{"add": {...}}, ...]}``."""

_NFPROTO_UNSPEC, _NFPROTO_INET = 0, 1
_GENERATION_ID = 1
_GETTABLE = 10 << 8 | 1
_TABLE_NAME = 1
_LOCATION = re.compile(r"^\S+?:(\d+:\d+-\d+:)? Error: ")
_LEAD = re.compile(r"^(Could not process rule|cache initialization failed): ")
_NO_PERMISSION = "Operation not permitted"


class KernelError(NodewallError):
    """The kernel's firewall could not be used; the message says why, in words."""


class KernelUnavailableError(KernelError):
    """Nothing can be applied at all until an administrator acts."""


class KernelRefusedError(KernelError):
    """One transaction was refused and left no trace."""


# The kernel answers with an errno's text only; what it means for this program is more useful.
_MEANINGS = {
    _NO_PERMISSION: "no permission to change nftables: the agent needs the capability NET_ADMIN",
    "No such file or directory": "something the change builds on is not in the kernel",
    "File exists": "something the change adds is in the kernel already, with other content",
    "Device or resource busy": "something the change removes is still in use",
    "Message too long": "the change is too big for one batch here (a user namespace limits it)",
    "Cannot allocate memory": "the kernel has no memory for it",
    "No buffer space available": "the kernel has no buffer space for it",
    "Invalid argument": "Linux before 5.13 does not know something that the table needs",
    "Operation not supported": "the kernel lacks a feature that the table needs (nf_tables modules)",
    "Protocol error": "the kernel lacks a feature that the table needs (nf_tables modules)",
    "Too many links": "the chains are nested too deeply",
    "conflicting intervals specified": "address ranges overlap in one set",
}


def words(stderr: str, limit: int = 3) -> str:
    """The reasons in libnftables' error text, each once, with their meaning; at most ``limit`` of them.

    The text repeats a line per failed command and quotes the command below it, so only lines that carry a location
    count.
    """
    lines = [_LOCATION.sub("", line).strip() for line in stderr.splitlines() if _LOCATION.match(line)]
    reasons = list(dict.fromkeys(_LEAD.sub("", line) for line in lines if line))
    if not reasons:
        return " ".join(stderr.split())[:200] or "libnftables gave no reason"
    more = [f"and {len(reasons) - limit} more"] if len(reasons) > limit else []
    return "; ".join([*(_with_meaning(reason) for reason in reasons[:limit]), *more])


def _with_meaning(reason: str) -> str:
    meaning = next((meaning for text, meaning in _MEANINGS.items() if text in reason), "")
    return f"{reason} ({meaning})" if meaning else reason


def _refusal(reason: str) -> KernelError:
    """No permission is nothing that another transaction could mend."""
    return (KernelUnavailableError if reason.startswith(_NO_PERMISSION) else KernelRefusedError)(reason)


def version(output: str) -> tuple[int, ...]:
    """(major, minor, patch) from the metainfo of a listing; empty when it carries none."""
    try:
        found = msgspec.json.decode(output)["nftables"][0]["metainfo"]["version"]
        return tuple(int(part) for part in re.findall(r"\d+", found)[:3])
    except (msgspec.DecodeError, KeyError, IndexError, TypeError):
        return ()


def check_own(commands: Commands) -> None:
    """Refuse commands that name another table, or that carry a log prefix which would abort the process.

    Raises KernelRefusedError. Both are programming errors; the check is here because this is the last place that can
    stop them.
    """
    for command in commands["nftables"]:
        for kind, what in _objects(command):
            name = what.get("name") if kind == "table" else what.get("table")
            if (what.get("family"), name) != (FAMILY, TABLE):
                raise KernelRefusedError(f"a command names {what.get('family')} {name}, which is not ours")
            _check_prefixes(what.get("expr", ()))


def _objects(command: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    if "metainfo" in command:
        return []
    return [pair for verb in command.values() for pair in verb.items()]


def _check_prefixes(statements: Sequence[Mapping[str, Any]]) -> None:
    for statement in statements:
        log = statement.get("log")
        if log and len(log.get("prefix", "").encode()) > LONGEST_PREFIX:
            raise KernelRefusedError(f"a log prefix is longer than {LONGEST_PREFIX} bytes")


def fingerprint(listed: Sequence[Mapping[str, Any]]) -> str:
    """A hash of a listing without what differs between equal tables: handles, and the order of elements."""
    return sha256(msgspec.json.encode([_plain(entry) for entry in listed], order="sorted")).hexdigest()


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    ((kind, what),) = entry.items()
    body = {key: value for key, value in what.items() if key != "handle"}
    if "elem" in body:
        body["elem"] = sorted(msgspec.json.encode(element, order="sorted") for element in body["elem"])
    return {kind: body}


class Kernel:
    """The table in the kernel of this network namespace. Calls queue up in one thread; each is one transaction or one
    read.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nft")
        self._library: nftables.Nftables | None = None
        self._netlink: Netlink | None = None
        self._version: tuple[int, ...] = ()
        self._sets: Sets = {}
        self.commits = 0
        """Transactions of ours that the kernel took."""

    @classmethod
    async def open(cls) -> Self:
        """Load libnftables and check that it is new enough. Raises KernelUnavailableError."""
        kernel = cls()
        try:
            await kernel._run(kernel._open)
        except BaseException:
            kernel.close()
            raise
        return kernel

    def close(self) -> None:
        """Wait for the running call and let go of the sockets. The table stays."""
        self._thread.shutdown(wait=True)
        if self._netlink:
            self._netlink.close()
        self._netlink = self._library = None

    async def apply(self, commands: Commands) -> None:
        """Commit one transaction, whole or not at all. Raises KernelRefusedError with the kernel's reason."""
        check_own(commands)
        await self._run(self._apply, commands)
        self.commits += 1

    async def list_table(self) -> list[dict[str, Any]] | None:
        """Our table as libnftables lists it (without counters), or None when it is not there. Slow: never on the hot
        path.
        """
        if not await self.has_table():
            return None
        listing = {"nftables": [{"list": {"table": {"family": FAMILY, "name": TABLE}}}]}
        output = await self._run(self._command, listing)
        return [entry for entry in msgspec.json.decode(output)["nftables"] if "metainfo" not in entry]

    async def fingerprint(self) -> str:
        """A hash of what is in the table now, whatever the order of elements; "" without a table.

        As slow as a listing.
        """
        listed = await self.list_table()
        return "" if listed is None else await self._run(fingerprint, listed)

    async def generation(self) -> int:
        """The kernel's count of nftables transactions, of all tables."""
        return int(await self._run(self._generation))

    async def has_table(self) -> bool:
        """Whether our table exists. One message each way: libnftables 1.0.6 would dump every table of the host."""
        return bool(await self._run(self._has_table))

    async def delete_table(self) -> bool:
        """Remove the table and everything in it. False when there was none."""
        if not await self.has_table():
            return False
        table = {"table": {"family": FAMILY, "name": TABLE}}
        await self.apply({"nftables": [{"add": table}, {"delete": table}]})
        return True

    async def _run(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    def _open(self) -> None:
        if obstacle := admittance.obstacle():
            raise KernelUnavailableError(obstacle)
        try:
            self._library = nftables.Nftables()
        except OSError as error:
            raise KernelUnavailableError(f"libnftables cannot be loaded: {error}") from error
        self._library.set_json_output(True)
        self._library.set_stateless_output(True)
        # Any listing carries the version; this family has the fewest tables.
        output = self._command({"nftables": [{"list": {"tables": {"family": "netdev"}}}]})
        self._version = version(output)
        if self._version < OLDEST_LIBRARY:
            wanted, found = (".".join(map(str, parts)) for parts in (OLDEST_LIBRARY, self._version))
            raise KernelUnavailableError(f"libnftables {found or 'of unknown version'} is too old: {wanted} is needed")
        self._netlink = Netlink(NETLINK_NETFILTER)

    def _apply(self, commands: Commands) -> None:
        requests = batch.encoded(commands["nftables"], self._version, self._sets)
        if requests:
            self._commit(requests)
        else:
            self._command(readable_by_all(commands, self._version))
        self._sets = after(self._sets, commands["nftables"])

    def _command(self, commands: Commands) -> str:
        if self._library is None:
            raise KernelUnavailableError("libnftables has been closed")
        status, output, error = self._library.cmd(msgspec.json.encode(commands))
        if status != 0:
            raise _refusal(words(error.decode("utf-8", "replace")))
        return str(output.decode("utf-8", "replace"))

    def _commit(self, requests: Sequence[Request]) -> None:
        if self._netlink is None:
            raise KernelUnavailableError("libnftables has been closed")
        try:
            self._netlink.commit(requests)
        except NetlinkError as error:
            where = f", at: {error.about}" if error.about else ""
            raise _refusal(_with_meaning(str(error)) + where) from error
        except OSError as error:  # not sent, or not answered: what follows a refusal is right for both
            raise KernelRefusedError(f"the kernel did not take the change: {error}") from error

    def _has_table(self) -> bool:
        return bool(self._ask(_GETTABLE, _NFPROTO_INET, attribute(_TABLE_NAME, TABLE.encode() + b"\0")))

    def _generation(self) -> int:
        (reply,) = self._ask(admittance.GET_GENERATION, _NFPROTO_UNSPEC, b"")
        (number,) = unpack(">I", attributes(reply.payload[4:])[_GENERATION_ID])
        return int(number)

    def _ask(self, kind: int, family: int, payload: bytes) -> list[Message]:
        """Ask nftables itself; no replies when what was asked for does not exist."""
        if self._netlink is None:
            raise KernelUnavailableError("libnftables has been closed")
        try:
            return self._netlink.ask(kind, bytes((family, 0, 0, 0)) + payload, ACK)
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return []
            raise KernelUnavailableError(f"nftables cannot be read: {error}") from error
        except OSError as error:  # as above
            raise KernelUnavailableError(f"nftables does not answer: {error}") from error
