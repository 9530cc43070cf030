"""What `python3 solution.py < input` prints and how it ends, the judge's programs print and end (tests/golden/exact).

Both are run here: the interpreter that the judge uses, in an empty folder, and the judge. A program with `differs` is
one that docs/judge.md names as different on purpose, and it has to differ. Standard error is compared where a program
says `errors`; an exit status exactly where standard error is empty, since only then the judge tells it.
"""

import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from judge_helpers import ROOT, sync_judge

from rlef_plugin.judge import Limits, ProgramResult, Verdict
from rlef_plugin.judge.judging import ERROR_BYTES
from rlef_plugin.judge.verdicts import describe_exit

pytestmark = pytest.mark.nsjail
LIMITS = Limits(cpu_s=3, memory_mb=512)
ADDRESS = re.compile("0x[0-9a-f]+")
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"}


def load_programs() -> list[dict]:
    programs = []
    for path in sorted((ROOT / "tests/golden/exact").glob("*.toml")):
        content = tomllib.loads(path.read_text())
        for program in content.pop("program"):
            for key in ("source", "input"):  # `source_made` is an expression, for what is too long to be written down
                if made := program.pop(f"{key}_made", None):
                    program[key] = eval(made)
            programs.append({"input": "", **content, **program, "file": path.stem})
    return programs


PROGRAMS = load_programs()


def name(program: dict) -> str:
    return f"{program['file']}: {program['name']}"


def run_python(folder: Path, program: dict) -> dict:
    """What an ordinary user gets; the folder is called /tmp, as it is in a jail."""
    work = folder / "work"
    work.mkdir(parents=True)
    work.joinpath("solution.py").write_bytes(program["source"].encode())
    folder.joinpath("in").write_bytes(program["input"].encode())
    with open(folder / "in") as given, open(folder / "out", "w") as out, open(folder / "err", "w") as err:
        command = [os.path.realpath(sys._base_executable), "solution.py"]
        environment = ENVIRONMENT | {"HOME": str(work)}
        code = subprocess.run(command, cwd=work, stdin=given, stdout=out, stderr=err, env=environment).returncode
    output, error = (folder.joinpath(stream).read_bytes().replace(bytes(work), b"/tmp") for stream in ("out", "err"))
    ended = "" if code == 0 else describe_exit(-code if code < 0 else code << 8)
    return {"output": output, "error": error[-ERROR_BYTES:].decode("utf-8", "replace"), "ended": ended}


def judged(result: ProgramResult) -> dict:
    """The same of the judge's answer; `ended` is None for a status other than 0 that it does not tell."""
    if result.verdict is Verdict.INVALID_CODE:
        return {"output": b"", "error": result.error, "ended": None}
    (test,) = result.tests
    if test.verdict not in (Verdict.ACCEPTED, Verdict.EXCEPTION):
        return {"output": test.stdout, "error": test.error, "ended": f"verdict {test.verdict.label}"}
    if test.verdict is Verdict.EXCEPTION and test.error.startswith("The program "):
        return {"output": test.stdout, "error": "", "ended": test.error}
    return {"output": test.stdout, "error": test.error, "ended": None if test.verdict is Verdict.EXCEPTION else ""}


def differences(program: dict, python: dict, ours: dict) -> list[str]:
    if ours["ended"] is None:
        ours = ours | {"ended": python["ended"] or "a status other than 0"}
    keys = ("output", "ended", "error") if program.get("errors") else ("output", "ended")
    pairs = [(key, ADDRESS.sub("0x", str(python[key])), ADDRESS.sub("0x", str(ours[key]))) for key in keys]
    return [f"{key}: python {one:.1500}, judge {other:.1500}" for key, one, other in pairs if one != other]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[dict, dict]]:
    folder = tmp_path_factory.mktemp("exact")
    with ThreadPoolExecutor(2) as pool, sync_judge(workers=2) as judge:
        run = [pool.submit(run_python, folder / str(number), program) for number, program in enumerate(PROGRAMS)]
        jobs = [judge.judge.run(program["source"], [program["input"]], LIMITS) for program in PROGRAMS]
        ours = map(judged, judge.together(jobs))
        return {name(p): (one.result(), other) for p, one, other in zip(PROGRAMS, run, ours, strict=True)}


@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_program_does_what_it_does_under_python(runs: dict[str, tuple[dict, dict]], program: dict) -> None:
    found = differences(program, *runs[name(program)])
    if "differs" in program:
        assert found, f"equal by now, so {program['differs']!r} is no difference"
    else:
        assert not found, "\n".join([*found, runs[name(program)][1]["error"]])


DEEP = {
    "minus": lambda depth: f"x = 1\ny = {'-' * depth}x\nprint(input())",
    "sum": lambda depth: f"x = 1\ny = x{' + x' * depth}\nprint(input())",
    "elif": lambda depth: "x = 1\nif x == 0: pass\n" + "elif x == 0: pass\n" * depth + "print(input())",
}


@pytest.mark.parametrize("shape", DEEP)
def test_the_deepest_source_that_python_compiles_is_run(tmp_path: Path, shape: str) -> None:
    def ends(depth: int) -> str:
        program = {"source": DEEP[shape](depth), "input": "yes"}
        return run_python(tmp_path / str(depth), program)["output"].decode()

    low, high = 100, 10_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if ends(middle) else (low, middle)
    with sync_judge(workers=1) as judge:
        assert judge(DEEP[shape](low), [("yes", "yes")], LIMITS).accepted
        assert not judge(DEEP[shape](high), [("yes", "yes")], LIMITS).accepted


def test_differences_are_named_in_the_documentation() -> None:
    text = (ROOT / "docs/judge.md").read_text()
    missing = {program["differs"] for program in PROGRAMS if "differs" in program and program["differs"] not in text}
    assert not missing
    assert len({name(program) for program in PROGRAMS}) == len(PROGRAMS) >= 180
