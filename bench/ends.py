"""Both ends of a road with real sockets on them: what a whole connection costs a node, and not its rules alone."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import SO_RCVTIMEO, SO_REUSEADDR, SOL_SOCKET, socket
from struct import pack

from bench.frames import ANSWER, REQUEST, Flow
from bench.road import CLIENTS, SERVERS, Road
from e2e import netns
from e2e.waiting import until
from tests.kernel.router import HOP4, PEER_MAC, ROUTER_MAC, WORLD

_PATIENCE = pack("@ll", 2, 0)
"""struct timeval, for the kernel: a limit of Python's own would ask it twice for everything."""
_SYSCTLS = {
    "ipv6/conf/all/disable_ipv6": 1,
    "ipv4/tcp_max_tw_buckets": 0,  # so that the same addresses and ports can be used in the next window
    "ipv4/tcp_no_metrics_save": 1,
    "ipv4/tcp_syn_retries": 1,  # what is denied shall fail soon
}


@dataclass(frozen=True, slots=True)
class Ends:
    road: Road
    clients: str
    servers: str
    """Network namespaces."""
    listener: socket

    def drive(self, flows: Sequence[Flow]) -> int:
        """Nanoseconds of processor time for a request and its answer in each, one after the other; conntrack is empty
        at first. Raises OSError when one of them cannot be made or brings nothing, DeadlineError when one does not end.
        """
        self.road.forget()
        spent = netns.inside(self.clients, partial(self._spent, flows))
        until(f"all connections over {self.road.name} have ended", self._all_ended, within=2, every=0.002)
        return spent

    def _spent(self, flows: Sequence[Flow]) -> int:
        request, answer = bytes(REQUEST), bytes(ANSWER)
        got = 0
        started = time.thread_time_ns()
        for flow in flows:
            with socket() as client:
                client.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _PATIENCE)
                client.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
                client.bind((flow.client, flow.sport))
                client.connect((flow.server, flow.dport))
                server, _ = self.listener.accept()
                client.send(request)
                got += len(server.recv(REQUEST))
                server.send(answer)
                got += len(client.recv(ANSWER))
            server.close()
        spent = time.thread_time_ns() - started
        if got != len(flows) * (REQUEST + ANSWER):
            raise OSError(f"{got} bytes came over {self.road.name}")
        return spent

    def _all_ended(self) -> bool:
        """Whether nothing but the listening socket is left: a FIN that is lost stays behind."""
        return (netns.inside(self.clients, _sockets), netns.inside(self.servers, _sockets)) == (0, 1)


@contextmanager
def ends(road: Road, flows: Sequence[Flow], local_clients: bool) -> Iterator[Ends]:
    """Takes what is around the road apart into where the clients are and where the servers are."""
    names = [f"{road.made.name}-{side}" for side in ("asks", "hears")]
    sides = zip(names, (CLIENTS if local_clients else WORLD, SERVERS), _addresses(flows), strict=True)
    try:
        for name, link, addresses in sides:
            _settle(road.made.around, name, link, addresses)
        listener = netns.inside(names[1], partial(_listening, flows[0].dport))
        try:
            yield Ends(road, clients=names[0], servers=names[1], listener=listener)
        finally:
            listener.close()
    finally:
        for name in names:
            netns.delete(name)


def _addresses(flows: Sequence[Flow]) -> tuple[list[str], list[str]]:
    return sorted({flow.client for flow in flows}), sorted({flow.server for flow in flows})


def _settle(around: str, name: str, link: str, addresses: Sequence[str]) -> None:
    netns.add(name)
    netns.set_sysctls(name, _SYSCTLS)
    netns.batch(around, [f"link set {link} netns {name}"])
    arrival = [
        f"link set {link} address {PEER_MAC}",
        f"link set {link} up",
        f"neighbour add {HOP4} lladdr {ROUTER_MAC} dev {link} nud permanent",
        f"route add default via {HOP4} dev {link} onlink",
    ]
    netns.batch(name, [*(f"address add {each}/32 dev lo" for each in addresses), *arrival])


def _listening(port: int) -> socket:
    made = socket()
    made.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    made.bind(("", port))
    made.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _PATIENCE)  # also of what it accepts
    made.listen()
    return made


def _sockets() -> int:
    """TCP sockets of the network namespace, those included that nobody holds any more."""
    lines = Path("/proc/thread-self/net/sockstat").read_text().splitlines()
    return next(int(line.split()[2]) for line in lines if line.startswith("TCP: inuse"))
