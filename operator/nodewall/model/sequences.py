"""What two sequences have alike, at the cost of comparing and at that of nothing else."""

from collections.abc import Callable, Iterable, Sequence
from itertools import compress, count
from typing import Any, TypeVar

T = TypeVar("T")


def alike_ends(old: Sequence[T], new: Sequence[T], differ: Callable[[Any, Any], bool]) -> tuple[int, int]:
    """(how many are alike from the beginning on, how many of the rest are from the end on); ``differ`` tells of two."""
    shorter = min(len(old), len(new))
    head = _alike(old, new, differ, shorter)
    rest = shorter - head
    return head, _alike(reversed(old), reversed(new), differ, rest) if rest else 0


def _alike(these: Iterable[T], those: Iterable[T], differ: Callable[[Any, Any], bool], most: int) -> int:
    return min(next(compress(count(), map(differ, these, those)), most), most)
