"""What two sequences have alike at their ends, and what it costs to find out."""

from operator import ne

import pytest

from nodewall.model.sequences import alike_ends


@pytest.mark.parametrize(
    ("old", "new", "ends"),
    [
        ("abc", "abc", (3, 0)),
        ("", "", (0, 0)),
        ("abc", "", (0, 0)),
        ("abc", "abXc", (2, 1)),
        ("abc", "ac", (1, 1)),
        ("abc", "xbc", (0, 2)),
        ("aa", "aaa", (2, 0)),
        ("aXa", "aYa", (1, 1)),
    ],
)
def test_from_the_beginning_then_from_the_end(old: str, new: str, ends: tuple[int, int]) -> None:
    assert alike_ends(old, new, ne) == ends


@pytest.mark.parametrize("size", [10, 10_000])
def test_each_pair_is_compared_once(size: int) -> None:
    asked: list[int] = []

    def differ(one: int, other: int) -> bool:
        asked.append(one)
        return one != other

    everything = list(range(size))
    alike_ends(everything, list(everything), differ)
    assert len(asked) == size
    asked.clear()
    alike_ends(everything, [*everything[: size // 2], -1, *everything[size // 2 + 1 :]], differ)
    assert len(asked) <= size + 1
