"""Which lines are records, which are wanted, and how they look; whatever stands in a log."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.live.records import VERDICTS, Filter, read, seconds, text
from nodewall.model.errors import BadInputError
from nodewall.render.names import Recorded
from nodewall.telemetry.lines import one_line

RECORD: dict[str, Any] = {
    "time": "2026-01-02T03:04:05.678901Z",
    "node_name": "n1",
    "verdict": "deny",
    "traffic_direction": "INGRESS",
    "tier": "Namespace",
    "policy": {"kind": "ExtendedNetworkPolicy", "namespace": "shop", "name": "guards"},
    "rule": "closed",
    "label": "lab",
    "ingress_denied_by": [{"kind": "ExtendedNetworkPolicy", "namespace": "shop", "name": "guards"}],
    "rule_id": "d6dd35179c",
    "IP": {"source": "10.2.0.6", "destination": "10.1.0.5", "ipVersion": "IPv4"},
    "l4": {"TCP": {"source_port": 4711, "destination_port": 80}},
    "protocol": "TCP",
    "source": {"kind": "remote"},
    "destination": {"kind": "pod", "namespace": "shop", "pod_name": "web"},
    "count": 3,
    "suppressed": 17,
}
ISOLATED = RECORD | {
    "ingress_denied_by": [{"kind": "NetworkPolicy", "namespace": "shop", "name": name} for name in ("a", "b")],
    "isolating_policies": 5,
}
del ISOLATED["policy"], ISOLATED["rule"], ISOLATED["label"]


def nobody(_address: str) -> str:
    return ""


def plain(record: dict[str, Any]) -> str:
    return text(record, nobody, coloured=False)


def test_a_record_is_told_from_other_lines() -> None:
    line = json.dumps(RECORD).encode()
    assert read(line) == RECORD
    for other in (
        b"",
        b"text",
        b'{"message": "rule_id"}',
        line[:-1],
        b'["rule_id"]',
        b'{"rule_id": 7}',
        b'"\xff"rule_id"',
    ):
        assert read(other) is None


@given(st.binary(max_size=200))
def test_no_line_is_an_error(line: bytes) -> None:
    for each in (line, b'{"rule_id": "x", ' + line + b"}"):
        found = read(each)
        assert found is None or "rule_id" in found


# --- filters ----------------------------------------------------------------------------------------------------------

WANTED = {
    "all": Filter(),
    "namespace of a pod": Filter(namespace="shop"),
    "pod": Filter(pod="shop/web"),
    "policy": Filter(policy="shop/guards"),
    "verdict": Filter(verdicts=("accept", "deny")),
    "all of it": Filter("shop", "shop/web", "shop/guards", ("deny",)),
}
UNWANTED = {
    "namespace": Filter(namespace="other"),
    "pod": Filter(pod="shop/db"),
    "policy elsewhere": Filter(policy="other/guards"),
    "cluster-wide policy of the name": Filter(policy="guards"),
    "verdict": Filter(verdicts=("would-deny",)),
    "one of several": Filter("shop", "shop/db"),
}


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_what_is_asked_for_is_found(wanted: Filter) -> None:
    assert wanted.wants(RECORD)


@pytest.mark.parametrize("wanted", UNWANTED.values(), ids=UNWANTED)
def test_what_is_not_asked_for_is_left_out(wanted: Filter) -> None:
    assert not wanted.wants(RECORD)


def test_each_policy_that_isolates_is_found_and_its_namespace() -> None:
    assert Filter(policy="shop/b").wants(ISOLATED)
    assert not Filter(policy="shop/guards").wants(ISOLATED)
    elsewhere = ISOLATED | {"destination": {"kind": "remote"}}
    assert Filter(namespace="shop").wants(elsewhere)


def test_a_cluster_wide_policy_is_found_by_its_name() -> None:
    wide = RECORD | {"policy": {"kind": "ClusterExtendedNetworkPolicy", "name": "guards"}, "ingress_denied_by": []}
    assert Filter(policy="guards").wants(wide)


def test_what_cannot_be_asked_for_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="--verdict"):
        Filter(verdicts=("denied",))
    with pytest.raises(BadInputError, match="--pod"):
        Filter(pod="web")


def test_every_verdict_on_record_can_be_asked_for() -> None:
    assert set(VERDICTS) == {each.value for each in Recorded}


@pytest.mark.parametrize(("text", "expected"), [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_a_time_is_a_number_and_a_unit(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "1.5h", "0s", "10 m", "٣m", "99999999999s"])
def test_another_time_is_bad_input(text: str) -> None:
    with pytest.raises(BadInputError, match="--since"):
        seconds(text)


# --- text -------------------------------------------------------------------------------------------------------------


def test_a_record_is_one_line_that_reads_well() -> None:
    assert plain(RECORD) == (
        "03:04:05.678 DENY         10.2.0.6:4711 -> shop/web 10.1.0.5:80 TCP  ingress on n1"
        "  by ExtendedNetworkPolicy shop/guards closed [lab]  x3 and 17 without a record"
    )


def test_isolation_names_who_isolates_and_how_many_more() -> None:
    assert "isolated by NetworkPolicy shop/a, shop/b and 3 more" in plain(ISOLATED)


def test_other_protocols_and_ends() -> None:
    echo = RECORD | {"l4": {"ICMPv6": {"type": 128, "code": 0}}, "protocol": "ICMPv6", "count": 1, "suppressed": 0}
    echo |= {"IP": {"source": "fd00::1", "destination": "fd00::2"}, "destination": {"kind": "node", "node_name": "n1"}}
    assert "[fd00::1] -> node n1 [fd00::2] ICMPv6 type 128 code 0" in plain(echo)
    assert plain(echo).endswith("[lab]")


def test_a_line_about_no_flow() -> None:
    bare = {key: RECORD[key] for key in ("time", "node_name", "rule_id", "count", "suppressed")}
    assert plain(bare) == "03:04:05.678 ?            (no flow)  on n1  by rule d6dd35179c  x3 and 17 without a record"


def test_an_address_gets_a_name_where_somebody_knows_it() -> None:
    assert "shop/db 10.2.0.6:4711 -> shop/web" in text(RECORD, {"10.2.0.6": "shop/db"}.__getitem__, coloured=False)


@pytest.mark.parametrize(("verdict", "colour"), [("deny", 31), ("accept", 32), ("would-deny", 33)])
def test_colours_on_a_terminal(verdict: str, colour: int) -> None:
    shown = text(RECORD | {"verdict": verdict}, nobody, coloured=True)
    assert f"\x1b[{colour}m{verdict.upper().ljust(12)}\x1b[0m" in shown


NASTY = "x\nDENY\r\x1b[2J\u2028\u009b31m"


def test_nothing_in_a_record_reaches_the_terminal_as_more_than_text() -> None:
    foul: Any = json.loads(json.dumps(RECORD).replace("shop", "S").replace('"closed"', json.dumps(NASTY)))
    foul |= {"verdict": NASTY, "node_name": NASTY, "label": NASTY, "time": "0123456789T" + NASTY, "protocol": NASTY}
    foul["source"] = {"namespace": NASTY, "pod_name": NASTY}
    foul["IP"] = {"source": NASTY, "destination": NASTY}
    shown = text(foul, lambda _: NASTY, coloured=False)
    assert harmless(shown)


KEYS = st.sampled_from([*RECORD, "name", "namespace", "kind", "pod_name", "type"])
SCALARS = st.none() | st.booleans() | st.integers() | st.text()
JSON = st.recursive(SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=4))


def harmless(shown: str) -> bool:
    return shown == one_line(shown) and len(shown.splitlines()) == 1


@given(st.dictionaries(st.sampled_from(list(RECORD)), JSON))
def test_no_shape_of_a_record_is_an_error(other: dict[str, Any]) -> None:
    record = RECORD | other
    assert harmless(text(record, nobody, coloured=False))
    for wanted in WANTED.values():
        assert wanted.wants(record) in (True, False)
