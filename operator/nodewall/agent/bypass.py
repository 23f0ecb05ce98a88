"""What would carry pods' packets around the hooks that our table hangs on.

``bypasses`` decides from values; ``kernel_switches`` reads the few files that it needs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nodewall.agent.links import BRIDGE, SHARING, Link, Surroundings
from nodewall.render import LINK_NAME

SYSCTL = Path("/proc/sys/net/bridge")
BRIDGES = Path("/sys/class/net")
SWITCHES = {4: "bridge-nf-call-iptables", 6: "bridge-nf-call-ip6tables"}
TAGGED = "bridge-nf-filter-vlan-tagged"
PER_BRIDGE = {4: "nf_call_iptables", 6: "nf_call_ip6tables"}
IPVS_LINK = "kube-ipvs0"


@dataclass(frozen=True, slots=True)
class Switches:
    """Whether bridged packets cross the IP hooks, by family, and those with a VLAN tag. None: br_netfilter is not
    loaded.
    """

    everywhere: Mapping[int, bool] | None
    bridges: Mapping[tuple[str, int], bool]
    tagged: bool

    def on(self, bridge: str, family: int) -> bool:
        if self.everywhere is None:
            return False
        return self.everywhere.get(family, False) or self.bridges.get((bridge, family), False)


def bypasses(found: Surroundings, switches: Switches) -> list[str]:
    """Each way around, with what to do about it; sorted."""
    return sorted([*_bridged(found, switches), *_ipvs(found), *_shared(found), *_unnamed(found)])


def _bridged(found: Surroundings, switches: Switches) -> Iterator[str]:
    """Packets between two pods on one bridge reach the hooks only by br_netfilter (semantics 48).

    IPv6 always: pods that were given no address of it reach each other by link-local ones.
    """
    for index, addresses in found.behind().items():
        link = found.links[index]
        families = sorted({6, *(6 if ":" in address else 4 for address in addresses)})
        off = [family for family in families if not switches.on(link.name, family)]
        if link.kind == BRIDGE and off:
            yield _bridge_message(link, off, switches)
        elif link.kind == BRIDGE and not switches.tagged:
            yield _tag_message(link)


def _bridge_message(link: Link, off: list[int], switches: Switches) -> str:
    loaded = switches.everywhere is not None
    why = "is off" if loaded else "is off: br_netfilter is not loaded"
    families = " and ".join(f"IPv{family}" for family in off)
    load = "" if loaded else "modprobe br_netfilter && "
    names = [*(SWITCHES[family] for family in off), *([] if switches.tagged else [TAGGED])]
    settings = " ".join(f"net.bridge.{name}=1" for name in names)
    return (
        f"packets between pods on the bridge {link.name} are not judged for {families}, because filtering of bridged "
        f"packets {why}; run: {load}sysctl -w {settings}"
    )


def _tag_message(link: Link) -> str:
    """A receiver that knows of no VLAN takes a packet with tag 0 like one without."""
    return (
        f"packets that a pod on the bridge {link.name} gives a VLAN tag, 0 above all, reach its other pods without "
        f"being judged; run: sysctl -w net.bridge.{TAGGED}=1"
    )


def _ipvs(found: Surroundings) -> Iterator[str]:
    if any(link.name == IPVS_LINK for link in found.links.values()):
        yield (
            "kube-proxy runs in IPVS mode, which sends packets to Services around the forward hook; run: kubectl -n "
            "kube-system edit configmap kube-proxy (mode: nftables), then kubectl -n kube-system rollout restart "
            f"daemonset kube-proxy, then on each node: ip link delete {IPVS_LINK}"
        )


def _shared(found: Surroundings) -> Iterator[str]:
    """A pod address that leads straight to the uplink, or to a link of a kind that shares one."""
    for index in found.behind():
        link = found.links[index]
        if index in found.uplinks or link.kind in SHARING:
            kind = link.kind if link.kind in SHARING else "ipvlan, macvlan or SR-IOV"
            yield (
                f"pods are behind {link.name} itself ({kind}), so their packets do not cross the forward hook; run: ip "
                f"-d link show {link.name}, and use a CNI plugin that gives each pod a veth or a bridge port"
            )


def _unnamed(found: Surroundings) -> Iterator[str]:
    """No rule can name such a link, so what comes from it is only checked for the addresses of other local pods."""
    for index in found.behind():
        name = found.links[index].name
        if not LINK_NAME.match(name):
            yield (
                f"spoofed sources from the link {name!r} are not all dropped, because no rule can name it; run: ip "
                "link set dev NAME name NEWNAME, with letters, digits and _ . : - only"
            )


def kernel_switches(found: Surroundings) -> Switches:
    """Read them. A file that is not there is a switch that is off."""
    if not SYSCTL.is_dir():
        return Switches(None, {}, tagged=False)
    bridges = [link.name for link in found.links.values() if link.kind == BRIDGE]
    return Switches(
        {family: _is_on(SYSCTL / name) for family, name in SWITCHES.items()},
        {
            (bridge, family): _is_on(BRIDGES / bridge / "bridge" / name)
            for bridge in bridges
            for family, name in PER_BRIDGE.items()
        },
        _is_on(SYSCTL / TAGGED),
    )


def _is_on(file: Path) -> bool:
    try:
        return file.read_text().strip() == "1"
    except OSError:
        return False
