"""`rlef show`: kept episodes as dialogs, with verdict, reward, and what a program cost."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import Verdict
from rlef_plugin.runs.files import find_run, read_episodes
from rlef_plugin.runs.panels import VERDICT_STYLE
from rlef_plugin.runs.record import Record

FENCED = re.compile(r"^(```+)[ \t]*(\w*)[^\n]*\n(.*?)(?:^\1[ \t]*$|\Z)", re.M | re.S)  # a block of code, closed or not


def show(path: Path, console: Console, step: int | None, problem: str | None, limit: int, solved: bool | None) -> None:
    """Print up to `limit` episodes of a step, by default the last that was kept.

    Raises:
        UsageError: nothing was kept that is like this.
    """
    run = find_run(path)
    step, episodes = read_episodes(run, step)
    chosen = choose(episodes, problem, solved)
    if not chosen:
        known = ", ".join(sorted({str(one.get("problem")) for one in episodes})[:8])
        raise UsageError(f"none of the {len(episodes)} episodes of step {step} is like that; its problems: {known}")
    for episode in chosen[:limit]:
        console.print(Rule(title(episode, f"step {step}"), align="left", style="dim"), dialog(episode), Text())
    if len(chosen) > limit:
        console.print(Text(f"{limit} of {len(chosen)} episodes of step {step}; --limit shows more", style="dim"))


def choose(episodes: list[Record], problem: str | None, solved: bool | None) -> list[Record]:
    """Those of a problem and an outcome; a record that lacks what a dialog needs is passed over."""
    return [
        one
        for one in episodes
        if {"problem", "solved", "turns", "messages"} <= one.keys()
        and problem in (None, one["problem"])
        and solved in (None, one["solved"])
    ]


def dialog(episode: Record) -> Group:
    """An episode as the model saw and wrote it."""
    parts: list[RenderableType] = []
    for place, message in enumerate(episode["messages"]):
        if message["role"] == "model":
            parts += [response_line(place // 2 + 1, message, episode["turns"][place // 2]), *written(message["text"])]
        else:
            name = "problem" if place == 0 else "feedback"
            parts += [
                Text(f"{name}  ({message['tokens']} tokens)", style="bold"),
                Text(message["text"].strip(), "dim"),
            ]
        parts.append(Text())
    return Group(*parts[:-1])


def title(episode: Record, *more: str) -> Text:
    outcome = ("solved", "green") if episode["solved"] else ("not solved", "red")
    return Text("  ").join([Text(episode["problem"], "bold"), Text(*outcome), *map(Text, more)])


def response_line(turn: int, message: dict[str, Any], judged: dict[str, Any]) -> Text:
    """What came of a response: verdict, reward, length, cost."""
    verdict = Verdict[judged["verdict"].upper()]
    reward = f"reward {judged['reward']:+.1f}" if judged["reward"] else "no reward"
    cost = f"{message['tokens']} tokens{', cut,' * judged['truncated']} in {judged['generate_s']:.1f} s"
    judging = "" if judged["code"] is None else f", judged in {judged['judge_s']:.1f} s"
    style = f"bold {VERDICT_STYLE[verdict]}"
    return Text.assemble((f"turn {turn}  ", "bold cyan"), (verdict.label, style), f"  {reward}  ({cost}{judging})")


def written(text: str) -> Iterator[RenderableType]:
    """A response with its programs highlighted and the rest as it is."""
    at = 0
    for block in FENCED.finditer(text):
        if prose := text[at : block.start()].strip():
            yield Text(prose)
        language = "python" if block[2].lower() in ("", "py", "python", "python3") else block[2]
        yield Syntax(
            block[3].rstrip("\n"),
            language,
            theme="ansi_dark",
            word_wrap=True,
            background_color="default",
            padding=(0, 2),
        )
        at = block.end()
    if prose := text[at:].strip():
        yield Text(prose)


def panel(episode: Record) -> Panel:
    """One episode in a frame, as the demo's summary ends with."""
    return Panel(dialog(episode), title=Text("One episode: ").append_text(title(episode)), title_align="left")
