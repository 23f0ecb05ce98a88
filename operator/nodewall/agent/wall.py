"""Points in time for people. Nothing is decided by them: that takes a clock that never goes back."""

from collections.abc import Callable
from datetime import UTC, datetime

Wall = Callable[[], float]
"""Seconds since 1970."""


def rfc3339(seconds: float) -> str:
    """As the API writes times: UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
