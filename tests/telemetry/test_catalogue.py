"""docs/metrics.md says what is declared."""

from pathlib import Path

import pytest

from nodewall.cli import main
from nodewall.telemetry.metrics import AGENT, CONTROLLER

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_is_declared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics"]) == 0
    said = capsys.readouterr().out
    assert (ROOT / "docs/metrics.md").read_text() == said, "nodewall metrics >docs/metrics.md"


def test_each_metric_has_a_row_with_all_that_its_labels_can_be() -> None:
    rows = [line for line in (ROOT / "docs/metrics.md").read_text().splitlines() if line.startswith("| `nodewall_")]
    assert len(rows) == len(AGENT) + len(CONTROLLER)
    for row, metric in zip(rows, (*AGENT, *CONTROLLER), strict=True):
        assert f"`{metric.name}`" in row
        assert metric.help in row
        assert all(value in row for label in metric.labels for value in label)


def test_each_file_of_the_folder_is_named() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    assert [file.name for file in (ROOT / "manifests/monitoring").iterdir() if file.name not in page] == []
