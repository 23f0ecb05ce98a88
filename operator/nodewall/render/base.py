"""The base chains: what happens to a packet before and after the classes of its ends judge it.

Both hang just before ``filter`` and let pass what nothing decides, so that other tables still have their say.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from nodewall.model.errors import BadInputError
from nodewall.model.ruleset import NodeRuleSet
from nodewall.render import table
from nodewall.render.classes import refuse_chain
from nodewall.render.draft import Draft, rule
from nodewall.render.expressions import (
    ACCEPT,
    DROP,
    RETURN,
    Count,
    Ct,
    Dispatch,
    Flags,
    Goto,
    Is,
    Jump,
    MarkBits,
    Meta,
    OneOf,
    Payload,
    Prefix,
    Proto,
    Quoted,
    RouteBack,
    SetMark,
    SetRef,
    Statement,
)
from nodewall.render.matches import IP
from nodewall.render.settings import Guard, NewPodPolicy, Strict
from nodewall.render.spans import network_spans
from nodewall.render.table import Chain, Hook

PRIORITY = -5
"""Just before filter (0): after destination NAT (-100) and conntrack (-200), so rules see the pod that was chosen."""

DISPATCHES = {"forward": (("saddr", "egress"), ("daddr", "ingress")), "input": (("saddr", "host"),)}
"""By hook: whose rules judge (an end of the packet), and what the name of the map begins with that finds them."""

NEIGHBOUR_DISCOVERY = (133, 135, 136)
MULTICAST_LISTENER = (130, 131, 132, 143)
LINK_LOCAL = Prefix("fe80::", 10)
SPOOFED, UNLISTED = "spoofed", "unlisted"
NOT_LOOPBACK = Is(Meta("iifname"), Quoted("lo"), negated=True)
LINK_OF = {"saddr": "iifname", "daddr": "oifname"}
COMMON: Mapping[tuple[str, int], tuple[str | Prefix, ...]] = {
    ("saddr", 4): ("0.0.0.0",),  # noqa: S104 - the source of DHCP, not a socket
    ("saddr", 6): ("::", LINK_LOCAL),
    ("daddr", 4): (Prefix("224.0.0.0", 3),),
    ("daddr", 6): (Prefix("ff00::", 8), LINK_LOCAL),
}
"""Unspecified, link-local, multicast and broadcast: nobody's rights can be had with them. No rule can speak of a
link-local address either, so what else such an address could do is closed: see ``_link_local``."""

LINK_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,15}\Z")
"""Links that a rule can name; the kernel allows more."""


def draw(ruleset: NodeRuleSet, draft: Draft, *, closes_node: bool = False) -> dict[str, str]:
    """The base chains, and the guard's. ``closes_node``: some pod's rules deny it something of its own node.

    Returns, by the name of a dispatch map, the chain for all addresses that it does not list; nothing where there is no
    guard.
    """
    between = _link_local(draft, ("saddr", "daddr"))
    to_node = _link_local(draft, ("saddr",)) if closes_node else ()
    _hang("forward", between, draft)
    _hang("input", to_node, draft)
    return dict(_strangers(ruleset, draft))


def _hang(hook: str, link_local: Iterable[table.Rule], draft: Draft) -> None:
    """A base chain, which IPv6 leaves for one of its own: no packet passes the rules of the other family."""
    six = draft.chain(Chain(f"{hook}6", (*_neighbours(), *link_local, *_judged(hook, 6), *_stamp(draft, 6))))
    rules = (
        *_ordinary(draft.settings.strict),
        *_spoofed(draft),
        *_established(draft.settings.strict),
        rule(Is(Meta("nfproto"), "ipv6"), Goto(six)),
        *_judged(hook, 4),
        *_stamp(draft, 4),
    )
    draft.chain(Chain(hook, rules, Hook(hook, PRIORITY)))


def _judged(hook: str, family: int) -> Iterator[table.Rule]:
    for end, prefix in DISPATCHES[hook]:
        yield rule(Dispatch(Payload(IP[family], end), f"{prefix}{family}"))


def _neighbours() -> Iterator[table.Rule]:
    yield rule(Is(Payload("icmpv6", "type"), OneOf(NEIGHBOUR_DISCOVERY)), Is(Payload("ip6", "hoplimit"), 255), ACCEPT)
    yield rule(
        Is(Payload("icmpv6", "type"), OneOf(MULTICAST_LISTENER)), Is(Payload("ip6", "saddr"), LINK_LOCAL), ACCEPT
    )


# --- spoofed sources (semantics 59) -----------------------------------------------------------------------------------


def _spoofed(draft: Draft) -> Iterator[table.Rule]:
    """A pod's address comes in by the link that it is routed back to, or it is borrowed. So for anything from a pod's
    link.

    Every packet pays for this, so the route is asked for once, and the sets only about what has none.
    """
    yield rule(Is(RouteBack("saddr"), False), Jump(_spoofed_chain(draft)))


def _spoofed_chain(draft: Draft) -> str:
    end = (Count(draft.counter(SPOOFED)), DROP)
    rules = [rule(Is(Payload(IP[family], "saddr"), SetRef(f"local{family}")), *end) for family in (4, 6)]
    links = draft.settings.pod_links
    if links:
        came_in = Is(Meta("iifname"), _links("podlinks", links, draft))
        rules += [rule(came_in, *_of_consequence("saddr", family), *end) for family in (4, 6)]
    if draft.settings.foreign_veths is not None:
        new = tuple(_by_new_veth(draft.settings.foreign_veths, draft))
        rules += [rule(*new, *_of_consequence("saddr", family), *end) for family in (4, 6)]
    return draft.chain(Chain("spoofed", tuple(rules)))


def _by_new_veth(foreign: Iterable[str], draft: Draft) -> Iterator[Is]:
    """A pod is there a second or two before its link is known, and could borrow the rights of pods elsewhere."""
    yield Is(Meta("iifkind"), Quoted("veth"))
    if foreign:
        yield Is(Meta("iifname"), _links("foreignveths", foreign, draft), negated=True)


def _of_consequence(end: str, family: int) -> tuple[Is, ...]:
    """Not one of the addresses that no pod owns and every pod uses."""
    return tuple(Is(Payload(IP[family], end), address, negated=True) for address in COMMON[end, family])


def _link_local(draft: Draft, ends: Iterable[str]) -> Iterator[table.Rule]:
    """From or to a pod by an address that every pod has and no rule set lists: nobody could be judged by it.

    Two pods on a bridge would reach each other, and a pod its node, past every policy. Routers do not forward it.
    """
    links = draft.settings.pod_links
    for end in ends if links else ():
        by_pod = Is(Meta(LINK_OF[end]), _links("podlinks", links, draft))
        yield rule(Is(Payload("ip6", end), LINK_LOCAL), by_pod, Count(draft.counter(UNLISTED)), DROP)


def _links(name: str, links: Iterable[str], draft: Draft) -> SetRef:
    return draft.links(name, map(_link, sorted(set(links))))


def _link(name: str) -> Quoted:
    """In a set of links a trailing ``*`` would be a wildcard, and libnftables takes a leading ``@`` for another set."""
    if not LINK_NAME.match(name):
        raise BadInputError(f"not a name of a link: {name!r}", subject="settings")
    return Quoted(name)


# --- connections ------------------------------------------------------------------------------------------------------


LIVE = Is(Ct("state"), Flags(("established", "related")))


def _ordinary(strict: Strict | None) -> Iterator[table.Rule]:
    """Nearly every packet: of a live connection, and by the link that its source is routed back to. It is asked for
    both in one rule; what is not so goes the whole way.
    """
    if strict is None:
        yield rule(LIVE, Is(RouteBack("saddr"), True), ACCEPT)


def _established(strict: Strict | None) -> Iterator[table.Rule]:
    """Replies, and ICMP errors of what was accepted. Strict: only while the connection carries the present
    generation.
    """
    if strict is None:
        yield rule(LIVE, ACCEPT)
        return
    yield rule(Is(Ct("state"), Flags(("related",))), Is(Meta("l4proto"), OneOf((Proto(1), Proto(58)))), ACCEPT)
    yield rule(LIVE, Is(MarkBits(strict.mask), strict.value), ACCEPT)
    yield rule(LIVE, Is(Ct("direction"), "reply"), ACCEPT)


def _stamp(draft: Draft, family: int) -> Iterator[table.Rule]:
    """A pod's connection that got here was accepted in both directions; connections that are no pod's keep their
    mark.
    """
    strict = draft.settings.strict
    if strict is None:
        return
    for end in ("saddr", "daddr"):
        local = Is(Payload(IP[family], end), SetRef(f"local{family}"))
        yield rule(local, SetMark(strict.mask, strict.value))


# --- the new-pod guard ------------------------------------------------------------------------------------------------


def _strangers(ruleset: NodeRuleSet, draft: Draft) -> Iterator[tuple[str, str]]:
    """(dispatch map, chain for what is not in it): pods for the guard, and the rest of the world.

    Behind the maps and not before them: whoever is listed has been found there, and is not looked for a second time.
    """
    for hook, family in product(DISPATCHES, (4, 6)):
        for end, prefix in DISPATCHES[hook]:
            name = f"{prefix}{family}"
            # The node talks to itself over lo, with addresses that may lie in the guard's scope.
            first = (NOT_LOOPBACK,) if hook == "input" else ()
            rules = tuple(rule(*first, *each) for each in _unlisted(end, family, ruleset, draft))
            if rules:
                yield name, draft.chain(Chain(f"unlisted_{name}", rules))


def _unlisted(end: str, family: int, ruleset: NodeRuleSet, draft: Draft) -> Iterator[tuple[Statement, ...]]:
    """On to the guard where ``end``, which the rule set does not list, is a local pod's address."""
    guard = draft.settings.guard
    if guard is None or guard.policy is NewPodPolicy.ALLOW:
        return
    networks = guard.networks if guard.networks or guard.links else ruleset.pod_cidrs
    address = Payload(IP[family], end)
    verdict = Goto(_guard_chain(guard, draft))
    spans = network_spans(networks, family)
    if spans:
        yield Is(address, draft.within(spans, family)), verdict
    if guard.links:
        link = Is(Meta(LINK_OF[end]), _links("guardlinks", guard.links, draft))
        yield link, *_of_consequence(end, family), verdict


def _guard_chain(guard: Guard, draft: Draft) -> str:
    """Closed, save for a pod that reaches itself through a Service: what comes by a pod's own link and goes back
    there.
    """
    count = Count(draft.counter(UNLISTED))
    rejects = guard.policy is NewPodPolicy.REJECT
    return draft.chain(
        Chain(
            "guard",
            (
                rule(Is(Meta("iifkind"), Quoted("veth")), Is(RouteBack("daddr"), True), RETURN),
                rule(count, Goto(refuse_chain(draft)) if rejects else DROP),
            ),
        )
    )
