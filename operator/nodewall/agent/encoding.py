"""What all messages to nftables are made of. Layouts: linux/netfilter/nf_tables.h.

A string from outside is bytes with a length here, and nothing else. Whatever is not known exactly is handed back to
libnftables: an encoding that is nearly right would be a wrong verdict.
"""

from collections.abc import Mapping
from struct import pack
from typing import Any

from nodewall.agent.netlink import attribute, nested
from nodewall.model.errors import NodewallError

_VALUE, _VERDICT = 1, 2
_CODE, _CHAIN = 1, 2
_ENDS = {"accept": 1, "drop": 0, "return": -5, "continue": -1}
_GOES = {"jump": -3, "goto": -4}
_LONGEST_NAME = 255


class UnknownFormError(NodewallError):
    """Nothing that is encoded here: libnftables has to do it."""


def number(kind: int, value: int) -> bytes:
    """32 bits in network order."""
    return attribute(kind, pack(">I", value))


def whole(written: Any) -> int:
    """A number that libnftables could read. A bool is an int too, but not there."""
    if type(written) is not int or not 0 <= written < 1 << 63:
        raise UnknownFormError("not a whole number")
    return written


def string(kind: int, value: str, longest: int = _LONGEST_NAME) -> bytes:
    """Ends with a NUL, as the kernel's strings do, so none may be inside. ``longest`` in bytes, without it."""
    data = value.encode()
    if not data or len(data) > longest or b"\0" in data:
        raise UnknownFormError(f"not a string of 1 to {longest} bytes")
    return attribute(kind, data + b"\0")


def value(kind: int, data: bytes) -> bytes:
    """Data to be compared with or looked up."""
    return nested(kind, attribute(_VALUE, data))


def verdict(kind: int, spelled: Mapping[str, Any]) -> bytes:
    """A verdict as data: ``{"drop": None}``, ``{"goto": {"target": chain}}``."""
    ((word, body),) = spelled.items()
    if word in _ENDS and body is None:
        return nested(kind, nested(_VERDICT, attribute(_CODE, pack(">i", _ENDS[word]))))
    match body:
        case {"target": str() as chain, **rest} if word in _GOES and not rest:
            code = attribute(_CODE, pack(">i", _GOES[word]))
            return nested(kind, nested(_VERDICT, code, string(_CHAIN, chain)))
    raise UnknownFormError(f"the verdict {word}")
