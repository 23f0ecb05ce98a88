"""Reading with a memory of the last rule set is reading: nothing but the work is another."""

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodewall.api import rereading
from nodewall.api.rereading import Rereader
from nodewall.api.ruleset import ENTRIES, decode, digest_of, document
from nodewall.api.rulesetwire import NodeRuleSetSpec
from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import NodeRuleSet
from tests.api.test_ruleset_json import FULL, UNTRUE, UNUSABLE

Spec = dict[str, Any]
Edit = Callable[[Spec], object]
NODE = "n1"

SPELLINGS: dict[str, Callable[[object], bytes]] = {
    "as the API server spells it": lambda body: msgspec.json.encode(body, order="sorted"),
    "with spaces": lambda body: json.dumps(body).encode(),
    "over many lines": lambda body: json.dumps(body, indent=2, ensure_ascii=False).encode(),
    "from behind": lambda body: json.dumps(dict(reversed(body.items()))).encode() if isinstance(body, dict) else b"",
}

USABLE: list[Edit] = [
    lambda spec: spec["addressGroups"][0]["addresses"].append("10.0.0.77"),
    lambda spec: spec["addressGroups"][0]["addresses"].remove("fd00::1"),
    lambda spec: spec["addressGroups"][1].update(addresses=["10.0.0.1"]),
    lambda spec: spec["addressGroups"][1].update(description="naïve <ns> & “app”\n"),
    lambda spec: spec["addressGroups"].reverse(),
    lambda spec: spec["addressGroups"].insert(1, {"name": "g0", "description": "", "addresses": ["fd00::1"]}),
    lambda spec: spec["portGroups"][0]["members"].append("10.0.0.1/TCP/81"),
    lambda spec: spec["portGroups"].append({"name": "p0", "description": "", "members": []}),
    lambda spec: spec["classes"][0]["rules"].pop(),
    lambda spec: spec["classes"][0].pop("isolation"),
    lambda spec: spec["classes"].append({"name": "c3", "direction": "Ingress", "rules": []}),
    lambda spec: spec["endpoints"].pop(),
    lambda spec: spec["endpoints"][0].update(ingress=""),
    lambda spec: spec["endpoints"].insert(0, {"namespace": "a", "pod": "b", "addresses": ["10.0.0.3"]}),
    lambda spec: spec["policies"][0].update(label="another"),
    lambda spec: spec["policies"].reverse(),
    lambda spec: spec.update(podCIDRs=["10.0.0.0/24"]),
    lambda spec: spec.update(sharedGroups=[{"name": "s1", "holds": "Addresses", "parts": 2}], groupsRevision=3),
    lambda spec: spec.update(sharedGroups=[]),
    lambda spec: spec.update(groupsRevision=0),
    lambda spec: spec.update(),
]
EDITS: list[Edit] = [*USABLE, *(edit for _, edit in (*UNUSABLE, *UNTRUE))]


def _source(spec: object, spelling: str = "as the API server spells it") -> bytes:
    metadata = {"name": NODE, "uid": "u", "generation": 1}
    return SPELLINGS[spelling]({"apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {"pods": 1}})


def _full(ruleset: NodeRuleSet = FULL) -> Spec:
    spec: Spec = document(ruleset)["spec"]
    return spec


def _outcome(read: Callable[[bytes], NodeRuleSet], source: bytes) -> object:
    try:
        return read(source)
    except BadInputError as error:
        return str(error)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.lists(st.sampled_from(EDITS), max_size=3), st.integers(0, 9), st.sampled_from(sorted(SPELLINGS))),
        max_size=6,
    )
)
def test_whatever_was_read_before_changes_nothing(steps: list[tuple[list[Edit], int, str]]) -> None:
    """Each step is a few edits of the whole one, usable or not, mostly with the digest of what came of them."""
    memory = Rereader(NODE)

    def read(source: bytes) -> NodeRuleSet:
        found = memory.read(source)
        return found.content if found else decode(source)

    for edits, sealed, spelling in steps:
        spec = deepcopy(_full())
        for edit in edits:
            _try(edit, spec)
        if sealed:
            spec["digest"] = digest_of(spec)
        source = _source(spec, spelling)
        assert _outcome(read, source) == _outcome(decode, source)


def _try(edit: Edit, spec: Spec) -> None:
    """An edit may have nothing left to change after another one."""
    try:
        edit(spec)
    except (LookupError, TypeError, ValueError, AttributeError):
        return


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("edit", USABLE)
def test_what_can_be_used_is_read_in_the_short_way(edit: Edit, spelling: str) -> None:
    memory = Rereader(NODE)
    assert memory.read(_source(_full(), spelling)) is not None
    spec = _full()
    edit(spec)
    spec["digest"] = digest_of(spec)
    found = memory.read(_source(spec, spelling))
    assert found is not None
    assert (found.content, found.digest, found.meta.uid) == (decode(_source(spec)), spec["digest"], "u")


DEEP = b"[" * 99999 + b"]" * 99999
NO_OBJECTS = (b"", b"{", b"[]", b"null", b"{}", b"\xff", DEEP, b'{"spec":%s}' % DEEP, b'{"kind":%s}' % DEEP)


@pytest.mark.parametrize("source", NO_OBJECTS)
def test_what_is_no_object_is_left_to_others(source: bytes) -> None:
    assert Rereader(NODE).read(source) is None


STRAY: dict[str, tuple[bytes, bytes]] = {
    "a byte in what nobody needs": (b'"pods":1', b'"pods":"\xff"'),
    "a byte in what is said twice": (b'"status":', b'"status":"\xff","status":'),
    "a number in what nobody needs": (b'"pods":1', b'"pods":1e999'),
    "a number that no digest is of": (b'"rate":1}', b'"rate":1180591620717411303424}'),
    "a field around the spec": (b'"status":', b'"stature":'),
}


@pytest.mark.parametrize(("what", "stray"), STRAY.values(), ids=STRAY)
def test_what_is_out_of_the_way_is_left_to_others(what: bytes, stray: bytes) -> None:
    memory = Rereader(NODE)
    assert memory.read(_source(_full())) is not None
    assert what in _source(_full())
    assert memory.read(_source(_full()).replace(what, stray, 1)) is None


def test_another_nodes_is_left_to_others() -> None:
    assert Rereader("n2").read(_source(_full())) is None


def test_what_is_between_two_changes_stays_the_same_object() -> None:
    memory, group = Rereader(NODE), FULL.groups[0]
    old, new = (
        memory.read(_source(_full(NodeRuleSet(NODE, tuple(replace(group, name=name) for name in names)))))
        for names in (("a", "b", "c", "d"), ("e", "b", "c"))
    )
    assert old is not None
    assert new is not None
    assert [one.name for one in new.content.groups] == ["e", "b", "c"]
    assert new.content.groups[1] is old.content.groups[1]


def test_what_is_equal_stays_the_same_object() -> None:
    memory, first = Rereader(NODE), FULL.groups[0]
    other = replace(FULL, groups=(replace(first, addresses=first.addresses[:1]), *FULL.groups[1:]))
    old, new = (memory.read(_source(_full(ruleset))) for ruleset in (FULL, other))
    assert old is not None
    assert new is not None
    assert new.content.groups[1] is old.content.groups[1]
    assert new.content.groups[0].addresses[0] is old.content.groups[0].addresses[0]
    for part in ("port_groups", "classes", "endpoints", "rules", "pod_cidrs"):
        assert getattr(new.content, part) is getattr(old.content, part)


def test_members_that_stay_in_a_port_group_stay_the_same_objects() -> None:
    memory, first = Rereader(NODE), FULL.port_groups[0]
    more = replace(first, members=(replace(first.members[0], port=79), *first.members))
    other = replace(FULL, port_groups=(more, *FULL.port_groups[1:]))
    old, new = (memory.read(_source(_full(ruleset))) for ruleset in (FULL, other))
    assert old is not None
    assert new is not None
    assert new.content == other
    assert new.content.port_groups[0].members[1] is old.content.port_groups[0].members[0]


def test_one_that_cannot_be_used_is_forgotten() -> None:
    memory, spec = Rereader(NODE), _full()
    old = memory.read(_source(spec))
    spec["addressGroups"][0]["addresses"].pop()
    assert memory.read(_source(spec)) is None
    again = memory.read(_source(_full()))
    assert old is not None
    assert again is not None
    assert again.content.groups is old.content.groups


def test_nothing_of_an_older_object_is_kept() -> None:
    """Each entry's bytes are a piece of the whole object that it came in."""
    memory, spec = Rereader(NODE), _full()
    old = _source(spec)
    alone = sys.getrefcount(old)
    assert memory.read(old) is not None
    assert sys.getrefcount(old) > alone
    spec["addressGroups"].pop()
    spec["classes"][0]["rules"][1]["groups"].pop()
    spec["digest"] = digest_of(spec)
    assert memory.read(_source(spec)) is not None
    assert sys.getrefcount(old) == alone


def test_no_field_of_a_spec_is_unknown_to_the_short_way() -> None:
    fields = {one.encode_name for one in msgspec.structs.fields(NodeRuleSetSpec)}
    assert {one.encode_name for one in msgspec.structs.fields(rereading._Spec)} == fields  # noqa: SLF001
    assert fields == {*ENTRIES, "digest", "groupsRevision"}
