"""The local pods of one family: whose an address is, and the sets that say so."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain as joined
from itertools import product
from operator import attrgetter

from nodewall.model.address import Address
from nodewall.model.errors import BadInputError
from nodewall.model.policy import Direction
from nodewall.model.ruleset import Endpoint
from nodewall.render.expressions import Tuple
from nodewall.render.members import check_addresses, of_family
from nodewall.render.reuse import spliced, unlike
from nodewall.render.table import ADDRESS_TYPE, Element, Set

FAMILIES = (4, 6)

Moved = Mapping[Address, Endpoint | None]
"""Whose an address is now; None: nobody's."""


@dataclass(frozen=True, slots=True)
class Pods:
    """``local`` are all addresses, ``own`` the pairs that mean a pod itself: nft cannot compare two fields of a packet.
    ``classes`` are those that judge one of these pods in a direction.
    """

    family: int
    local: Set
    own: Set
    endpoints: tuple[Endpoint, ...] = ()
    owners: Mapping[Address, Endpoint] = field(default_factory=dict)
    classes: Mapping[Direction, frozenset[str]] = field(default_factory=lambda: dict.fromkeys(Direction, frozenset()))

    def follow(self, endpoints: tuple[Endpoint, ...]) -> tuple["Pods", Moved]:
        """(these endpoints, the addresses whose endpoint is another one than before).

        Raises BadInputError when two endpoints have the same address, or one has what is no address.
        """
        gone, come = unlike(self.endpoints, endpoints)
        if list(gone) == list(come):
            return replace(self, endpoints=endpoints), {}
        left, joining = self._addresses(gone), self._addresses(come)
        owners = {**self.owners}
        for address in joined.from_iterable(left):
            del owners[address]
        for endpoint, addresses in zip(come, joining, strict=True):
            _own(endpoint, addresses, owners)
        check_addresses(joined.from_iterable(joining), self.family, "endpoints")
        moved = {address: owners.get(address) for address in joined.from_iterable((*left, *joining))}
        local: dict[str, Element | None] = {address: address if owner else None for address, owner in moved.items()}
        own: dict[tuple[Element, ...], Element | None] = dict.fromkeys(_pairs(left))
        own |= {pair: Tuple(pair) for pair in _pairs(joining)}
        pods = replace(
            self,
            local=replace(self.local, elements=spliced(self.local.elements, local, str)),
            own=replace(self.own, elements=spliced(self.own.elements, own, attrgetter("parts"))),
            endpoints=endpoints,
            owners=owners,
            classes={
                Direction.INGRESS: frozenset({owner.ingress for owner in owners.values()} - {""}),
                Direction.EGRESS: frozenset({owner.egress for owner in owners.values()} - {""}),
            },
        )
        return pods, moved

    def _addresses(self, endpoints: Iterable[Endpoint]) -> list[tuple[Address, ...]]:
        """Of each endpoint those of this family."""
        return [of_family(endpoint.addresses, self.family) for endpoint in endpoints]


def nobody(family: int) -> Pods:
    kind = ADDRESS_TYPE[family]
    return Pods(family, Set(f"local{family}", (kind,)), Set(f"self{family}", (kind, kind)))


def class_of(endpoint: Endpoint, direction: Direction) -> str:
    return endpoint.egress if direction is Direction.EGRESS else endpoint.ingress


def _own(endpoint: Endpoint, addresses: Sequence[Address], owners: dict[Address, Endpoint]) -> None:
    for address in addresses:
        if address in owners:
            raise BadInputError("two endpoints have the same address", subject="NodeRuleSet", path="endpoints")
        owners[address] = endpoint


def _pairs(each: Iterable[Sequence[Address]]) -> Iterator[tuple[Address, Address]]:
    return (pair for addresses in each for pair in product(addresses, addresses))
