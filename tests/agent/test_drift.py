"""Changes of our table by others are heard, named and told from our own and from other tables'."""

import asyncio
import select
from collections.abc import Awaitable, Callable
from struct import pack

import pytest

from e2e import netns
from nodewall.agent.drift import Ears, Touched, deaf_to, hear
from nodewall.agent.kernel import Kernel, fingerprint
from nodewall.agent.netlink import NETLINK_NETFILTER, attach_filter, attribute, messages, open_socket
from nodewall.render import Settings, Strict, diff, render, replace
from tests.agent.node import until
from tests.agent.rulesets import content

OURS, THEIRS = 100, 200
NFT = 10 << 8
NEWTABLE, NEWSETELEM, NEWGEN = NFT, NFT | 12, NFT | 15


def said(kind: int, port: int, *attributes: bytes, family: int = 1) -> bytes:
    payload = bytes((family, 0, 0, 0)) + b"".join(attributes)
    return pack("=IHHII", 16 + len(payload), kind, 0, 1, port) + payload


def about(table: str, port: int, *, kind: int = NEWSETELEM, family: int = 1) -> bytes:
    return said(kind, port, attribute(1, table.encode() + b"\0"), attribute(2, b"set\0"), family=family)


def committed(port: int, pid: int = 42, command: bytes = b"nft") -> bytes:
    parts = (attribute(1, pack(">I", 7)), attribute(2, pack(">I", pid)), attribute(3, command + b"\0"))
    return said(NEWGEN, port, *parts, family=0)


ROWS = {
    "somebody else": (about("nodewall", THEIRS) + committed(THEIRS), ["nft (pid 42)"]),
    "ourselves": (about("nodewall", OURS) + committed(OURS), []),
    "another table": (about("other", THEIRS) + committed(THEIRS), []),
    "a table whose name ends like ours": (about("xnodewall", THEIRS) + committed(THEIRS), []),
    "our name in another family": (about("nodewall", THEIRS, family=2) + committed(THEIRS), []),
    "our name as something else's name": (
        said(NEWSETELEM, THEIRS, attribute(1, b"other\0"), attribute(2, b"nodewall\0")) + committed(THEIRS),
        [],
    ),
    "another subsystem": (about("nodewall", THEIRS, kind=1 << 8) + committed(THEIRS), []),
    "both at once": (
        about("nodewall", OURS) + committed(OURS) + about("nodewall", THEIRS) + committed(THEIRS),
        ["nft (pid 42)"],
    ),
    "many objects, one writer": (about("nodewall", THEIRS) * 50 + committed(THEIRS), ["nft (pid 42)"]),
    "a name with a line break": (
        about("nodewall", THEIRS) + committed(THEIRS, 7, b"a\nb\x1b"),
        ["a\\nb\\x1b (pid 7)"],
    ),
    "a writer without a name": (
        about("nodewall", THEIRS) + said(NEWGEN, THEIRS, family=0),
        ["a process without a name (pid 0)"],
    ),
}


@pytest.mark.parametrize(("datagram", "writers"), ROWS.values(), ids=ROWS)
def test_who_changed_our_table(datagram: bytes, writers: list[str]) -> None:
    assert hear(Touched(), datagram, OURS.__eq__) == (Touched(), writers)


def test_the_writer_may_be_named_in_a_later_datagram() -> None:
    touched, writers = hear(Touched(), about("nodewall", THEIRS), OURS.__eq__)
    assert writers == []
    touched, writers = hear(touched, committed(OURS, 1), OURS.__eq__)
    assert writers == []
    assert hear(touched, committed(THEIRS), OURS.__eq__) == (Touched(), ["nft (pid 42)"])


# --- kernel -----------------------------------------------------------------------------------------------------------


class Heard:
    """Ears, and what they heard."""

    def __init__(self) -> None:
        self.writers: list[str] = []
        self.missed = 0

    def miss(self) -> None:
        self.missed += 1


def listening(name: str, work: Callable[[Kernel, Heard], Awaitable[None]]) -> Heard:
    heard = Heard()

    async def main() -> None:
        kernel = await Kernel.open()
        try:
            with Ears(heard.writers.append, heard.miss):
                await work(kernel, heard)
        finally:
            kernel.close()

    netns.inside(name, lambda: asyncio.run(main()))
    return heard


async def foreign(name: str, text: str) -> str:
    """Run nft as somebody else; returns how the kernel names it."""
    process = await asyncio.create_subprocess_exec(*netns.argv(name), "nft", text)
    assert await process.wait() == 0
    return f"nft (pid {process.pid})"


WHOLE = replace(render(content("10.0.2.1"), Settings())).json()
HANDS = {
    "the ruleset is flushed": "flush ruleset",
    "the table is deleted": "delete table inet nodewall",
    "a chain is flushed": "flush chain inet nodewall forward",
    "a rule is added": "add rule inet nodewall forward counter",
    "an element is added": "add element inet nodewall local4 { 10.9.9.9 }",
    "an element is deleted": "delete element inet nodewall local4 { 10.0.1.10 }",
    "a chain is added": "add chain inet nodewall x",
}


@pytest.mark.kernel
@pytest.mark.parametrize("text", HANDS.values(), ids=HANDS)
def test_a_hand_on_our_table_is_heard_and_named(text: str, namespace: str) -> None:
    async def work(kernel: Kernel, heard: Heard) -> None:
        await kernel.apply(WHOLE)
        who = await foreign(namespace, text)
        await until(lambda: heard.writers, "it is heard", 1)
        assert heard.writers == [who]

    listening(namespace, work)


@pytest.mark.kernel
@pytest.mark.parametrize("settings", [Settings(), Settings(strict=Strict(7))], ids=["elements", "rules"])
def test_our_own_changes_and_other_tables_are_not_heard(namespace: str, settings: Settings) -> None:
    async def work(kernel: Kernel, heard: Heard) -> None:
        old, new = render(content("10.0.2.1"), Settings()), render(content("10.0.2.2"), settings)
        await kernel.apply(replace(old).json())
        for _ in range(10):
            for before, after in ((old, new), (new, old)):
                change = diff(before, after)
                assert change
                await kernel.apply(change.json())
            await foreign(namespace, "add table ip nat; add chain ip nat x; add rule ip nat x counter")
        who = await foreign(namespace, "add chain inet nodewall x")
        await until(lambda: heard.writers, "the last one is heard", 1)
        assert heard.writers == [who]

    assert listening(namespace, work).missed == 0


@pytest.mark.kernel
def test_the_kernel_drops_announcements_of_a_port_that_we_are_deaf_to(namespace: str) -> None:
    async def work() -> None:
        with open_socket(NETLINK_NETFILTER) as listener:
            listener.setsockopt(270, 1, 7)
            listener.setblocking(False)
            kernel = await Kernel.open()
            await kernel.apply(WHOLE)
            (first, *_) = messages(listener.recv(1 << 16))
            attach_filter(listener, deaf_to(first.port))
            while select.select([listener], [], [], 0)[0]:
                listener.recv(1 << 16)
            await kernel.apply(WHOLE)
            kernel.close()
            with pytest.raises(BlockingIOError):
                listener.recv(1 << 16)
            await foreign(namespace, "add chain inet nodewall x")
            assert listener.recv(1 << 16)

    netns.inside(namespace, lambda: asyncio.run(work()))


@pytest.mark.kernel
def test_our_own_big_replaces_lose_no_announcement(namespace: str) -> None:
    """The kernel drops what we wrote ourselves before it fills the buffer."""
    peers = [f"10.{a}.{b}.{c}" for a in range(2, 4) for b in range(100) for c in range(1, 251)]
    big = replace(render(content(*peers), Settings())).json()

    async def work(kernel: Kernel, heard: Heard) -> None:
        for _ in range(3):
            await kernel.apply(big)
        who = await foreign(namespace, "add chain inet nodewall x")
        await until(lambda: heard.writers, "the last one is heard", 2)
        assert heard.writers == [who]

    assert listening(namespace, work).missed == 0


@pytest.mark.kernel
def test_equal_tables_have_equal_fingerprints_and_a_changed_one_has_not(namespace: str) -> None:
    async def work(kernel: Kernel, _heard: Heard) -> None:
        peers = [f"10.0.{a}.{b}" for a in range(2, 6) for b in range(1, 250)]
        table = replace(render(content(*peers), Settings())).json()
        await kernel.apply(table)
        first = await kernel.fingerprint()
        await kernel.apply(table)
        assert await kernel.fingerprint() == first
        await foreign(namespace, "add element inet nodewall local4 { 10.9.9.9 }")
        assert await kernel.fingerprint() != first
        await foreign(namespace, "delete table inet nodewall")
        assert await kernel.fingerprint() == ""

    listening(namespace, work)


def test_a_fingerprint_ignores_handles_and_the_order_of_elements() -> None:
    def listed(handle: int, *elements: str) -> list[dict[str, object]]:
        return [{"set": {"name": "s", "handle": handle, "elem": list(elements)}}]

    assert fingerprint(listed(1, "a", "b")) == fingerprint(listed(2, "b", "a"))
    assert fingerprint(listed(1, "a", "b")) != fingerprint(listed(1, "a"))
