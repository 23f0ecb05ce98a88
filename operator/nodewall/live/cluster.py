"""What the cluster is now: every object that a rule set is compiled from, and what the nodes have made of it."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from nodewall.api import parsed, peergroup, ruleset, shallow
from nodewall.api.kinds import RESOURCES
from nodewall.api.kinds import Resource as Readable
from nodewall.api.parsed import Parsed
from nodewall.kube import resource as places
from nodewall.kube.errors import NotFoundError
from nodewall.kube.http import Session
from nodewall.kube.resource import NODE_RULE_SETS, PEER_GROUPS, Resource
from nodewall.model.cluster import ClusterState
from nodewall.model.errors import BadInputError, NodewallError
from nodewall.model.policy import PolicyRef
from nodewall.model.ruleset import AddressGroup, NodeRuleSet, PartKey, PortGroup, SharedGroup
from nodewall.model.shared import merged, whole


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A NodeRuleSet object: what the controller has written, and what the agent says of it.

    ``content`` None: it cannot be read, and ``problem`` says why. ``unapplied`` and ``degraded`` are the agent's words,
    "" when all is well. ``behind``: a group that many nodes share has changed since the agent took it over.
    """

    content: NodeRuleSet | None
    digest: str = ""
    applied_digest: str = ""
    unapplied: str = ""
    degraded: str = ""
    problem: str = ""
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Cluster:
    """``refused`` are the problems of policies as they are written, in words."""

    state: ClusterState
    reports: Mapping[str, NodeReport] = field(default_factory=dict)
    refused: Mapping[PolicyRef, tuple[str, ...]] = field(default_factory=dict)


async def read(session: Session) -> Cluster:
    """Every input, and every NodeRuleSet. Raises ApiError: what cannot be read could make any answer wrong."""
    *inputs, reports = await _together(*(_input(session, each) for each in RESOURCES), _reports(session))
    state = await asyncio.to_thread(
        _state, {found.kind: parsed for found, parsed in zip(RESOURCES, inputs, strict=True)}
    )
    return Cluster(state, dict(reports), _refused(inputs))


async def read_reports(session: Session) -> dict[str, NodeReport]:
    """Every NodeRuleSet by node."""
    return dict(await _reports(session))


async def read_who(session: Session) -> ClusterState:
    """Pods and nodes only: who has which address."""
    kinds = [each for each in RESOURCES if each.kind in ("Pod", "Node")]
    found = await _together(*(_input(session, each) for each in kinds))
    return _state({each.kind: parsed for each, parsed in zip(kinds, found, strict=True)})


async def _together(*works: Coroutine[Any, Any, list[Any]]) -> list[list[Any]]:
    """All of them, or the first error, once the others have let go of their connections."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _input(session: Session, kind: Readable) -> list[Any]:
    place = Resource(kind.group, kind.version, kind.plural, kind.namespaced)
    return [kind.read(each) for each in await _items(session, place)]


async def _items(session: Session, place: Resource) -> list[msgspec.Raw]:
    """All of them; none of a kind that the server does not have."""
    found: list[msgspec.Raw] = []
    try:
        async for page in session.pages(places.Collection(place)):
            found = [*([] if page.first else found), *page.items]
    except NotFoundError:
        if await session.serves(place):
            raise
    return found


def _state(inputs: Mapping[str, Collection[Parsed[Any]]]) -> ClusterState:
    def named(kind: str) -> dict[str, Any]:
        return {each.meta.name: each.value for each in inputs.get(kind, ())}

    def placed(kind: str) -> dict[tuple[str, str], Any]:
        return {(each.meta.namespace, each.meta.name): each.value for each in inputs.get(kind, ())}

    tiered = ("ExtendedNetworkPolicy", "ClusterExtendedNetworkPolicy", "ClusterNetworkPolicy")
    return ClusterState(
        pods=placed("Pod"),
        namespaces=named("Namespace"),
        nodes=named("Node"),
        services=placed("Service"),
        slices=placed("EndpointSlice"),
        network_policies=placed("NetworkPolicy"),
        tier_policies={each.value.ref: each.value for kind in tiered for each in inputs.get(kind, ())},
    )


def _refused(inputs: Collection[Collection[Parsed[Any]]]) -> dict[PolicyRef, tuple[str, ...]]:
    found = (each for kind in inputs for each in kind if each.problems and hasattr(each.value, "ref"))
    return {each.value.ref: tuple(map(str, each.problems)) for each in found}


# --- NodeRuleSets -----------------------------------------------------------------------------------------------------


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    message: str = ""


class _Status(msgspec.Struct, rename="camel"):
    applied_digest: str | None = None
    applied_groups: int | None = None
    conditions: list[_Condition] = []


class _WithStatus(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


_decode_status = msgspec.json.Decoder(_WithStatus).decode


async def _reports(session: Session) -> list[tuple[str, NodeReport]]:
    rule_sets = [bytes(each) for each in await _items(session, NODE_RULE_SETS)]
    groups = parts([bytes(each) for each in await _items(session, PEER_GROUPS)])
    return [report(each, groups) for each in rule_sets]


Parts = Mapping[PartKey, tuple[int, bytes]]
"""The groups that many nodes share: (revision, JSON) of each part."""


def parts(sources: Iterable[bytes]) -> Parts:
    """Of the JSON of PeerGroups."""
    heads = ((peergroup.head(source), source) for source in sources)
    return {head.part: (head.revision, source) for head, source in heads if head.part}


def _named(content: NodeRuleSet) -> Iterator[PartKey]:
    for group in (*content.shared, *content.shared_ports):
        yield from ((group.name, group.parts, index) for index in range(group.parts))


def _gather(group: SharedGroup, groups: Parts) -> AddressGroup | PortGroup:
    keys = [(group.name, group.parts, index) for index in range(group.parts)]
    if not groups.keys() >= set(keys):
        raise BadInputError("is not there as a whole yet", subject=f"group {group.name}")
    return merged([peergroup.decode_part(groups[key][1]) for key in keys])


_NO_PARTS: Parts = MappingProxyType({})


def report(source: bytes, groups: Parts = _NO_PARTS) -> tuple[str, NodeReport]:
    """(node, what there is) of one object's JSON, with the members of its groups."""
    body = parsed.decode(source)
    name = parsed.meta_of(body, namespaced=False).name
    try:
        content, digest = ruleset.decode(body), ruleset.stated_digest(body)
        due = max((groups[key][0] for key in _named(content) if key in groups), default=0)
        content = whole(content, lambda group: _gather(group, groups))
    except NodewallError as error:
        return name, NodeReport(None, problem=str(error))
    try:
        status = shallow.read(_decode_status, source).status
    except msgspec.DecodeError:
        status = _Status()
    said = {each.type: each for each in status.conditions}
    applied, degraded = said.get("Applied", _Condition()), said.get("Degraded", _Condition())
    return name, NodeReport(
        content,
        digest,
        status.applied_digest or "",
        "" if applied.status == "True" else applied.message or "its agent has said nothing yet",
        degraded.message if degraded.status == "True" else "",
        behind=(status.applied_groups or 0) < due,
    )
