"""What the other owners of nftables on a node do all day: transactions shaped like theirs, each round another one.

Written after what these programs send, in small: kube-proxy in both of its modes, Docker, and a reload of firewalld.
"""

from collections.abc import Callable
from dataclasses import dataclass

SERVICES = 40


@dataclass(frozen=True, slots=True)
class Owner:
    """``load(n)`` is what it feeds to ``command`` in round n; ``keeps(n)`` is what must be listed afterwards."""

    command: str
    load: Callable[[int], str]
    keeps: Callable[[int], list[str]]


def _proxy_with_iptables(n: int) -> str:
    """A whole sync: declared chains are flushed, others stay (--noflush)."""
    chains = "".join(f":KUBE-SVC-{i:04} - [0:0]\n:KUBE-SEP-{i:04} - [0:0]\n" for i in range(SERVICES))
    rules = "".join(
        f"-A KUBE-SERVICES -d 10.96.{n % 250}.{i}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-{i:04}\n"
        f"-A KUBE-SVC-{i:04} -m statistic --mode random --probability 0.5 -j KUBE-SEP-{i:04}\n"
        f"-A KUBE-SEP-{i:04} -p tcp -m tcp -j DNAT --to-destination 10.0.1.{i + 1}:8080\n"
        for i in range(SERVICES)
    )
    filters = "*filter\n:KUBE-FORWARD - [0:0]\n-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"
    return f"{filters}*nat\n:KUBE-SERVICES - [0:0]\n{chains}{rules}COMMIT\n"


def _proxy_with_nftables(n: int) -> str:
    """Chains are flushed and filled, elements of maps go and come, in one transaction."""
    first = [
        "add table ip kube-proxy",
        "add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }",
        "add chain ip kube-proxy services",
        "add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }",
        "flush map ip kube-proxy service-ips",
        "flush chain ip kube-proxy nat-prerouting",
        "add rule ip kube-proxy nat-prerouting jump services",
        "flush chain ip kube-proxy services",
        "add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips",
    ]
    each = [
        line
        for i in range(SERVICES)
        for line in (
            f"add chain ip kube-proxy service-{i}",
            f"flush chain ip kube-proxy service-{i}",
            f"add rule ip kube-proxy service-{i} meta l4proto tcp dnat to 10.0.1.{i + 1}:8080",
            f"add element ip kube-proxy service-ips {{ 10.97.{n % 250}.{i} . tcp . 80 : goto service-{i} }}",
        )
    ]
    return "\n".join([*first, *each]) + "\n"


def _docker(n: int) -> str:
    return (
        "*nat\n:DOCKER - [0:0]\n"
        f"-A DOCKER ! -i docker0 -p tcp -m tcp --dport {20000 + n} -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n"
        "*filter\n:DOCKER - [0:0]\n:DOCKER-USER - [0:0]\n:DOCKER-ISOLATION-STAGE-1 - [0:0]\n"
        "-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j RETURN\n"
        f"-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport {20000 + n} -j ACCEPT\n"
        "-A DOCKER-USER -j RETURN\nCOMMIT\n"
    )


def _firewalld(n: int) -> str:
    """A reload: the whole table goes and comes."""
    zones = "".join(
        f"chain zone_{i} {{ ct state new tcp dport {1000 + i} accept\n ip saddr 192.0.2.{n % 250} drop\n }}\n"
        for i in range(30)
    )
    return (
        "add table inet firewalld\ndelete table inet firewalld\ntable inet firewalld {\n"
        "chain filter_FORWARD { type filter hook forward priority 10; policy accept;\n"
        "ct state established,related accept\n }\n" + zones + "}\n"
    )


OWNERS = {
    "kube-proxy, iptables": Owner(
        "iptables-restore --noflush --counters", _proxy_with_iptables, lambda n: [f"10.96.{n % 250}.{SERVICES - 1}"]
    ),
    "kube-proxy, nftables": Owner(
        "nft -f -", _proxy_with_nftables, lambda n: [f"10.97.{n % 250}.{SERVICES - 1} . tcp . 80"]
    ),
    "docker": Owner("iptables-restore --noflush", _docker, lambda n: [f"dport {20000 + n}"]),
    "firewalld": Owner("nft -f -", _firewalld, lambda n: [f"ip saddr 192.0.2.{n % 250} drop"]),
}
