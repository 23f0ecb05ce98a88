"""The errors of the core, as a tree.

::

    NodewallError              anything this project raises on purpose
    ├── BadInputError               what a user gave cannot be used: names the object, the field and what to do
    └── Problem (a value)      a part of a stored object that cannot be used; reported, never raised

Edges (kube, agent) derive their own errors from ``NodewallError``.
"""

from dataclasses import dataclass


class NodewallError(Exception):
    """Base of every error that this project raises on purpose."""


class BadInputError(NodewallError):
    """Input that cannot be used. One line; names the source, the object, the field, and what to write instead."""

    def __init__(self, message: str, *, source: str = "", subject: str = "", path: str = "") -> None:
        self.message, self.source, self.subject, self.path = message, source, subject, path
        super().__init__(": ".join(part for part in (source, subject, path, message) if part))


@dataclass(frozen=True, slots=True)
class Problem:
    """A broken part of a stored object: ``path`` is a JSON path (``spec.ingress[0].from[1]``), ``message`` says what
    to do.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"
