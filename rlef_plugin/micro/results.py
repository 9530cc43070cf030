"""What `rlef learn` found: results.json, two tables in the terminal, the report of the evaluations, training curves.

Each evaluation has its own 95% interval over held-out problems (`evaluation/intervals.py`). Over seeds there are too
few for an interval, so the smallest and the largest are given beside the mean. An arm and the recipe are compared by
means of the last `LAST_OF_ARM` of the steps that both have. Not here: a judgement; the numbers of blind guessing and
of independent sampling stand beside the others.
"""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from rlef_plugin import __version__
from rlef_plugin.micro.prepare import TURN_LIMIT
from rlef_plugin.micro.tasks import GUESSING
from rlef_plugin.runs.files import read_metrics

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from rlef_plugin.evaluation.intervals import Rate
    from rlef_plugin.evaluation.report import Run
    from rlef_plugin.micro.learn import Evaluation, Learning

    type Steps = list[dict[str, float]]  # the metrics of a run
    type Trained = dict[tuple[int, str], Steps]  # by seed and arm

START, RLEF = "start", "rlef"  # the model before training, and after the recipe's
CURVES = [f"episode/solve_rate_turn{turn}" for turn in range(1, TURN_LIMIT + 1)]
CURVES += ["episode/invalid_code", "turn_kl", *(f"response_tokens/turn{turn}" for turn in range(1, TURN_LIMIT + 1))]
SOLVED, LAST, LAST_OF_ARM = "episode/solve_rate", 3, 5
COMPARED = {  # by key of results.json: the metric; how a table names it, its factor there and its digits
    "solved": (SOLVED, "solved %", 100, 0),
    "solved_by_turn_2": ("episode/solve_rate_turn2", "by turn 2", 100, 0),
    "explained_variance": ("learner/explained_variance", "variance\nexplained %", 100, 0),
    "tokens_of_first_response": ("response_tokens/turn1", "tokens of\nresponse 1", 1, 1),
    "kl_of_first_response": ("learner_turn1/kl_sum", "its KL,\nsummed", 1, 2),
}
LENGTH = COMPARED["tokens_of_first_response"][0]
ARM_COLOURS = ("#009e73", "#56b4e9", "#0072b2", "#d55e00", "#999999", "#e69f00")
PARTS = ("wall", "rollout", "forward", "advantages", "update", "weight_sync", "other")


def write(learning: "Learning", out: Path, console: "Console") -> list[Path]:
    """Everything into the folder `out`; returns what was written."""
    from rlef_plugin.evaluation import report

    found = {one: _load(learning, one) for one in learning.evaluations() if learning.evaluated(one)}
    trained = {
        (seed, arm): read_metrics(learning.run(seed, arm))
        for arm in (RLEF, *learning.arms)
        for seed in learning.seeds
        if learning.trained(seed, arm)
    }
    solved = over_seeds(found)
    arms = compared(trained, learning.arm_steps) if any(arm != RLEF for _, arm in trained) else {}
    numbers = {
        "what": f"micro-world, {len(learning.seeds)} seed(s): {', '.join(map(str, learning.seeds))}",
        "version": __version__,
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "overrides": learning.overrides,
        "plan": asdict(learning.plan),
        "blind_guessing_1@3": GUESSING,
        "over_seeds": solved,
        "arm_steps": learning.arm_steps if arms else None,
        "arms": arms,
        "evaluations": [{**asdict(one), **summary(run)} for one, run in found.items()],
        "training": [{"seed": seed, "arm": arm, **_training(steps)} for (seed, arm), steps in trained.items()],
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.json"
    path.write_text(json.dumps(report.plain(numbers, digits=4), indent=1) + "\n")
    written = [path, _draw(trained, learning.seeds, out / "curves.png")]
    if solved:
        console.print(table_of_evaluations(solved))
    if arms:
        console.print(table_of_arms(arms, learning.arm_steps))
        written.append(_draw_arms(trained, learning, out / "arms.png"))
    reported = [run for one, run in found.items() if one.seed == learning.seeds[0] and one.arm in (START, RLEF)]
    return [*written, *(report.write(reported, out / "report.html") if reported else [])]


def _load(learning: "Learning", one: "Evaluation") -> "Run":
    """With the model's folder as seen from `learning.work`: the report is shown to people on other machines."""
    from rlef_plugin.evaluation import report

    run = report.load(learning.folder(one), f"{one.name} {one.seed}")
    model = learning.model(one.seed, one.arm).relative_to(learning.work)
    return replace(run, settings={**run.settings, "model": str(model)})


def summary(run: "Run") -> dict[str, Any]:
    """Of one evaluation."""
    independent = next((one.rate for one in run.scores if (one.name, one.turn_limit) == ("1@3", 1)), None)
    return {
        "solved_by_turn": [asdict(rate) for rate in run.behaviour.solved_by_turn],
        "recovered": asdict(recovered(run)),
        "recovery_by_error": {
            one.kind: {"first_turn": asdict(one.at_first_turn), "solved_by": [asdict(r) for r in one.solved_by_turn]}
            for one in run.behaviour.recovery
        },
        "independent_sampling_1@3": asdict(independent) if independent else None,
        "invalid_code": asdict(run.behaviour.invalid_code),
        "repeated": asdict(run.behaviour.repeated),
        "chrf_mean": run.behaviour.chrf_mean,
    }


def recovered(run: "Run") -> "Rate":
    """Of the rollouts whose first response fails the public tests, the share that is solved in the end."""
    from rlef_plugin.evaluation.intervals import share
    from rlef_plugin.evaluation.rollouts import by_problem

    groups = by_problem(run.rollouts).values()
    failed = [[one for one in group if not one.turns[0].public_passed] for group in groups]
    return share([(sum(one.solved for one in group), len(group)) for group in failed])


def over_seeds(found: "dict[Evaluation, Run]") -> dict[str, dict[str, Any]]:
    """By evaluation: mean, smallest and largest over the seeds for which a number is known."""
    table: dict[str, dict[str, list[float]]] = {}
    for one, run in found.items():
        rows = table.setdefault(one.name, {})
        for turn, rate in enumerate(run.behaviour.solved_by_turn, 1):
            rows.setdefault(f"solved_by_turn_{turn}", []).append(rate.mean)
        rows.setdefault("recovered", []).append(recovered(run).mean)
    return {
        name: {what: _spread(known) for what, v in rows.items() if (known := [x for x in v if not math.isnan(x)])}
        for name, rows in table.items()
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": fmean(values), "min": min(values), "max": max(values), "seeds": len(values)}


def learned(steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What the short version is judged by: the last three steps, each on problems never seen before, and the first."""
    last = steps[-LAST:]
    return {
        "solved_at_first": steps[0][SOLVED],
        "solved": fmean(step[SOLVED] for step in last),
        "explained_variance": fmean(step["learner/explained_variance"] for step in last),
    }


def compared(trained: "Trained", arm_steps: int) -> dict[str, dict[str, Any]]:
    """By arm: mean, smallest and largest over the seeds, of means over the last of the steps that every arm has.

    Of seeds whose arms have not been trained yet, the recipe's own run is left out too.
    """
    table: dict[str, dict[str, list[float]]] = {}
    seeds = {seed for seed, arm in trained if arm != RLEF}
    for (seed, arm), steps in trained.items():
        if seed not in seeds:
            continue
        last, row = steps[:arm_steps][-LAST_OF_ARM:], table.setdefault(arm, {})
        for name, (metric, *_) in COMPARED.items():
            known = [step[metric] for step in last if not math.isnan(step.get(metric, math.nan))]
            if known:
                row.setdefault(name, []).append(fmean(known))
    return {arm: {name: _spread(values) for name, values in row.items()} for arm, row in table.items()}


def table_of_evaluations(solved: dict[str, dict[str, Any]]) -> "Table":
    columns = {f"solved_by_turn_{turn}": f"by turn {turn}" for turn in range(1, TURN_LIMIT + 1)}
    shown = {key: (said, 100, 0) for key, said in (*columns.items(), ("recovered", "recovered"))}
    return _table("Held-out problems solved, %", solved, shown)


def table_of_arms(arms: dict[str, dict[str, Any]], arm_steps: int) -> "Table":
    title = f"Training, means of steps {max(1, arm_steps - LAST_OF_ARM + 1)} to {arm_steps}"
    return _table(title, arms, {key: shown for key, (_, *shown) in COMPARED.items()})


def _table(title: str, rows: dict[str, dict[str, Any]], columns: Mapping[str, Sequence[Any]]) -> "Table":
    """`columns`: heading, factor and digits by key of a row; all of it is to fit into 80 characters."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("", title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for said, *_ in columns.values():
        table.add_column(said, no_wrap=True)
    table.columns[0].min_width = max(map(len, rows))
    table.title_justify = table.caption_justify = "left"
    table.caption = "mean over seeds (smallest..largest)"
    for name, row in rows.items():
        cells = [_shown(row.get(key), factor, digits) for key, (_, factor, digits) in columns.items()]
        table.add_row(name, *cells)
    return table


def _shown(spread: dict[str, float] | None, factor: float, digits: int) -> str:
    """The mean; of several seeds, the smallest and the largest below."""
    if spread is None:
        return "-"
    rounded = (round(factor * spread[name], digits) + 0.0 for name in ("mean", "min", "max"))  # -0.0 + 0.0 is 0.0
    mean, low, high = (f"{number:.{digits}f}" for number in rounded)
    return f"{mean}\n({low}..{high})" if spread["seeds"] > 1 else mean


def _training(steps: "Steps") -> dict[str, Any]:
    later = steps[1:] or steps  # the first step waits for what is loaded on first use
    return {
        "steps": len(steps),
        "learned": learned(steps),
        "wall_s": steps[-1]["unix_time_s"] - steps[0]["unix_time_s"] + steps[0]["step_s/wall"],
        "step_s_median": {part: median(step[f"step_s/{part}"] for step in later) for part in PARTS},
        "curves": {name: [step.get(name, math.nan) for step in steps] for name in CURVES},
    }


def _draw(trained: "Trained", seeds: Sequence[int], path: Path) -> Path:
    """Solved within each turn over the updates of the recipe, a line a seed; the dashed line is blind guessing."""
    from rlef_plugin.runs.plot import TURN_COLOURS, smooth

    figure, (axes,) = _figure(1)
    for seed in seeds:
        for turn in range(1, TURN_LIMIT + 1):
            rates = [step.get(f"episode/solve_rate_turn{turn}", math.nan) for step in trained[seed, RLEF]]
            label = f"by turn {turn}" if seed == seeds[0] else None
            values = smooth(rates, 5)
            axes.plot(range(1, len(values) + 1), values, color=TURN_COLOURS[turn - 1], alpha=0.8, label=label)
    axes.axhline(GUESSING, color="#999999", linestyle="--", label="three blind guesses")
    axes.set(title="a line a seed", xlabel="step", ylim=(0, 1))
    axes.set_ylabel("share of training episodes\nsolved, mean of 5 steps")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)
    return path


def _draw_arms(trained: "Trained", learning: "Learning", path: Path) -> Path:
    """Every arm's mean over the seeds, smallest to largest shaded: solve rate, and length of a response."""
    from rlef_plugin.runs.plot import smooth

    panels = ((SOLVED, "share of training episodes\nsolved, mean of 5 steps"), (LENGTH, "tokens of a first response"))
    figure, row = _figure(len(panels))
    for axes, (metric, said) in zip(row, panels, strict=True):
        for arm, colour in zip(dict.fromkeys(arm for _, arm in trained), ARM_COLOURS, strict=False):
            runs = [steps[: learning.arm_steps] for (_, its), steps in trained.items() if its == arm]
            lines = [smooth([step.get(metric, math.nan) for step in steps], 5) for steps in runs]
            columns = list(zip(*lines, strict=True))
            at = range(1, len(columns) + 1)
            axes.plot(at, [fmean(one) for one in columns], color=colour, label=arm if metric == SOLVED else None)
            axes.fill_between(
                at, [min(one) for one in columns], [max(one) for one in columns], color=colour, alpha=0.15
            )
        axes.set(xlabel="step", ylabel=said)
    row[0].axhline(GUESSING, color="#999999", linestyle="--", label="three blind guesses")
    row[0].set_ylim(0, 1)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=120)
    return path


def _figure(panels: int) -> tuple[Any, Sequence[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * panels, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    row = list(figure.subplots(1, panels, squeeze=False)[0])
    for axes in row:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, row
