"""The parts of the screen of `rlef watch`: solve rates as curves, numbers with their history, verdicts and seconds as
bars. docs/metrics.md says what each number means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rlef_plugin.judge.verdicts import Verdict
from rlef_plugin.runs.charts import FULL, Line, Shaded, finite_mean, flow, line_chart, share_bar, sparkline
from rlef_plugin.runs.run import Run

VERDICT_STYLE = {
    Verdict.ACCEPTED: "green",
    Verdict.WRONG_OUTPUT: "yellow",
    Verdict.EXCEPTION: "red",
    Verdict.TIMEOUT: "blue",
    Verdict.OUT_OF_MEMORY: "magenta",
    Verdict.OUTPUT_LIMIT: "cyan",
    Verdict.INVALID_CODE: "bright_black",
}
TIME_PARTS = (  # label, key, style; the first three are the inside of step_s/rollout
    ("generating", "rollout_s/generating", "green"),
    ("judging", "rollout_s/judging", "yellow"),
    ("rest of rollout", "rollout_s/other", "red"),
    ("waiting for a batch", "step_s/waiting", "bright_black"),
    ("forward", "step_s/forward", "cyan"),
    ("advantages", "step_s/advantages", "bright_magenta"),
    ("update", "step_s/update", "blue"),
    ("weight sync", "step_s/weight_sync", "magenta"),
    ("evaluation", "step_s/evaluation", "white"),
    ("episode metrics", "step_s/episodes", "bright_red"),
    ("saving", "step_s/saving", "bright_yellow"),
    ("other", "step_s/other", "bright_black"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of numbers: where it is from, how it is written, and where its curve's scale begins."""

    label: str
    key: str
    form: str = "{:.0%}"
    low: float | None = 0.0


def duration(seconds: float) -> str:
    """Two digits of it: 80 ms, 1.8 s, 12 s, 5 min, 3.2 h."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 0.995:
        return f"{1000 * seconds:.0f} ms"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{int(seconds < 10 * size)}f} {unit}".replace(".0 ", " ")
    return f"{seconds:.{int(seconds < 10)}f} s"


def chart(run: Run, width: int, height: int) -> Group:
    """Solve rates over the steps."""
    lines = [Line("solved in turn 1", "cyan", run.curve("episode/solve_rate_turn1"))]
    lines.append(Line(f"by turn {run.turns}", "green", run.curve("episode/solve_rate")))
    legend = Text("\nSolved  ", style="bold")
    if key := run.evaluation_key:
        found = {line["step"]: line.get(key, math.nan) for line in run.evaluations}
        lines.append(
            Line(label_of(key), "magenta", carried([found.get(step["step"], math.nan) for step in run.steps]))
        )
    for line in lines:
        legend.append(f"━ {line.label}  ", style=line.style)
    first, last = int(run.steps[0]["step"]), int(run.steps[-1]["step"])
    axis = Text(" " * 6 + f"{first}" + f"step {last}".rjust(width - 6 - len(str(first))), style="dim")
    return Group(legend, *line_chart(lines, width, height), axis)


def carried(values: Sequence[float]) -> list[float]:
    """Each gap filled with what was last known, so that a rare measurement is a line."""
    last, found = math.nan, []
    for value in values:
        last = value if math.isfinite(value) else last
        found.append(last)
    return found


def label_of(evaluation_key: str) -> str:
    return evaluation_key.removeprefix("eval_").replace("_pass1", " pass@1")


def rows(run: Run, short: bool) -> list[Row | None]:
    """What the table shows, by group; None is a rule between groups. `short`: what a small screen has room for."""
    turns = range(1, run.turns + 1)
    solved = [
        Row(f"solved {'in' if turn == 1 else 'by'} turn {turn}", f"episode/solve_rate_turn{turn}") for turn in turns
    ]
    outcome = [*solved, Row("false hope", "episode/false_hope"), Row("repaired after feedback", "episode/repair_rate")]
    learner = [
        Row("reward", "rollout/reward_mean", "{:+.2f}", None),
        Row("KL a turn", "turn_kl", "{:+.3f}", None),
        Row("explained variance", "learner/explained_variance", "{:+.2f}", None),
    ]
    invalid = Row("invalid code", "episode/invalid_code")
    if short:
        return [*outcome[-5:], invalid, *learner]
    ends = sorted({1, run.turns})
    return [
        *outcome,
        None,
        invalid,
        Row("program repeated in turn 2", "program/repeated_turn2"),
        *(Row(f"chrF of turn {n}'s program", f"program/chrf_turn{n}", "{:.0f}", None) for n in sorted({2, run.turns})),
        Row("turns used", "episode/turns", "{:.2f}", None),
        *(Row(f"response tokens, turn {n}", f"response_tokens/turn{n}", "{:.0f}", None) for n in ends),
        Row("responses cut by length", "episode/truncated"),
        None,
        *learner,
        Row("value error", "learner/value_error", "{:.2f}"),
        Row("tokens clipped", "ppo_clip_ratio", "{:.1%}"),
        Row("policy gradient norm", "actor_grad_norm", "{:.2f}"),
    ]


def table_of_numbers(run: Run, width: int, short: bool = False) -> Table:
    """First and latest values with their history; a number that no step has gets no line."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), width=width, show_edge=False, pad_edge=False)
    table.add_column(f"mean of {run.window} step{'s' * (run.window > 1)}", no_wrap=True)
    table.add_column("first", justify="right", style="dim", no_wrap=True)
    table.add_column("now", justify="right", style="bold", no_wrap=True)
    table.add_column("history", style="cyan", ratio=1, no_wrap=True)
    spark = max(width - 27 - 2 * 9, 8)
    for row in rows(run, short):
        if row is None:
            table.add_section()
            continue
        curve = run.curve(row.key)
        if any(math.isfinite(value) for value in curve):
            first, now = finite_mean(curve[: run.window]), finite_mean(curve[-run.window :])
            table.add_row(row.label, said(first, row.form), said(now, row.form), sparkline(curve, spark, row.low))
    if (key := run.evaluation_key) is not None:
        curve = [line.get(key, math.nan) for line in run.evaluations]
        table.add_section()
        table.add_row(
            f"{label_of(key)} (each)",
            said(curve[0], "{:.0%}"),
            said(curve[-1], "{:.0%}"),
            sparkline(curve, spark, 0.0),
        )
    return table


def said(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else "·"


def verdict_bars(run: Run, width: int) -> Group:
    """A bar a turn: how the responses of the latest steps were judged."""
    lines: list[RenderableType] = [
        Text("\nVerdicts", style="bold").append(
            f"  latest {run.window} steps" if run.window > 1 else "  latest step", style="dim not bold"
        )
    ]
    for turn in range(1, run.turns + 1):
        shares = [(v, run.now(f"verdict_turn{turn}/{v.name.lower()}")) for v in Verdict]
        shares = [(verdict, share) for verdict, share in shares if share > 0]  # not NaN either
        if not shares:
            lines.append(Text(f"turn {turn}  not played", style="dim"))
            continue
        bar = share_bar([(share, VERDICT_STYLE[verdict]) for verdict, share in shares], width - 8)
        lines.append(Shaded(Text(f"turn {turn}  ").append_text(bar)))
        legend = legend_of([(verdict.label, share, VERDICT_STYLE[verdict]) for verdict, share in shares], width - 8)
        lines.append(Padding(legend, (0, 0, 0, 8)))
    return Group(*lines)


def legend_of(parts: Sequence[tuple[str, float, str]], width: int) -> Shaded:
    """The (label, share, style) parts of a bar, the largest first, each behind a cell of its style."""
    largest_first = sorted(parts, key=lambda part: -part[1])
    return Shaded(flow([(f"{FULL} {label} {share:.0%}", style) for label, share, style in largest_first], width))


def time_bar(run: Run, width: int) -> Group:
    """Where the latest steps' seconds went, and how busy the judge was."""
    wall_s = run.now("step_s/wall")
    if not math.isfinite(wall_s):
        return Group()
    parts = [(label, run.now(key), style) for label, key, style in TIME_PARTS]
    if run.now("step_s/waiting") > 0:  # asynchronous: the rollouts are made meanwhile, in another process
        parts = parts[3:]
    parts = [(label, seconds, style) for label, seconds, style in parts if seconds > 0]
    title = Text(f"\nA step of {duration(wall_s)}", style="bold")
    title.append(f"  {said(run.now('overhead_share'), '{:.1%}')} overhead", style="dim not bold")
    visible = [(label, seconds / wall_s, style) for label, seconds, style in parts if seconds >= wall_s / 200]
    judge = (
        f"judge {said(run.now('judge/utilisation'), '{:.0%}')} busy, {said(run.now('judge/in_flight'), '{:.1f}')} "
        f"programs there at a time, {duration(run.now('judge/seconds'))} each, "
        f"{duration(run.now('judge/waiting_seconds'))} of it waiting"
    )
    bar = share_bar([(seconds, style) for _, seconds, style in parts], width)
    return Group(title, Shaded(bar), legend_of(visible, width), Text(judge, style="dim"))
