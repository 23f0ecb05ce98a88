"""Lines go out whole and in order, and a reader that sleeps holds nobody who wants to end."""

import os
import select
import threading
from collections.abc import Iterator

import pytest

from e2e.waiting import until
from nodewall.agent.flowlog_output import Output

LINES = [f"{number:05} {'x' * (number % 700)}\n".encode() for number in range(2000)]
"""Far more than a pipe holds."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_all(descriptor: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += os.read(descriptor, 1 << 16)
    return found


def test_everything_arrives_in_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    whole = b"".join(LINES)
    taken: list[bytes] = []
    thread = threading.Thread(target=lambda: taken.append(read_all(reader, len(whole))))
    thread.start()
    assert Output(writer).write(LINES) == len(LINES)
    thread.join(10)
    assert taken == [whole]


def test_a_line_longer_than_a_pipe_takes_at_once_is_whole(pipe: tuple[int, int]) -> None:
    long = b"y" * 20_000 + b"\n"
    assert Output(pipe[1]).write([long, b"z\n"]) == 2
    assert read_all(pipe[0], len(long) + 2) == long + b"z\n"


def test_who_is_told_to_stop_stops_although_nobody_reads(pipe: tuple[int, int]) -> None:
    output, written = Output(pipe[1]), list[int]()
    thread = threading.Thread(target=lambda: written.append(output.write(LINES)))
    thread.start()
    until("the pipe is full", lambda: is_full(pipe[1]), within=10)
    output.stop()
    thread.join(10)
    assert not thread.is_alive()
    arrived = os.read(pipe[0], 1 << 20)
    assert arrived == b"".join(LINES[: written[0]])
    assert 0 < written[0] < len(LINES)


def is_full(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return not poll.poll(0)


def test_after_the_stop_what_can_be_written_at_once_still_is(pipe: tuple[int, int]) -> None:
    output = Output(pipe[1])
    output.stop()
    assert output.write([b"last\n"]) == 1
    assert os.read(pipe[0], 100) == b"last\n"


def test_when_nobody_reads_any_more_it_is_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError):
            Output(writer).write([b"x\n"])
    finally:
        os.close(writer)
