"""Rule sets to render: one that uses everything there is, and small ones."""

from ipaddress import ip_network

from nodewall.model.address import Address, IpBlock
from nodewall.model.policy import (
    Action,
    DenyWith,
    Direction,
    Icmp,
    IpProtocol,
    Kind,
    PortRange,
    Protocol,
    Tier,
)
from nodewall.model.ruleset import (
    AddressGroup,
    Audit,
    Endpoint,
    Isolation,
    Match,
    NodeRuleSet,
    PortGroup,
    PortMember,
    Rule,
    RuleClass,
    RuleLog,
    RuleRef,
)
from nodewall.render import Guard, NewPodPolicy, Settings, Strict

NASTY = 'a "quoted" \\ name\n; flush ruleset } \x1b[31m # \u202e é' + "x" * 300
"""What nobody may ever find again in nft as anything but data."""

WEB4, WEB6 = Address("10.0.1.10"), Address("fd00:1::a")
IDLE4, IDLE6 = Address("10.0.1.11"), Address("fd00:1::b")
FRONT4, FRONT6, LAB4, DNS4, DNS6 = map(Address, ("10.0.2.5", "fd00:2::5", "10.0.9.1", "10.0.4.2", "fd00:4::2"))


def tcp(first: int, last: int | None = None) -> PortRange:
    return PortRange(Protocol.TCP, first, last or first)


def block(cidr: str, *excepts: str) -> IpBlock:
    return IpBlock(ip_network(cidr), tuple(map(ip_network, excepts)))


ANYTHING = Match(any_peer=True, any_port=True)
LOG = RuleLog(10, 20)

_TIER_RULES = (
    Rule("deny-lab", Tier.ADMIN, Action.DENY, Match(groups=("lab",), any_port=True), log=LOG),
    Rule("pass-web", Tier.ADMIN, Action.PASS, Match(any_peer=True, ports=(tcp(80),))),
    Rule("no-udp", Tier.ADMIN, Action.DENY, Match(any_peer=True, ports=(PortRange(Protocol.UDP),)), DenyWith.REJECT),
    Rule(
        "tools",
        Tier.NAMESPACE,
        Action.ACCEPT,
        Match(
            blocks=(block("10.0.0.0/8", "10.1.0.0/16"), block("::/0"), block("10.1.2.3/32")),
            ports=(Icmp(4, 8), Icmp(6, 128, 0), Icmp(4, 3, 4), Icmp(6), IpProtocol(47), IpProtocol(50)),
        ),
        log=RuleLog(1, 2),
    ),
    Rule(
        "no-sctp",
        Tier.NAMESPACE,
        Action.DENY,
        Match(any_peer=True, ports=(PortRange(Protocol.SCTP, 1, 99),)),
        DenyWith.REJECT,
        RuleLog(5, 5),
    ),
    Rule("pass-on", Tier.NAMESPACE, Action.PASS, Match(blocks=(block("192.0.2.0/24"),), any_port=True)),
    Rule("never-v6", Tier.NAMESPACE, Action.DENY, Match(blocks=(block("192.0.2.9/32"),), any_port=True), log=LOG),
    Rule("silent", Tier.NAMESPACE, Action.DENY, Match(blocks=(block("192.0.2.7/32"),), any_port=True)),
)
_ALLOWS = (
    Rule(
        "ports", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=("front", "nobody"), ports=(tcp(80, 90), tcp(85, 99)))
    ),
    Rule(
        "mixed",
        Tier.NETWORK_POLICY,
        Action.ACCEPT,
        Match(groups=("front",), ports=(tcp(443), PortRange(Protocol.UDP, 53, 53), PortRange(Protocol.SCTP))),
        log=LOG,
    ),
)
_BASELINE = (
    Rule("base", Tier.BASELINE, Action.DENY, ANYTHING),
    Rule("never", Tier.BASELINE, Action.PASS, ANYTHING),
)
_AUDIT = Audit(
    (
        Rule("would-deny", Tier.ADMIN, Action.DENY, Match(groups=("front",), any_port=True), log=LOG),
        Rule("would-pass", Tier.ADMIN, Action.PASS, ANYTHING),
    )
)
_NAMED = Rule("dns", Tier.NETWORK_POLICY, Action.ACCEPT, Match(port_groups=("dns",)))

EVERYTHING = NodeRuleSet(
    node="n1",
    groups=(
        AddressGroup("front", "ns=front", (FRONT4, FRONT6)),
        AddressGroup("lab", NASTY, (LAB4,)),
        AddressGroup("nobody", "nobody", ()),
    ),
    port_groups=(
        PortGroup("dns", "kube-dns", (PortMember(DNS4, Protocol.UDP, 53), PortMember(DNS6, Protocol.TCP, 53))),
    ),
    classes=(
        RuleClass(
            "in-isolated",
            Direction.INGRESS,
            (*_TIER_RULES, *_ALLOWS),
            Isolation("iso", ("shop/web",), 3, LOG),
            (_AUDIT,),
        ),
        RuleClass("in-open", Direction.INGRESS, (*_TIER_RULES, *_BASELINE)),
        RuleClass(
            "out-isolated", Direction.EGRESS, (*_TIER_RULES, _NAMED), Isolation("iso2", ("shop/web",), 1), (_AUDIT,)
        ),
        RuleClass("out-open", Direction.EGRESS, (_NAMED, *_BASELINE)),
        RuleClass("unused", Direction.EGRESS, (_NAMED,)),
    ),
    endpoints=(
        Endpoint("shop", "web", (WEB4, WEB6), "in-isolated", "out-isolated"),
        Endpoint("shop", "open", (Address("10.0.1.12"), Address("fd00:1::c")), "in-open", "out-open"),
        Endpoint("shop", "idle", (IDLE4, IDLE6)),
    ),
    rules=(
        RuleRef("deny-lab", Kind.CLUSTER_EXTENDED, "", NASTY, Direction.INGRESS, "no-lab"),
        RuleRef("ports", Kind.NETWORK_POLICY, "shop", "web", Direction.INGRESS, "ingress[0]"),
    ),
    pod_cidrs=(ip_network("10.0.1.0/24"), ip_network("fd00:1::/64")),
)

SETTINGS = {
    "plain": Settings(),
    "guarded": Settings(guard=Guard(NewPodPolicy.DROP), pod_links=("veth1", "veth2"), foreign_veths=()),
    "guarded by link": Settings(guard=Guard(NewPodPolicy.REJECT, links=("cni0",))),
    "guarded by both": Settings(
        guard=Guard(networks=(ip_network("10.0.0.0/15"), ip_network("10.9.0.0/16")), links=("cni0",))
    ),
    "guard allows": Settings(guard=Guard(NewPodPolicy.ALLOW)),
    "folded": Settings(fold_from=0),
    "folded in part": Settings(fold_from=0, fold_limit=3),
    "strict": Settings(strict=Strict(7), nflog_group=9, snaplen=64),
    "all": Settings(
        guard=Guard(NewPodPolicy.REJECT, links=("cni0",)),
        strict=Strict(0, 0xFF00),
        pod_links=("veth1",),
        foreign_veths=("eth0",),
    ),
}
