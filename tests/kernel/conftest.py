"""One node for all kernel tests: what is slow is making it, not changing its table."""

from collections.abc import Iterator

import pytest

from tests.kernel.checker import Checker
from tests.kernel.namespace import namespace


@pytest.fixture(scope="session")
def checker() -> Iterator[Checker]:
    with Checker() as made:
        yield made


@pytest.fixture
def empty() -> Iterator[str]:
    """The name of an empty network namespace."""
    with namespace() as name:
        yield name
