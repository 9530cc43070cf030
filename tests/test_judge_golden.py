"""Golden programs with their verdicts (tests/golden/*.toml), judged one by one and again all at once."""

import asyncio
import tomllib
from pathlib import Path

import pytest
from judge_helpers import Case, SyncJudge, sync_judge

from rlef_plugin.judge import Limits

pytestmark = pytest.mark.nsjail


def load_programs() -> list[dict]:
    programs = []
    for path in sorted((Path(__file__).parent / "golden").glob("*.toml")):
        with path.open("rb") as file:
            content = tomllib.load(file)
        for program in content.pop("program"):
            programs.append({"limits": {"cpu_s": 2.0}, **content, **program, "file": path.stem})
    return programs


PROGRAMS = load_programs()


@pytest.fixture(scope="module")
def judge():
    with sync_judge(workers=2) as judge:
        yield judge


def expected_tests(program: dict) -> list[str]:
    if program["verdict"] == "invalid code":
        return []
    return program.get("each", [program["verdict"]] * len(program["tests"]))


@pytest.mark.parametrize("program", PROGRAMS, ids=[f"{p['file']}: {p['name']}" for p in PROGRAMS])
def test_golden_program(judge: SyncJudge, program: dict) -> None:
    result = judge(program["source"], program["tests"], Limits(**program["limits"]))
    got = [(test.verdict.label, test.error) for test in result.tests]
    assert [label for label, _ in got] == expected_tests(program), (got, result.error)
    assert result.verdict.label == program["verdict"]


def test_every_verdict_and_at_least_25_programs_are_covered() -> None:
    assert len(PROGRAMS) >= 60
    assert len({program["verdict"] for program in PROGRAMS}) == 7


def test_verdicts_do_not_change_when_all_programs_are_judged_at_once(judge: SyncJudge) -> None:
    quick = [p for p in PROGRAMS if p["verdict"] not in ("timeout", "out of memory", "output limit")]

    async def judge_all() -> list:
        cases = [[Case(*test) for test in program["tests"]] for program in quick]
        return await asyncio.gather(
            *(judge.judge.judge(p["source"], c, Limits(**p["limits"])) for p, c in zip(quick, cases, strict=True))
        )

    results = judge.loop.run_until_complete(judge_all())
    assert [result.verdict.label for result in results] == [program["verdict"] for program in quick]
