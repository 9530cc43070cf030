"""`rlef watch --png`: the curves of a run as a picture. Needs matplotlib, which is an extra: rlef-plugin[plots]."""

import math
from pathlib import Path
from typing import Any

from rlef_plugin import picture
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import Verdict
from rlef_plugin.runs.panels import TIME_PARTS, label_of
from rlef_plugin.runs.run import Run

COLOURS = {  # told apart by colour-blind eyes too (Okabe and Ito's set)
    Verdict.ACCEPTED: "#009e73",
    Verdict.WRONG_OUTPUT: "#e69f00",
    Verdict.EXCEPTION: "#d55e00",
    Verdict.TIMEOUT: "#0072b2",
    Verdict.OUT_OF_MEMORY: "#cc79a7",
    Verdict.OUTPUT_LIMIT: "#56b4e9",
    Verdict.INVALID_CODE: "#999999",
}
TURN_COLOURS = ("#56b4e9", "#0072b2", "#009e73", "#e69f00", "#d55e00")


def save(run: Run, path: Path) -> None:
    """Write the picture in the format of the path's ending, such as .png or .svg.

    Raises:
        UsageError: no step to draw, matplotlib is missing, or the file cannot be written.
    """
    if not run.steps:
        raise UsageError(f"{run.folder} has no step yet: there is nothing to draw")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "drawing needs matplotlib, which is not installed: pip install 'rlef-plugin[plots]'"
        ) from None
    figure = Figure(figsize=(17, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    (solved, first, last, edits), (learner, kl, lengths, seconds) = figure.subplots(2, 4)
    figure.suptitle(
        f"{run.folder.absolute().parent.name}/{run.folder.name}, step {int(run.steps[-1]['step'])}", x=0.01, ha="left"
    )
    _solved(solved, run)
    _verdicts(first, run, 1)
    _verdicts(last, run, max(run.turns, 1))
    _edits(edits, run)
    _learner(learner, run)
    _by_turn(kl, run, "KL of a turn", "learner_turn{}/kl_geometric_mean")
    _by_turn(lengths, run, "Tokens of a response", "response_tokens/turn{}")
    _seconds(seconds, run)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("step")
        axes.margins(x=0.01)
    picture.save(figure, path, 120, "run.png")


def _line(axes: Any, run: Run, key: str, label: str, colour: str) -> None:
    """A curve, drawn thin as it is and thick as a moving mean where steps are many."""
    steps, values = run.curve("step"), run.curve(key)
    if not any(math.isfinite(value) for value in values):
        return
    span = span_of(run)
    axes.plot(
        steps,
        values,
        color=colour,
        alpha=0.3 if span > 1 else 1.0,
        linewidth=1 if span > 1 else 2,
        label=None if span > 1 else label,
        marker="o" if len(values) == 1 else None,
    )
    if span > 1:
        axes.plot(steps, smooth(values, span), color=colour, linewidth=2, label=label)


def span_of(run: Run) -> int:
    """Steps of the moving mean."""
    return max(len(run.steps) // 25, 1)


def smooth(values: list[float], span: int) -> list[float]:
    """Each value's mean with up to `span` values before it; NaN counts for nothing."""
    found = []
    for end in range(1, len(values) + 1):
        near = [value for value in values[max(end - span, 0) : end] if math.isfinite(value)]
        found.append(sum(near) / len(near) if near else math.nan)
    return found


def _solved(axes: Any, run: Run) -> None:
    _by_turn(axes, run, "Solved within n turns", "episode/solve_rate_turn{}", "n = {}")
    _line(axes, run, "episode/false_hope", "public tests only", "#cc79a7")
    if key := run.evaluation_key:
        at = [(line["step"], line[key]) for line in run.evaluations if key in line]
        axes.plot(*zip(*at, strict=True), "ko--", markersize=4, linewidth=1, label=label_of(key))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_percent)
    axes.legend(frameon=False)


def _by_turn(axes: Any, run: Run, title: str, key: str, label: str = "turn {}") -> None:
    axes.set_title(title, loc="left")
    for turn in range(1, run.turns + 1):
        _line(axes, run, key.format(turn), label.format(turn), TURN_COLOURS[(turn - 1) % len(TURN_COLOURS)])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def _percent(value: float, _: object) -> str:
    return f"{100 * value:g}%"


def _verdicts(axes: Any, run: Run, turn: int) -> None:
    axes.set_title(f"Verdicts of turn {turn}", loc="left")
    curves = {one: run.curve(f"verdict_turn{turn}/{one.name.lower()}") for one in Verdict}
    shown = [one for one, curve in curves.items() if any(value > 0 for value in curve)]
    if shown:
        heights = [_height(run, curves[one]) for one in shown]
        colours, labels = [COLOURS[one] for one in shown], [one.label for one in shown]
        axes.stackplot(
            run.curve("step"), heights, colors=colours, labels=labels, step="mid" if len(run.steps) < 4 else None
        )
        axes.legend(frameon=True, framealpha=0.8, fontsize="small", loc="center right")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(_percent)


def _height(run: Run, values: list[float]) -> list[float]:
    """Of a stacked area: smooth, and 0 where there is none."""
    return [value if value > 0 else 0.0 for value in smooth(values, span_of(run))]


def _learner(axes: Any, run: Run) -> None:
    axes.set_title("Critic", loc="left")
    _line(axes, run, "learner/value_error", "value error", "#0072b2")
    _line(axes, run, "learner/explained_variance", "explained variance", "#009e73")
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], -1.0))  # a new critic's explained variance may be -10
    if axes.has_data():
        axes.legend(frameon=False)


def _edits(axes: Any, run: Run) -> None:
    axes.set_title("After feedback", loc="left")
    _line(axes, run, "episode/repair_rate", "repaired", "#009e73")
    _line(axes, run, "program/repeated_turn2", "program repeated", "#d55e00")
    _line(axes, run, "episode/invalid_code", "invalid code", "#999999")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_percent)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def _seconds(axes: Any, run: Run) -> None:
    axes.set_title("Seconds of a step", loc="left")
    palette = ("#009e73", "#e69f00", "#d55e00", "#999999", "#56b4e9", "#cc79a7", "#0072b2", "#f0e442", "#000000")
    parts = TIME_PARTS[3:] if run.now("step_s/waiting") > 0 else TIME_PARTS
    curves = [(label, _height(run, run.curve(key))) for label, key, _ in parts]
    total = sum(sum(curve) for _, curve in curves)
    shown = [(label, curve) for label, curve in curves if sum(curve) > total / 100]
    if shown:
        colours = [palette[place % len(palette)] for place in range(len(shown))]
        axes.stackplot(
            run.curve("step"), [curve for _, curve in shown], colors=colours, labels=[one for one, _ in shown]
        )
        axes.legend(frameon=True, framealpha=0.8, fontsize="small", loc="center right")
