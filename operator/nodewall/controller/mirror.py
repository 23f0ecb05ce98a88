"""What is mirrored, how it is read, and where it goes: one reflector per kind, as a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from nodewall.api.kinds import BY_KIND
from nodewall.api.kinds import Resource as Readable
from nodewall.compile.changes import Change as Changed
from nodewall.controller.groups import PublishedPart
from nodewall.controller.publish import Published
from nodewall.controller.rulesets import read_group
from nodewall.controller.status import read_status
from nodewall.controller.store import Store, StoredPolicy
from nodewall.kube.clock import Clock
from nodewall.kube.http import Session
from nodewall.kube.reflector import Change, Observer, Reflector, View
from nodewall.kube.resource import NODE_RULE_SETS, PEER_GROUPS, Collection, Resource
from nodewall.model.cluster import Namespace, NamespacedName, Pod
from nodewall.model.errors import Problem
from nodewall.model.policy import Kind, PolicyRef

AnyReflector = Reflector[Any, Any]


class Listener(Protocol):
    """Who acts on what the mirrors bring. Must not block."""

    def changed(self, changes: Sequence[Changed]) -> None:
        """The cluster is another one for the compiler."""
        ...

    def unread(self, namespace: str, uid: str, problems: tuple[Problem, ...]) -> None:
        """What of a namespace cannot be read now; nothing, also for one that is gone."""
        ...

    def pod(self, old: Pod | None, new: Pod | None) -> None:
        """A pod came, changed or went; told after ``changed``."""
        ...

    def policy(self, ref: PolicyRef, stored: StoredPolicy | None) -> None:
        """A policy was made, changed (its status, for one) or deleted; told after ``changed``."""
        ...

    def rule_set(self, node: str, published: Published | None) -> None:
        """A node's object was made, changed or deleted."""
        ...

    def peer_group(self, name: str, published: PublishedPart | None) -> None:
        """A part of a shared group was made, changed or deleted."""
        ...


ReadRuleSet = Callable[[msgspec.Raw], tuple[str, Published]]
Take = Callable[[Change[Any, Any]], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind: where it is, how an object is read (its key, what is kept of it), and who takes its changes."""

    resource: Resource
    project: Callable[[msgspec.Raw], tuple[Any, Any]]
    take: Take


def rows(store: Store, listener: Listener, read_rule_set: ReadRuleSet, clock: Clock) -> tuple[Row, ...]:
    """Every kind that the controller mirrors."""

    def feed(changes: list[Changed]) -> None:
        if changes:
            listener.changed(changes)

    def take_namespace(change: Change[str, _Annotated]) -> None:
        new = change.new
        feed(store.namespace(change.key, new.value if new else None, clock.monotonic()))
        listener.unread(change.key, new.uid if new else "", new.problems if new else ())

    def take_pod(change: Change[NamespacedName, Pod]) -> None:
        feed(store.pod(change.key, change.new))
        listener.pod(change.old, change.new)

    def take_policy(change: Change[PolicyRef, StoredPolicy]) -> None:
        feed(store.policy(change.key, change.new, clock.monotonic()))
        listener.policy(change.key, change.new)

    def row(kind: str, put: Callable[[Any, Any], list[Changed]]) -> Row:
        found = BY_KIND[kind]
        return Row(_resource(found), _by_name(found), lambda change: feed(put(change.key, change.new)))

    return (
        Row(_resource(BY_KIND["Namespace"]), _namespace, take_namespace),
        row("Node", store.node),
        Row(_resource(BY_KIND["Pod"]), _by_name(BY_KIND["Pod"]), take_pod),
        row("Service", store.service),
        row("EndpointSlice", store.slice),
        *(Row(_resource(BY_KIND[kind]), _policy(kind), take_policy) for kind in Kind),
        Row(NODE_RULE_SETS, read_rule_set, lambda change: listener.rule_set(change.key, change.new)),
        Row(PEER_GROUPS, read_group, lambda change: listener.peer_group(change.key, change.new)),
    )


def reflect(session: Session, table: Sequence[Row], observer: Observer, clock: Clock) -> dict[Resource, AnyReflector]:
    """A reflector for each row."""
    return {
        row.resource: Reflector(session, View(Collection(row.resource), row.project), row.take, observer, clock=clock)
        for row in table
    }


async def all_listed(reflectors: Sequence[AnyReflector]) -> None:
    """Returns once every one of them has mirrored its collection as a whole, or knows that it does not exist."""
    for reflector in reflectors:
        await reflector.synced.wait()


def _resource(found: Readable) -> Resource:
    return Resource(found.group, found.version, found.plural, found.namespaced)


def _by_name(found: Readable) -> Callable[[msgspec.Raw], tuple[Any, Any]]:
    """By name, or by (namespace, name), as in ``ClusterState``. A part that cannot be read is left out of the value."""

    def project(raw: msgspec.Raw) -> tuple[Any, Any]:
        parsed = found.read(raw)
        name = parsed.meta.name
        return ((parsed.meta.namespace, name) if found.namespaced else name), parsed.value

    return project


@dataclass(frozen=True, slots=True)
class _Annotated:
    """A namespace with what cannot be read of it: people annotate them by hand."""

    value: Namespace
    uid: str
    problems: tuple[Problem, ...]


def _namespace(raw: msgspec.Raw) -> tuple[str, _Annotated]:
    parsed = BY_KIND["Namespace"].read(raw)
    return parsed.meta.name, _Annotated(parsed.value, parsed.meta.uid, parsed.problems)


def _policy(kind: Kind) -> Callable[[msgspec.Raw], tuple[PolicyRef, StoredPolicy]]:
    read = BY_KIND[kind].read

    def project(raw: msgspec.Raw) -> tuple[PolicyRef, StoredPolicy]:
        parsed = read(raw)
        meta = parsed.meta
        ref = PolicyRef(kind, meta.namespace, meta.name)
        return ref, StoredPolicy(
            ref=ref,
            uid=meta.uid,
            generation=meta.generation,
            value=parsed.value,
            problems=parsed.problems,
            subject_broken=parsed.subject_broken,
            status=read_status(raw),
        )

    return project
