"""The micro-world: what a statement leaves open, the splits, and that jails say what the world says."""

import asyncio
from functools import cache
from itertools import islice, product

import pytest

from rlef_plugin.env.traces import clean_trace
from rlef_plugin.judge import JudgeConfig, Limits, Verdict, open_judge
from rlef_plugin.judge.compare import outputs_match
from rlef_plugin.micro import world
from rlef_plugin.micro.known import KnownPrograms, programs
from rlef_plugin.micro.tasks import FAMILIES, GUESSING, TRUTHS, Family, Task
from rlef_plugin.problems.convert import convert
from rlef_plugin.problems.records import TestCase

COUNT = {"train": 1200, "valid": 120, "test": 120}
LIMITS = Limits(cpu_s=world.TIME_LIMIT_S, memory_mb=world.MEMORY_LIMIT_MB)


@cache
def drawn(split: str, seed: int = 0) -> list[Task]:
    return list(islice(world.tasks(split, seed), COUNT[split]))


def judged(task: Task, truth: int) -> Verdict:
    tests = (TestCase(*task.test(task.public)),)
    return asyncio.run(KnownPrograms().judge(task.program(truth), tests, LIMITS)).verdict


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_share_no_statement_no_public_test_and_no_problem(seed: int) -> None:
    splits = {split: drawn(split, seed) for split in COUNT}
    for one, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
        for family in FAMILIES:
            mine, theirs = ([t for t in splits[name] if t.family is family] for name in (one, other))
            assert not {t.statement for t in mine} & {t.statement for t in theirs}
            assert not {t.public for t in mine} & {t.public for t in theirs}
            assert not {t.test(t.public) for t in mine} & {t.test(t.public) for t in theirs}
    for tasks in splits.values():
        assert len({(t.statement, t.truth, t.public) for t in tasks}) == len(tasks)


def test_a_statement_says_nothing_about_its_truth() -> None:
    """The truths of a family are equally likely: of 300 tasks 37.5 each, give or take 5 deviations."""
    for family in FAMILIES:
        truths = [task.truth for task in drawn("train") if task.family is family]
        counts = [truths.count(truth) for truth in range(TRUTHS)]
        assert sum(counts) == 300 and all(abs(count - 37.5) < 5 * 5.73 for count in counts)
        assert len(next(task for task in drawn("train") if task.family is family).hidden) == TRUTHS


def test_guessing_is_what_three_independent_draws_of_eight_give() -> None:
    solved = sum(0 in guesses for guesses in product(range(8), repeat=3))
    assert pytest.approx(solved / 8**3) == GUESSING


def test_the_public_test_tells_all_eight_programs_apart() -> None:
    for task in drawn("valid") + drawn("test"):
        assert [judged(task, truth) is Verdict.ACCEPTED for truth in range(TRUTHS)] == [
            truth == task.truth for truth in range(TRUTHS)
        ], task


def kinds_of(family: Family) -> set[Verdict]:
    tasks = [task for task in drawn("valid") if task.family is family]
    return {judged(task, truth) for task in tasks for truth in range(TRUTHS)} - {Verdict.ACCEPTED}


def test_families_fail_in_their_own_ways() -> None:
    merge, read, walk, listing = FAMILIES
    assert kinds_of(merge) == {Verdict.WRONG_OUTPUT}
    assert kinds_of(read) == {Verdict.EXCEPTION}
    assert kinds_of(walk) == {Verdict.WRONG_OUTPUT, Verdict.TIMEOUT}
    assert kinds_of(listing) == {Verdict.WRONG_OUTPUT, Verdict.OUT_OF_MEMORY}


def test_answers_by_hand() -> None:
    merge, read, walk, listing = FAMILIES
    assert merge.choices["multiply"].answer(7, 9) == "63"
    assert merge.choices["/"].answer(7, 9) == "7/9"
    assert read.layouts[";"].reading == "a,b=map(int,input().split(';'))"
    assert walk.choices[","].answer(11, 4) == "11,7,3,"
    assert walk.choices["rest"].answer(3_000_000_002, 4) == "2"
    assert listing.choices["|"].answer(11, 4) == "0|4|8"
    assert listing.choices["number"].answer(2_000_000_000_001, 4) == "500000000001"


def test_rows_are_in_codecontests_schema_and_come_from_their_seed_alone() -> None:
    sizes = {"train": 8, "valid": 4, "test": 4}
    rows = list(world.rows(sizes, 3))
    assert rows == list(world.rows(sizes, 3)) != list(world.rows(sizes, 4))
    for row in rows:
        problem = convert(row, split="", name="").problem
        assert problem.split == row["split"] and (problem.time_limit_s, problem.memory_limit_mb) == (0.1, 64)
        assert len(problem.public_tests) == 1 and len(problem.private_tests) == world.PRIVATE_TESTS
        assert problem.public_tests[0] not in problem.private_tests
        assert len(convert(row, split="", name="").solutions) == TRUTHS


def test_asking_for_more_problems_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no more problems for valid after \d+"):
        list(world.rows({"valid": 10**6}, 0))


def test_a_program_that_is_not_of_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="judge it in a jail"):
        asyncio.run(KnownPrograms().judge("print(1)", (), LIMITS))


@pytest.mark.nsjail
def test_jails_say_what_the_world_says() -> None:
    """Verdict, output and shown traceback of all eight programs, on a task of each kind of truth and family."""
    seen: set[tuple[str, bool]] = set()
    cases = []
    for task in drawn("train"):
        if (key := (task.family.name, task.asks_huge())) not in seen:
            seen.add(key)
            cases += [(task.program(truth), TestCase(*task.test(task.public))) for truth in range(TRUTHS)]
    assert len(seen) == 6 and {code for code, _ in cases} <= programs()

    async def compare() -> None:
        judge, known = await open_judge(JudgeConfig(workers=2)), KnownPrograms()
        try:
            for code, test in cases:
                real = (await judge.judge(code, (test,), LIMITS, stop_at_failure=False)).tests[0]
                said = (await known.judge(code, (test,), LIMITS)).tests[0]
                traces = [clean_trace(one.error, code) for one in (real, said)]
                assert real.verdict is said.verdict and traces[0] == traces[1], (code, test)
                if real.verdict in (Verdict.ACCEPTED, Verdict.WRONG_OUTPUT):
                    assert outputs_match(real.stdout, said.stdout), (code, test)
        finally:
            await judge.close()

    asyncio.run(compare())
