"""What `rlef demo` shows when it is done: a run's metrics by step, verdicts by turn, and one episode as a dialog."""

import json
import re
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from rlef_plugin.judge import Verdict

VERDICT_TITLE = "Verdicts of the responses, % in the first and the last step"
VERDICT_STYLE = {Verdict.ACCEPTED: "green", Verdict.INVALID_CODE: "magenta", Verdict.WRONG_OUTPUT: "yellow"}


def show(run_dir: Path, console: Console) -> None:
    """Print the summary of the run kept in `run_dir`."""
    steps = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    episodes = [
        json.loads(line) for file in sorted((run_dir / "rollouts").glob("step_*.jsonl")) for line in file.open()
    ]
    console.print(steps_table(steps), verdict_table(steps))
    console.print(dialog_panel(pick(episodes)))


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
            str(step["step"]),
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
        table.add_column(label, justify="right", style=VERDICT_STYLE.get(verdict, "red"), no_wrap=True)
    for turn in range(turn_limit(steps[0])):
        table.add_row(str(turn + 1), *(_change(steps, f"verdict_turn{turn + 1}/{v.name.lower()}") for v in Verdict))
    return table


def _change(steps: list[dict[str, Any]], key: str) -> str:
    first, last = round(100 * steps[0][key]), round(100 * steps[-1][key])
    return f"{first} → {last}" if first or last else "·"


def pick(episodes: list[dict[str, Any]]) -> dict[str, Any]:
    """The episode that tells most: solved after a failure if there is one, else the longest, the latest first."""
    return max(
        reversed(episodes),
        key=lambda episode: (episode["solved"] and len(episode["verdicts"]) > 1, len(episode["verdicts"])),
    )


def plain(text: str) -> str:
    """Without the chat template's own marks, which every message repeats."""
    return re.sub(r"<\|header\|>\w+<\|end_header\|>\n|<\|(begin|eot)\|>", "", text).strip()


def dialog_panel(episode: dict[str, Any]) -> Panel:
    """An episode as the model saw and wrote it, with the verdict and reward of each response."""
    parts: list[Any] = []
    responses = iter(zip(episode["verdicts"], episode["rewards"], strict=True))
    for message in episode["messages"]:
        if message["role"] == "model":
            verdict, reward = next(responses)
            label = Verdict[verdict.upper()].label
            parts.append(Text(f"model, {message['tokens']} tokens: {label}, reward {reward:+.1f}", style="bold cyan"))
            parts.append(Syntax(plain(message["text"]), "markdown", word_wrap=True, background_color="default"))
        else:
            parts.append(Text(f"environment, {message['tokens']} tokens", style="bold"))
            parts.append(Text(plain(message["text"]), style="dim"))
    outcome = "solved" if episode["solved"] else "not solved"
    return Panel(Group(*parts), title=f"One episode: {episode['problem']}, {outcome}", title_align="left")
