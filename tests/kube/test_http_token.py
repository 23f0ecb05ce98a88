"""A token that the kubelet renews is read again: each minute, and at once when the server refuses it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nodewall.kube.credentials import TOKEN_AGE, FileToken
from nodewall.kube.errors import CredentialsError, UnauthorizedError
from nodewall.kube.http import Target, connect
from nodewall.kube.resource import NODE_RULE_SETS
from tests.kube.fake_api import FakeApi


class Hand:
    """A clock set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_token_file_is_read_again_each_minute(tmp_path: Path) -> None:
    file, hand = tmp_path / "token", Hand()
    file.write_text("one\n")
    token = FileToken(file, hand)
    assert token.read() == "one"
    file.write_text("two\n")
    hand.now = TOKEN_AGE - 1
    assert token.read() == "one"
    hand.now = TOKEN_AGE
    assert token.read() == "two"


UNUSABLE = ["", "\n", "two words", "line\nbreak", "caf\xe9"]


@pytest.mark.parametrize("text", UNUSABLE)
def test_a_file_that_is_of_no_use_for_now_leaves_the_last_token_in_force(tmp_path: Path, text: str) -> None:
    file, hand = tmp_path / "token", Hand()
    file.write_text("one")
    token = FileToken(file, hand)
    assert token.read() == "one"
    file.write_text(text)
    assert not token.renew()
    assert token.read() == "one"
    file.unlink()
    assert not token.renew()
    assert token.read() == "one"


@pytest.mark.parametrize("text", UNUSABLE)
def test_a_file_that_never_was_of_use_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(CredentialsError, match=rf"^{file}: holds no token"):
        FileToken(file).read()


async def test_a_refused_token_is_read_again_and_the_request_repeated(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    async with FakeApi(tokens=["one"]) as api:
        api.put(NODE_RULE_SETS, {"metadata": {"name": "n1"}})
        async with connect(replace(api.credentials(), token=FileToken(file))) as session:
            assert await session.get(Target(NODE_RULE_SETS, "n1"))
            new = tmp_path / "new"
            new.write_text("two")
            os.replace(new, file)  # noqa: PTH105 - as the kubelet does, in one step
            api.tokens = {"two"}
            assert await session.get(Target(NODE_RULE_SETS, "n1"))
            assert [seen.headers["Authorization"] for seen in api.requests] == [
                "Bearer one",
                "Bearer one",
                "Bearer two",
            ]


async def test_a_token_that_stays_refused_is_not_tried_twice(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    async with FakeApi(tokens=["other"]) as api:
        async with connect(replace(api.credentials(), token=FileToken(file))) as session:
            with pytest.raises(UnauthorizedError, match=r"get noderulesets.nodewall.io n1: Unauthorized"):
                await session.get(Target(NODE_RULE_SETS, "n1"))
        assert len(api.requests) == 1
