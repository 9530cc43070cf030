"""A sample of real problems and of programs that people submitted, where that data is present beside the checkout."""

import asyncio
from pathlib import Path

import pytest

from rlef_plugin.judge import JudgeConfig, Limits, Verdict, open_judge
from rlef_plugin.problems import Problem, ProblemStore, Solution, build_store, read_rows

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "problems.jsonl.gz"
pytestmark = [
    pytest.mark.nsjail,
    pytest.mark.skipif(not DATA.is_file(), reason="the real problems are not here: shared/data beside the checkout"),
]
EVERY = 16  # of 1,329 programs
# Needs a relative tolerance, which the dataset's own checker does not have either (PAPER.md section 4).
NOT_ACCEPTED = ("623_D",)


def test_correct_programs_are_accepted_and_incorrect_ones_are_not(tmp_path: Path) -> None:
    report = build_store(read_rows(DATA), tmp_path / "store", on_malformed="skip")
    store = ProblemStore.open(report.path)
    pairs = [
        (store[id_], one) for id_ in store if not any(n in id_ for n in NOT_ACCEPTED) for one in store.solutions(id_)
    ]
    sample = [pair for pair in pairs[::EVERY] if pair[1].verdict != "timeout"]  # those take their whole limit
    assert len(sample) > 60 and {one.correct for _, one in sample} == {True, False}
    verdicts = asyncio.run(judge(sample))
    wrong = [
        (problem.id, one.correct, verdict.label)
        for (problem, one), verdict in zip(sample, verdicts, strict=True)
        if (verdict is Verdict.ACCEPTED) != one.correct
    ]
    assert wrong == []


async def judge(sample: list[tuple[Problem, Solution]]) -> list[Verdict]:
    judge = await open_judge(JudgeConfig())

    async def one(problem: Problem, solution: Solution) -> Verdict:
        limits = Limits(cpu_s=problem.time_limit_s or 10.0, memory_mb=problem.memory_limit_mb or 1024)
        tests = [*problem.public_tests, *problem.private_tests]
        files = {"input_file": problem.input_file, "output_file": problem.output_file}
        return (await judge.judge(solution.code, tests, limits, stop_at_failure=True, **files)).verdict

    try:
        return list(await asyncio.gather(*(one(*pair) for pair in sample)))
    finally:
        await judge.close()
