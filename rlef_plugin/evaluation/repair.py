"""The repair model, a baseline of the paper: one model writes a program, another repairs it (PAPER.md section 8).

    single-turn evaluation of model A ─► cases: its programs that fail a public test, with their feedback
        ├─► repair.jsonl   each case beside a program that is verified to be right: SFT for model B
        └─► a store of repair problems, `<problem>--<rollout>`: `rlef eval --turn-limit 1 --rollouts 2` of model B
    compose(A, B): A's rollout, then up to two independent repairs, until the public tests pass

A repair problem is an ordinary problem whose description holds the failing program and what its public tests said, and
whose tests are the original's; so model B is trained and evaluated by what is there already, and the composed rollouts
are read by `rlef score`, `analyze` and `report` like any other. Repairs are independent of one another: each sees the
first program only. Not promised: repairs of responses without valid code, which hold no program to repair.
"""

import asyncio
import json
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlef_plugin.env import CodeContestsEnv, EnvConfig
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation import settings as settings_file
from rlef_plugin.evaluation.rollouts import Rollout, RolloutFolder, by_problem, read
from rlef_plugin.evaluation.run import ROLLOUTS
from rlef_plugin.judge import Judge, JudgeConfig, open_judge
from rlef_plugin.problems import ProblemStore, build_store
from rlef_plugin.problems.records import TestCase

REPAIRS = 2
MARK = "--"  # between a problem's id and the rollout whose program is to be repaired; a store allows it in an id
WORDING = Path(__file__).with_name("repair.txt")


@dataclass(frozen=True, slots=True)
class Case:
    """A program that fails a public test, as a problem of its own."""

    problem: str
    index: int  # of the rollout
    description: str

    @property
    def id(self) -> str:
        return f"{self.problem}{MARK}{self.index}"


async def cases(rollouts: Iterable[Rollout], store: ProblemStore, judge: Judge, per_problem: int = 0) -> list[Case]:
    """The failing first programs, at most `per_problem` of each problem (0 = all), with the feedback they get."""
    groups = by_problem(one for one in rollouts if one.turns[0].code and not one.turns[0].public_passed)
    chosen = [one for group in groups.values() for one in group[: per_problem or None]]
    return list(await asyncio.gather(*(_case(rollout, store, judge) for rollout in chosen)))


async def right_programs(store: ProblemStore, problems: Iterable[str], judge: Judge) -> dict[str, str]:
    """For each problem its first stored solution that really passes every test; problems without one are left out."""

    async def first(problem_id: str) -> tuple[str, str]:
        for solution in store.solutions(problem_id):
            env = CodeContestsEnv(store, judge, EnvConfig(turn_limit=1), len)
            await env.reset(problem_id)
            if solution.correct and (await env.step(_block(solution.code))).solved:
                return problem_id, solution.code
        return problem_id, ""

    found = await asyncio.gather(*(first(problem_id) for problem_id in problems))
    return {problem_id: code for problem_id, code in found if code}


def training_rows(found: Iterable[Case], right: dict[str, str], store: ProblemStore) -> Iterator[dict[str, Any]]:
    """For the host's `train_sft`: what the repair model sees, and a right program; cases without one are left out."""
    writer = CodeContestsEnv(store, None, EnvConfig(), len)  # type: ignore[arg-type]  # judges nothing
    for case in found:
        if case.problem in right:
            asked = writer.first_message(replace(store[case.problem], description=case.description))
            answer = {"role": "assistant", "content": _block(right[case.problem])}
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
        }


def compose(first: Iterable[Rollout], repairs: Iterable[Rollout]) -> Iterator[Rollout]:
    """The two-model system's rollouts: a first program, and repairs in their order until one passes the public tests.

    Raises:
        UsageError: a case was never played by the repair model.
    """
    played = by_problem(repairs)
    for rollout in first:
        attempts = [replace(rollout, turns=rollout.turns[:1], messages=rollout.messages[:2])]
        if rollout.turns[0].code and not rollout.turns[0].public_passed:
            case = f"{rollout.problem}{MARK}{rollout.index}"
            if case not in played:
                raise UsageError(f"the repair model played no rollout of {case!r}: evaluate it on all cases first")
            attempts += played[case][:REPAIRS]
        shown = next((n for n, one in enumerate(attempts) if one.public_passed), len(attempts) - 1) + 1
        yield Rollout(
            rollout.problem,
            rollout.index,
            attempts[shown - 1].solved,
            tuple(turn for one in attempts[:shown] for turn in one.turns[:1]),
            tuple(message for one in attempts[:shown] for message in one.messages[:2]),
        )


def write_cases(run: Path, store: Path, out: Path, per_problem: int = 0) -> tuple[int, int]:
    """Judge, then write sft.jsonl and a problem store; returns the number of cases, and of those with a right program.

    Raises:
        UsageError: every program passes, or `out` is there already.
    """
    if out.exists():
        raise UsageError(f"{out} is there already: choose another folder with --out")
    problems = ProblemStore.open(store)
    rollouts = read(run / ROLLOUTS)

    async def judged() -> tuple[list[Case], dict[str, str]]:
        judge = await open_judge(JudgeConfig())
        try:
            found = await cases(rollouts, problems, judge, per_problem)
            return found, await right_programs(problems, dict.fromkeys(case.problem for case in found), judge)
        finally:
            await judge.close()

    found, right = asyncio.run(judged())
    if not found:
        raise UsageError(f"no program in {run} fails a public test, so there is nothing to repair")
    out.mkdir(parents=True)
    rows = list(training_rows(found, right, problems))
    (out / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_store(store_rows(found, problems), out / "store")
    return len(found), len(rows)


def write_composed(first: Path, repairs: Path, out: Path) -> None:
    """An evaluation's folder for the composed rollouts, made from those of the two models."""
    settings = settings_file.read(first)
    turns = 1 + REPAIRS
    episode = {**settings["episode"], "turn_limit": turns}
    models = f"{settings['model']}, repaired by {settings_file.read(repairs)['model']}"
    out.mkdir(parents=True)
    folder = RolloutFolder(out / ROLLOUTS)
    for rollout in compose(read(first / ROLLOUTS), read(repairs / ROLLOUTS)):
        folder.append(rollout)
    folder.close()
    (out / settings_file.FILE).write_text(json.dumps({**settings, "model": models, "episode": episode}, indent=1))


async def _case(rollout: Rollout, store: ProblemStore, judge: Judge) -> Case:
    env = CodeContestsEnv(store, judge, EnvConfig(turn_limit=2), lambda text: len(text) // 3)
    await env.reset(rollout.problem)
    code = rollout.turns[0].code or ""
    step = await env.step(_block(code))
    values = {"description": store[rollout.problem].description, "program": code.strip()}
    text = string.Template(WORDING.read_text()).substitute(values, feedback=step.observation)
    return Case(rollout.problem, rollout.index, text.strip())


def _block(code: str) -> str:
    return f"```python\n{code.strip()}\n```"


def _tests(tests: Sequence[TestCase]) -> dict[str, list[str]]:
    return {"input": [test.input for test in tests], "output": [test.output for test in tests]}
