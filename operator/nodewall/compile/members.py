"""A group while its members come and go."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from nodewall.compile.groups import GroupKey, NamedPorts, PortGroupKey, ServicePorts, describe, describe_ports
from nodewall.compile.pairs import Pair, of_pod, of_slices
from nodewall.model.address import Address
from nodewall.model.cluster import EndpointSlice, Pod
from nodewall.model.ruleset import AddressGroup, PortGroup, PortMember

M = TypeVar("M", Address, Pair)
V = TypeVar("V", AddressGroup, PortGroup)


class Members(Generic[M, V]):
    """Remembers what changed since it was last ``settle``d, so that what leaves and comes back is no change.

    ``nodes`` counts, per node, the classes that use the group: these nodes are told of a change. ``users`` counts the
    policies and classes that name it; a group that nobody names is dropped.
    """

    __slots__ = ("_members", "_served", "_value", "added", "name", "nodes", "removed", "users")

    def __init__(self, name: str) -> None:
        self.name = name
        self.users = 0
        self.nodes: dict[str, int] = {}
        self.added: set[M] = set()
        self.removed: set[M] = set()
        self._members: dict[M, None] = {}
        self._served: dict[M, int] = {}  # in how many slices a member is
        self._value: V | None = None

    def add(self, members: Iterable[M]) -> None:
        for each in members:
            if each not in self._members:
                self._members[each] = None
                self._note(each, self.added, self.removed)

    def discard(self, members: Iterable[M]) -> None:
        for each in members:
            if each in self._members:
                del self._members[each]
                self._note(each, self.removed, self.added)

    def join(self, pod: Pod, owned: tuple[Address, ...]) -> None:
        """The pod, which owns these addresses, is one of those that the group stands for."""
        self.add(self._of_pod(pod, owned))

    def part(self, pod: Pod, owned: tuple[Address, ...]) -> None:
        """The opposite of ``join`` with equal arguments."""
        self.discard(self._of_pod(pod, owned))

    def serve(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """The group stands for a Service, and one of its slices is this now. What another one names as well stays."""
        for each in set(self._of_slices((new,))) if new else ():
            self._served[each] = self._served.get(each, 0) + 1
            self.add((each,))
        for each in set(self._of_slices((old,))) if old else ():
            self._served[each] -= 1
            if not self._served[each]:
                del self._served[each]
                self.discard((each,))

    def replace(self, members: Iterable[M]) -> None:
        wanted = set(members)
        self.discard([each for each in self._members if each not in wanted])
        self.add(wanted)

    def settle(self) -> None:
        self.added.clear()
        self.removed.clear()

    def value(self) -> V:
        """Made once per change. The members keep the order of the last time, so sorting them again is nearly free."""
        if self._value is None:
            ordered = sorted(self._members)
            self._members = dict.fromkeys(ordered)
            self._value = self._made(ordered)
        return self._value

    def of(self, members: Iterable[M]) -> V:
        """The group as if these were all its members."""
        return self._made(sorted(members))

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[M]:
        return iter(self._members)

    def __bool__(self) -> bool:
        """A group without members is one."""
        return True

    def _note(self, member: M, now: set[M], before: set[M]) -> None:
        self._value = None
        if member in before:
            before.discard(member)
        else:
            now.add(member)

    @abstractmethod
    def _of_pod(self, pod: Pod, owned: tuple[Address, ...]) -> Iterable[M]: ...

    @abstractmethod
    def _of_slices(self, slices: Iterable[EndpointSlice]) -> Iterable[M]: ...

    @abstractmethod
    def _made(self, ordered: list[M]) -> V: ...


class AddressMembers(Members[Address, AddressGroup]):
    __slots__ = ("key",)

    def __init__(self, name: str, key: GroupKey) -> None:
        super().__init__(name)
        self.key = key

    def _of_pod(self, pod: Pod, owned: tuple[Address, ...]) -> Iterable[Address]:  # noqa: ARG002 - whatever its ports
        return owned

    def _of_slices(self, slices: Iterable[EndpointSlice]) -> Iterable[Address]:
        return (address for each in slices for address in each.addresses)

    def _made(self, ordered: list[Address]) -> AddressGroup:
        return AddressGroup(self.name, describe(self.key), tuple(ordered))


class PortMembers(Members[Pair, PortGroup]):
    __slots__ = ("key",)

    def __init__(self, name: str, key: PortGroupKey) -> None:
        super().__init__(name)
        self.key = key

    def _of_pod(self, pod: Pod, owned: tuple[Address, ...]) -> Iterable[Pair]:
        return of_pod(self.key.port, owned, pod.ports) if isinstance(self.key, NamedPorts) else ()

    def _of_slices(self, slices: Iterable[EndpointSlice]) -> Iterable[Pair]:
        return of_slices(slices, self.key.ports) if isinstance(self.key, ServicePorts) else ()

    def _made(self, ordered: list[Pair]) -> PortGroup:
        return PortGroup(self.name, describe_ports(self.key), tuple(PortMember(*each) for each in ordered))


Group = AddressMembers | PortMembers
