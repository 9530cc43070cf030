"""`rlef report`: evaluations side by side on one page that needs nothing else, and the same numbers as JSON and CSV.

    evaluations -> scores, behaviour, curves -> report.html (plots inside), report.json, report.csv, *.png

The page holds tables and plots, the paper's published rows where they can be compared and what differs where they
cannot, and examples of dialogs. It loads nothing from anywhere, is readable on a phone and in print, and says of every
interval what it is. Private tests are not in it: a dialog holds what the model saw.
"""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation import figures, page, score
from rlef_plugin.evaluation import rollouts as kept
from rlef_plugin.evaluation import settings as settings_file
from rlef_plugin.evaluation.analyze import Behaviour, analyze
from rlef_plugin.evaluation.rollouts import Rollout
from rlef_plugin.evaluation.run import ROLLOUTS
from rlef_plugin.evaluation.score import Score


@dataclass(frozen=True)
class Run:
    """One evaluation with everything that is said about it."""

    name: str
    settings: dict[str, Any]
    rollouts: list[Rollout]
    scores: list[Score]
    behaviour: Behaviour
    curves: dict[int, list[Score]]  # turn limit -> n@k by budget, n = 1

    @property
    def turn_limit(self) -> int:
        return int(self.settings["episode"]["turn_limit"])


def load(folder: Path, name: str = "") -> Run:
    """Raise UsageError if the folder is no evaluation or holds no rollouts."""
    settings = settings_file.read(folder)
    found = kept.read(folder / ROLLOUTS)
    curves = {limit: score.budget_curve(found, limit, 1) for limit in score.curve_turns(settings)}
    behaviour = analyze(found, settings["episode"]["turn_limit"], score.stops_early(settings))
    return Run(name or folder.name, settings, found, score.table(found, settings), behaviour, curves)


def check_target(out: Path) -> None:
    """That a page and what goes beside it can be written there, and over nothing else.

    Raises:
        UsageError: it is no place for a page.
    """
    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise UsageError(f"{str(out)!r} is no name for a page: name a file that ends in .html, such as report.html")
    if out.with_suffix(".json").name == settings_file.FILE:
        raise UsageError(f"{out} would put its numbers over an evaluation's {settings_file.FILE}: choose another name")
    out.parent.mkdir(parents=True, exist_ok=True)


def write(runs: Sequence[Run], out: Path) -> list[Path]:
    """Everything beside `out`, which is the page; returns what was written."""
    check_target(out)
    drawn = draw(runs)
    text = page.render(runs, {name: figures.svg(figure) for name, figure in drawn.items()})
    out.write_text(text, encoding="utf-8")
    pictures = [_picture(out.with_name(f"{out.stem}-{name}.png"), figure) for name, figure in drawn.items()]
    numbers = [as_dict(run) for run in runs]
    out.with_suffix(".json").write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n")
    _write_csv(runs, out.with_suffix(".csv"))
    return [out, out.with_suffix(".json"), out.with_suffix(".csv"), *pictures]


def show(runs: Sequence[Run], console: Console) -> None:
    """The behaviour of runs side by side, in a terminal."""
    table = Table("share of rollouts, % (95% interval)", *(escape(run.name) for run in runs))
    for row in page.behaviour_rows(runs):
        table.add_row(*row)
    console.print(table)
    for run in runs:
        if lacking := score.incomplete(run.rollouts, run.settings):
            console.print(f"{escape(run.name)}: {lacking}")


def draw(runs: Sequence[Run]) -> dict[str, Any]:
    """Every figure that has something to show, by name."""
    behaviours = [(run.name, run.behaviour) for run in runs]
    curves = [
        (f"{run.name}, {limit} turn{'s' if limit > 1 else ''}", curve)
        for run in runs
        for limit, curve in run.curves.items()
    ]
    drawn = {"solved": figures.solved_by_turn(behaviours), "budget": figures.budgets(curves)}
    if any(behaviour.recovery for _, behaviour in behaviours):
        drawn["errors"] = figures.errors_at_first_turn(behaviours)
        if any(run.turn_limit > 1 for run in runs):
            drawn["recovery"] = figures.recovery(behaviours)
    if any(any(behaviour.chrf_bins) for _, behaviour in behaviours):
        drawn["chrf"] = figures.chrf(behaviours)
    return drawn


def as_dict(run: Run) -> dict[str, Any]:
    """All numbers of a run, without its rollouts, as JSON can hold them."""
    numbers = {
        "name": run.name,
        "settings": run.settings,
        "incomplete": score.incomplete(run.rollouts, run.settings),
        "scores": [{"name": one.name, **asdict(one)} for one in run.scores],
        "behaviour": asdict(run.behaviour),
        "budget": {limit: [{"k": one.k, **asdict(one.rate)} for one in curve] for limit, curve in run.curves.items()},
        "problems": {name: _problem(run, group) for name, group in kept.by_problem(run.rollouts).items()},
    }
    return dict(plain(numbers))


def plain(value: Any, digits: int | None = None) -> Any:
    """JSON has no NaN: what is not known is null. Numbers are rounded to `digits`, if given."""
    if isinstance(value, dict):
        return {key: plain(one, digits) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, digits) for one in value]
    if isinstance(value, float):
        return None if not math.isfinite(value) else value if digits is None else round(value, digits)
    return value


def _problem(run: Run, rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Rollouts of one problem: how many there are, pass the public tests, and solve it; by turn where exact."""
    numbers: dict[str, Any] = asdict(score.counts(rollouts, run.turn_limit))
    if score.stops_early(run.settings):
        limits = range(1, run.turn_limit + 1)
        numbers["solved_by_turn"] = [score.counts(rollouts, limit).solved for limit in limits]
    return numbers


def _write_csv(runs: Sequence[Run], path: Path) -> None:
    """One number a line: run, what, mean, low, high."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("run", "what", "mean", "low", "high", "problems"))
        for run in runs:
            for what, rate in page.rates(run):
                lines.writerow((run.name, what, rate.mean, rate.low, rate.high, rate.problems))


def _picture(path: Path, figure: Any) -> Path:
    path.write_bytes(figures.png(figure))
    return path
