"""Run one program to its end; a failure carries the command and what it said."""

import subprocess
from collections.abc import Mapping, Sequence


class CommandError(Exception):
    """A program ended with a code other than zero; the text holds the command, the code and its output."""


def run(
    argv: Sequence[str],
    *,
    given: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    timeout: float = 120.0,
) -> str:
    """Return the standard output of `argv`, fed with `given`.

    Raises CommandError on any code but zero and after `timeout` seconds.
    """
    try:
        done = subprocess.run(
            argv, input=given, env=env, cwd=cwd, timeout=timeout, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(argv)}: not done after {timeout:g} s") from error
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]}: not found") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise CommandError(f"{' '.join(argv)}: exit code {done.returncode}: {said}")
    return done.stdout
