"""nft inside a network namespace."""

import json
from typing import Any

from e2e import netns
from e2e.command import run


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
