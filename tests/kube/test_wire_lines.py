"""A stream is cut into the same lines however the network cuts it into chunks."""

from hypothesis import given
from hypothesis import strategies as st

from nodewall.kube.wire import LineSplitter


def lines_of(chunks: list[bytes]) -> list[bytes]:
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)]


@given(st.lists(st.binary(max_size=9).map(lambda data: data.replace(b"\0", b"\n")), max_size=20))
def test_chunks_do_not_matter(chunks: list[bytes]) -> None:
    complete = b"".join(chunks).split(b"\n")[:-1]
    assert lines_of(chunks) == [line for line in complete if line]


def test_a_line_of_many_chunks() -> None:
    assert lines_of([b"x" * 1000] * 5000 + [b"\n"]) == [b"x" * 5_000_000]


def test_half_a_line_is_kept_back() -> None:
    assert lines_of([b'{"type":', b'"ADDED"']) == []
