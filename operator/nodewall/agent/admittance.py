"""Whether the kernel lets us use nftables at all: asked in one message, before libnftables is loaded.

Without permission that one writes a line of its own to standard error, into the midst of our log. And an errno says
nothing of what to do.
"""

import errno

from nodewall.agent.netlink import NETLINK_NETFILTER, Netlink, NetlinkError

GET_GENERATION = 10 << 8 | 16
_ANY_FAMILY = bytes(4)

NO_PERMISSION = (
    "no permission to change nftables: the agent needs the capability NET_ADMIN in the node's own user namespace; "
    "kubectl apply -f manifests/51-agent.yaml grants it"
)
NO_NFTABLES = "the kernel has no nf_tables; run on the node: modprobe nf_tables"

_MEANINGS = {
    errno.EPERM: NO_PERMISSION,
    errno.EINVAL: NO_NFTABLES,  # netlink knows netfilter, and that no such subsystem of it
    errno.EPROTONOSUPPORT: NO_NFTABLES,  # nor netfilter
}


def obstacle() -> str:
    """Why nftables cannot be used, and what to do; "" when it can. Blocks for as long as the kernel takes to answer."""
    try:
        asking = Netlink(NETLINK_NETFILTER)
    except OSError as error:
        return in_words(error.errno or 0, error.strerror or str(error))
    try:
        asking.ask(GET_GENERATION, _ANY_FAMILY)
    except NetlinkError as error:
        return in_words(error.errno, str(error))
    except OSError as error:
        return f"nftables does not answer: {error}"
    finally:
        asking.close()
    return ""


def in_words(number: int, reason: str) -> str:
    """An errno with its meaning, where it is known."""
    meaning = _MEANINGS.get(number, "")
    return f"{reason} ({meaning})" if meaning else f"nftables cannot be used: {reason}"
