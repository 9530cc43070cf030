"""What `rlef demo` shows when it is done: a run's metrics by step, verdicts by turn, and one episode as a dialog."""

import math
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rlef_plugin.judge import Verdict
from rlef_plugin.runs.files import kept_steps, read_episodes, read_metrics
from rlef_plugin.runs.panels import VERDICT_STYLE
from rlef_plugin.runs.show import panel

VERDICT_TITLE = "Verdicts of the responses, % in the first and the last step"


def show(run_dir: Path, console: Console) -> None:
    """Print the summary of the run kept in `run_dir`."""
    steps = read_metrics(run_dir)
    episodes = [episode for step in kept_steps(run_dir) for episode in read_episodes(run_dir, step)[1]]
    console.print(steps_table(steps), verdict_table(steps))
    console.print(panel(pick(episodes)))
    console.print(f"More of it: rlef watch {run_dir}    rlef show {run_dir}", highlight=False, soft_wrap=True)


def turn_limit(step: dict[str, Any]) -> int:
    return sum(key.startswith("episode/solve_rate_turn") for key in step)


def steps_table(steps: list[dict[str, Any]]) -> Table:
    table = Table(title="Training, step by step", box=SIMPLE_HEAD, title_justify="left", caption_justify="left")
    table.caption = (
        "by n: share of episodes solved within n turns. KL: mean log ratio of a response's tokens to the first "
        "policy. Seconds: write and judge programs; learn (log-probabilities, update); new weights to vLLM."
    )
    turns = turn_limit(steps[0])
    for name in ("step", *(f"by\n{turn + 1}" for turn in range(turns)), "reward", "KL", "value\nloss"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("write", "learn", "sync"):
        table.add_column(f"{name}\ns", justify="right", style="dim", no_wrap=True)
    for step in steps:
        table.add_row(
            str(int(step["step"])),
            *(f"{step[f'episode/solve_rate_turn{turn + 1}']:.0%}" for turn in range(turns)),
            f"{step['rollout/reward_mean']:+.2f}",
            f"{step['turn_kl']:+.3f}",
            f"{step['critic_loss']:.2f}",
            f"{step['timing/generation']:.1f}",
            f"{step['timing/make_experience'] + step['timing/ppo_train']:.1f}",
            f"{step['timing/broadcast']:.1f}",
        )
    return table


def verdict_table(steps: list[dict[str, Any]]) -> Table:
    table = Table(title=VERDICT_TITLE, box=SIMPLE_HEAD, title_justify="left")
    table.add_column("turn")
    for verdict in Verdict:
        label = "\n".join(verdict.label.rsplit(" ", 1))
        table.add_column(label, justify="right", style=VERDICT_STYLE[verdict], no_wrap=True)
    for turn in range(turn_limit(steps[0])):
        table.add_row(str(turn + 1), *(_change(steps, f"verdict_turn{turn + 1}/{v.name.lower()}") for v in Verdict))
    return table


def _change(steps: list[dict[str, Any]], key: str) -> str:
    first, last = (0 if math.isnan(step[key]) else round(100 * step[key]) for step in (steps[0], steps[-1]))
    return f"{first} → {last}" if first or last else "·"


def pick(episodes: list[dict[str, Any]]) -> dict[str, Any]:
    """The episode that tells most: solved after a failure if there is one, else the longest, the latest first."""
    return max(
        reversed(episodes),
        key=lambda episode: (episode["solved"] and len(episode["turns"]) > 1, len(episode["turns"])),
    )
