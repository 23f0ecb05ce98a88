"""Whose fault a failure of the compiler is: a mistake in the program that one policy brings to light must not be every
policy's trouble, so whoever drives the compiler has to know which one to leave out.
"""

from collections.abc import Callable, Generator, Sequence

from nodewall.compile.templates import Templates
from nodewall.model.errors import NodewallError
from nodewall.model.policy import PolicyRef


class PolicyError(NodewallError):
    """The compiler fails on this policy. What really happened is its cause."""

    def __init__(self, ref: PolicyRef) -> None:
        self.ref = ref
        super().__init__(f"cannot compile {ref}")


Attempt = Callable[[list[Templates]], Generator[None, None, object]]


def culprit(attempt: Attempt, together: Sequence[Templates]) -> Generator[None, None, PolicyRef | None]:
    """Of the policies that ``attempt`` fails on together: the one that it fails on alone, else without which it works.

    None when no single one explains it. In the steps of ``attempt``, which is made once for each policy, or twice.
    """
    for each in together:
        if (yield from _fails(attempt, [each])):
            return each.policy
    for each in together:
        if not (yield from _fails(attempt, [other for other in together if other is not each])):
            return each.policy
    return None


def _fails(attempt: Attempt, policies: list[Templates]) -> Generator[None, None, bool]:
    yield
    try:
        yield from attempt(policies)
    except Exception:  # noqa: BLE001 - that is the question
        return True
    return False
