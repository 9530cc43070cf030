"""Curves and shares as characters: a line chart of Braille dots, a sparkline, a bar of coloured parts.

A NaN is a gap. Where a console has no colours, parts are told apart by other characters (`Shaded`); of the curves of a
line chart, which are drawn alike there, the labels say which is above.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

FULL = "█"
FILLS = {  # in the place of `FULL` where there are no colours, by style
    **{"green": "█", "yellow": "▓", "red": "▒", "blue": "░", "magenta": "▚", "cyan": "╱", "bright_black": "·"},
    **{"bright_magenta": "▞", "white": "╳", "bright_red": "▤", "bright_yellow": "▥"},
}
BLOCKS = "▁▂▃▄▅▆▇█"
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a Braille cell: 4 rows of 2
TOPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)  # of an axis for shares


@dataclass(frozen=True, slots=True)
class Line:
    label: str
    style: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Shaded:
    """A text whose `FULL` cells are of the `FILLS` where the console that prints it has no colours."""

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if console.color_system is not None and not console.no_color:
            yield self.text
            return
        styles = {at: str(span.style) for span in self.text.spans for at in range(span.start, span.end)}
        plain = self.text.plain
        yield Text("".join(FILLS[styles[at]] if cell == FULL else cell for at, cell in enumerate(plain)))


def squeeze(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: means of neighbours, NaN where there is none."""
    if len(values) <= width:
        return list(values)
    borders = [round(index * len(values) / width) for index in range(width + 1)]
    return [finite_mean(values[start:end]) for start, end in zip(borders, borders[1:], strict=False)]


def finite_mean(values: Sequence[float]) -> float:
    found = [value for value in values if math.isfinite(value)]
    return sum(found) / len(found) if found else math.nan


def sparkline(values: Sequence[float], width: int, low: float | None = None) -> str:
    """One character a value, the latest at the right; the scale goes from `low`, or the least, to the largest."""
    values = squeeze(values, width)
    found = [value for value in values if math.isfinite(value)]
    if not found:
        return ""
    least, most = min(found) if low is None else min(low, *found), max(found)
    scale = (len(BLOCKS) - 1) / (most - least) if most > least else 0.0
    return "".join(BLOCKS[round((value - least) * scale)] if math.isfinite(value) else " " for value in values)


def share_bar(parts: Sequence[tuple[float, str]], width: int) -> Text:
    """A bar of `width` cells, divided like the (number, style) parts; the largest remainders round up."""
    total = sum(number for number, _ in parts if number > 0)
    text = Text()
    if not total:
        return text
    exact = [max(number, 0.0) * width / total for number, _ in parts]
    cells = [math.floor(number) for number in exact]
    by_rest = sorted(range(len(parts)), key=lambda index: cells[index] - exact[index])
    for index in by_rest[: width - sum(cells)]:
        cells[index] += 1
    for (_, style), count in zip(parts, cells, strict=True):
        text.append(FULL * count, style=style)
    return text


def flow(items: Sequence[tuple[str, str]], width: int) -> Text:
    """(text, style) items one after the other; a line ends between two of them."""
    text, used = Text(), 0
    for item, style in items:
        if used and used + len(item) > width:
            text.append("\n")
            used = 0
        text.append(item, style=style).append("  ")
        used += len(item) + 2
    return text


def line_chart(lines: Sequence[Line], width: int, height: int) -> list[Text]:
    """Shares over the steps on a common axis from 0: `height` rows with their labels, latest step at the right."""
    values = [value for line in lines for value in line.values if math.isfinite(value)]
    top = next((one for one in TOPS if max(values, default=0.0) <= one), 1.0)
    columns = 2 * (width - 6)
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for line in lines:
        for x, y in _dots(squeeze(line.values, columns), columns, 4 * height, top):
            row, column = y // 4, x // 2
            bits, _ = cells.get((row, column), (0, ""))
            cells[row, column] = bits | DOTS[y % 4][x % 2], line.style
    rows = []
    for row in range(height):
        label = {0: f"{top:.0%}", height - 1: "0%"}.get(row, f"{top / 2:.0%}" if 2 * row == height - 1 else "")
        text = Text(f"{label:>4} ", style="dim")
        text.append("┤" if label else "│", style="dim")
        for column in range(width - 6):
            bits, style = cells.get((row, column), (0, ""))
            text.append(chr(0x2800 + bits) if bits else " ", style=style)
        rows.append(text)
    return rows


def _dots(values: Sequence[float], columns: int, rows: int, top: float) -> list[tuple[int, int]]:
    """(x, y) of the dots of a curve, joined from each value to the next; y counts downwards."""
    step = (columns - 1) / (len(values) - 1) if len(values) > 1 else 0.0
    points = [(index * step, (1 - value / top) * (rows - 1)) for index, value in enumerate(values)]
    dots = [(round(x), round(y)) for x, y in points if math.isfinite(y)]
    for (x, y), (next_x, next_y) in zip(points, points[1:], strict=False):
        if math.isfinite(y) and math.isfinite(next_y):
            count = max(round(next_x - x), round(abs(next_y - y)), 1)
            dots += [
                (round(x + (next_x - x) * part / count), round(y + (next_y - y) * part / count))
                for part in range(count)
            ]
    return dots
