"""What `rlef learn` found: results.json, the report of the evaluations, and the training curves of every seed and arm.

Each evaluation has its own 95% interval over held-out problems (`evaluation/intervals.py`). Over seeds there are too
few for an interval, so the smallest and the largest are given beside the mean. Not here: a judgement; the numbers of
blind guessing and of independent sampling stand beside the others.
"""

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from rlef_plugin import __version__
from rlef_plugin.micro.prepare import TURN_LIMIT
from rlef_plugin.micro.tasks import GUESSING
from rlef_plugin.runs.files import read_metrics

if TYPE_CHECKING:
    from rlef_plugin.evaluation.intervals import Rate
    from rlef_plugin.evaluation.report import Run
    from rlef_plugin.micro.learn import Evaluation, Learning

CURVES = [f"episode/solve_rate_turn{turn}" for turn in range(1, TURN_LIMIT + 1)]
CURVES += ["episode/invalid_code", "turn_kl", *(f"response_tokens/turn{turn}" for turn in range(1, TURN_LIMIT + 1))]
SOLVED, LAST = "episode/solve_rate", 3
PARTS = ("wall", "rollout", "forward", "advantages", "update", "weight_sync", "other")


def write(learning: "Learning", out: Path) -> list[Path]:
    """Everything into the folder `out`; returns what was written."""
    from rlef_plugin.evaluation import report

    found = {one: _load(learning, one) for one in learning.evaluations()}
    numbers = {
        "what": f"micro-world, {len(learning.seeds)} seed(s): {', '.join(map(str, learning.seeds))}",
        "version": __version__,
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "overrides": learning.overrides,
        "plan": asdict(learning.plan),
        "blind_guessing_1@3": GUESSING,
        "over_seeds": over_seeds(found),
        "evaluations": [{**asdict(one), **summary(run)} for one, run in found.items()],
        "training": [_training(learning, seed, arm) for seed in learning.seeds for arm in learning.arms],
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.json"
    path.write_text(json.dumps(report.plain(numbers, digits=4), indent=1) + "\n")
    first = [run for one, run in found.items() if one.seed == learning.seeds[0]]
    reported = report.write(first, out / "report.html") if first else []
    return [path, _draw(learning, out / "curves.png"), *reported]


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


def _training(learning: "Learning", seed: int, arm: str) -> dict[str, Any]:
    steps = read_metrics(learning.work / f"seed-{seed}" / arm)
    later = steps[1:] or steps  # the first step waits for what is loaded on first use
    return {
        "seed": seed,
        "arm": arm,
        "steps": len(steps),
        "learned": learned(steps),
        "wall_s": steps[-1]["unix_time_s"] - steps[0]["unix_time_s"] + steps[0]["step_s/wall"],
        "step_s_median": {part: median(step[f"step_s/{part}"] for step in later) for part in PARTS},
        "curves": {name: [step.get(name, math.nan) for step in steps] for name in CURVES},
    }


def _draw(learning: "Learning", path: Path) -> Path:
    """Solved within each turn over the updates, a panel an arm, a line a seed; the dashed line is blind guessing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from rlef_plugin.runs.plot import TURN_COLOURS, smooth

    figure = Figure(figsize=(4.5 * len(learning.arms), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, arm in zip(_row(figure, len(learning.arms)), learning.arms, strict=True):
        for seed in learning.seeds:
            steps = read_metrics(learning.work / f"seed-{seed}" / arm)
            for turn in range(1, TURN_LIMIT + 1):
                values = smooth([step.get(f"episode/solve_rate_turn{turn}", math.nan) for step in steps], 5)
                label = f"by turn {turn}" if seed == learning.seeds[0] else None
                axes.plot(range(1, len(values) + 1), values, color=TURN_COLOURS[turn - 1], alpha=0.8, label=label)
        axes.axhline(GUESSING, color="#999999", linestyle="--", label="three blind guesses")
        axes.set(title=arm, xlabel="step", ylim=(0, 1))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("share of training episodes\nsolved, mean of 5 steps")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2 * len(learning.arms), frameon=False)
    figure.savefig(path, dpi=120)
    return path


def _row(figure: Any, count: int) -> Sequence[Any]:
    made = figure.subplots(1, count, squeeze=False, sharey=True)
    return list(made[0])
