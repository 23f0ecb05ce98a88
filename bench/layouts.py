"""The same policies as rules of several kinds: ours, and what others would make of them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.clusters import labelled
from bench.road import CLIENTS, SERVERS, Rules
from bench.rulesets import POD_CIDR, PORT
from e2e import netns
from e2e.command import run
from nodewall.compile import compile_node
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState, Namespace, Node, Pod
from nodewall.model.labels import Labels
from nodewall.model.policy import AllowRule, NamespaceNames, NetworkPolicy, PodPeer
from nodewall.render import Guard, Settings, render, text
from tests.kernel import nft

RULES_THAT_CHECK = 4
"""Sources, of each base chain two: what is in order, and what is not."""


@dataclass(frozen=True, slots=True)
class Policies:
    """What is allowed on one port: into each pod from its groups, and out of it to its groups.

    ``pods`` maps a local pod's address to (groups that may come in, groups that it may go to); None: not isolated in
    that direction. Each group of a pod is a policy of its own.
    """

    groups: Mapping[str, Sequence[str]]
    pods: Mapping[str, tuple[Sequence[str] | None, Sequence[str] | None]]


def nothing(namespace: str) -> None:
    """No rules, and so no conntrack either."""


def conntrack_only(namespace: str) -> None:
    rule = "ct state established,related accept"
    nft.load_text(
        namespace, f"table inet other {{ chain forward {{ type filter hook forward priority -5; {rule}; }}; }}"
    )


def ours(policies: Policies) -> Rules:
    """The table that an agent would draw on a node that routes, the guard and the spoofing check included."""
    drawn = _drawn(policies)
    return lambda namespace: nft.load_text(namespace, drawn)


def unchecked(policies: Policies) -> Rules:
    """Ours without the check of sources, which every packet pays for: no setting, but a part of the cost to know."""
    lines = _drawn(policies).splitlines()
    rest = [line for line in lines if "fib saddr" not in line]
    assert len(rest) == len(lines) - RULES_THAT_CHECK, "other rules check sources than is known here"
    return lambda namespace: nft.load_text(namespace, "\n".join(rest))


def _drawn(policies: Policies) -> str:
    settings = Settings(guard=Guard(networks=(POD_CIDR,)), pod_links=(CLIENTS, SERVERS))
    return text(render(compile_node(_cluster(policies), "node"), settings))


def linear(policies: Policies, pairs: Sequence[tuple[str, str]]) -> Rules:
    """One iptables rule per allowed pair of addresses; but where everybody may talk to everybody that would be the
    square of the pods, so only the pairs that do talk.
    """
    crowds = len(policies.groups) == 1
    wanted = pairs if crowds else _allowed(policies)
    rules = [f"-A FORWARD -s {peer}/32 -d {pod}/32 -p tcp --dport {PORT.first} -j ACCEPT" for peer, pod in wanted]
    drops = [f"-A FORWARD -d {pod}/32 -j DROP" for pod, (incoming, _) in policies.pods.items() if incoming is not None]
    return _iptables([], [*rules, *drops])


def _allowed(policies: Policies) -> Iterator[tuple[str, str]]:
    for pod, (incoming, _) in policies.pods.items():
        yield from ((peer, pod) for group in incoming or () for peer in policies.groups[group])


def chain_per_pod(policies: Policies) -> Rules:
    """ipsets of peers, a chain per pod and direction, and a jump to each in FORWARD."""
    sets = [line for name, members in policies.groups.items() for line in _ipset(name, members)]
    chains, jumps = [], []
    for number, (pod, (incoming, outgoing)) in enumerate(policies.pods.items()):
        for groups, side, chain in ((outgoing, "src", f"OUT-{number}"), (incoming, "dst", f"IN-{number}")):
            if groups is None:
                continue
            peer = "dst" if side == "src" else "src"
            jumps.append(f"-A FORWARD -{'s' if side == 'src' else 'd'} {pod}/32 -j {chain}")
            chains += [f":{chain} - [0:0]", *_judging(chain, groups, peer)]
    return _iptables(sets, [*chains, *jumps])


def _judging(chain: str, groups: Sequence[str], peer: str) -> Iterator[str]:
    for group in groups:
        yield f"-A {chain} -m set --match-set {group} {peer} -p tcp --dport {PORT.first} -j RETURN"
    yield f"-A {chain} -j DROP"


def _ipset(name: str, members: Sequence[str]) -> Iterator[str]:
    yield f"create {name} hash:ip maxelem {max(len(members), 1024)}"
    yield from (f"add {name} {member}" for member in members)


def _iptables(sets: list[str], rules: list[str]) -> Rules:
    established = "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
    # Chains are declared first, and the first rule is the one that most packets need.
    declared = [line for line in rules if line.startswith(":")]
    script = "\n".join(["*filter", *declared, established, *(r for r in rules if r not in declared), "COMMIT", ""])

    def load(namespace: str) -> None:
        inside = netns.argv(namespace)
        if sets:
            run([*inside, "ipset", "restore"], given="\n".join(sets) + "\n")
        run([*inside, "iptables-legacy-restore"], given=script)

    return load


# --- ours -------------------------------------------------------------------------------------------------------------


def _cluster(policies: Policies) -> ClusterState:
    """As a user would have it: labels for the groups, and a NetworkPolicy per pod and group."""
    wearing = defaultdict[str, dict[str, str]](dict)
    for group, members in policies.groups.items():
        for member in members:
            wearing[member][group] = "yes"
    addresses = dict.fromkeys([*policies.pods, *wearing])
    pods = [
        _pod(number, address, "node" if address in policies.pods else "elsewhere", wearing[address])
        for number, address in enumerate(addresses)
    ]
    made = [each for pod in pods[: len(policies.pods)] for each in _policies(pod, *policies.pods[pod.addresses[0]])]
    return ClusterState(
        pods={pod.key: pod for pod in pods},
        namespaces={"shop": Namespace("shop")},
        nodes={name: Node(name) for name in ("node", "elsewhere")},
        network_policies={(each.namespace, each.name): each for each in made},
    )


def _pod(number: int, address: str, node: str, labels: dict[str, str]) -> Pod:
    name = f"pod-{number:05}"
    return Pod("shop", name, name, Labels({"pod": name, **labels}), node, (Address(address),))


def _policies(pod: Pod, incoming: Sequence[str] | None, outgoing: Sequence[str] | None) -> Iterator[NetworkPolicy]:
    selected = labelled(pod=pod.name)
    for group in incoming or ():
        yield NetworkPolicy("shop", f"{pod.name}-from-{group}", selected, ingress=(_allow(group),))
    for group in outgoing or ():
        yield NetworkPolicy("shop", f"{pod.name}-to-{group}", selected, egress=(_allow(group),))


def _allow(group: str) -> AllowRule:
    return AllowRule(0, (PodPeer(NamespaceNames(("shop",)), labelled(**{group: "yes"})),), (PORT,))
