"""The base chains: what happens to a packet before and after the classes of its ends judge it.

Both hang just before ``filter`` and let pass what nothing decides, so that other tables still have their say.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

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
)
from nodewall.render.matches import IP
from nodewall.render.settings import Guard, NewPodPolicy, Strict
from nodewall.render.spans import network_spans
from nodewall.render.table import Chain, Hook

PRIORITY = -5
"""Just before filter (0): after destination NAT (-100) and conntrack (-200), so rules see the pod that was chosen."""

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


def draw(ruleset: NodeRuleSet, draft: Draft, *, closes_node: bool = False) -> None:
    """``closes_node``: some pod's rules deny it something of its own node."""
    between = _link_local(draft, ("saddr", "daddr"))
    to_node = _link_local(draft, ("saddr",)) if closes_node else ()
    _hang("forward", between, partial(_forwarded, ruleset, draft), draft)
    _hang("input", to_node, partial(_arriving, ruleset, draft), draft)


def _hang(
    hook: str, link_local: Iterable[table.Rule], judged: Callable[[int], Iterable[table.Rule]], draft: Draft
) -> None:
    """A base chain, which IPv6 leaves for one of its own: no packet passes the rules of the other family."""
    six = draft.chain(Chain(f"{hook}6", (*_neighbours(), *link_local, *judged(6), *_stamp(draft, 6))))
    rules = (
        *_spoofed(draft),
        *_established(draft.settings.strict),
        rule(Is(Meta("nfproto"), "ipv6"), Goto(six)),
        *judged(4),
        *_stamp(draft, 4),
    )
    draft.chain(Chain(hook, rules, Hook(hook, PRIORITY)))


def _forwarded(ruleset: NodeRuleSet, draft: Draft, family: int) -> Iterator[table.Rule]:
    yield from _unlisted("saddr", family, ruleset, draft)
    yield from _unlisted("daddr", family, ruleset, draft)
    yield _dispatch("egress", "saddr", family)
    yield _dispatch("ingress", "daddr", family)


def _arriving(ruleset: NodeRuleSet, draft: Draft, family: int) -> Iterator[table.Rule]:
    # The node talks to itself over lo, with addresses that may lie in the guard's scope.
    for one in _unlisted("saddr", family, ruleset, draft):
        yield replace(one, statements=(NOT_LOOPBACK, *one.statements))
    yield _dispatch("host", "saddr", family)


def _neighbours() -> Iterator[table.Rule]:
    yield rule(Is(Payload("icmpv6", "type"), OneOf(NEIGHBOUR_DISCOVERY)), Is(Payload("ip6", "hoplimit"), 255), ACCEPT)
    yield rule(
        Is(Payload("icmpv6", "type"), OneOf(MULTICAST_LISTENER)), Is(Payload("ip6", "saddr"), LINK_LOCAL), ACCEPT
    )


def _dispatch(map_prefix: str, end: str, family: int) -> table.Rule:
    return rule(Dispatch(Payload(IP[family], end), f"{map_prefix}{family}"))


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


def _established(strict: Strict | None) -> Iterator[table.Rule]:
    """Replies, and ICMP errors of what was accepted. Strict: only while the connection carries the present
    generation.
    """
    if strict is None:
        yield rule(Is(Ct("state"), Flags(("established", "related"))), ACCEPT)
        return
    yield rule(Is(Ct("state"), Flags(("related",))), Is(Meta("l4proto"), OneOf((Proto(1), Proto(58)))), ACCEPT)
    live = Is(Ct("state"), Flags(("established", "related")))
    yield rule(live, Is(MarkBits(strict.mask), strict.value), ACCEPT)
    yield rule(live, Is(Ct("direction"), "reply"), ACCEPT)


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


def _unlisted(end: str, family: int, ruleset: NodeRuleSet, draft: Draft) -> Iterator[table.Rule]:
    """A jump to the guard's chain where ``end`` is a local pod's address that the rule set does not list."""
    guard = draft.settings.guard
    if guard is None or guard.policy is NewPodPolicy.ALLOW:
        return
    networks = guard.networks if guard.networks or guard.links else ruleset.pod_cidrs
    address = Payload(IP[family], end)
    unlisted = Is(address, SetRef(f"local{family}"), negated=True)
    verdict = Jump(_guard_chain(guard, draft))
    spans = network_spans(networks, family)
    if spans:
        yield rule(Is(address, draft.within(spans, family)), unlisted, verdict)
    if guard.links:
        link = Is(Meta(LINK_OF[end]), _links("guardlinks", guard.links, draft))
        yield rule(link, *_of_consequence(end, family), unlisted, verdict)


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
