"""What the words of `rlef judge` ask for, done: one program, or all of a store."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console

from rlef_plugin.env import Environment, load_environment
from rlef_plugin.env.base import environment_of
from rlef_plugin.errors import UsageError
from rlef_plugin.judge import JudgeConfig, SandboxError
from rlef_plugin.judging import confusion, one, stored, task
from rlef_plugin.judging.one import EnvironmentOf
from rlef_plugin.judging.stored import Outcome
from rlef_plugin.problems import Problem, ProblemStore
from rlef_plugin.progress import Progress

KEPT_STDOUT_BYTES = 1 << 20  # of a test, to show where an output differs


@dataclass(frozen=True, slots=True)
class Chosen:
    words: list[str]
    store: Path | None
    problem_file: Path | None
    split: str | None
    env: str | None
    json: bool


def run(chosen: Chosen, config: JudgeConfig) -> bool:
    """Whether the program is accepted; of a store, whether all are judged as their source says.

    Raises:
        UsageError: what to change. SandboxError: the judge is broken. KeyboardInterrupt: after the judge has ended.
    """
    environment = environments(chosen.env)
    if chosen.store and not chosen.words and not chosen.problem_file:
        return _store(ProblemStore.open(chosen.store), chosen, config, environment)
    problem, program = _task(chosen)
    judged = asyncio.run(one.judge_one(problem, program, config, environment))
    if chosen.json:
        print_json(one.as_json(judged))
    else:
        one.show(judged, _console())
    return judged.result.accepted


def environments(named: str | None) -> EnvironmentOf:
    """The class named, or without one the class that each problem was made for.

    Raises:
        UsageError: there is no such class. What it returns raises it for a problem whose tests are not for that class.
    """
    fixed = load_environment(named) if named else None

    def of(problem: Problem) -> type[Environment]:
        found = fixed or load_environment(environment_of(problem))
        found.check_tests(problem)
        return found

    return of


def _task(chosen: Chosen) -> tuple[Problem, str]:
    match chosen.words, chosen.store, chosen.problem_file:
        case [problem_id, program], Path() as store, None:
            return task.stored_problem(store, problem_id), task.program_in(Path(program))
        case [program], None, Path() as file:
            return task.problem_in(file), task.program_in(Path(program))
    raise UsageError(
        "give `rlef judge PROBLEM PROGRAM --store STORE`, `rlef judge PROGRAM --problem-file FILE`, "
        "or `rlef judge --store STORE` for all its programs"
    )


def _store(store: ProblemStore, chosen: Chosen, config: JudgeConfig, environment: EnvironmentOf) -> bool:
    total = stored.count(store, chosen.split)
    if not total:
        raise UsageError(f"{store.path} holds no programs to judge: build it from rows with solutions")
    outcomes: list[Outcome] = []
    try:
        _with_bar(store, chosen, config, environment, outcomes, total)
    except KeyboardInterrupt:
        Console(stderr=True).print(f"rlef: interrupted; {len(outcomes)} of {total} programs were judged")
        raise
    finally:
        if chosen.json:
            print_json({"programs": total, "judged": [outcome.as_json() for outcome in outcomes]})
        elif outcomes:
            confusion.show(outcomes, _console())
    return all(outcome.agrees for outcome in outcomes)


def _with_bar(
    store: ProblemStore,
    chosen: Chosen,
    config: JudgeConfig,
    environment: EnvironmentOf,
    outcomes: list[Outcome],
    total: int,
) -> None:
    with Progress("programs", total) as progress:

        def ended(outcome: Outcome) -> None:
            outcomes.append(outcome)
            progress.advance()

        try:
            asyncio.run(stored.judge_all(store, chosen.split, config, environment, ended))
        except BaseExceptionGroup as errors:
            broken = errors.subgroup((SandboxError, UsageError))
            raise broken.exceptions[0] if broken else errors from None


def print_json(value: object) -> None:
    typer.echo(json.dumps(value))  # not through rich, which turns ":b:" into a picture


def _console() -> Console:
    return Console(highlight=False)
