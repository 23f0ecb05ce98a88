"""What the evaluator says about a packet between two addresses, and the packets worth asking about."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from itertools import product

from nodewall.evaluate import Packet, PodParty, Traffic, evaluate, party_of_address
from nodewall.evaluate.packet import address_owner
from nodewall.model.address import Address, family
from nodewall.model.cluster import ClusterState
from tests.property.strategies import known_addresses
from tests.truth.flows import Flow

PING = {4: Traffic(1, icmp_type=8, icmp_code=0), 6: Traffic(58, icmp_type=128, icmp_code=0)}


def question(state: ClusterState, flow: Flow) -> Packet:
    """A pod that sends to its own address does so through a Service: nothing else would leave the pod."""
    source, destination = (party_of_address(state, address) for address in (flow.source, flow.destination))
    return Packet(source, destination, flow.traffic, via_service=True)


def allowed(state: ClusterState, flow: Flow) -> bool:
    return evaluate(state, question(state, flow)).allowed


def readable(state: ClusterState, flow: Flow) -> str:
    asked = question(state, flow)
    return f"{asked.source} -> {asked.destination} ({flow.source} -> {flow.destination}) {flow.traffic}"


def flows(state: ClusterState, sent: Sequence[Traffic]) -> Iterator[Flow]:
    """All pairs of addresses with a pod at one end, with each of ``sent`` that the family can carry, and a ping."""
    addresses = known_addresses(state)
    of_pods = {address for address in addresses if isinstance(party_of_address(state, address), PodParty)}
    for source, destination in product(addresses, repeat=2):
        fam = family(source)
        if fam != family(destination) or not {source, destination} & of_pods:
            continue
        for traffic in dict.fromkeys((*sent, PING[fam])):
            if traffic.protocol != PING[10 - fam].protocol:
                yield Flow(source, destination, traffic)


def owned_or_outside(state: ClusterState, address: Address) -> bool:
    """False for an address that only a pod could have, and none has."""
    scopes = (cidr for node in state.nodes.values() for cidr in node.pod_cidrs)
    return address_owner(state, address) is not None or not any(ip_address(address) in scope for scope in scopes)
