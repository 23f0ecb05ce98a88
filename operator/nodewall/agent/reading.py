"""From a NodeRuleSet's JSON to a rule set of this node, or the reason why it cannot be used."""

import msgspec

from nodewall.agent.decide import RuleSet
from nodewall.agent.grouping import Gathering, known, project
from nodewall.agent.loop import Read
from nodewall.api import parsed, ruleset, shallow
from nodewall.api.rereading import Rereader
from nodewall.model.errors import BadInputError

LARGEST = 4 << 20
"""Bytes. The API server stores less; whatever is longer did not come from our controller."""


def reader(node: str) -> Read:
    """Reads the NodeRuleSets of ``node``, one after the other: of what stays the same, only the bytes are looked at.

    Raises BadInputError for another node's (its pods are not here, and ours would be unguarded), for one that is not
    whole or that holds what this version does not know.
    """

    last = Rereader(node)

    def read(source: bytes) -> RuleSet:
        if len(source) > LARGEST:
            raise BadInputError(f"is {len(source)} bytes long, {LARGEST} at most are read", subject="NodeRuleSet")
        found = last.read(source)
        if found:
            return RuleSet(found.meta.uid, found.meta.generation, found.digest, found.content, source)
        body = parsed.decode(source)
        meta = parsed.meta_of(body, namespaced=False)
        if meta.name != node:
            raise BadInputError(
                f"belongs to another node, this is {node}", subject=f"NodeRuleSet {meta.name}", path="metadata.name"
            )
        content = ruleset.decode(body)
        return RuleSet(meta.uid, meta.generation, ruleset.stated_digest(body), content, source)

    return read


# --- with its groups, on disk -----------------------------------------------------------------------------------------

_LIST = {"apiVersion": "v1", "kind": "List"}


class _List(msgspec.Struct):
    kind: str = ""
    items: list[msgspec.Raw] = []


_decode_list = msgspec.json.Decoder(_List).decode


def to_save(found: RuleSet) -> bytes:
    """The object as it came; with the groups that it names a list of it and them, as it came too."""
    if not found.parts:
        return found.source
    return msgspec.json.encode(_LIST | {"items": [msgspec.Raw(each) for each in (found.source, *found.parts)]})


def saved_reader(node: str) -> Read:
    """Reads what ``to_save`` made. Raises BadInputError, for a list that lacks a part too."""
    read = reader(node)

    def read_saved(source: bytes) -> RuleSet:
        try:
            found = shallow.read(_decode_list, source)
        except msgspec.DecodeError:
            found = _List()
        if found.kind != "List" or not found.items:
            return read(source)
        first, *rest = found.items
        ruleset = read(bytes(first))
        try:
            items = [project(each)[1] for each in rest]
        except msgspec.DecodeError as error:
            raise BadInputError(f"is no part of a group: {error}", subject="saved PeerGroup") from None
        newest = max((item.head.revision for item in items), default=0)
        return Gathering().whole(ruleset, known(max(newest, ruleset.content.revision), 0, items))

    return read_saved
