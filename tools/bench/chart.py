# SPDX-License-Identifier: GPL-2.0
"""Two kinds of plots, as SVG: ratios as dots on a common scale, and lines over a number that grows.

The toolbox has no library for plots; these two need little, and come out the same, byte for byte, from the
same numbers, so that a new report differs only where the numbers do.
"""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, ROW, TOP, LABELS, RIGHT = 900, 22, 76, 330, 70
FONT = "font: 13px sans-serif"
# Good, neither, bad; distinguished by people who see no red, too.
GOOD, EVEN, BAD = "#0072b2", "#666666", "#d55e00"
COLOURS = (BAD, GOOD, "#009e73")


@dataclass(frozen=True)
class Row:
    """A ratio and, if it is not exact, its interval; without a ratio, a heading."""

    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        assert self.value is not None
        return (
            self.value if self.low is None else self.low,
            self.value if self.high is None else self.high,
        )


class Picture:
    """An SVG that is being drawn."""

    def __init__(self, title: str, width: float, height: float) -> None:
        self.root = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", role="img")
        for name, value in (("width", width), ("height", height), ("style", FONT)):
            self.root.set(name, _text(value))
        self.root.set("viewBox", f"0 0 {_text(width)} {_text(height)}")
        ElementTree.SubElement(self.root, "title").text = title
        self.add("rect", width=width, height=height, fill="#ffffff")
        self.write(12, 24, title, style="font-weight: bold; font-size: 15px")

    def add(self, kind: str, **properties: object) -> ElementTree.Element:
        names = {name.replace("_", "-"): _text(value) for name, value in properties.items()}
        return ElementTree.SubElement(self.root, kind, names)

    def write(self, x: float, y: float, words: str, **properties: object) -> None:
        self.add("text", x=x, y=y, **properties).text = words

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str, **properties: object) -> None:
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, **properties)

    def text(self) -> str:
        ElementTree.indent(self.root)
        return f"{ElementTree.tostring(self.root, encoding='unicode')}\n"


def _text(value: object) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def steps(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers that cover the range, at most so many."""
    span = (high - low) or 1.0
    size = 10.0 ** math.floor(math.log10(span / most))
    size *= next(factor for factor in (1, 2, 5, 10, 20) if span / (size * factor) <= most - 2)
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    return [round(number * size, 10) for number in range(first, max(last, first + 1) + 1)]


def ratios(title: str, rows: Sequence[Row], goal: float | None = None, less_is_better: bool = True) -> str:
    """Each row a dot at its ratio, with its interval; 1 is a line of its own, as is the goal."""
    ends = [end for row in rows if row.value is not None for end in row.ends]
    marks = steps(min([*ends, 1.0, goal or 1.0]), max([*ends, 1.0]))
    width = WIDTH - LABELS - RIGHT
    height = TOP + ROW * len(rows) + 16

    def x(value: float) -> float:
        return LABELS + width * (value - marks[0]) / (marks[-1] - marks[0])

    picture = Picture(title, WIDTH, height)
    bottom = height - 12
    for mark in marks:
        picture.line(x(mark), TOP - 8, x(mark), bottom, "#dddddd")
        picture.write(x(mark), TOP - 14, f"{mark:g}", text_anchor="middle", fill="#444444")
    picture.line(x(1.0), TOP - 8, x(1.0), bottom, "#000000")
    if goal is not None:
        picture.line(x(goal), TOP - 8, x(goal), bottom, GOOD, stroke_dasharray="4 3")
        picture.write(x(goal), TOP - 28, "goal", text_anchor="middle", fill=GOOD)
    for number, row in enumerate(rows):
        y = TOP + ROW * number + ROW / 2
        if row.value is None:
            picture.write(12, y + 4, row.label, style="font-weight: bold")
            continue
        low, high = row.ends
        better = high < 1 if less_is_better else low > 1
        worse = low > 1 if less_is_better else high < 1
        colour = GOOD if better else BAD if worse else EVEN
        picture.write(24, y + 4, row.label)
        if low != high:
            picture.line(x(low), y, x(high), y, colour, stroke_width=3, stroke_opacity=0.5)
        picture.add("circle", cx=x(row.value), cy=y, r=5, fill=colour)
        picture.write(WIDTH - 12, y + 4, f"{row.value:.2f}", text_anchor="end", fill=colour)
    return picture.text()


def lines(title: str, unit: str, series: Mapping[str, Mapping[int, float]]) -> str:
    """A line for each name. Both scales are logarithmic: what grows in proportion is straight."""
    height, left, below = 320, 100, 40
    numbers = sorted({number for points in series.values() for number in points})
    values = [value for points in series.values() for value in points.values()]
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    marks = [10.0**power for power in range(first, last + 1)]
    logarithms = math.log(numbers[0]), math.log(max(numbers[-1], numbers[0] + 1))

    def x(number: int) -> float:
        share = (math.log(number) - logarithms[0]) / (logarithms[1] - logarithms[0])
        return left + (WIDTH - left - 190) * share

    def y(value: float) -> float:
        return height - below - (height - below - TOP) * (math.log10(value) - first) / (last - first)

    picture = Picture(title, WIDTH, height)
    for mark in marks:
        picture.line(left, y(mark), x(numbers[-1]), y(mark), "#dddddd")
        picture.write(left - 8, y(mark) + 4, f"{mark:,.0f}", text_anchor="end", fill="#444444")
    for number in numbers:
        picture.write(x(number), height - below + 18, f"{number:,}", text_anchor="middle", fill="#444444")
    picture.write(x(numbers[-1]), height - 6, unit, text_anchor="end", fill="#444444")
    for place, (name, points) in enumerate(_by_last(series)):
        colour = COLOURS[list(series).index(name) % len(COLOURS)]
        path = " ".join(f"{_text(x(number))},{_text(y(value))}" for number, value in sorted(points.items()))
        picture.add("polyline", points=path, fill="none", stroke=colour, stroke_width=2)
        for number, value in points.items():
            picture.add("circle", cx=x(number), cy=y(value), r=4, fill=colour)
        # One below the other, whatever the lines do.
        picture.write(x(numbers[-1]) + 16, TOP + 18 * place + 8, name, fill=colour)
    return picture.text()


def _by_last(series: Mapping[str, Mapping[int, float]]) -> Iterable[tuple[str, Mapping[int, float]]]:
    """The one that ends highest first, as its line does."""
    return sorted(series.items(), key=lambda each: -each[1][max(each[1])])
