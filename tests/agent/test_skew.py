"""Controllers of other versions: whatever they write, a node is never more open than it was.

There is no version number to compare. What a later version adds has a name or a value that this one does not know, and
that refuses the whole; what it takes away leaves a digest that is not that of the rest.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nodewall.agent.reading import reader
from nodewall.api import ruleset as codec
from nodewall.api import rulesetwire
from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import NodeRuleSet
from tests.agent.node import Node, on_node, until
from tests.agent.rulesets import content
from tests.api.test_peer_groups import SHARING
from tests.api.test_ruleset_json import FULL

FORMATS = Path(__file__).parent / "formats"
"""What versions wrote, for all that a rule set can hold. Never changed; a new version adds its own."""
MEANT = {"v0.1.0": FULL, "v0.1.0-sharing": SHARING}

Place = tuple[str | int, ...]
WORDS = {
    "Ingress",
    "Egress",
    "Accept",
    "Deny",
    "Pass",
    "Drop",
    "Reject",
    "Admin",
    "Namespace",
    "NetworkPolicy",
    "Baseline",
}
WORDS |= {"ExtendedNetworkPolicy", "ClusterExtendedNetworkPolicy", "ClusterNetworkPolicy"}
"""Values that mean something; all others are names, addresses, or for people."""


def body(ruleset: NodeRuleSet = FULL) -> dict[str, Any]:
    document = codec.document(ruleset)
    document["metadata"] |= {"uid": "u1", "generation": 1}
    found: dict[str, Any] = json.loads(json.dumps(document))  # nothing in it is shared
    return found


def walk(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Everything in a spec, with its place."""
    yield place, value
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from walk(child, (*place, key))


def at(spec: Any, place: Place) -> Any:
    for key in place:
        spec = spec[key]
    return spec


def sealed(document: dict[str, Any]) -> bytes:
    """With the digest of what is in it, as a controller writes it."""
    document["spec"]["digest"] = codec.digest_of(document["spec"])
    return json.dumps(document).encode()


def refusal(source: bytes) -> str:
    with pytest.raises(BadInputError) as caught:
        reader("n1")(source)
    return str(caught.value)


def path_of(place: Place | NodeRuleSet) -> str:
    if isinstance(place, NodeRuleSet):
        return "sharing" if place is SHARING else "full"
    return "spec" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)


SPECS = [(ruleset, body(ruleset)["spec"]) for ruleset in (FULL, SHARING)]
OBJECTS = [(ruleset, place) for ruleset, spec in SPECS for place, value in walk(spec) if isinstance(value, dict)]
VALUES = [(FULL, place) for place, value in walk(SPECS[0][1]) if isinstance(value, str) and value in WORDS]
PORTS = [(FULL, place) for place, _ in walk(SPECS[0][1]) if place[-2:-1] == ("ports",)]
FIELDS = [(ruleset, (*place, key)) for ruleset, place in OBJECTS for key in at(body(ruleset)["spec"], place)]


def test_the_places_are_those_of_every_part() -> None:
    parts = {key for _, place in FIELDS for key in place if isinstance(key, str)}
    wires = [getattr(rulesetwire, name) for name in dir(rulesetwire) if name.endswith(("Wire", "Spec"))]
    wires.remove(rulesetwire.PeerGroupSpec)  # an object of its own: tests/api/test_peer_groups.py
    assert parts >= {field.encode_name for each in wires for field in msgspec.structs.fields(each)}
    assert {place[-1] for _, place in VALUES} == {"direction", "tier", "action", "denyWith", "kind"}
    assert PORTS


# -- a newer controller


@pytest.mark.parametrize(("ruleset", "place"), OBJECTS, ids=path_of)
def test_a_field_of_a_later_version_is_refused_wherever_it_is(ruleset: NodeRuleSet, place: Place) -> None:
    newer = body(ruleset)
    at(newer["spec"], place)["exceptOnSundays"] = True
    said = refusal(sealed(newer))
    assert "contains unknown field 'exceptOnSundays'" in said
    assert path_of(place) in said


@pytest.mark.parametrize(("ruleset", "place"), [*VALUES, *PORTS], ids=path_of)
def test_a_value_of_a_later_version_is_refused_wherever_it_is(ruleset: NodeRuleSet, place: Place) -> None:
    newer = body(ruleset)
    at(newer["spec"], place[:-1])[place[-1]] = "Sometimes"
    assert path_of(place) in refusal(sealed(newer))


# -- an API server with older definitions, which forgets what it does not know


@pytest.mark.parametrize(("ruleset", "place"), FIELDS, ids=path_of)
def test_a_field_that_got_lost_is_refused_wherever_it_was(ruleset: NodeRuleSet, place: Place) -> None:
    pruned = body(ruleset)
    del at(pruned["spec"], place[:-1])[place[-1]]
    assert "spec" in refusal(json.dumps(pruned).encode())


# -- an older controller


@pytest.mark.parametrize("file", sorted(FORMATS.glob("*.json")), ids=lambda file: file.stem)
def test_what_an_earlier_version_wrote_means_what_it_meant(file: Path) -> None:
    """Should it ever have to mean something else, then refuse it: the last good table stays."""
    read = reader("n1")(file.read_bytes())
    assert read.content == MEANT[file.stem]


@pytest.mark.parametrize("ruleset", [FULL, SHARING], ids=path_of)
def test_this_version_is_among_them(ruleset: NodeRuleSet) -> None:
    assert {file.stem for file in FORMATS.iterdir()} == set(MEANT)
    kept = [json.loads(file.read_text())["spec"] for file in FORMATS.iterdir()]
    assert body(ruleset)["spec"] in kept


# -- the agent's process


@pytest.mark.kernel
def test_a_newer_format_leaves_the_table_and_the_condition_says_why(namespace: str, tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        node.publish(content("10.0.2.1"))
        await node.start()
        await until(node.applied, "the rule set is applied")
        before = node.table()
        newer = codec.document(content("10.0.2.1", "10.0.2.9"))
        newer["spec"]["classes"][0]["rules"][0]["exceptOnSundays"] = True
        newer["spec"]["digest"] = codec.digest_of(newer["spec"])
        node.put(newer)
        await until(lambda: node.condition("Applied").get("reason") == "RuleSetUnusable", "the condition turns")
        assert node.condition("Applied")["status"] == "False"
        assert "exceptOnSundays" in node.condition("Applied")["message"]
        assert "the last good table stays" in node.condition("Applied")["message"]
        assert node.table() == before
        node.publish(content("10.0.2.2"))
        await until(node.applied, "one that it understands is applied")
        assert "10.0.2.1" not in node.table()

    on_node(namespace, tmp_path, work)
