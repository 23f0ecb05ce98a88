"""Only a NodeRuleSet of this node that is whole and wholly understood is used."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from nodewall.agent.loop import Read
from nodewall.agent.reading import LARGEST, reader
from nodewall.api import ruleset as codec
from nodewall.model.errors import BadInputError
from tests.agent.rulesets import NODE, content

Body = dict[str, Any]


def body() -> Body:
    document = codec.document(content("10.0.2.1"))
    document["metadata"] |= {"uid": "u1", "generation": 7}
    return document | {"status": {"pods": 1}}


def test_a_whole_one_is_read() -> None:
    source = json.dumps(body()).encode()
    read = reader(NODE)(source)
    assert (read.uid, read.generation, read.digest) == ("u1", 7, body()["spec"]["digest"])
    assert read.content == content("10.0.2.1")
    assert read.source == source


def _rename(it: Body) -> None:
    it["metadata"]["name"] = "n2"


def _widen(it: Body) -> None:
    it["spec"]["addressGroups"][0]["addresses"].append("10.0.2.2")


def _extend(it: Body) -> None:
    it["spec"]["classes"][0]["exceptOnSundays"] = True
    it["spec"]["digest"] = codec.digest_of(it["spec"])


def _shorten(it: Body) -> None:
    del it["spec"]["endpoints"]
    it["spec"]["digest"] = codec.digest_of(it["spec"])


def _empty(it: Body) -> None:
    it["spec"] = {}


def _unspecified(it: Body) -> None:
    del it["spec"]


def _null(it: Body) -> None:
    it["spec"]["classes"] = None
    it["spec"]["digest"] = codec.digest_of(it["spec"])


def _nameless(it: Body) -> None:
    del it["metadata"]


DAMAGE: dict[str, tuple[Callable[[Body], None], str]] = {
    "of another node": (_rename, "belongs to another node, this is n1"),
    "changed by hand": (_widen, "spec.digest: is not the digest"),
    "a field of a later version": (_extend, "exceptOnSundays"),
    "a list is missing": (_shorten, "endpoints"),
    "an empty spec": (_empty, "spec"),
    "no spec": (_unspecified, "spec"),
    "a null list": (_null, "spec.classes"),
    "no metadata": (_nameless, "metadata.name"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_one_is_refused_with_the_place(damage: Callable[[Body], None], reason: str) -> None:
    it = body()
    damage(it)
    said = set()
    for read in (reader(NODE), _seasoned()):
        with pytest.raises(BadInputError) as caught:
            read(json.dumps(it).encode())
        said.add(str(caught.value))
    (message,) = said
    assert reason in message
    assert "\n" not in message


def _seasoned() -> Read:
    """A reader that has read the whole one before, and another one after it that it refused."""
    read, nameless = reader(NODE), body()
    read(json.dumps(body()).encode())
    _nameless(nameless)
    with pytest.raises(BadInputError):
        read(json.dumps(nameless).encode())
    return read


def test_one_after_the_other_is_read_as_it_is() -> None:
    """The digest says which, the generation too, and the bytes are those that came."""
    read = _seasoned()
    for generation, peers in enumerate((("10.0.2.1",), ("10.0.2.1", "10.0.2.2"), (), ("10.0.2.1",))):
        document = codec.document(content(*peers))
        document["metadata"] |= {"uid": f"u{generation}", "generation": generation}
        source = json.dumps(document).encode()
        assert read(source) == reader(NODE)(source)
        assert (read(source).content, read(source).uid, read(source).source) == (
            content(*peers),
            f"u{generation}",
            source,
        )


@pytest.mark.parametrize("source", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"x" * (LARGEST + 1)])
def test_what_is_no_object_is_refused(source: bytes) -> None:
    with pytest.raises(BadInputError):
        reader(NODE)(source)


@pytest.mark.parametrize("cut", range(0, 2000, 37))
def test_a_cut_one_is_refused(cut: int) -> None:
    source = json.dumps(body()).encode()
    with pytest.raises(BadInputError):
        reader(NODE)(source[: min(cut, len(source) - 1)])
