"""Verdict records as people read them: which lines of a log are records, which of them are wanted, and one line each.

A record comes out of a log, which anybody who can write to that log could have written: nothing in it is trusted to
have a shape, and nothing of it reaches the terminal as more than text.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from nodewall.model.errors import BadInputError
from nodewall.telemetry.lines import one_line

VERDICTS = ("accept", "deny", "would-accept", "would-pass", "would-deny")
_COLOURS = {"accept": "32", "deny": "31"}
_WOULD = "33"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """All of what is given has to hold; "" and an empty tuple hold for every record. ``pod`` and ``policy`` are
    NAMESPACE/NAME, a cluster-wide policy just NAME.
    """

    namespace: str = ""
    pod: str = ""
    policy: str = ""
    verdicts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for verdict in self.verdicts:
            if verdict not in VERDICTS:
                raise BadInputError(f"{verdict!r} must be one of {', '.join(VERDICTS)}", path="--verdict")
        if self.pod and self.pod.count("/") != 1:
            raise BadInputError(f"{self.pod!r} must be NAMESPACE/NAME", path="--pod")

    def wants(self, record: Record) -> bool:
        return (
            (not self.verdicts or record.get("verdict") in self.verdicts)
            and (not self.namespace or self.namespace in _namespaces(record))
            and (not self.pod or self.pod in (_pod(record, "source"), _pod(record, "destination")))
            and (not self.policy or self.policy in {_name(policy) for policy in policies(record)})
        )


def read(line: bytes) -> Record | None:
    """The record in a line of an agent's log; None for the agent's own lines, and for what is none at all."""
    if b'"rule_id"' not in line:
        return None
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("rule_id"), str) else None


def seconds(text: str) -> int:
    """``90s``, ``10m``, ``2h``, ``1d`` in seconds. Raises BadInputError."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text, re.ASCII)
    if not found:
        raise BadInputError(f"{text!r} must be a number and s, m, h or d, like 10m", path="--since")
    return int(found[1]) * _UNITS[found[2]]


def policies(record: Record) -> list[Record]:
    """Those that a record names, the one that decided first."""
    lists = (record.get(f"{way}_{did}_by") for way in ("ingress", "egress") for did in ("allowed", "denied"))
    found = [record.get("policy"), *(each for some in lists if isinstance(some, list) for each in some)]
    return [each for each in found if isinstance(each, dict)]


def _namespaces(record: Record) -> set[object]:
    ends = (_part(record, side).get("namespace") for side in ("source", "destination"))
    return {each for each in (*ends, *(policy.get("namespace") for policy in policies(record))) if each}


def _pod(record: Record, side: str) -> str:
    end = _part(record, side)
    return f"{end.get('namespace')}/{end['pod_name']}" if "pod_name" in end else ""


def _name(policy: Record) -> str:
    namespace, name = policy.get("namespace"), policy.get("name")
    return f"{namespace}/{name}" if namespace else str(name)


def _part(record: Record, key: str) -> Record:
    found = record.get(key)
    return found if isinstance(found, dict) else {}


# --- one line each ----------------------------------------------------------------------------------------------------

Owner = Callable[[str], str]
"""Whose address it is now, as far as that can be said: a name, or ""."""


def text(record: Record, owner: Owner, *, coloured: bool) -> str:
    """Time, verdict, who to whom, by whose word; without an end of line."""
    verdict = str(record.get("verdict", "?"))
    shown = one_line(verdict.upper()).ljust(12)
    if coloured:
        shown = f"\x1b[{_COLOURS.get(verdict, _WOULD)}m{shown}\x1b[0m"
    clock = str(record.get("time", ""))[11:23]
    parts = (_flow(record, owner), _direction(record), _by(record), _more(record))
    return f"{one_line(clock)} {shown} " + one_line("  ".join(part for part in parts if part))


def _flow(record: Record, owner: Owner) -> str:
    if "IP" not in record:
        return "(no flow)"
    layer = next((each for each in _part(record, "l4").values() if isinstance(each, dict)), {})
    protocol = record.get("protocol", "?")
    if "type" in layer:
        protocol = f"{protocol} type {layer['type']} code {layer.get('code')}"
    ends = (
        _end(record, "source", owner, layer.get("source_port")),
        _end(record, "destination", owner, layer.get("destination_port")),
    )
    return f"{' -> '.join(ends)} {protocol}"


def _end(record: Record, side: str, owner: Owner, port: object) -> str:
    end, address = _part(record, side), str(_part(record, "IP").get(side, "?"))
    name = _pod(record, side) or (f"node {end['node_name']}" if "node_name" in end else owner(address))
    shown = f"[{address}]" if ":" in address else address
    return f"{name + ' ' if name else ''}{shown}{f':{port}' if port is not None else ''}"


def _direction(record: Record) -> str:
    direction = str(record.get("traffic_direction", "")).lower()
    return f"{direction} on {record.get('node_name')}" if direction else f"on {record.get('node_name')}"


def _by(record: Record) -> str:
    policy = _part(record, "policy")
    if policy:
        label = f" [{record['label']}]" if record.get("label") else ""
        return f"by {policy.get('kind')} {_name(policy)} {record.get('rule', '')}{label}"
    named = [_name(each) for each in policies(record)]
    if not named:
        return f"by rule {record.get('rule_id')}"
    total = record.get("isolating_policies")
    more = total - len(named) if isinstance(total, int) else 0
    return f"isolated by NetworkPolicy {', '.join(named)}{f' and {more} more' if more > 0 else ''}"


def _more(record: Record) -> str:
    count, suppressed = record.get("count"), record.get("suppressed")
    times = f"x{count}" if isinstance(count, int) and count > 1 else ""
    rest = f"and {suppressed} without a record" if suppressed else ""
    return " ".join(part for part in (times, rest) if part)
