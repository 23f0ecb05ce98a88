"""Address groups and port groups as hash sets, edited in place when members come and go.

No members: a set that matches nothing, never no restriction (semantics 57).
"""

import re
from collections.abc import Iterable
from operator import lt
from typing import TypeVar

from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import AddressGroup, PortGroup
from nodewall.render.draft import group_set, port_group_set
from nodewall.render.expressions import Proto, Tuple
from nodewall.render.table import ADDRESS_TYPE, Set

PROTOCOL_NUMBER = {"TCP": 6, "UDP": 17, "SCTP": 132}

Spelled = TypeVar("Spelled", bound=str)

_ADDRESSES = {4: re.compile(r"[0-9. ]*\Z"), 6: re.compile(r"[0-9a-f:. ]*\Z")}


def address_set(group: AddressGroup, family: int) -> Set:
    name = group_set(group.name, family)
    members = of_family(group.addresses, family)
    check_addresses(members, family, group.name)
    is_ascending = all(map(lt, members, members[1:]))
    unique = members if is_ascending else tuple(dict.fromkeys(members))
    return Set(name, (ADDRESS_TYPE[family],), unique, about=group.description)


def port_set(group: PortGroup, family: int) -> Set:
    """(address, protocol, port) triples."""
    members = [member for member in group.members if (":" in member.address) == (family == 6)]
    check_addresses((member.address for member in members), family, group.name)
    triples = sorted({(member.address, PROTOCOL_NUMBER[member.protocol], member.port) for member in members})
    elements = tuple(Tuple((address, Proto(number), port)) for address, number, port in triples)
    types = (ADDRESS_TYPE[family], "inet_proto", "inet_service")
    return Set(port_group_set(group.name, family), types, elements, about=group.description)


def of_family(addresses: tuple[Spelled, ...], family: int) -> tuple[Spelled, ...]:
    if ":" not in " ".join(addresses):  # many times faster than to ask each
        return addresses if family == 4 else ()
    return tuple([address for address in addresses if (":" in address) == (family == 6)])


def check_addresses(addresses: Iterable[str], family: int, where: str) -> None:
    """libnftables would ask the DNS for a member that is no address, and take ``@x`` for a set."""
    if not _ADDRESSES[family].match(" ".join(addresses)):
        raise BadInputError("a member is not an address of its family", subject="NodeRuleSet", path=where)
