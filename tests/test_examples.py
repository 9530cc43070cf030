"""The plugin's own problems: what they promise of themselves, and each solution judged for real."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlef_plugin.judge import JudgeConfig, Limits, ProgramResult, Verdict, open_judge
from rlef_plugin.problems import EXAMPLES, Problem, ProblemStore, Solution, TestCase, build_store, read_rows


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProblemStore]:
    path = tmp_path_factory.mktemp("examples") / "store"
    report = build_store(read_rows(EXAMPLES), path)
    assert (report.rejections, report.renamed, report.duplicates, report.other_languages) == ([], [], [], 0)
    yield ProblemStore.open(path)


def test_counts(store: ProblemStore) -> None:
    assert len(store) >= 28
    assert store.splits["train"] >= 22
    assert store.splits["valid"] >= 6
    assert set(store.splits) == {"train", "valid"}


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_problem_is_small_and_complete(file: Path) -> None:
    (row,) = read_rows(file)
    assert row["name"] == file.stem
    assert row["description"].isascii()
    assert 25 <= len(row["description"].split()) <= 70
    assert (1 <= len(row["public_tests"]) <= 2, 3 <= len(row["private_tests"]) <= 8) == (True, True)
    assert 2 <= len(row["generated_tests"]) <= 6
    assert (len(row["solutions"]) >= 2, len(row["incorrect_solutions"]) >= 2) == (True, True)
    assert row["time_limit"]["seconds"] <= 2
    inputs = [test["input"] for kind in ("public", "private", "generated") for test in row[f"{kind}_tests"]]
    assert len(set(inputs)) == len(inputs)  # no private test is a public one again


def test_no_verdict_is_rare(store: ProblemStore) -> None:
    wrong = Counter(one.verdict for id_ in store for one in store.solutions(id_) if not one.correct)
    assert set(wrong) == {verdict.name.lower() for verdict in Verdict if verdict is not Verdict.ACCEPTED}
    assert min(wrong.values()) >= 3


Judged = tuple[Problem, Solution, ProgramResult]


@pytest.fixture(scope="module")
def judged(store: ProblemStore) -> list[Judged]:
    """Every solution on public, then private, then generated tests, up to the first failure."""

    async def judge_all() -> list[Judged]:
        judge = await open_judge(JudgeConfig())
        pairs = [(store[id_], one) for id_ in store for one in store.solutions(id_)]
        try:
            results = await asyncio.gather(*(judge.judge(*program(*pair), stop_at_failure=True) for pair in pairs))
        finally:
            await judge.close()
        return [(*pair, result) for pair, result in zip(pairs, results, strict=True)]

    def program(problem: Problem, solution: Solution) -> tuple[str, tuple[TestCase, ...], Limits]:
        assert problem.time_limit_s is not None and problem.memory_limit_mb is not None
        limits = Limits(cpu_s=problem.time_limit_s, memory_mb=problem.memory_limit_mb)
        return solution.code, problem.public_tests + problem.private_tests, limits

    return asyncio.run(judge_all())


@pytest.mark.nsjail
def test_each_solution_gets_its_verdict(judged: list[Judged]) -> None:
    surprises: list[Any] = [
        (problem.id, solution.code, expected, result.verdict.name, result.error)
        for problem, solution, result in judged
        if (expected := "accepted" if solution.correct else solution.verdict) != result.verdict.name.lower()
    ]
    assert surprises == []


@pytest.mark.nsjail
def test_many_wrong_programs_pass_the_public_tests(judged: list[Judged]) -> None:
    """Else early stop would never meet a program that the private tests reject."""
    hopes = {
        (problem.id, solution.code)
        for problem, solution, result in judged
        if not solution.correct and len(result.tests) > len(problem.public_tests)
    }
    assert len(hopes) >= 30
    assert len({id_ for id_, _ in hopes}) >= 20
