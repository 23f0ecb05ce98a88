"""nft inside a network namespace."""

import json
from typing import Any

from e2e import netns
from e2e.command import run

_OF_THE_MOMENT = {"handle", "packets", "bytes"}


def load(namespace: str, commands: Any) -> None:
    """Apply a transaction in libnftables' JSON schema. CommandError: refused, and nothing of it stays."""
    run([*netns.argv(namespace), "nft", "-j", "-f", "-"], given=json.dumps(commands))


def load_text(namespace: str, script: str) -> None:
    run([*netns.argv(namespace), "nft", "-f", "-"], given=script)


def listing(namespace: str) -> str:
    """Everything in the namespace, as people read it; numbers that packets change left out."""
    return run([*netns.argv(namespace), "nft", "--stateless", "list", "ruleset"])


def listed(namespace: str) -> list[Any]:
    """Everything in the namespace as JSON objects, in libnftables' order."""
    return list(json.loads(run([*netns.argv(namespace), "nft", "-j", "list", "ruleset"]))["nftables"])


def canonical(namespace: str) -> dict[str, Any]:
    """Everything in the namespace by kind and name, in no order but that of rules in their chain."""
    found: dict[str, Any] = {}
    for listed_object in listed(namespace):
        ((kind, body),) = listed_object.items()
        plain = _sorted({key: value for key, value in body.items() if key not in _OF_THE_MOMENT})
        if kind == "rule":
            found.setdefault(f"rules of {body['chain']}", []).append(plain)
        elif kind != "metainfo":
            found[f"{kind} {body['name']}"] = plain
    return found


def _sorted(value: Any) -> Any:
    """Lists of elements in one order: hash sets have none of their own."""
    if isinstance(value, dict):
        return {key: _elements(inner) if key in ("set", "elem") else _sorted(inner) for key, inner in value.items()}
    return [_sorted(inner) for inner in value] if isinstance(value, list) else value


def _elements(value: Any) -> Any:
    return sorted(value, key=json.dumps) if isinstance(value, list) else value


def counters(namespace: str) -> dict[str, int]:
    """Packets of each named counter."""
    return {o["counter"]["name"]: o["counter"]["packets"] for o in listed(namespace) if "counter" in o}
