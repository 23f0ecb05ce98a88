"""Apply each fault to a copy of the tree, and see whether its tests notice.

Exit code 0: every fault was caught, and its tests pass without it. 1: not so.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.faults.patches import Fault, faults
from tests.faults.tree import FAILED, PASSED, apply, copy, run_tests


@dataclass(frozen=True, slots=True)
class Result:
    fault: Fault
    caught: bool
    seconds: float
    remark: str = ""

    def __str__(self) -> str:
        word = "caught  " if self.caught else "UNCAUGHT"
        return f"{word} {self.seconds:5.1f} s  {self.fault.name}: {self.fault.what}{self.remark}"


def judged(fault: Fault) -> Result:
    started = time.monotonic()
    with copy() as tree:
        refused = apply(fault.path, tree)
        if refused:
            return Result(fault, caught=False, seconds=0.0, remark=f"\n  does not apply: {refused}")
        code, said = run_tests(tree, fault.tests)
    seconds = time.monotonic() - started
    if code == FAILED:
        return Result(fault, caught=True, seconds=seconds)
    return Result(fault, caught=False, seconds=seconds, remark=f"\n  pytest ended with {code}: {said}")


def complaint(chosen: list[Fault]) -> str:
    """ "" when the files of all these tests pass as long as nothing is broken, else what they say."""
    files = sorted({one.partition("::")[0] for fault in chosen for one in fault.tests if one.startswith("tests/")})
    with copy() as tree:
        code, said = run_tests(tree, files)
    return "" if code == PASSED else f"without any fault pytest ends with {code}: {said}"


def main(names: list[str]) -> int:
    chosen = faults(tuple(names))
    print(f"{len(chosen)} faults", flush=True)  # noqa: T201 - the report
    with ThreadPoolExecutor(max(os.cpu_count() or 1, 1)) as pool:
        sound = pool.submit(complaint, chosen)
        results = [_printed(each.result()) for each in [pool.submit(judged, fault) for fault in chosen]]
        said = sound.result()
    uncaught = sum(not each.caught for each in results)
    print(f"{len(results) - uncaught} caught, {uncaught} not", said, sep="\n" if said else "")  # noqa: T201
    return 1 if uncaught or said else 0


def _printed(result: Result) -> Result:
    print(result, flush=True)  # noqa: T201
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
