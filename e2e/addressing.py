"""The address plan, and names of links; pure.

The networks of a cluster are all its own (they exist only inside its network namespaces), so every instance uses the
same ones. Node N (from 1) has 192.168.60.N and fd00:60::N on the network between nodes, 10.244.N.0/24 and
fd00:10:244:N::/64 for its pods.
"""

import hashlib
import ipaddress
from dataclasses import dataclass

NODE_PREFIXES = (24, 64)
POD_GATEWAY = "169.254.1.1"  # what routed pods use as their next hop; the same on every link
POD_GATEWAY6 = "fe80::1"

# The host that stands for everything outside the cluster. Nodes have their default routes to it.
EXTERNAL_ROUTER = ("192.168.60.200", "fd00:60::200")
EXTERNAL_ADDRESSES = (
    "172.17.0.5",
    "172.17.1.5",
    "14.215.0.9",
    "14.216.0.9",
    "203.0.113.7",
    "203.0.113.200",
    "10.0.0.5",
    "10.0.1.5",
    "2001:db8:17::5",
    "2001:db8:17:1::5",
    "2001:db8:215::9",
)


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What a node's number decides. `pod_cidrs` and `addresses` are IPv4, then IPv6."""

    number: int

    @property
    def addresses(self) -> tuple[str, str]:
        """On the network between nodes; the node's InternalIPs."""
        return f"192.168.60.{self.number}", f"fd00:60::{self.number:x}"

    @property
    def management(self) -> str:
        """On the network to the control plane."""
        return f"10.199.1.{self.number}"

    @property
    def pod_cidrs(self) -> tuple[str, str]:
        """The ranges of its pods."""
        return f"10.244.{self.number}.0/24", f"fd00:10:244:{self.number:x}::/64"

    @property
    def gateways(self) -> tuple[str, str]:
        """The bridge's addresses in the pod ranges, on nodes that bridge."""
        return f"10.244.{self.number}.1", f"fd00:10:244:{self.number:x}::1"

    def pod_addresses(self, host: int) -> tuple[str, str]:
        """The addresses of host number `host` in the pod ranges."""
        return f"10.244.{self.number}.{host}", f"fd00:10:244:{self.number:x}::{host:x}"


def link_name(namespace: str, pod: str) -> str:
    """The name of a pod's link on its node: at most 15 characters, whatever the pod is called."""
    return "veth" + hashlib.sha256(f"{namespace}/{pod}".encode()).hexdigest()[:10]


def hardware_address(address: str) -> str:
    """The MAC address of whoever has this IPv4 address, so that no neighbour entry is stale after it changes owner."""
    return ":".join(["0a", "58", *(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)])
