"""A small cluster in a few lines of text, as the Kubernetes objects that an API server would hold.

::

    node n1 zone=a
    ns a team=blue
    pod a/web n1 app=web http=80 dns=53/UDP
    pod a/agent n1 hostNetwork
    slice a/web-1 a/web 10.0.1.10 8080/TCP

Every node gets addresses 192.168.0.N and fd00:f::N and pod CIDRs 10.0.N.0/24 and fd00:N::/64; pods get the next
address of each family on their node, from .10 and ::a on. A ``key=value`` of a pod whose value is a port (``80``,
``53/UDP``) is a named container port (``http#2=81`` exposes the name http once more), any other is a label. Words
without ``=`` are flags: ``hostNetwork``, ``finished``, ``failed``, ``terminating``, ``pending``, ``bare`` (no
addresses), ``v4``, ``v6`` (one family only), ``sa:NAME`` (service account), ``at:ADDRESS`` (in place of the next ones).
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
_PORT = re.compile(r"(\d+)(?:/(TCP|UDP|SCTP))?$")


class World:
    """Objects in the order of the text. ``node_numbers`` maps a node's name to the N in its addresses."""

    def __init__(self, text: str) -> None:
        self.node_numbers: dict[str, int] = {}
        self._used: dict[str, int] = defaultdict(lambda: 9)
        self._created = 0
        self.objects = [made for line in text.strip().splitlines() if line.strip() for made in self._line(line.split())]

    def _line(self, words: list[str]) -> Iterator[Object]:
        kind, name, *rest = words
        makers = {"node": self._node, "ns": self._namespace, "pod": self._pod, "slice": self._slice}
        yield makers[kind](name, rest)

    def _node(self, name: str, rest: list[str]) -> Object:
        number = self.node_numbers[name] = len(self.node_numbers) + 1
        addresses = [f"192.168.0.{number}", f"fd00:f::{number}"]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": _pairs(rest)},
            "spec": {"podCIDRs": [f"10.0.{number}.0/24", f"fd00:{number}::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]},
        }

    def _namespace(self, name: str, rest: list[str]) -> Object:
        labels = {"kubernetes.io/metadata.name": name, **_pairs(rest)}
        meta: Object = {"name": name, "labels": labels}
        if "terminating" in rest:
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}

    def _pod(self, name: str, rest: list[str]) -> Object:
        namespace, _, short = name.partition("/")
        node, *words = rest
        flags = {word for word in words if "=" not in word}
        pairs = _pairs(words)
        self._created += 1
        ports = {key: value for key, value in pairs.items() if _PORT.match(value)}
        addresses = self._addresses(node, flags)
        meta: Object = {
            "name": short,
            "namespace": namespace,
            "uid": f"uid-{self._created:04}",
            "labels": {key: value for key, value in pairs.items() if key not in ports},
            "creationTimestamp": f"2026-01-01T00:{self._created // 60:02}:{self._created % 60:02}Z",
        }
        if "terminating" in flags:
            meta["deletionTimestamp"] = "2026-01-02T00:00:00Z"
        accounts = [flag.removeprefix("sa:") for flag in flags if flag.startswith("sa:")]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": {
                "nodeName": node,
                "hostNetwork": "hostNetwork" in flags,
                "serviceAccountName": accounts[0] if accounts else "default",
                "containers": [{"name": "c", "ports": [_container_port(*item) for item in ports.items()]}],
            },
            "status": {"phase": _phase(flags), "podIPs": [{"ip": a} for a in addresses]},
        }

    def _addresses(self, node: str, flags: set[str]) -> list[str]:
        given = [flag.removeprefix("at:") for flag in flags if flag.startswith("at:")]
        if "bare" in flags or given:
            return sorted(given)
        number = self.node_numbers[node]
        if "hostNetwork" in flags:
            return [f"192.168.0.{number}", f"fd00:f::{number}"]
        self._used[node] += 1
        both = {"v4": f"10.0.{number}.{self._used[node]}", "v6": f"fd00:{number}::{self._used[node]:x}"}
        wanted = flags & both.keys() or both.keys()
        return [both[fam] for fam in ("v4", "v6") if fam in wanted]

    def _slice(self, name: str, rest: list[str]) -> Object:
        """``slice a/web-1 a/web 10.0.1.10,10.0.1.11 8080/TCP``: name, Service, ready addresses, target ports."""
        namespace, _, short = name.partition("/")
        service, addresses, *ports = rest
        family = "IPv6" if ":" in addresses else "IPv4"
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": short,
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": service.partition("/")[2]},
            },
            "addressType": family,
            "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses.split(",") if a],
            "ports": [_slice_port(port) for port in ports],
        }


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)


def _phase(flags: set[str]) -> str:
    return next((phase for flag, phase in _PHASES.items() if flag in flags), "Running")


_PHASES = {"finished": "Succeeded", "failed": "Failed", "pending": "Pending"}


def _container_port(name: str, value: str) -> Object:
    """``name`` may end in ``#N`` so that one pod can expose a name twice."""
    number, protocol = _parse_port(value)
    return {"name": name.partition("#")[0], "containerPort": number, "protocol": protocol}


def _slice_port(value: str) -> Object:
    number, protocol = _parse_port(value)
    return {"name": "", "port": number, "protocol": protocol}


def _parse_port(value: str) -> tuple[int, str]:
    found = _PORT.match(value)
    if found is None:
        raise ValueError(f"{value!r} is not a port")
    return int(found[1]), found[2] or "TCP"
