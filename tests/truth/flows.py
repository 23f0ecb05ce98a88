"""Packets by address: what a network sees of a question about pods, nodes and addresses."""

from collections.abc import Iterator
from dataclasses import dataclass

from nodewall.evaluate import NodeParty, Party, PodParty, Traffic, packets, party_of_address
from nodewall.model.address import Address, family
from nodewall.model.cluster import ClusterState
from tests.truth.case import Probe


@dataclass(frozen=True, slots=True)
class Flow:
    """One packet. Ports and addresses are those after DNAT."""

    source: Address
    destination: Address
    traffic: Traffic

    @property
    def family(self) -> int:
        return family(self.source)


def flows_of(state: ClusterState, probe: Probe) -> Iterator[Flow]:
    """The packets of a probe that a network sees: one for each family, and none that stays inside of a pod."""
    for packet in packets(state, probe.source, probe.destination, probe.traffic):
        source, destination = packet.source.address, packet.destination.address
        if source is None or destination is None:
            raise ValueError(f"{probe}: a pod without an address sends and gets nothing")
        if source != destination or probe.via_service:
            yield Flow(source, destination, packet.traffic)


def home(party: Party) -> str:
    """The node that a party is on; "" for an address out in the world."""
    if isinstance(party, PodParty):
        return party.pod.node
    return party.name if isinstance(party, NodeParty) else ""


def nodes_on_the_way(state: ClusterState, flow: Flow) -> tuple[str, ...]:
    """The nodes that judge the packet: its sender's and its receiver's."""
    ends = (party_of_address(state, address) for address in (flow.source, flow.destination))
    return tuple(dict.fromkeys(node for node in map(home, ends) if node))
