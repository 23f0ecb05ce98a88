"""What the agents put on record: the lines of their output that are verdicts, of all nodes."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from e2e.components import Component
from e2e.probe import Probe

Record = Mapping[str, Any]
Flow = tuple[str, str, str, int]
"""(source address, destination address, protocol, destination port or -1)"""


class Verdicts:
    """Records of what has happened since this was made; what happened before may be written a second later."""

    def __init__(self, agents: Iterable[Component]) -> None:
        self._begin = {agent.log: agent.log.stat().st_size for agent in agents}
        self._since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def all(self) -> list[Record]:
        """In the order of each node's log, half a line at its end left out."""
        found = (record for log, begin in self._begin.items() for record in _records(log, begin))
        return [record for record in found if record["time"] >= self._since]

    def of(self, flow: Flow) -> list[Record]:
        """Records of flows like this, whatever their source port."""
        return [record for record in self.all() if "IP" in record and flow_of(record) == flow]


def _records(log: Path, begin: int) -> list[Record]:
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().split(b"\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith(b'{"time":') and b'"rule_id":' in line]


def flow_of(record: Record) -> Flow:
    """What flow a record is about."""
    ports: Mapping[str, int] = next(iter(record["l4"].values()), {})
    return record["IP"]["source"], record["IP"]["destination"], record["protocol"], ports.get("destination_port", -1)


def flow_of_probe(probe: Probe) -> Flow:
    """What flow a probe is."""
    source, target = probe.source.address(probe.family), probe.target.address(probe.family)
    assert source
    assert target
    return source, target, probe.port.protocol.upper(), probe.port.number
