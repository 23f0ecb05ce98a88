"""(address, protocol, port): what a port name or a Service stands for."""

from collections.abc import Iterable, Iterator

from nodewall.compile.ports import covers, exposed_as
from nodewall.model.address import Address
from nodewall.model.cluster import ContainerPort, EndpointSlice
from nodewall.model.policy import AnyPort, NumericPort, PortName, Protocol

Pair = tuple[Address, Protocol, int]


def of_pod(wanted: PortName, addresses: Iterable[Address], exposed: Iterable[ContainerPort]) -> Iterator[Pair]:
    """A port name on one pod that owns ``addresses``."""
    ports = list(exposed_as(wanted, exposed))
    return ((address, port.protocol, port.port) for address in addresses for port in ports)


def of_slices(slices: Iterable[EndpointSlice], ports: tuple[NumericPort, ...] | AnyPort) -> Iterator[Pair]:
    """A Service's endpoints as far as ``ports`` covers them, slice by slice: two of them may serve different ports."""
    for each in slices:
        wanted = [port for port in each.ports if covers(ports, *port)]
        yield from ((address, *port) for address in each.addresses for port in wanted)
