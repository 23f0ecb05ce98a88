"""Strings from outside: cut, cleaned, or hashed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.render import names
from nodewall.render.names import Recorded
from tests.render.rulesets import NASTY

IDENTIFIER = re.compile(r"[a-z]+[0-9]?_[A-Za-z0-9_-]+\Z")


@pytest.mark.parametrize("ident", ["abc", "i0123456789abcdef0123", "a-b", "0"])
def test_a_plain_id_stays_readable(ident: str) -> None:
    assert names.name("g4", ident) == f"g4_{ident}"


@given(st.text())
def test_every_name_is_an_identifier(ident: str) -> None:
    made = names.name("g4", ident)
    assert IDENTIFIER.match(made)
    assert len(made) <= 70
    assert names.checked(made) == made


@given(st.text(), st.text())
def test_different_ids_have_different_names(one: str, other: str) -> None:
    assert (names.name("g4", one) == names.name("g4", other)) == (one == other)


def test_a_hash_never_meets_a_readable_name() -> None:
    """Not even one that was chosen to look like it."""
    hashed = names.name("g4", "a b")
    assert names.name("g4", hashed.removeprefix("g4_")) != hashed


@given(st.text())
def test_comments_and_prefixes_are_short_plain_ascii(text: str) -> None:
    for made, limit in ((names.comment(text), 128), (names.log_prefix(Recorded.DENY, text), 127)):
        assert len(made.encode()) <= limit
        assert re.fullmatch(r"[ !#-\[\]-~]*", made)


def test_what_is_plain_is_kept_whole() -> None:
    assert names.comment("NetworkPolicy shop/web ingress[0]") == "NetworkPolicy shop/web ingress[0]"


@pytest.mark.parametrize("verdict", list(Recorded))
def test_a_prefix_says_what_the_rule_does_and_which_it_is(verdict: Recorded) -> None:
    assert names.log_prefix(verdict, "0a1b2c3d4e") == f"{verdict}:0a1b2c3d4e"
    assert names.read_log_prefix(names.log_prefix(verdict, "0a1b2c3d4e")) == (verdict, "0a1b2c3d4e")


@pytest.mark.parametrize("foreign", ["", "0a1b2c3d4e", "denied:0a1b2c3d4e", "[UFW BLOCK] "])
def test_a_prefix_of_somebody_else_is_told_apart(foreign: str) -> None:
    with pytest.raises(ValueError, match="not a valid Recorded"):
        names.read_log_prefix(foreign)


def test_the_longest_prefix_is_one_that_the_library_survives() -> None:
    assert len(names.log_prefix(Recorded.DENY, NASTY)) == 127


@pytest.mark.parametrize("foreign", ["", "a b", "x;y", "1a", "a\n", "é", "a" * 200])
def test_text_takes_no_name_that_is_not_ours(foreign: str) -> None:
    with pytest.raises(ValueError, match="not a name of ours"):
        names.checked(foreign)
