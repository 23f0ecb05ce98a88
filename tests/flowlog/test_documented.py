"""docs/logging.md says what is written: every field and no other, and its example is a record."""

import json
import re
from pathlib import Path
from typing import Any

from nodewall.agent.flowlog_lines import line, summary
from nodewall.live.records import Filter, text
from nodewall.render.names import Recorded
from nodewall.telemetry.metrics import Loss
from tests.flowlog.test_lines import NAMES, VERDICTS, entry

DOCUMENT = (Path(__file__).parents[2] / "docs" / "logging.md").read_text()
EXAMPLE: dict[str, Any] = json.loads(DOCUMENT.partition("```json\n")[2].partition("```")[0])


def documented() -> set[str]:
    """First column of the table of fields."""
    rows = DOCUMENT.partition("| field |")[2].partition("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def written() -> set[str]:
    prefixes = [*VERDICTS, "deny:admin", "accept:own", "deny:out"]
    records = [line(entry(prefix), NAMES, "n1", 1) for prefix in prefixes]
    return {key for record in (*records, summary("admin", 1, NAMES, "n1", 0.0)) for key in record}


def test_every_field_is_documented_and_no_other() -> None:
    assert documented() - {"egress_allowed_by"} == written()


def test_the_example_is_a_record() -> None:
    assert list(EXAMPLE) == list(line(entry("deny:admin"), NAMES, "n1", 17))
    assert Filter(namespace="shop", policy="shop/guards", verdicts=("deny",)).wants(EXAMPLE)
    assert "no-strangers [cross-tenant]" in text(EXAMPLE, str, coloured=False)


def test_every_verdict_and_every_way_to_lose_a_record_is_named() -> None:
    for each in Recorded:
        assert f"`{each}`" in DOCUMENT
    for loss in Loss:
        assert f'loss="{loss}"' in DOCUMENT
