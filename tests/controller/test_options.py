"""The options of ``nodewall controller``: where a value comes from, and what is said about a wrong one."""

import pytest

from nodewall.controller.main import controller as run
from nodewall.controller.options import CONTROLLER, controller
from nodewall.model.cluster import LogWish
from nodewall.model.errors import BadInputError
from nodewall.telemetry.logs import Format, Level
from nodewall.telemetry.web import Address


def test_without_any_there_are_defaults() -> None:
    found = controller([], {})
    assert (found.health, found.metrics, found.kubeconfig) == (Address("127.0.0.1", 9810), None, None)
    assert (found.log_default, found.log_rate, found.log_burst) == (LogWish.DENY, 10, 20)
    assert (found.log_level, found.log_format) == (Level.INFO, None)


def test_a_flag_beats_a_variable_and_that_beats_the_default() -> None:
    environ = {"NODEWALL_HEALTH_ADDRESS": "[::1]:80", "NODEWALL_LOG_FORMAT": "TEXT"}
    found = controller(["--health-address", "0.0.0.0:81"], environ)
    assert (found.health, found.log_format) == (Address("0.0.0.0", 81), Format.TEXT)
    assert controller([], environ).health == Address("::1", 80)


WRONG = [
    (["--health-address", "9810"], "--health-address: '9810': must be ADDRESS:PORT, an IPv6 address in brackets"),
    (["--health-address", "localhost:1"], "must be ADDRESS:PORT"),
    (["--health-address", "127.0.0.1:65536"], "must be ADDRESS:PORT, an IPv6 address in brackets, the port 0 to 65535"),
    (["--metrics-address", "127.0.0.1:x"], "must be ADDRESS:PORT"),
    (["--policy-log", "Some"], "'Some': must be one of Deny, Accept, All, None"),
    (["--policy-log-rate", "0"], "must be a whole number from 1 to 1000"),
    (["--policy-log-burst", "1e3"], "must be a whole number from 1 to 10000"),
    (["--log-level", "loud"], "must be one of debug, info, warning, error"),
    (["--no-such"], "unknown option --no-such"),
    (["stray"], "unknown option stray"),
    (["--log-level"], "expected one argument"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_value_is_refused_by_name(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInputError) as caught:
        controller(arguments, {})
    assert said in str(caught.value)
    assert run(arguments, {}) == 2
    assert capsys.readouterr().err == f"nodewall: {caught.value}\n"


def test_a_wrong_variable_is_refused_by_its_name() -> None:
    with pytest.raises(BadInputError, match=r"\$NODEWALL_POLICY_LOG_RATE: 'x'"):
        controller([], {"NODEWALL_POLICY_LOG_RATE": "x"})


def test_every_row_has_a_flag_a_variable_and_a_meaning_of_its_own() -> None:
    for column in ("field", "flag", "variable", "help"):
        values = [getattr(option, column) for option in CONTROLLER]
        assert len(set(values)) == len(values)
    for option in CONTROLLER:
        assert option.variable == "NODEWALL_" + option.flag.removeprefix("--").replace("-", "_").upper()


def test_help_shows_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        controller(["--help"], {})
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(option.flag in shown and option.variable in shown for option in CONTROLLER)
