"""NodeRuleSet objects on the wire: read for what is really in them, written and removed."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec

from nodewall.api import parsed, peergroup, ruleset
from nodewall.controller.fence import Writer
from nodewall.controller.groups import PublishedPart
from nodewall.controller.publish import MANAGER, Condition, Encoded, Published
from nodewall.kube.errors import InvalidError, NotFoundError, RefusedError
from nodewall.kube.http import Target
from nodewall.kube.resource import NODE_RULE_SETS, PEER_GROUPS
from nodewall.kube.wire import ObjectMeta
from nodewall.model.cluster import Node
from nodewall.model.ruleset import NodeRuleSet, SharedGroup

UNPROCESSABLE = 422


def encoding(rule_set: NodeRuleSet) -> Generator[None, None, Encoded]:
    """As it is written; in small steps."""
    return Encoded(*(yield from ruleset.encoding(rule_set)))


class _Owner(msgspec.Struct):
    kind: str = ""
    uid: str = ""


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    uid: str = ""
    generation: int = 0
    owner_references: list[_Owner] = []
    annotations: dict[str, str] = {}


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, rename="camel"):
    applied_digest: str | None = None
    applied_groups: int | None = None
    conditions: list[_Condition] = []


class _Object(msgspec.Struct):
    metadata: _Meta
    spec: msgspec.Raw = msgspec.Raw(b"null")
    status: _Status = msgspec.field(default_factory=_Status)


class Reader:
    """Reads objects as they come. A spec is decoded once for each content: reports of agents come far more often."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_Object).decode
        self._hashed: dict[str, tuple[bytes, _Content]] = {}

    def __call__(self, body: bytes | msgspec.Raw) -> tuple[str, Published]:
        """(node, what is there). Raises for what is no NodeRuleSet; one without a usable spec has no content."""
        found = self._decode(body)
        meta = found.metadata
        owner = next((each.uid for each in meta.owner_references if each.kind == "Node"), "")
        content = self._content(meta, found.spec)
        said = tuple(Condition(*msgspec.structs.astuple(each)) for each in found.status.conditions)
        return meta.name, Published(
            meta.uid,
            content.digest,
            owner,
            found.status.applied_digest or "",
            said,
            meta.generation,
            content.revision,
            content.groups,
            found.status.applied_groups or 0,
            meta.annotations.get(ruleset.HELD, ""),
        )

    def _content(self, meta: _Meta, spec: msgspec.Raw) -> "_Content":
        # Not by its generation: after etcd was restored from a backup that counts other contents.
        text = blake2b(spec).digest()
        known = self._hashed.get(meta.name)
        if known is not None and known[0] == text:
            return known[1]
        content = _content(msgspec.json.decode(spec))
        self._hashed[meta.name] = (text, content)
        return content


@dataclass(frozen=True, slots=True)
class _Content:
    """``digest`` is the one that the spec states, when it is that of its own content; else ""."""

    digest: str
    revision: int = 0
    groups: frozenset[SharedGroup] = frozenset()


def _content(spec: Any) -> _Content:
    digest = ruleset.digest_of(spec)
    if not isinstance(spec, Mapping) or spec.get("digest") != digest:
        return _Content("")
    shared = frozenset(SharedGroup(each["name"], each["parts"]) for each in spec.get("sharedGroups", ()))
    return _Content(digest, spec.get("groupsRevision", 0), shared)


class ApiRuleSets:
    """``nodewall.controller.publish.RuleSetApi`` at the API server."""

    def __init__(self, writer: Writer, wall: Callable[[], float] = time.time) -> None:
        self._writer, self._wall = writer, wall

    async def write(self, node: Node, wanted: Encoded, age: float) -> Published:
        """See ``RuleSetApi``."""
        body = {
            "apiVersion": ruleset.API_VERSION,
            "kind": ruleset.KIND,
            "metadata": {
                "name": node.name,
                "ownerReferences": [_owner(node)],
                **_changed(self._wall() - age),
            },
            "spec": msgspec.Raw(wanted.spec),
        }
        meta = await _put(self._writer, Target(NODE_RULE_SETS, node.name), body)
        return Published(meta.uid, wanted.digest, node.uid, generation=meta.generation)

    async def hold(self, name: str, why: str) -> None:
        """See ``RuleSetApi``. A merge patch takes away what anybody wrote there; server-side apply would not."""
        body = {"metadata": {"annotations": {ruleset.HELD: why or None}}}
        with suppress(NotFoundError):
            await self._writer.merge_patch(Target(NODE_RULE_SETS, name), body, MANAGER)

    async def remove(self, name: str, uid: str) -> None:
        """See ``RuleSetApi``."""
        await self._writer.delete(Target(NODE_RULE_SETS, name), uid)


async def _put(writer: Writer, target: Target, body: Mapping[str, Any]) -> ObjectMeta:
    """Overwrite the object. What is refused is applied: that makes one which is not there, and says of a field that is
    not known its name alone. Each is a write of its own, for which the clock is asked (ADR 4).
    """
    try:
        return await writer.overwrite(target, body, MANAGER)
    except RefusedError as error:
        # Whatever a 422 is taken for: it quotes the object, and with it what users have written.
        if not isinstance(error, NotFoundError | InvalidError) and error.status != UNPROCESSABLE:
            raise
    return await writer.apply(target, body, MANAGER)


def _changed(seconds: float) -> dict[str, dict[str, str]]:
    """Metadata that says so."""
    at = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"annotations": {ruleset.CHANGED_AT: at}}


def _owner(node: Node) -> dict[str, str]:
    """With the Node goes its object, should no controller be there to remove it."""
    return {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid}


def read_group(body: msgspec.Raw) -> tuple[str, PublishedPart]:
    """(name, what is there) of a PeerGroup. Raises for what is none."""
    raw, head = parsed.decode(body), peergroup.head(body)
    meta = parsed.meta_of(raw, namespaced=False)
    return meta.name, PublishedPart(meta.uid, peergroup.real_digest(raw), head.revision, meta.generation)


class ApiGroups:
    """``nodewall.controller.groups.GroupApi`` at the API server."""

    def __init__(self, writer: Writer, wall: Callable[[], float] = time.time) -> None:
        self._writer, self._wall = writer, wall

    async def write(self, name: str, spec: bytes, age: float) -> tuple[str, int]:
        """See ``GroupApi``."""
        body = peergroup.document(name, spec)
        body["metadata"] |= _changed(self._wall() - age)
        meta = await _put(self._writer, Target(PEER_GROUPS, name), body)
        return meta.uid, meta.generation

    async def remove(self, name: str, uid: str) -> None:
        """See ``GroupApi``."""
        await self._writer.delete(Target(PEER_GROUPS, name), uid)
