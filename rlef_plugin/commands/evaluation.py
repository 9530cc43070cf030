"""`rlef eval`, `rlef score`, `rlef analyze` and `rlef report`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[str, typer.Option(help="A folder or hub id; with --url, the name the server knows.")],
    store: Annotated[Path, typer.Option(help="A problem store.")],
    out: Annotated[Path, typer.Option(help="Where rollouts and settings are kept; the same again goes on.")],
    url: Annotated[str, typer.Option(help="An OpenAI-compatible server instead of vLLM here.")] = "",
    tokenizer: Annotated[str, typer.Option(help="With --url: counts tokens; else they are estimated.")] = "",
    split: Annotated[str, typer.Option(help="Which of the store's splits is played.")] = "valid",
    env: Annotated[str, typer.Option(help="Import path of the environment.")] = "rlef_plugin.CodeContestsEnv",
    preset: Annotated[
        str, typer.Option(help="1@3 or 10@100: temperature, top-p and rollouts as in the paper, where not given.")
    ] = "",
    turn_limit: Annotated[int, typer.Option(help="Responses an episode, at most.")] = 3,
    rollouts: Annotated[int | None, typer.Option(help="Of each problem; 20 without a preset.")] = None,
    problems: Annotated[int, typer.Option(min=0, help="Only the first so many; 0 = all.")] = 0,
    temperature: Annotated[float | None, typer.Option(help="Of the sampling; 0.2 without a preset.")] = None,
    temperature_to: Annotated[
        float | None, typer.Option(help="Draw each response's temperature between --temperature and this.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Of the sampling; 0.95 without a preset.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sampling and what is drawn.")] = 0,
    max_len: Annotated[int, typer.Option(help="Tokens of a whole episode.")] = 8192,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens of one response.")] = 2048,
    engines: Annotated[int, typer.Option(help="vLLM engines, each with GPUs of its own.")] = 1,
    tensor_parallel: Annotated[int, typer.Option(help="GPUs of each engine, for a model that needs several.")] = 1,
    in_flight: Annotated[int, typer.Option(help="Episodes that each engine plays at a time.")] = 64,
    cpu_host: Annotated[bool, typer.Option(help="Run vLLM on the CPU, for trying out.")] = False,
    settings: Annotated[
        list[str] | None, typer.Argument(help="rlef.key=value; docs/settings.md has all keys.")
    ] = None,
) -> None:
    """Evaluate a model over several turns: n@k with intervals, every rollout kept."""
    from rich.console import Console

    from rlef_plugin.evaluation import run
    from rlef_plugin.evaluation.settings import EvalSettings, config_of, sampling

    overrides = [f"rlef.turn_limit={turn_limit}", f"rlef.cpu_host={str(cpu_host).lower()}", *(settings or [])]
    chosen = EvalSettings(
        model=model,
        url=url,
        tokenizer=tokenizer,
        config=config_of(env, store, out, overrides),
        split=split,
        problems=problems,
        temperature_to=temperature_to,
        seed=seed,
        max_len=max_len,
        max_new_tokens=max_new_tokens,
        engines=engines,
        tensor_parallel=tensor_parallel,
        in_flight=in_flight,
        **sampling(preset, {"rollouts": rollouts, "temperature": temperature, "top_p": top_p}),
    )
    run.evaluate(chosen, out, Console())


def score(out: Annotated[Path, typer.Argument(help="What `rlef eval --out` wrote.")]) -> None:
    """Show an evaluation's table again, from its rollouts alone."""
    from rich.console import Console

    from rlef_plugin.evaluation import run

    run.show(out, Console())


Runs = Annotated[list[str], typer.Argument(help="Folders that `rlef eval --out` wrote; FOLDER=NAME names one.")]


def analyze(
    runs: Runs,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers, for machines.")] = False,
) -> None:
    """Show what models do with feedback, side by side: recovery by error type, repetition, edits, false hope."""
    import json

    from rich.console import Console

    from rlef_plugin.evaluation import report

    loaded = _loaded(runs)
    if as_json:
        typer.echo(json.dumps([report.as_dict(run) for run in loaded]))
    else:
        report.show(loaded, Console())


def report(
    runs: Runs,
    out: Annotated[Path, typer.Option("-o", "--out", help="The page; plots and numbers go beside it.")],
) -> None:
    """Write one self-contained HTML page about evaluations, with plots, and the numbers as JSON and CSV."""
    from rlef_plugin.evaluation import report as pages

    pages.check_target(out)
    for path in pages.write(_loaded(runs), out):
        typer.echo(str(path))


def _loaded(runs: list[str]) -> list:
    from rlef_plugin.evaluation import report

    return [report.load(folder, name) for folder, name in _named(runs)]


def _named(runs: list[str]) -> list[tuple[Path, str]]:
    """FOLDER or FOLDER=NAME, each as both; folders of the same name are told apart by their parents'."""
    parts = [(Path(folder), name) for folder, _, name in (run.partition("=") for run in runs)]
    unnamed = [folder.absolute() for folder, name in parts if not name]
    alike = len({folder.name for folder in unnamed}) < len(unnamed)
    above = Path(os.path.commonpath(unnamed)) if alike else Path()
    return [(at, name or (str(at.absolute().relative_to(above)) if alike else at.name)) for at, name in parts]


def mine(
    runs: Runs,
    out: Annotated[Path, typer.Option("-o", "--out", help="JSONL for the host's train_sft.")],
    per_problem: Annotated[int, typer.Option(min=0, help="At most so many of each problem; 0 = all.")] = 0,
    any_split: Annotated[
        bool,
        typer.Option("--any-split", help="Also from problems kept for evaluation, or with rlef.feedback=private."),
    ] = False,
) -> None:
    """Collect solved rollouts of evaluations of the training split as supervised examples, one of each program."""
    from rlef_plugin.evaluation import mine as mining
    from rlef_plugin.evaluation import settings

    named = _named(runs)
    for folder, name in named:
        said = settings.read(folder)
        if not any_split:
            mining.check_trainable(name, said)
    chosen, played = mining.collect([folder for folder, _ in named], per_problem)
    mining.write(chosen, out)
    repaired = sum(not one.turns[0].public_passed for one in chosen)
    typer.echo(f"{len(chosen)} of {played} rollouts ({repaired} with repairs) in {out}")
