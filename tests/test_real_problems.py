"""Real problems and programs that people submitted, where that data is present beside the checkout: a sample always,
all 1,329 programs in the slow tier. Every exception is named here with its reason; there are no others."""

import asyncio
from pathlib import Path

import pytest

from rlef_plugin.judge import JudgeConfig, Limits, open_judge
from rlef_plugin.problems import Problem, ProblemStore, Solution, build_store, read_rows

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "problems.jsonl.gz"
pytestmark = [
    pytest.mark.nsjail,
    pytest.mark.skipif(not DATA.is_file(), reason="the real problems are not here: shared/data beside the checkout"),
]
EVERY = 16  # of the programs, in the sample
type Submission = tuple[Problem, int, Solution]

# Correct by their source, and not accepted.
NOT_ACCEPTED = {
    ("codecontests_train_6300_623_D._Birthday", 0): "prints ~1e5 with 1e-6 relative error; the tolerance is absolute",
    ("codecontests_train_6300_623_D._Birthday", 1): "the same",
}
# Rejected as they should be, but with another kind of verdict than their source gives.
CRASHES_FIRST = "IndexError on a test that the source's judge never reached: it stopped at its limit of few seconds"
IS_RUN_TIME_ERROR = "its source calls running out of memory a run-time error"
OTHER_KIND = {
    ("kattis_Kodsport_swedish-olympiad-2025-public_skol_theodortrollkarlen", 3): "fills 1 GiB before 10 s are over",
    ("kattis_Kodsport_swedish-olympiad-2025-public_skol_theodortrollkarlen", 4): CRASHES_FIRST,
    ("kattis_Kodsport_swedish-olympiad-2025-public_skol_theodortrollkarlen", 5): CRASHES_FIRST,
    ("kattis_Kodsport_swedish-olympiad-2025-public_skol_theodortrollkarlen", 6): CRASHES_FIRST,
    ("kattis_Kodsport_kth-challenge-2021_guessingcircle", 1): IS_RUN_TIME_ERROR,
    ("kattis_Kodsport_kth-challenge-2021_guessingcircle", 2): IS_RUN_TIME_ERROR,
    ("kattis_Kodsport_swedish-olympiad-2024-public_online_segmentovervakning", 3): IS_RUN_TIME_ERROR,
}


@pytest.fixture(scope="module")
def submissions(tmp_path_factory: pytest.TempPathFactory) -> list[Submission]:
    report = build_store(read_rows(DATA), tmp_path_factory.mktemp("real") / "store", on_malformed="skip")
    store = ProblemStore.open(report.path)
    return [(store[id_], number, one) for id_ in store for number, one in enumerate(store.solutions(id_))]


def test_a_sample_of_programs_is_judged_as_its_sources_judged_it(submissions: list[Submission]) -> None:
    sample = [one for one in submissions[::EVERY] if one[2].verdict != "timeout"]  # those take their whole limit
    assert len(sample) > 60 and {one.correct for *_, one in sample} == {True, False}
    assert differences(sample) == {}


@pytest.mark.slow
def test_all_programs_are_judged_as_their_sources_judged_them(submissions: list[Submission]) -> None:
    correct = sum(one.correct for *_, one in submissions)
    assert (correct, len(submissions) - correct) == (783, 546)
    assert differences(submissions) == {}


def differences(submissions: list[Submission]) -> dict[tuple[str, int], tuple[str, str]]:
    """Expected and given verdict where they are not the same. A program of no known kind is just to be rejected, and
    so are those that are listed above: which limit such a program breaks first depends on the machine."""
    given = asyncio.run(judge_all(submissions))
    found = {}
    for (problem, number, one), verdict in zip(submissions, given, strict=True):
        wanted = "accepted" if one.correct else (one.verdict or "rejected").replace("_", " ")
        if (problem.id, number) in NOT_ACCEPTED | OTHER_KIND:
            wanted = "rejected"
        if verdict != wanted and not (wanted == "rejected" and verdict != "accepted"):
            found[problem.id, number] = (wanted, verdict)
    return found


async def judge_all(submissions: list[Submission]) -> list[str]:
    judge = await open_judge(JudgeConfig())

    async def one(problem: Problem, solution: Solution) -> str:
        limits = Limits(cpu_s=problem.time_limit_s or 10.0, memory_mb=problem.memory_limit_mb or 1024)
        tests = [*problem.public_tests, *problem.private_tests]
        files = {"input_file": problem.input_file, "output_file": problem.output_file}
        result = await judge.judge(solution.code, tests, limits, stop_at_failure=True, **files)
        return result.verdict.label

    try:
        return list(await asyncio.gather(*(one(problem, solution) for problem, _, solution in submissions)))
    finally:
        await judge.close()
