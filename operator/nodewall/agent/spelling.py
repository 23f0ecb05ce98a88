"""How sets are declared, so that every libnftables of the node can read them.

Since 1.1.2 libnftables keeps with a set how its keys and values were declared. Versions before crash on a type named by
itself (``ipv4_addr``) in whatever lists any set of the network namespace: kube-proxy in nftables mode, Calico,
firewalld, an administrator's `nft`. They can read a type given by example (the one of ``ip saddr``), which in turn they
do not take from JSON themselves. So each version is handed what the others can read.

Seen with 1.1.3 writing and 1.0.6 reading; kubernetes/kubernetes#136786 is the same crash.
"""

from collections.abc import Mapping
from typing import Any

FIRST_THAT_KEEPS = (1, 1, 2)

_EXAMPLES: dict[str, Any] = {
    "ifname": {"meta": {"key": "iifname"}},
    "inet_proto": {"meta": {"key": "l4proto"}},
    "inet_service": {"payload": {"protocol": "th", "field": "dport"}},
    "ipv4_addr": {"payload": {"protocol": "ip", "field": "saddr"}},
    "ipv6_addr": {"payload": {"protocol": "ip6", "field": "saddr"}},
    "verdict": {"accept": None},
}


def readable_by_all(commands: Mapping[str, Any], version: tuple[int, ...]) -> Mapping[str, Any]:
    """A transaction in libnftables' JSON, spelled for a libnftables of this version. Raises KeyError on a type that no
    set of ours has.
    """
    if version < FIRST_THAT_KEEPS:
        return commands
    return {"nftables": [_spelled(command) for command in commands["nftables"]]}


def _spelled(command: Mapping[str, Any]) -> Mapping[str, Any]:
    ((verb, subject),) = command.items()
    ((kind, body),) = subject.items()
    if verb != "add" or kind not in ("set", "map"):
        return command
    values = {"map": {"typeof": _EXAMPLES[body["map"]]}} if kind == "map" else {}
    return {verb: {kind: {**body, "type": {"typeof": _example(body["type"])}, **values}}}


def _example(key: str | list[str]) -> Any:
    return _EXAMPLES[key] if isinstance(key, str) else {"concat": [_EXAMPLES[each] for each in key]}
