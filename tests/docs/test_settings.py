"""Every setting of every half: documented as it is declared, given by flag or by variable, refused by its name."""

import subprocess
import sys
from pathlib import Path

import pytest

from nodewall.agent.main import agent, cleanup
from nodewall.agent.options import AGENT, CLEANUP
from nodewall.controller.main import controller
from nodewall.controller.options import CONTROLLER
from nodewall.model.errors import BadInputError
from nodewall.telemetry.options import Option, parse

ROOT = Path(__file__).resolve().parents[2]
VERBS = {"agent": (agent, AGENT), "cleanup": (cleanup, CLEANUP), "controller": (controller, CONTROLLER)}
EVERY = [pytest.param(verb, option, id=f"{verb} {option.flag}") for verb, (_, t) in VERBS.items() for option in t]

REFUSED: dict[str, tuple[str, ...]] = {
    "--node": ("N1", "a/b", "-a", "a" * 254, "a\nb"),
    "--kubeconfig": ("/",),
    "--state-directory": ("state", "./x"),
    "--health-address": ("9810", "localhost:1", "127.0.0.1:65536", "127.0.0.1:", "::1:80:"),
    "--metrics-address": ("127.0.0.1:x", "*:80"),
    "--policy-log": ("Some", "Deny,Accept"),
    "--policy-log-rate": ("0", "1001", "-1", "1.5"),
    "--policy-log-burst": ("0", "10001", "1e3"),
    "--share-groups-above": ("-1", "1000001", "always"),
    "--new-pods": ("Deny", "off"),
    "--pod-cidrs": ("10.0.0.1/8", "10.0.0.0/8;10.1.0.0/16", "all"),
    "--established": ("yes", "Keep,Strict"),
    "--mark-mask": ("0", "0x100", "0x5", "0x1ffffffff", "-1", "x"),
    "--log-level": ("loud", "trace"),
    "--log-format": ("xml",),
}
TAKEN: dict[str, tuple[str, str]] = {
    "--node": ("n1", "n1"),
    "--kubeconfig": ("/etc/kubeconfig", "/etc/kubeconfig"),
    "--state-directory": ("/srv/wall", "/srv/wall"),
    "--health-address": ("[::1]:99", "[::1]:99"),
    "--metrics-address": ("127.0.0.1:0", "127.0.0.1:0"),
    "--policy-log": ("none", "None"),
    "--policy-log-rate": ("1000", "1000"),
    "--policy-log-burst": ("1", "1"),
    "--share-groups-above": ("7", "7"),
    "--new-pods": ("ALLOW", "Allow"),
    "--pod-cidrs": ("10.0.0.0/8, fd00::/64", "(IPv4Network('10.0.0.0/8'), IPv6Network('fd00::/64'))"),
    "--established": ("strict", "Strict"),
    "--mark-mask": ("0x3", "3"),
    "--log-level": ("DEBUG", "debug"),
    "--log-format": ("text", "text"),
}
"""Flag -> what is written, what it is read as."""


def test_every_setting_is_tried() -> None:
    assert set(REFUSED) == set(TAKEN) == {option.flag for _, table in VERBS.values() for option in table}


def test_the_page_is_what_is_declared() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "nodewall.cli", "settings"], capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs/settings.md").read_text() == said.stdout, "nodewall settings >docs/settings.md"
    for _, table in VERBS.values():
        assert all(f"| `{option.flag}` | `{option.variable}` |" in said.stdout for option in table)


@pytest.mark.parametrize(("verb", "option"), EVERY)
def test_a_wrong_value_ends_the_process_with_its_name_and_what_it_takes(
    verb: str, option: Option, capsys: pytest.CaptureFixture[str]
) -> None:
    run, table = VERBS[verb]
    others = {} if option.flag == "--node" else {"NODEWALL_NODE": "n1"}
    for value in REFUSED[option.flag]:
        for arguments, environ, name in (
            ([f"{option.flag}={value}"], others, option.flag),
            ([], others | {option.variable: value}, f"${option.variable}"),
        ):
            with pytest.raises(BadInputError):  # before it is run: one that took the value would run for ever
                parse(verb, table, arguments, environ)
            assert run(arguments, environ) == 2
            assert capsys.readouterr().err == f"nodewall: {name}: {value!r}: must be {option.parse.wants}\n"


@pytest.mark.parametrize(("verb", "option"), EVERY)
def test_a_setting_is_taken_from_its_flag_and_from_its_variable(verb: str, option: Option) -> None:
    _, table = VERBS[verb]
    value, read = TAKEN[option.flag]
    others = {"NODEWALL_NODE": "n0"}
    by_flag = parse(verb, table, [option.flag, value], others | {option.variable: REFUSED[option.flag][0]})
    by_variable = parse(verb, table, [], others | {option.variable: value})
    for found in (by_flag, by_variable):
        got = getattr(found, option.field)
        assert str(got) == read
        assert option.required or got != option.default


@pytest.mark.parametrize(("verb", "option"), EVERY)
def test_an_empty_value_is_the_default(verb: str, option: Option) -> None:
    _, table = VERBS[verb]
    found = parse(verb, table, [], {option.variable: "", "NODEWALL_NODE": "n0"})
    assert option.required or getattr(found, option.field) == option.default


def test_the_variables_have_the_names_of_the_flags() -> None:
    for _, table in VERBS.values():
        for option in table:
            assert option.variable == "NODEWALL_" + option.flag.removeprefix("--").replace("-", "_").upper()
