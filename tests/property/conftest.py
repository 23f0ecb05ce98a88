"""Says at the end of a run how much the properties have judged."""

from typing import Any

from tests.property.tally import JUDGED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if JUDGED:
        said = ", ".join(f"{count} {what}" for what, count in sorted(JUDGED.items()))
        terminalreporter.write_line(f"properties judged: {said}")
