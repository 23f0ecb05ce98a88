"""An empty network namespace for a table."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from e2e import netns

_numbers = count()


@contextmanager
def namespace() -> Iterator[str]:
    name = f"nw-table-{os.getpid()}-{next(_numbers)}"
    netns.add(name)
    try:
        yield name
    finally:
        netns.delete(name)
