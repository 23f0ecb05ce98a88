"""Whose fault a failure of the compiler is: a mistake in the program that one policy brings to light must not be every
policy's trouble, so whoever drives the compiler has to know which one to leave out.
"""

from collections.abc import Callable, Sequence

from nodewall.compile.templates import Templates
from nodewall.model.errors import NodewallError
from nodewall.model.policy import PolicyRef


class PolicyError(NodewallError):
    """The compiler fails on this policy. What really happened is its cause."""

    def __init__(self, ref: PolicyRef) -> None:
        self.ref = ref
        super().__init__(f"cannot compile {ref}")


def culprit(attempt: Callable[[list[Templates]], object], together: Sequence[Templates]) -> PolicyRef | None:
    """Of the policies that ``attempt`` fails on together: the one that it fails on alone, else without which it works.

    None when no single one explains it.
    """
    for each in together:
        if _fails(attempt, [each]):
            return each.policy
    for each in together:
        if not _fails(attempt, [other for other in together if other is not each]):
            return each.policy
    return None


def _fails(attempt: Callable[[list[Templates]], object], policies: list[Templates]) -> bool:
    try:
        attempt(policies)
    except Exception:  # noqa: BLE001 - that is the question
        return True
    return False
