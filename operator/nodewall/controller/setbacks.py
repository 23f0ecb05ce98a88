"""NetworkPolicies that some node keeps an older rule set instead of: their authors learn it by Events.

Other kinds have a status that says so. Of these, an author sees Events only, and may see no Node. Two for each policy:
one when it begins and one when it is over, however many nodes it is about; and of all policies together at most so many
in a round, because what keeps rule sets from one node may keep them from all.
"""

from collections.abc import Callable

from nodewall.controller.store import StoredPolicy
from nodewall.model.policy import PolicyRef
from nodewall.telemetry.events import Reason, Severity

MOST = 20
"""Events of a round, which takes a second or more. A thousand policies are told within a minute."""

OVER = "no node keeps an older rule set instead of one with this policy any more"

Say = Callable[[StoredPolicy, Severity, Reason, str], None]


class Setbacks:
    """``message``: why nodes keep an older rule set instead of one with this policy; "" when none does."""

    def __init__(self, message: Callable[[StoredPolicy], str], say: Say) -> None:
        self._message, self._say = message, say
        self._told: set[PolicyRef] = set()
        self._left = MOST

    def begin(self) -> None:
        """Whoever led before us may have told otherwise."""
        self._told.clear()

    def begin_round(self) -> None:
        """As many Events again as a round may have."""
        self._left = MOST

    def is_told(self, ref: PolicyRef) -> bool:
        """Whether its author was told, and not yet that it is over."""
        return ref in self._told

    def is_news(self, stored: StoredPolicy) -> bool:
        """Whether there is something to tell."""
        return bool(self._message(stored)) != self.is_told(stored.ref)

    def tell(self, stored: StoredPolicy) -> bool:
        """Tell what is news. False: it has to wait for another round."""
        message = self._message(stored)
        if bool(message) == self.is_told(stored.ref):
            return True
        if not self._left:
            return False
        self._left -= 1
        if message:
            self._told.add(stored.ref)
            self._say(stored, Severity.WARNING, Reason.POLICY_DEGRADED, message)
        else:
            self._told.discard(stored.ref)
            self._say(stored, Severity.NORMAL, Reason.POLICY_RECOVERED, OVER)
        return True

    def forget(self, ref: PolicyRef) -> None:
        """The policy is gone."""
        self._told.discard(ref)
