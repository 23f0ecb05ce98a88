"""The nft grammar that we use, as frozen values.

Each value has ``json()``, what libnftables' JSON schema wants, and ``str()``, what ``nft -f`` reads. The JSON is what
an agent applies: in it a string is data, whatever it holds. The text is for people; strings reach it through
``quoted`` and ``nodewall.render.names`` only.

Protocols are numbers in JSON, because libnftables looks names up in /etc/protocols, which a small image does not have.
"""

from dataclasses import dataclass
from typing import Any

from nodewall.render.names import checked, quoted

Json = Any
"""Whatever ``json.dumps`` takes."""

PROTOCOL_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


# --- operands: what a packet is compared with, and what sets hold -----------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Prefix:
    address: str
    length: int

    def json(self) -> Json:
        return {"prefix": {"addr": self.address, "len": self.length}}

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends included; two addresses or two ports."""

    first: str | int
    last: str | int

    def json(self) -> Json:
        return {"range": [self.first, self.last]}

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True, order=True)
class Proto:
    """An IP protocol number."""

    number: int

    def json(self) -> Json:
        return self.number

    def __str__(self) -> str:
        return PROTOCOL_NAMES.get(self.number, str(self.number))


@dataclass(frozen=True, slots=True, order=True)
class Quoted:
    """A string that nft's grammar wants in quotes: the name of a link, or the kind of one."""

    value: str

    def json(self) -> Json:
        return self.value

    def __str__(self) -> str:
        return quoted(self.value)


@dataclass(frozen=True, slots=True)
class Tuple:
    """The parts of a concatenated key."""

    parts: tuple["Operand", ...]

    def json(self) -> Json:
        return {"concat": [as_json(part) for part in self.parts]}

    def __str__(self) -> str:
        return " . ".join(map(as_text, self.parts))


@dataclass(frozen=True, slots=True)
class OneOf:
    """An anonymous set."""

    members: tuple["Operand", ...]

    def json(self) -> Json:
        return {"set": [as_json(member) for member in self.members]}

    def __str__(self) -> str:
        return "{ " + ", ".join(map(as_text, self.members)) + " }"


@dataclass(frozen=True, slots=True)
class Flags:
    """Any of these bits (``ct state established,related``)."""

    names: tuple[str, ...]

    def json(self) -> Json:
        return list(self.names)

    def __str__(self) -> str:
        return ",".join(self.names)


@dataclass(frozen=True, slots=True)
class SetRef:
    """A named set or map of our table."""

    name: str

    def json(self) -> Json:
        return f"@{self.name}"

    def __str__(self) -> str:
        return f"@{checked(self.name)}"


Operand = str | int | bool | Prefix | Range | Proto | Quoted | Tuple | OneOf | Flags | SetRef
"""A bare str is an address or a word of nft's own; a bool is whether a route exists."""


def as_json(operand: Operand) -> Json:
    return operand if isinstance(operand, str | int | bool) else operand.json()


def as_text(operand: Operand) -> str:
    if isinstance(operand, bool):
        return "exists" if operand else "missing"
    return str(operand)


# --- selectors: what of a packet is compared --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Payload:
    protocol: str
    field: str

    def json(self) -> Json:
        return {"payload": {"protocol": self.protocol, "field": self.field}}

    def __str__(self) -> str:
        return f"{self.protocol} {self.field}"


@dataclass(frozen=True, slots=True)
class Meta:
    key: str

    def json(self) -> Json:
        return {"meta": {"key": self.key}}

    def __str__(self) -> str:
        return f"meta {self.key}"


@dataclass(frozen=True, slots=True)
class Ct:
    key: str

    def json(self) -> Json:
        return {"ct": {"key": self.key}}

    def __str__(self) -> str:
        return f"ct {self.key}"


@dataclass(frozen=True, slots=True)
class MarkBits:
    """The connection's mark, its other bits cleared."""

    mask: int

    def json(self) -> Json:
        return {"&": [{"ct": {"key": "mark"}}, self.mask]}

    def __str__(self) -> str:
        return f"ct mark & {self.mask:#010x}"


@dataclass(frozen=True, slots=True)
class RouteBack:
    """Is there a route to ``end`` (saddr or daddr) out of the link that the packet came in by?"""

    end: str

    def json(self) -> Json:
        return {"fib": {"result": "oif", "flags": [self.end, "iif"]}}

    def __str__(self) -> str:
        return f"fib {self.end} . iif oif"


@dataclass(frozen=True, slots=True)
class Fields:
    """Several selectors as one key."""

    parts: tuple["Selector", ...]

    def json(self) -> Json:
        return {"concat": [part.json() for part in self.parts]}

    def __str__(self) -> str:
        return " . ".join(map(str, self.parts))


Selector = Payload | Meta | Ct | MarkBits | RouteBack | Fields


# --- statements -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Is:
    """Go on with the rule only where selector and operand agree (or, ``negated``, do not)."""

    left: Selector
    right: Operand
    negated: bool = False

    def json(self) -> Json:
        operator = "!=" if self.negated else "in" if isinstance(self.right, Flags) else "=="
        return {"match": {"op": operator, "left": self.left.json(), "right": as_json(self.right)}}

    def __str__(self) -> str:
        if isinstance(self.left, MarkBits):
            return f"{self.left} == {self.right:#010x}"
        return f"{self.left}{' !=' if self.negated else ''} {as_text(self.right)}"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Do what the verdict map says for the packet's key; go on where it says nothing."""

    key: Selector
    map: str

    def json(self) -> Json:
        return {"vmap": {"key": self.key.json(), "data": f"@{self.map}"}}

    def __str__(self) -> str:
        return f"{self.key} vmap @{checked(self.map)}"


@dataclass(frozen=True, slots=True)
class Count:
    counter: str

    def json(self) -> Json:
        return {"counter": self.counter}

    def __str__(self) -> str:
        return f'counter name "{checked(self.counter)}"'


@dataclass(frozen=True, slots=True)
class Limit:
    """Go on with the rule at most ``rate`` times per second, after a ``burst``."""

    rate: int
    burst: int

    def json(self) -> Json:
        return {"limit": {"rate": self.rate, "per": "second", "burst": self.burst}}

    def __str__(self) -> str:
        return f"limit rate {self.rate}/second burst {self.burst} packets"


@dataclass(frozen=True, slots=True)
class Log:
    """Send the first ``snaplen`` bytes of the packet to the NFLOG group."""

    prefix: str
    group: int
    snaplen: int

    def json(self) -> Json:
        return {"log": {"prefix": self.prefix, "group": self.group, "snaplen": self.snaplen}}

    def __str__(self) -> str:
        return f"log prefix {quoted(self.prefix)} group {self.group} snaplen {self.snaplen}"


@dataclass(frozen=True, slots=True)
class SetMark:
    """Write ``value`` into the bits of the connection's mark that ``mask`` names; the others stay."""

    mask: int
    value: int

    def json(self) -> Json:
        kept = {"&": [{"ct": {"key": "mark"}}, ~self.mask & 0xFFFFFFFF]}
        return {"mangle": {"key": {"ct": {"key": "mark"}}, "value": {"|": [kept, self.value]}}}

    def __str__(self) -> str:
        return f"ct mark set ct mark & {~self.mask & 0xFFFFFFFF:#010x} | {self.value:#010x}"


@dataclass(frozen=True, slots=True)
class Jump:
    target: str

    def json(self) -> Json:
        return {"jump": {"target": self.target}}

    def __str__(self) -> str:
        return f"jump {checked(self.target)}"


@dataclass(frozen=True, slots=True)
class Goto:
    target: str

    def json(self) -> Json:
        return {"goto": {"target": self.target}}

    def __str__(self) -> str:
        return f"goto {checked(self.target)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """accept, drop, return, or continue with the next rule."""

    name: str

    def json(self) -> Json:
        return {self.name: None}

    def __str__(self) -> str:
        return self.name


ACCEPT, DROP, RETURN, CONTINUE = map(Verdict, ("accept", "drop", "return", "continue"))


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse so that the sender learns of it: a TCP reset, or port-unreachable in the packet's family."""

    tcp_reset: bool = False

    def json(self) -> Json:
        return {"reject": {"type": "tcp reset"} if self.tcp_reset else {"type": "icmpx", "expr": "port-unreachable"}}

    def __str__(self) -> str:
        return "reject with tcp reset" if self.tcp_reset else "reject with icmpx port-unreachable"


Statement = Is | Dispatch | Count | Limit | Log | SetMark | Jump | Goto | Verdict | Reject
