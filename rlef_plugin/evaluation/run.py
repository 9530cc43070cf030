"""One evaluation from a command's settings to its table: check, play what is missing, score.

Everything that can be wrong is found before a model loads. A second call with the same settings plays only what is
missing, and nothing at all where nothing is; more rollouts or problems may be asked for later.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlef_plugin.env.modes import check_solutions
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation import rollouts as kept
from rlef_plugin.evaluation import score
from rlef_plugin.evaluation import settings as settings_file
from rlef_plugin.evaluation.play import Key, Player, missing, play_all
from rlef_plugin.evaluation.rollouts import Rollout, RolloutFolder
from rlef_plugin.evaluation.settings import EvalSettings
from rlef_plugin.problems import ProblemStore
from rlef_plugin.progress import Progress

ROLLOUTS = "rollouts"  # folder in an evaluation's folder
OPTION_OF = {
    "actor.model_name_or_path": "--model",
    "rollout.max_new_tokens": "--max-new-tokens",
    "data.max_len": "--max-len",
}


def evaluate(settings: EvalSettings, out: Path, console: Console) -> list[score.Score]:
    """Play and score.

    Raises:
        UsageError: one sentence about what to change; what was played is kept.
    """
    store = _only_store(settings)
    problems = _problems(store, settings)
    if settings.config.episode.feedback == "random":
        check_solutions(store, settings.split)
    _check(settings)
    facts = {"problems_digest": store.digest(settings.split)}
    folder = RolloutFolder(out / ROLLOUTS)
    try:
        if folder.kept:  # else nothing was played there: what was asked for was wrong, or stopped at once
            settings.check(out, facts)
        keys = missing(problems, settings.rollouts, folder)
        if keys and settings.url:
            _check_server(settings)
        settings.write(out, facts, len(problems))
        already = len(problems) * settings.rollouts - len(keys)
        console.print(f"{len(problems)} problems x {settings.rollouts} rollouts; {already} are there already")
        if keys:
            _play(settings, keys, folder, console)
    finally:
        folder.close()
    return show(out, console)


def show(out: Path, console: Console) -> list[score.Score]:
    """The table of an evaluation that was played before; needs no model."""
    rollouts, settings = kept.read(out / ROLLOUTS, texts=False), settings_file.read(out)
    rows = score.table(rollouts, settings)
    table = Table("n@k", "turns", "solve rate %", "95% interval", "problems", title=escape(str(out)))
    for row in rows:
        interval = f"{100 * row.rate.low:.1f} to {100 * row.rate.high:.1f}"
        table.add_row(row.name, str(row.turn_limit), f"{100 * row.rate.mean:.1f}", interval, str(row.rate.problems))
    console.print(table)
    if lacking := score.incomplete(rollouts, settings):
        console.print(lacking)
    return rows


def _play(settings: EvalSettings, keys: list[Key], folder: RolloutFolder, console: Console) -> None:
    with Progress("rollouts", len(keys), console=console) as progress:
        solved = 0

        def keep(rollout: Rollout) -> None:
            nonlocal solved
            folder.append(rollout)
            solved += rollout.solved
            progress.advance(f"solved {100 * solved / (progress.done + 1):.1f}%")

        running, opened = _place(settings, len(folder.kept))
        with running:
            asyncio.run(_with_player(opened, keys, keep))


async def _with_player(
    opened: Callable[[], Awaitable[Player]], keys: list[Key], keep: Callable[[Rollout], None]
) -> None:
    player = await opened()
    try:
        await play_all(keys, player, keep)
    finally:
        await player.close()


def _place(
    settings: EvalSettings, rollouts: int
) -> tuple[AbstractContextManager[Any], Callable[[], Awaitable[Player]]]:
    """Where episodes are played: what must run around it, and how a player is made there; `rollouts` are kept."""
    if settings.url:
        from rlef_plugin.evaluation.server import open_player

        return nullcontext(), lambda: open_player(settings)
    from rlef_plugin import launcher

    async def open_engines() -> Player:
        from rlef_plugin.openrlhf_ext.engines import EnginePlayer

        return EnginePlayer(settings, rollouts)

    return launcher.ray_running(settings.config), open_engines


def _check(settings: EvalSettings) -> None:
    from rlef_plugin import preflight

    preflight.check_sandbox(settings.config)
    preflight.check_environment(settings.config)
    if settings.url:
        return
    preflight.check_versions()
    lengths = {"rollout.max_new_tokens": settings.max_new_tokens, "data.max_len": settings.max_len}
    used = {"eval.dataset": str(settings.config.stores[0]), "eval.split": settings.split}
    try:
        preflight.check_context(settings.config, {"actor.model_name_or_path": settings.model, **lengths, **used})
    except UsageError as error:
        raise UsageError(_with_options(str(error))) from None


def _with_options(sentence: str) -> str:
    """A sentence about a training run's flags, with this command's options in their place."""
    for flag, option in OPTION_OF.items():
        sentence = sentence.replace(flag, option)
    return sentence


def _check_server(settings: EvalSettings) -> None:
    from rlef_plugin.evaluation import server

    asyncio.run(server.check(settings))


def _only_store(settings: EvalSettings) -> ProblemStore:
    return ProblemStore.open(settings.config.stores[0])


def _problems(store: ProblemStore, settings: EvalSettings) -> list[str]:
    return store.ids(settings.split)[: settings.problems or None]
