"""What is in a store, in numbers and as a picture. Only the lengths of texts are looked at, not the texts."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlef_plugin import picture
from rlef_plugin.errors import UsageError
from rlef_plugin.problems.layout import TEST_COLUMNS
from rlef_plugin.problems.store import ProblemStore

TOP = 12  # of the labels that are shown one by one
QUANTILES = (0, 0.25, 0.5, 0.75, 0.95, 1)


@dataclass(slots=True)
class Stats:
    """Counts by label, and one number a problem for each amount; None where a problem names no limit."""

    name: str
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    amounts: dict[str, list[float]] = field(default_factory=dict)
    without: dict[str, int] = field(default_factory=dict)  # problems that have no such amount
    checkers: int = 0
    named_files: int = 0
    correct: int = 0
    incorrect: int = 0


AMOUNTS = {  # name -> unit
    "public tests": "",
    "private tests": "",
    "tests' text": "kB",
    "description": "kB",
    "time limit": "s",
    "memory limit": "MiB",
}


def measure(store: ProblemStore) -> Stats:
    """Count; reads the store's lengths and limits, a batch at a time."""
    stats = Stats(store.path.name)
    stats.labels = {kind: Counter() for kind in ("split", "source", "difficulty")}
    columns: dict[str, list[float | None]] = {name: [] for name in AMOUNTS}
    for batch in store.batches():
        for kind, counter in stats.labels.items():
            counter.update(label or "not known" for label in batch.column(kind).to_pylist())
        for name, values in _amounts(batch).items():
            columns[name] += values
        stats.checkers += len(batch) - batch.column("checker").null_count
        files = zip(*(batch.column(f"{end}_file").to_pylist() for end in ("input", "output")), strict=True)
        stats.named_files += sum(any(pair) for pair in files)
    stats.amounts = {name: [value for value in values if value is not None] for name, values in columns.items()}
    stats.without = {name: sum(value is None for value in values) for name, values in columns.items()}
    for flags in store.solution_flags():
        stats.correct += sum(flags)
        stats.incorrect += len(flags) - sum(flags)
    return stats


def _amounts(batch: Any) -> dict[str, list[float | None]]:
    counts = {kind: pc.list_value_length(batch.column(f"{kind}_inputs")).to_pylist() for kind in ("public", "private")}
    texts_bytes = [0] * len(batch)
    for name in TEST_COLUMNS:
        lists = batch.column(name)
        ends = pc.cumulative_sum(pc.binary_length(lists.flatten())).to_pylist()
        before = 0
        for i, number in enumerate(pc.list_value_length(lists).to_pylist()):
            texts_bytes[i] += sum_between(ends, before, before + number)
            before += number
    return {
        "public tests": counts["public"],
        "private tests": counts["private"],
        "tests' text": [length / 1000 for length in texts_bytes],
        "description": [length / 1000 for length in pc.binary_length(batch.column("description")).to_pylist()],
        "time limit": batch.column("time_limit_s").to_pylist(),
        "memory limit": batch.column("memory_limit_mb").to_pylist(),
    }


def sum_between(ends: list[int], first: int, last: int) -> int:
    """Of the values from first on, last excluded, whose running sums these are."""
    return (ends[last - 1] if last else 0) - (ends[first - 1] if first else 0)


def show(stats: Stats, console: Console) -> None:
    """As tables that fit 80 columns."""
    problems = sum(stats.labels["split"].values())
    console.print(
        f"{problems:,} problems; {stats.correct:,} correct and {stats.incorrect:,} incorrect programs; "
        f"{stats.named_files:,} problems with named files, {stats.checkers:,} with a checker"
    )
    for kind, counter in stats.labels.items():
        console.print(_labels(kind, counter))
    table = Table("a problem's", *("least", "25%", "median", "75%", "95%", "most"), "none", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, unit in AMOUNTS.items():
        row = [f"{value:,.5g}" for value in quantiles(stats.amounts[name])] or [""] * len(QUANTILES)
        table.add_row(f"{name}{f' ({unit})' if unit else ''}", *row, f"{stats.without[name]:,}")
    console.print(table)


def _labels(kind: str, counter: Counter[str]) -> Table:
    table = Table(kind, "problems", "", box=None, pad_edge=False)
    table.columns[0].min_width, table.columns[1].justify = 12, "right"
    rows = counter.most_common(TOP)
    if len(counter) > TOP:
        rows.append((f"{len(counter) - TOP} others", sum(counter.values()) - sum(count for _, count in rows)))
    most = max((count for _, count in rows), default=0)
    for label, count in rows:
        table.add_row(escape(label[:24]), f"{count:,}", Bar(most, 0, count, width=36))
    return table


def quantiles(values: list[float]) -> list[float]:
    """Of the sorted values, those at these parts of the way; empty for none."""
    ordered = sorted(values)
    return [ordered[round(part * (len(ordered) - 1))] for part in QUANTILES] if ordered else []


def draw(stats: Stats, png: Path) -> None:
    """The same as a picture.

    Raises:
        UsageError: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(f"{png} needs matplotlib ({error}): install rlef-plugin[plots]") from error
    figure = Figure(figsize=(12, 9), layout="constrained")
    figure.suptitle(f"{stats.name}: {sum(stats.labels['split'].values()):,} problems")
    axes = list(figure.subplots(3, 3).flat)  # three labels, six amounts
    for axis, (kind, counter) in zip(axes[:3], stats.labels.items(), strict=True):
        rows = counter.most_common(TOP)[::-1]
        axis.set_ylim(-0.6, max(len(rows), 5) - 0.4)  # so that few bars are not fat ones
        axis.barh([label[:16] for label, _ in rows], [count for _, count in rows], color="#4c72b0")
        axis.set_title(kind)
    for axis, (name, values) in zip(axes[3:], stats.amounts.items(), strict=True):
        _histogram(axis, values)
        none = f", {stats.without[name]:,} without" if stats.without[name] else ""
        axis.set_title(f"{name}{none}")
        axis.set_xlabel(AMOUNTS[name] or "number")
    picture.save(figure, png, 100, "stats.png")


def _histogram(axis: Any, values: list[float]) -> None:
    """With steps that grow by equal factors where the values lie far apart."""
    if not values:
        axis.text(0.5, 0.5, "none known", ha="center", va="center", transform=axis.transAxes)
        axis.set_xticks([])
        axis.set_yticks([])
        return
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 50 * min(positive):
        factor = (max(positive) / min(positive)) ** (1 / 30)
        axis.hist(positive, bins=[min(positive) * factor**i for i in range(31)], color="#55a868")
        axis.set_xscale("log")
    else:
        axis.hist(values, bins=30, color="#55a868")
    axis.set_ylabel("problems")
