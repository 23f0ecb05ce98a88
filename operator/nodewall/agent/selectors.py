"""What of a packet a rule compares: which expressions load it, and what has to be asked before.

Layouts: linux/netfilter/nf_tables.h. A header's field may only be read of packets that have the header, so a rule asks
for the protocol first, once, as libnftables does.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from struct import pack
from typing import Any

from nodewall.agent.encoding import UnknownFormError, number, string, value
from nodewall.agent.keytypes import NETWORK_ORDER, TYPES, KeyType, byte, link, padded_length
from nodewall.agent.netlink import nested

Key = tuple[str, ...]
"""Names a field: ``("payload", "ip", "saddr")``, ``("meta", "l4proto")``."""

FIRST_REGISTER = 1
EQUAL, NOT_EQUAL, LOWEST, HIGHEST = 0, 1, 5, 3
_FIRST_OF_FOUR = 8
"""The first register again, as the first of those of four bytes."""
_LIST_ELEMENT, _NAME, _DATA = 1, 1, 2
NETWORK, TRANSPORT = 1, 2
_IPV4, _IPV6 = 2, 10
_TCP, _UDP, _ICMP, _ICMPV6, _SCTP = 6, 17, 1, 58, 132
_DIRECTIONS = {"original": 0, "reply": 1}
_FAMILIES = {"ipv4": _IPV4, "ipv6": _IPV6}


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of the packet at this place of a rule; None: nothing yet (0 is a protocol too)."""

    network: int | None = None
    transport: int | None = None


NOTHING = Context()
SEVERAL = -1
"""A protocol that is one of some: libnftables takes it for the last of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """``length`` in bytes; ``load`` gives the expression's attributes that put so many bytes into a register.

    ``base`` is the header of a field that lies in one, ``kind`` the type of a set of such values, where there may be
    one; ``many``: of one without a name too.
    """

    expression: str
    length: int
    encode: Callable[[Any], bytes]
    load: Callable[[int, int], bytes]
    needs: Context = NOTHING
    base: int = 0
    kind: KeyType | None = None
    many: bool = False

    @property
    def of_spans(self) -> bool:
        """Whether its bytes are in the order in which the kernel compares: from the highest on."""
        return self.kind is not None and self.kind.order == NETWORK_ORDER


def expression(name: str, *data: bytes) -> bytes:
    return nested(_LIST_ELEMENT, string(_NAME, name), nested(_DATA, *data))


def compared(operation: int, data: bytes) -> bytes:
    return expression("cmp", number(1, FIRST_REGISTER), number(2, operation), value(3, data))


def masked(mask: bytes, flipped: bytes) -> bytes:
    """The register's bits under the mask, those of ``flipped`` turned over."""
    register, length = number(1, FIRST_REGISTER), number(3, len(mask))
    return expression("bitwise", register, number(2, FIRST_REGISTER), length, value(4, mask), value(5, flipped))


def _from_header(base: int, offset: int, register: int, length: int) -> bytes:
    return number(1, register) + number(2, base) + number(3, offset) + number(4, length)


def _from_packet(key: int, register: int, _length: int) -> bytes:
    return number(2, key) + number(1, register)


def _from_route(end: int, register: int, _length: int) -> bytes:
    output_link, came_in, present = 1, 8, 32
    return number(3, end | came_in | present) + number(2, output_link) + number(1, register)


def _direction(written: Any) -> bytes:
    return byte(_DIRECTIONS[written])


def _family(written: Any) -> bytes:
    return byte(_FAMILIES[written])


def _exists(written: Any) -> bytes:
    if not isinstance(written, bool):
        raise UnknownFormError("neither there nor missing")
    return pack("=I", written)


def mark(written: Any) -> bytes:
    """32 bits in host order, as the kernel holds them."""
    if type(written) is not int or not 0 <= written < 1 << 32:
        raise UnknownFormError("not a mark")
    return pack("=I", written)


def _address(kind: str, offset: int, network: int) -> Field:
    return _typed(TYPES[kind], NETWORK, offset, Context(network))


def _port(transport: int | None = None) -> Field:
    return _typed(TYPES["inet_service"], TRANSPORT, 2, Context(transport=transport))


def _typed(kind: KeyType, base: int, offset: int, needs: Context, *, many: bool = False) -> Field:
    load = partial(_from_header, base, offset)
    return Field("payload", kind.length, kind.encode, load, needs, base, kind, many)


def _byte(base: int, offset: int, *needs: int) -> Field:
    return Field("payload", 1, byte, partial(_from_header, base, offset), Context(*needs), base)


def _meta(key: int, length: int, encode: Callable[[Any], bytes], kind: str = "", *, many: bool = False) -> Field:
    return Field("meta", length, encode, partial(_from_packet, key), kind=TYPES.get(kind), many=many)


def _ct(key: int, length: int, encode: Callable[[Any], bytes]) -> Field:
    return Field("ct", length, encode, partial(_from_packet, key))


FIELDS: Mapping[Key, Field] = {
    ("payload", "ip", "saddr"): _address("ipv4_addr", 12, _IPV4),
    ("payload", "ip", "daddr"): _address("ipv4_addr", 16, _IPV4),
    ("payload", "ip6", "saddr"): _address("ipv6_addr", 8, _IPV6),
    ("payload", "ip6", "daddr"): _address("ipv6_addr", 24, _IPV6),
    ("payload", "ip6", "hoplimit"): _byte(NETWORK, 7, _IPV6),
    ("payload", "tcp", "dport"): _port(_TCP),
    ("payload", "udp", "dport"): _port(_UDP),
    ("payload", "sctp", "dport"): _port(_SCTP),
    ("payload", "th", "dport"): _port(),
    ("payload", "icmp", "type"): _byte(TRANSPORT, 0, _IPV4, _ICMP),
    ("payload", "icmp", "code"): _byte(TRANSPORT, 1, _IPV4, _ICMP),
    ("payload", "icmpv6", "type"): _typed(TYPES["icmpv6_type"], TRANSPORT, 0, Context(_IPV6, _ICMPV6), many=True),
    ("payload", "icmpv6", "code"): _byte(TRANSPORT, 1, _IPV6, _ICMPV6),
    ("meta", "iifname"): _meta(6, 16, link, "ifname"),
    ("meta", "oifname"): _meta(7, 16, link, "ifname"),
    ("meta", "nfproto"): _meta(15, 1, _family),
    ("meta", "l4proto"): _meta(16, 1, byte, "inet_proto", many=True),
    ("meta", "iifkind"): _meta(26, 16, link),
    ("ct", "direction"): _ct(1, 1, _direction),
    ("fib", "saddr"): Field("fib", 4, _exists, partial(_from_route, 1)),
    ("fib", "daddr"): Field("fib", 4, _exists, partial(_from_route, 2)),
}
NETWORK_PROTOCOL, TRANSPORT_PROTOCOL = FIELDS["meta", "nfproto"], FIELDS["meta", "l4proto"]
STATE, MARK = _ct(0, 4, mark), _ct(3, 4, mark)


def field_of(selector: Any) -> Field:
    """Raises UnknownFormError, KeyError."""
    return FIELDS[_key_of(selector)]


def _key_of(selector: Any) -> Key:
    match selector:
        case {"payload": {"protocol": str() as protocol, "field": str() as field, **more}, **rest} if not more | rest:
            return ("payload", protocol, field)
        case {"meta": {"key": str() as key, **more}, **rest} if not more | rest:
            return ("meta", key)
        case {"ct": {"key": str() as key, **more}, **rest} if not more | rest:
            return ("ct", key)
        case {"fib": {"result": "oif", "flags": [str() as end, "iif"], **more}, **rest} if not more | rest:
            return ("fib", end)
    raise UnknownFormError("a selector")


@lru_cache(128)
def loaded(field: Field, register: int = FIRST_REGISTER, length: int = 0) -> bytes:
    """The field, or its first bytes, in a register."""
    return expression(field.expression, field.load(register, length or field.length))


def concatenated(fields: tuple[Field, ...]) -> Iterator[bytes]:
    """Several fields as one key, each at a multiple of four bytes."""
    offset = 0
    for field in fields:
        yield loaded(field, _FIRST_OF_FOUR + offset // 4)
        offset += padded_length(field.length)


def asked(field: Field, known: Context) -> tuple[bytes, Context]:
    """What has to be asked before the field is read, and what is known then."""
    if None not in (field.needs.network, field.needs.transport, known.transport) and known.network is None:
        raise UnknownFormError("a protocol of one family, in any")  # whether the family is asked depends on the version
    network, asking_network = _asked(NETWORK_PROTOCOL, field.needs.network, known.network)
    transport, asking_transport = _asked(TRANSPORT_PROTOCOL, field.needs.transport, known.transport)
    return asking_network + asking_transport, Context(network, transport)


def _asked(layer: Field, wanted: int | None, known: int | None) -> tuple[int | None, bytes]:
    if wanted is None or wanted == known:
        return known, b""
    if known is not None:
        raise UnknownFormError("fields of two protocols")
    return wanted, _is(layer, wanted)


@lru_cache(16)
def _is(field: Field, protocol: int) -> bytes:
    return loaded(field) + compared(EQUAL, byte(protocol))
