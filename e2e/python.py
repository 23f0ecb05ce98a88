"""How a module of this package runs as a program of its own: with the standard library only, so that it starts fast
and runs in any Python that a pod has."""

import sys


def isolated(file: str, *arguments: str) -> list[str]:
    """The command line for a module file of this package."""
    return [sys.executable, "-I", "-S", file, *arguments]
