"""`rlef judge` as a person meets it: what it prints at 80 columns, and how it exits."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from rlef_plugin import cli
from rlef_plugin.judge import SandboxError, pool
from rlef_plugin.judging import command
from rlef_plugin.judging.differ import cut, cut_lines, diff
from rlef_plugin.problems import build_store, read_rows

pytestmark = pytest.mark.nsjail

ECHO = {
    "name": "echo",
    "description": "Print the word.",
    "time_limit_s": 1,
    "public_tests": [{"input": "a\n", "output": "a\n"}],
    "private_tests": [{"input": "b\n", "output": "b\n"}, {"input": "c\n", "output": "c\n"}],
    "solutions": {"language": [3, 3], "solution": ["print(input())", "print('a')"]},
    "incorrect_solutions": {
        "language": [3, 3, 3],
        "solution": ["print(input())", "1/0", "print(1)"],
        "verdict": ["WA", "WA", ""],
    },
}
NUMBERS = re.compile(r"\d+ ms|\d+ MiB(?=$|\n)")


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> str:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(ECHO) + "\n")
    return str(build_store(read_rows(rows), tmp_path / "store").path)


class Said:
    """What was printed; measured numbers are N, and columns are two spaces apart."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.raw, self.err = status, out, err
        self.out = "\n".join(re.sub(" {2,}", "  ", line.rstrip()) for line in NUMBERS.sub("N", out).splitlines())


@pytest.fixture
def rlef(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str, program: str = "") -> Said:
        Path("p.py").write_text(program)
        monkeypatch.setattr(sys, "argv", ["rlef", "judge", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Said(end.value.code, *capsys.readouterr())

    return run


TABLE = "test  verdict  CPU  memory\n"


def test_an_accepted_program_is_a_table_and_status_0(rlef: Any, store: str) -> None:
    said = rlef("echo", "p.py", "--store", store, "--jobs", "1", program="print(input())")
    assert (said.status, said.err) == (0, "")
    assert said.out == (
        "echo: accepted, 3 of 3 tests passed (limits: 1 s, 1024 MiB)\n"
        f"{TABLE}public 1  accepted  N  N\nprivate 1  accepted  N  N\nprivate 2  accepted  N  N"
    )


def test_a_wrong_output_is_shown_against_the_expected_one(rlef: Any, store: str) -> None:
    said = rlef("echo", "p.py", "--store", store, program="x = input()\nprint('x' * 500 if x == 'b' else x)")
    assert said.status == 1
    assert said.out == (
        "echo: wrong output, 2 of 3 tests passed (limits: 1 s, 1024 MiB)\n"
        f"{TABLE}public 1  accepted  N  N\nprivate 1  wrong output  N  N\nprivate 2  accepted  N  N\n\n"
        "First failure: private 1, wrong output\ninput\n  b\nexpected (-) against got (+)\n- b\n"
        f"+ {'x' * 24} ... 452 characters ... {'x' * 24}"
    )
    assert max(map(len, said.raw.splitlines())) <= 80


@pytest.mark.parametrize(
    ("program", "verdict", "why"),
    [
        ("import sys\nsys.exit(input())", "exception", "standard error\n  a"),
        ("while True: pass", "timeout", "It ran for more than 1 s of CPU time, or 15 s of wall time."),
        ("raise MemoryError", "out of memory", "It took more than 1024 MiB of memory."),
        ("import os\nwhile True: os.write(1, bytes(1 << 20))", "output limit", "It wrote more than 64 MiB."),
    ],
)
def test_other_failures_say_why(rlef: Any, tmp_path: Path, program: str, verdict: str, why: str) -> None:
    (tmp_path / "echo.json").write_text(json.dumps({**ECHO, "private_tests": [{"input": "a", "output": "a"}]}))
    said = rlef("p.py", "--problem-file", "echo.json", program=program)
    assert said.status == 1
    assert said.out.startswith(f"echo: {verdict}, 0 of 2 tests passed")
    assert f"First failure: public 1, {verdict}\ninput\n  a\n{why}" in said.out


def test_a_checker_s_problem_says_that_outputs_may_differ(rlef: Any, tmp_path: Path) -> None:
    checker = "def check(input, output, expected):\n    return output.strip() in 'abcd'\n"
    (tmp_path / "echo.json").write_text(json.dumps({**ECHO, "checker": checker}))
    assert rlef("p.py", "--problem-file", "echo.json", program="print('d')").status == 0
    said = rlef("p.py", "--problem-file", "echo.json", program="print('x')")
    assert said.status == 1
    assert "checker decides: other outputs may be right, too.\nexpected (-) against got" in said.out


def test_invalid_code_is_the_compiler_s_message(rlef: Any, store: str) -> None:
    said = rlef("echo", "p.py", "--store", store, program="print(")
    assert said.status == 1 and said.out.startswith("echo: invalid code (limits")
    assert said.out.endswith("SyntaxError: '(' was never closed")


def test_many_tests_are_told_in_runs(rlef: Any, tmp_path: Path) -> None:
    private = [{"input": f"{n}\n", "output": f"{n}\n"} for n in range(60)]
    (tmp_path / "many.json").write_text(
        json.dumps({"public_tests": [{"input": "a", "output": "a"}], "private_tests": private})
    )
    said = rlef("p.py", "--problem-file", "many.json", program="x = input()\nprint(0 if x in ('41', '42') else x)")
    assert said.out.startswith(
        "many: wrong output, 59 of 61 tests passed (limits: 10 s, 1024 MiB)\n"
        f"{TABLE}public 1  accepted  N  N\nprivate 1 to 41  accepted  <= N  <= N\n"
        "private 42 to 43  wrong output  <= N  <= N\nprivate 44 to 60  accepted  <= N  <= N\n"
    )


def test_a_problem_is_judged_by_the_environment_it_was_made_for(rlef: Any, tmp_path: Path) -> None:
    call = {"entry_point": "double", "method_of": None, "atol": 0.0, "compare": "value"}
    row = {**ECHO, "name": "double", "metadata": {"call": call}, "incorrect_solutions": [], "solutions": []}
    row |= {"public_tests": [{"input": "[2]", "output": "4"}], "private_tests": [{"input": "[5]", "output": "10"}]}
    build_store([row], tmp_path / "calls")
    (tmp_path / "right.py").write_text("def double(x):\n    return 2 * x\n")
    given = ("double", "right.py", "--store", str(tmp_path / "calls"))
    assert rlef(*given).status == 0
    refused = rlef(*given, "--env", "rlef_plugin.CodeContestsEnv")
    assert refused.status == 2 and "are calls of a function, and CodeContestsEnv runs programs that" in refused.err


def test_json_is_not_decorated(capsys: pytest.CaptureFixture[str]) -> None:
    command.print_json({"stdout": ":b: [bold]x[/bold]", "é": 1.0})
    assert capsys.readouterr().out == '{"stdout": ":b: [bold]x[/bold]", "\\u00e9": 1.0}\n'


def test_json_has_every_test(rlef: Any, store: str) -> None:
    said = rlef("echo", "p.py", "--store", store, "--json", program="print('a')")
    told = json.loads(said.raw)
    assert (said.status, told["problem"], told["verdict"], told["accepted"]) == (1, "echo", "wrong_output", False)
    assert [(test["group"], test["number"], test["verdict"]) for test in told["tests"]] == [
        ("public", 1, "accepted"),
        ("private", 1, "wrong_output"),
        ("private", 2, "wrong_output"),
    ]
    assert all(test["memory_mb"] > 1 and 0 < test["cpu_s"] < 1 for test in told["tests"])


def test_a_program_may_come_through_a_pipe(rlef: Any, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("piped").write_text("print(input())")
    with open("piped") as program:
        monkeypatch.setattr(sys, "stdin", program)
        assert rlef("echo", "-", "--store", store).status == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["echoo", "p.py", "--store", "store"], r"'echoo' is not in .*: the nearest id is 'echo'"),
        (["echo", "none.py", "--store", "store"], r"program none.py cannot be read \(No such file or directory\)"),
        (["p.py", "--problem-file", "no.json"], r"no.json cannot be read as JSON"),
        (["p.py", "--problem-file", "list.json"], r"list.json holds a list, but one problem is one JSON object"),
        (["p.py", "--problem-file", "bad.json"], r"bad.json is not a problem: public_tests is missing"),
        (["p.py", "--problem-file", "two.jsonl"], r"two.jsonl holds several problems: .* use --store"),
        (["p.py", "--problem-file", "bad.yaml"], r"bad.yaml holds no problem: it is not YAML \(while parsing"),
        (["p.py", "--problem-file", "empty.yaml"], r"empty.yaml holds no problem: it is empty"),
        (["echo", "p.py"], r"give `rlef judge PROBLEM PROGRAM --store STORE`"),
        (["echo", "p.py", "--store", "store", "--env", "no.Env"], r"--env 'no.Env' cannot be imported"),
        (["--store", "store", "--split", "test"], r"has no split 'test'"),
        (["--store", "none"], r"none does not exist"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(
    rlef: Any, store: str, tmp_path: Path, words: list[str], sentence: str
) -> None:
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "bad.yaml").write_text("name: [a")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "two.jsonl").write_text(2 * (json.dumps(ECHO) + "\n"))
    said = rlef(*words)
    assert (said.status, said.out) == (2, "")
    assert re.fullmatch(rf"rlef: .*{sentence}.*\n", said.err)


def test_a_broken_judge_is_status_3(rlef: Any, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise SandboxError("no nsjail")

    monkeypatch.setattr(pool, "jail_command", broken)
    for words in (["echo", "p.py"], []):
        said = rlef(*words, "--store", store)
        assert (said.status, said.out) == (3, "")
        assert said.err.endswith("rlef: the judge is broken, and nothing was decided: no nsjail\n")


def test_without_a_jail_only_if_asked_and_never_silently(
    rlef: Any, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        said = rlef("echo", "p.py", "--store", store, "--unsafe-no-jail", program="print(input())")
        assert said.status == 0
    assert [record.getMessage()[:7] for record in caplog.records] == ["UNSAFE:", "UNSAFE:"]


CONFUSION = """\
What the source says (rows) against what the judge says (columns)

  accepted  wrong  exception
correct  1  1  -
incorrect  -  1  -
wrong output  1  -  1

Correct by its label, not accepted (1)
  echo #1: wrong output on private 1

Incorrect by its label, accepted (1)
  echo #2: accepted

Rejected with another verdict than its source gives (1)
  echo #3: exception on public 1, not wrong output

5 programs: 2 judged otherwise than their source says"""


def test_a_store_is_a_confusion_table_with_exceptions_by_name(rlef: Any, store: str) -> None:
    said = rlef("--store", store, "--jobs", "2")
    assert (said.status, said.out) == (1, CONFUSION)
    told = json.loads(rlef("--store", store, "--json").raw)
    assert told["programs"] == 5
    assert sorted(
        (one["index"], one["correct"], one["said"], one["verdict"], one["test"]) for one in told["judged"]
    ) == [
        (0, True, None, "accepted", ""),
        (1, True, None, "wrong_output", "private 1"),
        (2, False, "wrong_output", "accepted", ""),
        (3, False, "wrong_output", "exception", "public 1"),
        (4, False, None, "wrong_output", "public 1"),
    ]


def test_a_store_whose_programs_are_as_labelled_is_status_0(rlef: Any, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    right = {"language": [3], "solution": ["print(input())"]}
    rows.write_text(json.dumps({**ECHO, "solutions": right, "incorrect_solutions": []}) + "\n")
    said = rlef("--store", str(build_store(read_rows(rows), tmp_path / "right").path))
    assert (said.status, said.out.splitlines()[-1]) == (0, "1 program: all judged as their source says")


def test_ctrl_c_ends_the_judge_and_tells_what_was_judged(tmp_path: Path) -> None:
    loops = {"language": [3, 3], "solution": ["print(input())", "while True: pass"]}
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({**ECHO, "time_limit_s": 3000, "solutions": loops, "incorrect_solutions": []}) + "\n")
    store = build_store(read_rows(rows), tmp_path / "loops").path
    command = [sys.executable, "-m", "rlef_plugin", "judge", "--store", str(store), "--jobs", "1"]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"}
    )
    started = psutil.Process(running.pid)
    while not any(burns_cpu(process) for process in started.children(recursive=True)):
        assert running.poll() is None
    below = started.children(recursive=True)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in err and "rlef: interrupted; 1 of 2 programs were judged" in err
    assert "1 program: all judged as their source says" in out
    assert psutil.wait_procs(below, timeout=10)[1] == []


def burns_cpu(process: psutil.Process) -> bool:
    """For longer than starting a jail or running the first program takes."""
    try:
        return process.cpu_times().user > 1.5
    except psutil.Error:
        return False


@pytest.mark.parametrize(
    ("expected", "got", "lines"),
    [
        ("1\n2\n", "1\n3\n", [(" ", "1"), ("-", "2"), ("+", "3")]),
        ("YES\n1.0\n", "yes\n1.000001", [(" ", "YES"), (" ", "1.0")]),  # equal for the judge
        ("1\n2\n", "1\n", [(" ", "1"), ("-", "2")]),
        ("", "x\ty\x00", [("+", "x\\ty\\x00")]),
        (
            "".join(f"{n}\n" for n in range(20)),
            "".join(f"{n}\n" for n in range(9)) + "x\n" + "".join(f"{n}\n" for n in range(10, 20)),
            [
                (".", "7 lines as expected"),
                *((" ", text) for text in "78"),
                ("-", "9"),
                ("+", "x"),
                *((" ", str(n)) for n in range(10, 15)),
                (".", "5 lines more"),
            ],
        ),
    ],
)
def test_diff_is_around_the_first_difference(expected: str, got: str, lines: list[tuple[str, str]]) -> None:
    assert list(diff(expected, got, 60)) == lines


def test_long_texts_lose_their_middle() -> None:
    assert cut("x" * 60, 60) == "x" * 60
    assert cut("a" * 500 + "b" * 501, 60) == "a" * 15 + " ... 971 characters ... " + "b" * 15
    assert cut_lines("1\n2\n3", 3, 9) == ["1", "2", "3"]
    assert cut_lines("\n".join(map(str, range(100))), 5, 20) == ["0", "1", "... 96 lines ...", "98", "99"]


def test_a_file_that_cannot_be_used_is_one_sentence(rlef: Any, store: str, tmp_path: Path) -> None:
    Path("file").touch()
    for words in (("echo", "p.py", "--store", "file/store"), ("echo", "file/p.py", "--store", store)):
        said = rlef(*words)
        assert said.status == 2 and said.err.startswith("rlef: ") and "Traceback" not in said.err


def test_a_name_that_no_terminal_writes_is_no_traceback() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    words = [sys.executable, "-m", "rlef_plugin", "judge", "--help"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr
