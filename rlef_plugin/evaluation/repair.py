"""The repair model, a baseline of the paper: one model writes a program, another repairs it (docs/paper.md section 8).

    single-turn evaluation of model A ─► cases: its programs that fail a public test, with their feedback
        ├─► left_out.json  those that pass when they are judged again: they have no feedback to repair by
        ├─► sft.jsonl   each case beside a program that is verified to be right: SFT for model B (training split)
        └─► a store of repair problems, `<problem>--<rollout>`: `rlef eval --turn-limit 1 --rollouts 2` of model B
    compose(A, B): A's rollout, then up to two independent repairs, until the public tests pass

Environment, episode and strictness of the judge are those of A's evaluation.

A repair problem is an ordinary problem whose description holds the failing program and what its public tests said, and
whose tests are the original's; so model B is trained and evaluated by what is there already, and the composed rollouts
are read by `rlef score`, `analyze` and `report` like any other. Repairs are independent of one another: each sees the
first program only. Not promised: repairs of responses without valid code, which hold no program to repair, and
environments whose first message leaves the description out (HumanEval+), which are refused.
"""

import asyncio
import json
import os
import shutil
import string
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlef_plugin.env import EnvConfig, Environment, Step, load_environment
from rlef_plugin.env.code import fenced
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation import settings as settings_file
from rlef_plugin.evaluation.rollouts import Rollout, RolloutFolder, by_problem, read
from rlef_plugin.evaluation.run import ROLLOUTS
from rlef_plugin.evaluation.score import stops_early
from rlef_plugin.judge import Judge, JudgeConfig, check_verdicts, open_patient_judge
from rlef_plugin.problems import ProblemStore, build_store
from rlef_plugin.problems.records import TestCase

REPAIRS = 2
AT_ONCE = 8  # programs whose tests are in memory
PROBE = "xDESCRIPTIONxMARKx"  # is nowhere else in a first message
LEFT_OUT = "left_out.json"  # ids of cases
MARK = "--"  # between a problem's id and the rollout whose program is to be repaired; a store allows it in an id
WORDING = Path(__file__).with_name("repair.txt")


@dataclass(frozen=True, slots=True)
class Case:
    """A program that fails a public test, as a problem of its own."""

    problem: str
    index: int  # of the rollout
    description: str
    left_out: bool = False  # judged again it passes, so nothing is known of its error

    @property
    def id(self) -> str:
        return case_id(self.problem, self.index)


@dataclass(frozen=True, slots=True)
class Written:
    """How many of each `write_cases` wrote."""

    cases: int
    left_out: int
    rows: int  # of sft.jsonl


@dataclass(frozen=True)
class Setting:
    """Where the first model's programs were judged: its store, environment and episode; one turn, no examples."""

    store: ProblemStore
    environment: type[Environment]
    episode: EnvConfig
    judge: JudgeConfig

    @classmethod
    def of(cls, settings: Mapping[str, Any], store: ProblemStore) -> "Setting":
        episode = replace(EnvConfig(**settings["episode"]), few_shot="")
        environment = load_environment(settings.get("env", "rlef_plugin.CodeContestsEnv"))
        return cls(store, environment, episode, JudgeConfig(strict_exit=settings.get("strict_exit", True)))

    def episode_of(self, judge: Judge | None, turn_limit: int) -> Environment:
        episode = replace(self.episode, turn_limit=turn_limit)
        return self.environment(self.store, judge, episode, lambda text: len(text) // 3)  # type: ignore[arg-type]

    async def step(self, judge: Judge, problem_id: str, code: str, turn_limit: int) -> Step:
        """The program as the first response."""
        env = self.episode_of(judge, turn_limit)
        await env.reset(problem_id)
        env.prefill = ""  # the program is whole
        return await env.step(fenced(code.strip()))

    def check(self, problem_id: str) -> None:
        """Raise UsageError if the environment does not show a problem's description, where a case is told."""
        problem = replace(self.store[problem_id], description=PROBE)
        if PROBE not in self.episode_of(None, turn_limit=1).first_message(problem):
            raise UsageError(
                f"{self.environment.__name__} does not show a problem's description, so it cannot ask for a repair: "
                "evaluate with an environment that does"
            )


async def cases(rollouts: Iterable[Rollout], setting: Setting, judge: Judge, per_problem: int = 0) -> list[Case]:
    """The failing first programs, at most `per_problem` of each problem (0 = all), with the feedback they get.

    One that passes when it is judged again, as a program near its time limit may, is marked as left out.
    """
    groups = by_problem(one for one in rollouts if one.turns[0].code and not one.turns[0].public_passed)
    chosen = [one for group in groups.values() for one in group[: per_problem or None]]
    return await _bounded(lambda rollout: _case(rollout, setting, judge), chosen)


async def right_programs(setting: Setting, problems: Iterable[str], judge: Judge) -> dict[str, str]:
    """For each problem its first stored solution that really passes every test; problems without one are left out."""

    async def first(problem_id: str) -> tuple[str, str]:
        for solution in setting.store.solutions(problem_id):
            if solution.correct and (await setting.step(judge, problem_id, solution.code, turn_limit=1)).solved:
                return problem_id, solution.code
        return problem_id, ""

    found = await _bounded(first, problems)
    return {problem_id: code for problem_id, code in found if code}


def training_rows(found: Iterable[Case], right: dict[str, str], setting: Setting) -> Iterator[dict[str, Any]]:
    """For the host's `train_sft`: what the repair model sees, and a right program; cases without one are left out."""
    writer = setting.episode_of(None, turn_limit=1)  # judges nothing
    for case in found:
        if case.problem in right:
            asked = writer.first_message(replace(setting.store[case.problem], description=case.description))
            answer = {"role": "assistant", "content": fenced(right[case.problem].strip())}
            yield {"messages": [{"role": "user", "content": asked}, answer], "problem": case.problem, "turns": 1}


def store_rows(found: Sequence[Case], store: ProblemStore) -> Iterator[dict[str, Any]]:
    """Repair problems as rows to build a store from; the tests are the original's."""
    for case in found:
        problem = store[case.problem]
        yield {
            "name": case.id,
            "split": problem.split,
            "description": case.description,
            "public_tests": _tests(problem.public_tests),
            "private_tests": _tests(problem.private_tests),
            "time_limit": problem.time_limit_s,
            "memory_limit_bytes": problem.memory_limit_mb and problem.memory_limit_mb << 20,
            "input_file": problem.input_file or "",
            "output_file": problem.output_file or "",
            "checker": problem.checker or "",
            "metadata": dict(problem.metadata),
        }


def compose(first: Iterable[Rollout], repairs: Iterable[Rollout], left_out: Collection[str] = ()) -> Iterator[Rollout]:
    """The two-model system's rollouts: a first program, and repairs in their order until one passes the public tests.

    Cases that were `left_out` have no repairs, and keep what their first program got.

    Raises:
        UsageError: a case was not played by the repair model, or not often enough, or is of another program.
    """
    played = by_problem(repairs)
    for rollout in first:
        attempts = [rollout.limited_to(1)]
        case = case_id(rollout.problem, rollout.index)
        if rollout.turns[0].code and not rollout.turns[0].public_passed and case not in left_out:
            there = played.get(case, [])
            if len(there) < REPAIRS:
                raise UsageError(
                    f"the repair model played {len(there)} of {REPAIRS} rollouts of {case!r}: evaluate it on all "
                    f"cases with --rollouts {REPAIRS} first, or name with --cases the folder that left it out"
                )
            if not all(_holds(one.messages[0].text, rollout.turns[0].code) for one in there[:REPAIRS]):
                raise UsageError(
                    f"the repairs of {case!r} are of another program than this evaluation's: make cases of it with "
                    "`rlef repair cases`, and evaluate the repair model on those"
                )
            attempts += [one.limited_to(1) for one in there[:REPAIRS]]
        shown = next((n for n, one in enumerate(attempts) if one.public_passed), len(attempts) - 1) + 1
        yield Rollout(
            rollout.problem,
            rollout.index,
            attempts[shown - 1].solved,
            tuple(turn for one in attempts[:shown] for turn in one.turns[:1]),
            tuple(message for one in attempts[:shown] for message in one.messages[:2]),
        )


def write_cases(run: Path, store: Path, out: Path, per_problem: int = 0, *, sft: bool = False) -> Written:
    """Judge, then write a problem store, and sft.jsonl if asked to.

    Raises:
        UsageError: the store is not the evaluation's, every program passes, `out` is there already, or the
            environment cannot show a case.
    """
    with _made_whole(out) as folder:
        rollouts, settings = read(run / ROLLOUTS), settings_file.read(run)
        setting = Setting.of(settings, ProblemStore.open(store))
        _check_store(run, settings, setting.store)
        setting.check(rollouts[0].problem)
        judged, right = asyncio.run(_judged(rollouts, setting, per_problem, sft))
        found, left_out = ([case for case in judged if case.left_out is passes] for passes in (False, True))
        if not found:
            raise UsageError(f"no program in {run} fails a public test, so there is nothing to repair")
        rows = list(training_rows(found, right, setting))
        if sft:
            (folder / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if left_out:
            (folder / LEFT_OUT).write_text(json.dumps([case.id for case in left_out]) + "\n")
        build_store(store_rows(found, setting.store), folder / "store")
    return Written(len(found), len(left_out), len(rows))


def write_composed(first: Path, repairs: Path, out: Path, cases: Path | None = None) -> None:
    """An evaluation's folder for the composed rollouts, made from those of the two models.

    `cases` is the folder of `write_cases`, needed where it left cases out.

    Raises:
        UsageError: a repair is missing, the two do not fit, `out` is there already, or it is not known what single
            responses solve.
    """
    settings, repairing = settings_file.read(first), settings_file.read(repairs)
    for key in ("split", "env", "strict_exit"):
        if key in settings and key in repairing and settings[key] != repairing[key]:
            raise UsageError(
                f"{first} has {key}={settings[key]!r} and {repairs} has {repairing[key]!r}: evaluate the repair model "
                "with the same"
            )
    for folder, one in ((first, settings), (repairs, repairing)):
        if one["episode"]["turn_limit"] > 1 and not stops_early(one):
            raise UsageError(f"{folder} does not stop early, so its first responses are not known: use --turn-limit 1")
    turns = 1 + REPAIRS
    changed = {
        "model": f"{settings['model']}, repaired by {repairing['model']}",
        "repaired_by": repairing["model"],
        "episode": {**settings["episode"], "turn_limit": turns},
    }
    listed = cases and cases / LEFT_OUT
    left_out = json.loads(listed.read_text()) if listed and listed.is_file() else ()
    with _made_whole(out) as folder:
        kept = RolloutFolder(folder / ROLLOUTS)
        for rollout in compose(read(first / ROLLOUTS), read(repairs / ROLLOUTS), left_out):
            kept.append(rollout)
        kept.close()
        (folder / settings_file.FILE).write_text(json.dumps({**settings, **changed}, indent=1))


def case_id(problem: str, index: int) -> str:
    return f"{problem}{MARK}{index}"


def _check_store(run: Path, settings: Mapping[str, Any], store: ProblemStore) -> None:
    """Raise UsageError if the evaluation was of other problems; one without a digest is from before it was kept."""
    split, digest = settings["split"], settings.get("problems_digest")
    if digest and digest != store.digest(split):
        raise UsageError(
            f"{store.path} is not the store that {run} was played on (its problems of split {split} differ): name "
            "that one with --store"
        )


async def _judged(
    rollouts: Iterable[Rollout], setting: Setting, per_problem: int, sft: bool
) -> tuple[list[Case], dict[str, str]]:
    judge = await open_patient_judge(setting.judge)
    try:
        await check_verdicts(judge, jailed=not setting.judge.unsafe_no_jail)
        found = await cases(rollouts, setting, judge, per_problem)
        problems = dict.fromkeys(case.problem for case in found if not case.left_out) if sft else ()
        return found, await right_programs(setting, problems, judge)
    finally:
        await judge.close()


async def _case(rollout: Rollout, setting: Setting, judge: Judge) -> Case:
    code = rollout.turns[0].code or ""
    step = await setting.step(judge, rollout.problem, code, turn_limit=2)
    if step.public_passed:
        return Case(rollout.problem, rollout.index, "", left_out=True)
    values = {"description": setting.store[rollout.problem].description, "program": fenced(code.strip())}
    text = string.Template(WORDING.read_text()).substitute(values, feedback=step.observation)
    return Case(rollout.problem, rollout.index, text.strip())


async def _bounded[T, R](work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """All results in order, `AT_ONCE` at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> R:
        async with room:
            return await work(item)

    return await asyncio.gather(*map(one, items))


@contextmanager
def _made_whole(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` at the end, so that `out` is whole or not there, and may be tried again.

    Raises:
        UsageError: `out` is there already.
    """
    if out.exists():
        raise UsageError(f"{out} is there already: choose another folder with --out")
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        os.replace(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _holds(message: str, code: str) -> bool:
    """Whether a case's first message asks to repair this very program, whatever fence it stands in."""
    return f"python\n{code.strip()}\n`" in message


def _tests(tests: Sequence[TestCase]) -> dict[str, list[str]]:
    return {"input": [test.input for test in tests], "output": [test.output for test in tests]}
