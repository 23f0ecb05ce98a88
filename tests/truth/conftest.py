"""Two nodes for all tables: what is slow is making them, not changing what they hold. Says how much was judged."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.truth.cases import ALL
from tests.truth.nodes import Nodes, nodes

_judged: list[int] = []
"""Packets by the kernel."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Nodes]:
    with nodes("n1", "n2") as made:
        yield made
    _judged.append(made.judged)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _judged:
        probes = sum(len(case.parsed_probes()) for case in ALL)
        said = f"{len(ALL)} of them with {probes} probes, {sum(_judged)} packets by the kernel"
        terminalreporter.write_line(f"tables judged: {said}")
