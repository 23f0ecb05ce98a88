"""Text from users stays on its line."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.telemetry.lines import clamp, one_line

SHOWN = [
    ("plain text", "plain text"),
    ("", ""),
    ("Straße 東京", "Straße 東京"),
    ("two\nlines", "two\\nlines"),
    ("\r\x00\x1b[31m\x7f", "\\r\\x00\\x1b[31m\\x7f"),
    ("next\x85line", "next\\x85line"),
    ("sep\u2028para\u2029", "sep\\u2028para\\u2029"),
    ("right\u202eleft", "right\\u202eleft"),
    ("half \ud800 pair", "half \\ud800 pair"),
    ("tag\U000e0041", "tag\\U000e0041"),
]


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_what_is_shown(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_no_character_at_all_leaves_its_line() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = one_line(every)
    assert len(shown.splitlines()) == 1
    assert {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"} == set()
    shown.encode("utf-8")


CLAMPED = [
    ("short", 10, "short"),
    ("exactly10!", 10, "exactly10!"),
    ("eleven bytes", 11, "eleven b..."),
    ("ääää", 8, "ääää"),
    ("äääää", 8, "ää..."),
]


@pytest.mark.parametrize(("text", "limit", "clamped"), CLAMPED)
def test_what_is_cut(text: str, limit: int, clamped: str) -> None:
    assert clamp(text, limit) == clamped


@given(st.text(), st.integers(min_value=3, max_value=40))
def test_never_more_bytes_than_the_limit(text: str, limit: int) -> None:
    assert len(clamp(text, limit).encode("utf-8")) <= limit
