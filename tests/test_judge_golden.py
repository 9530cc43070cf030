"""Golden programs with their verdicts (tests/golden/*.toml)."""

import tomllib
from collections import Counter
from pathlib import Path

import pytest
from judge_helpers import Case, sync_judge

from rlef_plugin.judge import Limits, ProgramResult

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
def results() -> dict[str, ProgramResult]:
    """All programs are judged at once, so that they also stand for each other's load."""
    with sync_judge(workers=2) as judge:
        jobs = [
            judge.judge.judge(p["source"], [Case(*test) for test in p["tests"]], Limits(**p["limits"]))
            for p in PROGRAMS
        ]
        return dict(zip(map(name, PROGRAMS), judge.together(jobs), strict=True))


def name(program: dict) -> str:
    return f"{program['file']}: {program['name']}"


def expected_tests(program: dict) -> list[str]:
    if program["verdict"] == "invalid code":
        return []
    return program.get("each", [program["verdict"]] * len(program["tests"]))


@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_golden_program(results: dict[str, ProgramResult], program: dict) -> None:
    result = results[name(program)]
    got = [(test.verdict.label, test.error) for test in result.tests]
    assert [label for label, _ in got] == expected_tests(program), (got, result.error)
    assert result.verdict.label == program["verdict"]


def test_programs_have_names_of_their_own_and_every_verdict_has_at_least_seven() -> None:
    assert len({name(program) for program in PROGRAMS}) == len(PROGRAMS) >= 150
    counts = Counter(program["verdict"] for program in PROGRAMS)
    assert len(counts) == 7 and min(counts.values()) >= 7
    confusable = ("timeout", "out of memory", "output limit", "exception")
    assert sum(counts[verdict] for verdict in confusable) >= 40
