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
from nodewall.agent.keytypes import TYPES, KeyType, byte, ipv4, ipv6, link, padded_length, port
from nodewall.agent.netlink import nested

Key = tuple[str, ...]
"""Names a field: ``("payload", "ip", "saddr")``, ``("meta", "l4proto")``."""

FIRST_REGISTER = 1
EQUAL, NOT_EQUAL, LOWEST, HIGHEST = 0, 1, 5, 3
_FIRST_OF_FOUR = 8
"""The first register again, as the first of those of four bytes."""
_LIST_ELEMENT, _NAME, _DATA = 1, 1, 2
_NETWORK, _TRANSPORT = 1, 2
_IPV4, _IPV6 = 2, 10
_TCP, _UDP, _ICMP, _ICMPV6, _SCTP = 6, 17, 1, 58, 132
_DIRECTIONS = {"original": 0, "reply": 1}
_FAMILIES = {"ipv4": _IPV4, "ipv6": _IPV6}


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of the packet at this place of a rule; 0: nothing yet."""

    network: int = 0
    transport: int = 0


NOTHING = Context()


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """``length`` in bytes; ``load`` gives the expression's attributes that put so many bytes into a register.

    ``base`` is the header of a field that lies in one, ``set_type`` the type of an anonymous set of such values.
    """

    expression: str
    length: int
    encode: Callable[[Any], bytes]
    load: Callable[[int, int], bytes]
    needs: Context = NOTHING
    base: int = 0
    set_type: KeyType | None = None


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


def _header(
    base: int, offset: int, length: int, encode: Callable[[Any], bytes], *needs: int, set_type: str = ""
) -> Field:
    load = partial(_from_header, base, offset)
    return Field("payload", length, encode, load, Context(*needs), base, TYPES.get(set_type))


def _meta(key: int, length: int, encode: Callable[[Any], bytes], set_type: str = "") -> Field:
    return Field("meta", length, encode, partial(_from_packet, key), set_type=TYPES.get(set_type))


def _ct(key: int, length: int, encode: Callable[[Any], bytes]) -> Field:
    return Field("ct", length, encode, partial(_from_packet, key))


FIELDS: Mapping[Key, Field] = {
    ("payload", "ip", "saddr"): _header(_NETWORK, 12, 4, ipv4, _IPV4),
    ("payload", "ip", "daddr"): _header(_NETWORK, 16, 4, ipv4, _IPV4),
    ("payload", "ip6", "saddr"): _header(_NETWORK, 8, 16, ipv6, _IPV6),
    ("payload", "ip6", "daddr"): _header(_NETWORK, 24, 16, ipv6, _IPV6),
    ("payload", "ip6", "hoplimit"): _header(_NETWORK, 7, 1, byte, _IPV6),
    ("payload", "tcp", "dport"): _header(_TRANSPORT, 2, 2, port, 0, _TCP),
    ("payload", "udp", "dport"): _header(_TRANSPORT, 2, 2, port, 0, _UDP),
    ("payload", "sctp", "dport"): _header(_TRANSPORT, 2, 2, port, 0, _SCTP),
    ("payload", "th", "dport"): _header(_TRANSPORT, 2, 2, port),
    ("payload", "icmp", "type"): _header(_TRANSPORT, 0, 1, byte, _IPV4, _ICMP),
    ("payload", "icmp", "code"): _header(_TRANSPORT, 1, 1, byte, _IPV4, _ICMP),
    ("payload", "icmpv6", "type"): _header(_TRANSPORT, 0, 1, byte, _IPV6, _ICMPV6, set_type="icmpv6_type"),
    ("payload", "icmpv6", "code"): _header(_TRANSPORT, 1, 1, byte, _IPV6, _ICMPV6),
    ("meta", "iifname"): _meta(6, 16, link),
    ("meta", "oifname"): _meta(7, 16, link),
    ("meta", "nfproto"): _meta(15, 1, _family),
    ("meta", "l4proto"): _meta(16, 1, byte, "inet_proto"),
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
    network, asking_network = _asked(NETWORK_PROTOCOL, field.needs.network, known.network)
    transport, asking_transport = _asked(TRANSPORT_PROTOCOL, field.needs.transport, known.transport)
    return asking_network + asking_transport, Context(network, transport)


def _asked(layer: Field, wanted: int, known: int) -> tuple[int, bytes]:
    if wanted and known not in (wanted, 0):
        raise UnknownFormError("fields of two protocols")
    return (wanted, _is(layer, wanted)) if wanted and not known else (known, b"")


@lru_cache(16)
def _is(field: Field, protocol: int) -> bytes:
    return loaded(field) + compared(EQUAL, byte(protocol))
