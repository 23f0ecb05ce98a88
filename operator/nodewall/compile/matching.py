"""Which cells each scope means, kept up to date while pods, namespaces and policies come and go.

Work that grows with the number of pods concerned is a generator, so that whoever drives it can pause.
"""

from collections.abc import Generator, Iterable, Iterator
from itertools import chain

from nodewall.compile.index import LabelIndex, SelectorIndex
from nodewall.compile.operations import Operations
from nodewall.compile.records import Cell, Scope
from nodewall.compile.selectors import matches, namespace_labels
from nodewall.model.cluster import Namespace
from nodewall.model.labels import Labels, Selector
from nodewall.model.policy import NamespaceNames, PodPeer, SameNamespace

Link = tuple[Cell, Scope, bool]
"""A cell and a scope that it matches now (True) or no longer (False)."""


class _Bucket:
    """Scopes with the same namespace match, and the namespaces that it matches."""

    __slots__ = ("match", "names", "scopes")

    def __init__(self, match: Selector | NamespaceNames, operations: Operations) -> None:
        self.match = match
        self.names: set[str] = set()
        self.scopes: SelectorIndex[Scope] = SelectorIndex(operations)


class _Place:
    """A namespace: known by its object, or only by the pods in it."""

    __slots__ = ("buckets", "cells", "labels", "seen")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.seen = False
        self.cells: dict[Labels, Cell] = {}
        self.buckets: dict[_Bucket, None] = {}


class Matching:
    """Cells and scopes, linked both ways."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._places: dict[str, _Place] = {}
        self._by_labels: LabelIndex[str] = LabelIndex()
        self._cells: LabelIndex[Cell] = LabelIndex()
        self._scopes: dict[PodPeer, Scope] = {}
        self._named: dict[NamespaceNames, _Bucket] = {}
        self._by_name: dict[str, dict[_Bucket, None]] = {}
        self._selecting: dict[Selector, _Bucket] = {}
        self._selectors: SelectorIndex[_Bucket] = SelectorIndex(operations)

    # --- cells

    def cell(self, namespace: str, labels: Labels) -> Cell:
        """The cell for a pod, linked to its scopes; call ``leave`` when it is empty again."""
        place = self._places.get(namespace) or self._open(namespace, namespace_labels(namespace, None))
        found = place.cells.get(labels)
        if found is None:
            found = place.cells[labels] = Cell(namespace, labels)
            self._cells.add(found, labels)
            for bucket in place.buckets:
                for scope in bucket.scopes.matching(labels):
                    _link(found, scope)
        return found

    def leave(self, cell: Cell) -> None:
        """A pod has left: an empty cell goes."""
        if cell.pods:
            return
        for scope in list(cell.scopes):
            _unlink(cell, scope)
        self._cells.remove(cell)
        place = self._places[cell.namespace]
        del place.cells[cell.labels]
        self._close(cell.namespace, place)

    def cells_of(self, namespace: str) -> Iterable[Cell]:
        place = self._places.get(namespace)
        return list(place.cells.values()) if place else ()

    # --- namespaces

    def namespace(self, name: str, found: Namespace | None) -> Iterator[Link]:
        """The Namespace has these labels now, or is gone (None). Yields each link as it changes."""
        labels = namespace_labels(name, found)
        place = self._places.get(name)
        if place is None:
            if found:
                self._open(name, labels).seen = True
            return
        place.seen = found is not None
        if place.labels != labels:
            yield from self._relabel(name, place, labels)
        self._close(name, place)

    def _relabel(self, name: str, place: _Place, labels: Labels) -> Iterator[Link]:
        self._by_labels.remove(name)
        self._by_labels.add(name, labels)
        place.labels = labels
        buckets = self._buckets(name, labels)
        for bucket in [each for each in place.buckets if each not in buckets]:
            self._leave_bucket(name, place, bucket)
            for cell in place.cells.values():
                for scope in [each for each in cell.scopes if each.key.namespaces == bucket.match]:
                    _unlink(cell, scope)
                    yield cell, scope, False
        for bucket in [each for each in buckets if each not in place.buckets]:
            self._enter_bucket(name, place, bucket)
            for cell in place.cells.values():
                for scope in bucket.scopes.matching(cell.labels):
                    _link(cell, scope)
                    yield cell, scope, True

    def _open(self, name: str, labels: Labels) -> _Place:
        place = self._places[name] = _Place(labels)
        self._by_labels.add(name, labels)
        for bucket in self._buckets(name, labels):
            self._enter_bucket(name, place, bucket)
        return place

    def _close(self, name: str, place: _Place) -> None:
        if place.seen or place.cells:
            return
        for bucket in list(place.buckets):
            self._leave_bucket(name, place, bucket)
        self._by_labels.remove(name)
        del self._places[name]

    def _buckets(self, name: str, labels: Labels) -> dict[_Bucket, None]:
        return dict.fromkeys(chain(self._by_name.get(name, ()), self._selectors.matching(labels)))

    def _enter_bucket(self, name: str, place: _Place, bucket: _Bucket) -> None:
        place.buckets[bucket] = None
        bucket.names.add(name)

    def _leave_bucket(self, name: str, place: _Place, bucket: _Bucket) -> None:
        del place.buckets[bucket]
        bucket.names.discard(name)

    # --- scopes

    def acquire(self, key: PodPeer) -> Generator[None, None, Scope]:
        """The scope of this peer or subject, made if nobody holds it yet."""
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Scope(key)
            scope.users += 1  # first of all: while this is paused nobody else runs, but a half-made scope must stay
            bucket = self._bucket(key)
            bucket.scopes.add(key.pods, scope)
            for cell in self._candidates(bucket, key.pods):
                self._operations.selectors += 1
                if cell.namespace in bucket.names and matches(key.pods, cell.labels):
                    _link(cell, scope)
                yield
            return scope
        scope.users += 1
        return scope

    def release(self, scope: Scope) -> Iterator[None]:
        """One who acquired it lets go; without any the scope goes."""
        scope.users -= 1
        if scope.users:
            return
        while scope.cells:
            _unlink(next(iter(scope.cells)), scope)
            yield
        del self._scopes[scope.key]
        bucket = self._bucket(scope.key)
        bucket.scopes.remove(scope.key.pods)
        if not len(bucket.scopes):
            self._drop(bucket)

    def _candidates(self, bucket: _Bucket, pods: Selector) -> Iterable[Cell]:
        """The shorter of two ways to the cells that can match: by the pods' labels, or by their namespaces."""
        here = sum(len(self._places[name].cells) for name in bucket.names)
        if here <= self._cells.count(pods):
            return [cell for name in bucket.names for cell in self._places[name].cells.values()]
        return self._cells.candidates(pods)

    def _bucket(self, key: PodPeer) -> _Bucket:
        match key.namespaces:
            case NamespaceNames():
                return self._named.get(key.namespaces) or self._new_named(key.namespaces)
            case Selector():
                return self._selecting.get(key.namespaces) or self._new_selecting(key.namespaces)
            case SameNamespace():
                raise TypeError("sameNamespace has not been resolved")

    def _new_named(self, match: NamespaceNames) -> _Bucket:
        bucket = self._named[match] = _Bucket(match, self._operations)
        for name in match.names:
            self._by_name.setdefault(name, {})[bucket] = None
            if place := self._places.get(name):
                self._enter_bucket(name, place, bucket)
        return bucket

    def _new_selecting(self, match: Selector) -> _Bucket:
        bucket = self._selecting[match] = _Bucket(match, self._operations)
        self._selectors.add(match, bucket)
        for name in self._by_labels.candidates(match):
            self._operations.selectors += 1
            if matches(match, self._places[name].labels):
                self._enter_bucket(name, self._places[name], bucket)
        return bucket

    def _drop(self, bucket: _Bucket) -> None:
        for name in list(bucket.names):
            self._leave_bucket(name, self._places[name], bucket)
        if isinstance(bucket.match, NamespaceNames):
            del self._named[bucket.match]
            for name in bucket.match.names:
                del self._by_name[name][bucket]
                if not self._by_name[name]:
                    del self._by_name[name]
        else:
            del self._selecting[bucket.match]
            self._selectors.remove(bucket.match)


def _link(cell: Cell, scope: Scope) -> None:
    cell.scopes[scope] = None
    scope.cells[cell] = None


def _unlink(cell: Cell, scope: Scope) -> None:
    del cell.scopes[scope]
    del scope.cells[cell]
