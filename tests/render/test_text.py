"""The text for people holds nothing that a user's string could have made."""

import re

from nodewall.render import Settings, render, text
from tests.render.rulesets import EVERYTHING, SETTINGS


def test_every_quoted_string_ends_where_it_should() -> None:
    """Line by line: what is left without quoted strings and comment lines is words of nft and names of ours."""
    for line in text(render(EVERYTHING, SETTINGS["all"])).splitlines():
        if line.strip().startswith("#"):
            assert re.fullmatch(r"\t# [ -~]{1,128}", line)
            continue
        assert line.count('"') % 2 == 0
        rest = re.sub(r'"[^"]*"|^\t+\*(?= : jump unlisted_)', "", line)
        assert re.fullmatch(r"[\ta-z0-9_ .:,;@{}/|&=!x()A-F-]*", rest), rest
        assert "flush" not in rest


def test_it_is_one_script_that_replaces_the_table() -> None:
    lines = text(render(EVERYTHING, Settings(table="other"))).splitlines()
    assert lines[:3] == ["add table inet other", "delete table inet other", "table inet other {"]
    assert lines[-1] == "}"


def test_equal_input_equal_bytes() -> None:
    assert text(render(EVERYTHING)) == text(render(EVERYTHING))
