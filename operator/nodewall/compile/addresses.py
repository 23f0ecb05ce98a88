"""Who owns an address (semantics 36-40)."""

from collections.abc import Iterable, Mapping

from nodewall.model.address import Address
from nodewall.model.cluster import NamespacedName, Phase, Pod


def selectable(pod: Pod) -> bool:
    """Whether selectors can mean it: one that finished has no address left, one on the host network has its node's."""
    return not pod.host_network and pod.phase is not Phase.FINISHED


def claim_rank(pod: Pod) -> tuple[bool, str, str, NamespacedName]:
    """Of two pods that claim one address the greater rank owns it: running, then the newest, then by uid."""
    return (pod.phase is Phase.RUNNING, pod.created, pod.uid, pod.key)


def owners(pods: Iterable[Pod]) -> Mapping[Address, Pod]:
    """The owner of each address."""
    found: dict[Address, Pod] = {}
    for pod in filter(selectable, pods):
        for address in pod.addresses:
            rival = found.get(address)
            if rival is None or claim_rank(rival) < claim_rank(pod):
                found[address] = pod
    return found
