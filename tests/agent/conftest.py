"""A network namespace for a test, removed afterwards."""

import itertools
import os
from collections.abc import Iterator

import pytest

from e2e import netns

_count = itertools.count(1)


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"nw-agent-{os.getpid()}-{next(_count)}"
    netns.add(name)
    yield name
    netns.delete(name)
