"""Parts of shared groups, and rule sets that refer to them, to JSON and back; what cannot be trusted is refused."""

import copy
from typing import Any

import msgspec
import pytest

from nodewall.api import peergroup, ruleset
from nodewall.api.ruleset import RuleSetError
from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, Kind, Protocol, Tier
from nodewall.model.ruleset import (
    AddressGroup,
    Endpoint,
    GroupPart,
    Match,
    NodeRuleSet,
    PortGroup,
    PortMember,
    Rule,
    RuleClass,
    RuleRef,
    SharedGroup,
)

ADDRESSES = GroupPart(AddressGroup("g1", "role=peer", (Address("10.0.0.1"), Address("fd00::1"))), 4, 2)
DESTINATIONS = GroupPart(PortGroup("p1", "port web", (PortMember(Address("10.0.0.1"), Protocol.TCP, 80),)), 1, 0)
EMPTY = GroupPart(AddressGroup("g1", "role=peer", ()), 4, 3)

SHARING = NodeRuleSet(
    node="n1",
    classes=(
        RuleClass(
            "c1",
            Direction.EGRESS,
            (Rule("r1", Tier.ADMIN, Action.DENY, Match(groups=("g1",), any_port=True, port_groups=("p1",))),),
        ),
    ),
    endpoints=(Endpoint("shop", "web", (Address("10.0.0.9"),), egress="c1"),),
    rules=(RuleRef("r1", Kind.CLUSTER_EXTENDED, "", "wide", Direction.EGRESS, "egress[0]"),),
    shared=(SharedGroup("g1", 4),),
    shared_ports=(SharedGroup("p1", 1),),
    revision=7,
)


def stored(part: GroupPart, revision: int = 7) -> dict[str, Any]:
    """As it comes from the API server."""
    spec = peergroup.encode_part(part, revision)[1]
    return dict(msgspec.json.decode(msgspec.json.encode(peergroup.document(peergroup.name(part.key), spec))))


@pytest.mark.parametrize("part", [ADDRESSES, DESTINATIONS, EMPTY], ids=["addresses", "destinations", "empty"])
def test_a_part_comes_back_as_it_was(part: GroupPart) -> None:
    body = stored(part)
    assert peergroup.decode_part(body) == part
    assert peergroup.head(msgspec.json.encode(body)) == peergroup.Head(part.key, 7, body["spec"]["digest"])
    assert peergroup.real_digest(body) == body["spec"]["digest"] == peergroup.encode_part(part, 7)[0]


def test_the_revision_comes_after_every_part_in_a_list() -> None:
    _, spec = peergroup.encode_revision(9, 50)
    body = peergroup.document(peergroup.REVISION, spec)
    assert peergroup.head(msgspec.json.encode(body)) == peergroup.Head(None, 9, peergroup.encode_revision(9, 50)[0], 50)
    assert all(peergroup.name(part.key) < peergroup.REVISION for part in (ADDRESSES, DESTINATIONS, EMPTY))


def _forge(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    body = copy.deepcopy(body)
    body["spec"].update(changes)
    body["spec"]["digest"] = ruleset.digest_of(body["spec"])
    return body


BROKEN = {
    "a digest of something else": (
        {**stored(ADDRESSES), "spec": {**stored(ADDRESSES)["spec"], "members": []}},
        "digest",
    ),
    "another part's name": (_forge(stored(ADDRESSES), part=1), "another part"),
    "another group's name": (_forge(stored(ADDRESSES), group="g2"), "another part"),
    "a field that nobody knows": (_forge(stored(ADDRESSES), unless="x"), "unless"),
    "no address": (_forge(stored(ADDRESSES), members=["@set"]), "cannot be read"),
    "an address in another spelling": (_forge(stored(ADDRESSES), members=["fd00::0:1"]), "cannot be read"),
    "a destination among addresses": (_forge(stored(ADDRESSES), members=["10.0.0.1/TCP/80"]), "cannot be read"),
    "an address among destinations": (_forge(stored(DESTINATIONS), members=["10.0.0.1"]), "cannot be read"),
    "a range of ports": (_forge(stored(DESTINATIONS), members=["10.0.0.1/TCP/80-90"]), "cannot be read"),
    "no spec": ({"metadata": {"name": "g1-4-2"}}, "object"),
}


@pytest.mark.parametrize(("body", "why"), BROKEN.values(), ids=BROKEN)
def test_a_part_that_is_not_whole_is_refused(body: dict[str, Any], why: str) -> None:
    with pytest.raises(RuleSetError, match=why):
        peergroup.decode_part(body)


def test_what_was_edited_by_hand_has_no_digest() -> None:
    body = stored(ADDRESSES)
    body["spec"]["members"].append("10.0.0.2")
    assert peergroup.real_digest(body) == ""


# -- the rule set that refers to them


def test_a_rule_set_refers_to_groups_elsewhere() -> None:
    assert ruleset.decode(ruleset.document(SHARING)) == SHARING


def test_without_shared_groups_nothing_of_them_is_written() -> None:
    """An agent that does not know them reads every rule set of a small cluster."""
    assert not {"sharedGroups", "groupsRevision"} & ruleset.encode(NodeRuleSet("n1")).keys()


def test_an_agent_that_knows_no_shared_groups_refuses_the_rule_set() -> None:
    """Its spec has no such field, and none of its groups the name that the rules use: two reasons, each enough."""
    spec = ruleset.encode(SHARING)
    known = {name: value for name, value in spec.items() if name not in {"sharedGroups", "groupsRevision"}}
    known["digest"] = ruleset.digest_of(known)
    with pytest.raises(RuleSetError, match="'g1' is not among the addressGroups"):
        ruleset.decode({"metadata": {"name": "n1"}, "spec": known})
    spec["soon"] = []
    spec["digest"] = ruleset.digest_of(spec)
    with pytest.raises(RuleSetError, match="soon"):
        ruleset.decode({"metadata": {"name": "n1"}, "spec": spec})


def test_a_group_is_in_the_rule_set_or_elsewhere() -> None:
    spec = ruleset.encode(SHARING)
    spec["addressGroups"] = [{"name": "g1", "description": "", "addresses": []}]
    spec["digest"] = ruleset.digest_of(spec)
    with pytest.raises(RuleSetError, match="'g1' stands there twice"):
        ruleset.decode({"metadata": {"name": "n1"}, "spec": spec})
