"""Two nodes for all tables: what is slow is making them, not changing what they hold."""

from collections.abc import Iterator

import pytest

from tests.truth.nodes import Nodes, nodes


@pytest.fixture(scope="session")
def cluster() -> Iterator[Nodes]:
    with nodes("n1", "n2") as made:
        yield made
