"""Who owns each address, while pods come and go (semantics 40)."""

from nodewall.compile.addresses import claim_rank, selectable
from nodewall.model.address import Address
from nodewall.model.cluster import Pod


class Claims:
    """Every live pod that has an address claims it; the greatest rank owns it."""

    def __init__(self) -> None:
        self._claimants: dict[Address, tuple[Pod, ...]] = {}

    def claimants(self, address: Address) -> tuple[Pod, ...]:
        return self._claimants.get(address, ())

    def owner(self, address: Address) -> Pod | None:
        return max(self.claimants(address), key=claim_rank, default=None)

    def replace(self, old: Pod | None, new: Pod | None) -> None:
        """``new`` claims what ``old`` claimed no longer; both are states of one pod, or None."""
        for address in _claimed(old):
            self._set(address, [each for each in self._claimants[address] if each is not old])
        if new:
            for address in _claimed(new):
                self._set(address, [*self.claimants(address), new])

    def owned(self, pod: Pod) -> tuple[Address, ...]:
        """Those of its addresses that are its own, sorted."""
        return tuple(sorted(each for each in _claimed(pod) if self.owner(each) is pod))

    def _set(self, address: Address, claimants: list[Pod]) -> None:
        if claimants:
            self._claimants[address] = tuple(claimants)
        else:
            del self._claimants[address]


def _claimed(pod: Pod | None) -> frozenset[Address]:
    return frozenset(pod.addresses) if pod and selectable(pod) else frozenset()
