"""A line chart as SVG text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain

COLOURS = ("#0b6e4f", "#c8553d", "#3a5a9b", "#8a6d1d", "#7b4397", "#555555")
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 44, 52
"""Margins; the legend is in the right one."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """``low`` and ``high`` are what it shows; ``marks`` have a number beside them."""

    title: str
    low: float
    high: float
    marks: Sequence[float]
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value is, 0 at the low end and 1 at the high one."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def logarithmic(title: str, values: Sequence[float]) -> Axis:
    """From the power of ten below all values to the one above."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    marks = [10.0**power for power in range(low, high + 1)]
    return Axis(title, marks[0], marks[-1], marks, log=True)


def linear(title: str, values: Sequence[float]) -> Axis:
    """From zero to a round number above all values."""
    step = 10 ** math.floor(math.log10(max(values)))
    step = next(part for part in (step / 5, step / 2, step, 2 * step) if max(values) / part <= 8)
    marks = [step * number for number in range(math.ceil(max(values) / step) + 1)]
    return Axis(title, 0, marks[-1], marks)


def at(title: str, values: Sequence[float]) -> Axis:
    """Logarithmic, with a mark at each of the values."""
    return Axis(title, min(values), max(values), sorted(set(values)), log=True)


def draw(title: str, x: Axis, y: Axis, lines: Mapping[str, Sequence[Point]]) -> str:
    drawn = [_line(place, name, lines[name], (x, y)) for place, name in enumerate(lines)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            _text(LEFT, 24, title, size=15),
            *_grid(x, y),
            *chain.from_iterable(drawn),
            "</svg>",
            "",
        ]
    )


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    for mark in y.marks:
        yield f'<path d="M{LEFT} {_down(y, mark)}H{WIDTH - RIGHT}" stroke="#dddddd"/>'
        yield _text(LEFT - 8, float(_down(y, mark)) + 4, number(mark), anchor="end")
    for mark in x.marks:
        yield f'<path d="M{_across(x, mark)} {TOP}V{HEIGHT - BOTTOM}" stroke="#eeeeee"/>'
        yield _text(float(_across(x, mark)), HEIGHT - BOTTOM + 18, number(mark), anchor="middle")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x.title, anchor="middle")
    yield f'<g transform="rotate(-90 16 {HEIGHT / 2:.0f})">{_text(16, HEIGHT / 2, y.title, anchor="middle")}</g>'


def _line(place: int, name: str, points: Sequence[Point], axes: tuple[Axis, Axis]) -> Iterator[str]:
    x, y = axes
    colour = COLOURS[place % len(COLOURS)]
    spots = [(_across(x, one), _down(y, other)) for one, other in points]
    path = " ".join(f"{one},{other}" for one, other in spots)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    if len(spots) <= 12:
        yield from (f'<circle cx="{one}" cy="{other}" r="3.5" fill="{colour}"/>' for one, other in spots)
    level = TOP + 12 + 20 * place
    yield f'<path d="M{WIDTH - RIGHT + 14} {level - 4}h18" stroke="{colour}" stroke-width="3"/>'
    yield _text(WIDTH - RIGHT + 38, level, name)


def _across(axis: Axis, value: float) -> str:
    return f"{LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT):.1f}"


def _down(axis: Axis, value: float) -> str:
    return f"{HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM):.1f}"


def _text(x: float, y: float, words: str, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222222">{escape(words)}</text>'
    )


def number(value: float) -> str:
    """1000 as 1k, 0.5 as it is."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
