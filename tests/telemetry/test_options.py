"""Options as a table: what both halves have in common."""

import pytest

from nodewall.agent.options import AGENT, CLEANUP
from nodewall.controller.options import CONTROLLER
from nodewall.telemetry.options import Option, parse

TABLES = {"agent": AGENT, "cleanup": CLEANUP, "controller": CONTROLLER}
EVERY = [pytest.param(option, id=f"{half} {option.flag}") for half, table in TABLES.items() for option in table]


def test_what_both_halves_say_is_declared_once() -> None:
    by_flag: dict[str, set[tuple[str, str, str]]] = {}
    for table in TABLES.values():
        for option in table:
            by_flag.setdefault(option.flag, set()).add((option.field, option.variable, option.help))
    assert {flag: rows for flag, rows in by_flag.items() if len(rows) > 1} == {}


@pytest.mark.parametrize("option", EVERY)
def test_a_default_that_is_shown_can_be_given_back(option: Option) -> None:
    if option.default_text:
        assert option.parse(option.default_text) == option.default
    else:
        assert option.required or option.default in (None, ())


def test_a_mask_is_shown_as_people_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("nodewall agent", AGENT, ["--help"], {})
    assert "0xfff00000 by default" in " ".join(capsys.readouterr().out.split())
