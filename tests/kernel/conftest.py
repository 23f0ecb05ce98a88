"""One node for all kernel tests: what is slow is making it, not changing its table."""

from collections.abc import Iterator

import pytest

from tests.kernel.checker import Checker


@pytest.fixture(scope="session")
def checker() -> Iterator[Checker]:
    with Checker() as made:
        yield made
