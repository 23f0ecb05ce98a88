"""Something done again and again while other things happen."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(work: Callable[[], object], pause: float = 0.0) -> Iterator[None]:
    """Call `work` in a thread of its own, `pause` seconds between two calls, until the block ends.

    What `work` raises ends it, and is raised when the block has ended without an error of its own.
    """
    ending, failed = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            while not ending.wait(pause):
                work()
        except BaseException as error:  # noqa: BLE001 - raised by who waits, below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
    if failed:
        raise failed[0]
