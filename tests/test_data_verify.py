"""What stored programs say about tests: small tables worked by hand, then real jails from rows to a clean store."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlef_plugin.cli import app
from rlef_plugin.errors import UsageError
from rlef_plugin.problems import ProblemStore, build_store
from rlef_plugin.problems.clean import write_clean
from rlef_plugin.problems.judged import Judged, saving, sound_tests, telling_order, unsound
from rlef_plugin.problems.verify import Results, sample


def judged(correct: list[str], incorrect: list[str], public: int = 1, **changes: Any) -> Judged:
    tests = len((correct + incorrect)[0])
    return Judged("p", public, tests, tuple(correct), tuple(incorrect), **changes)


# --- tables


def test_rates_count_whole_programs() -> None:
    one = judged(["0000", "0010", "000-"], ["0001", "0000", "6666", "---3"])
    assert (one.accepted, one.rejected) == (1, 3)  # one not run to its end is not accepted


def test_an_unpassed_test_is_one_that_usable_programs_were_judged_on() -> None:
    # test 1: both fail; test 2: one passes; test 3: nobody was judged; 2222 passes nothing and says nothing
    assert judged(["010-", "021-", "2222"], ["0000"]).unpassed == [1]
    assert judged(["2222"], ["0000"]).unpassed == []
    assert judged(["01--", "02--"], ["0000"]).unpassed == [1]


def test_one_program_drops_no_test_and_its_problem_is_doubtful() -> None:
    # It passes 3 of 100: either 97 tests are wrong or the program is, and nothing else says which.
    one = judged(["000" + "1" * 97, "2" * 100], ["1" * 100])
    assert (one.unpassed, one.doubtful, unsound(one)) == ([], True, "")
    assert not judged(["0000"], []).doubtful and not judged(["2222"], []).doubtful


def test_timeouts_drop_no_test() -> None:
    slow = judged(["003-", "003-"], [])
    assert (slow.unpassed, slow.slow, slow.doubtful) == ([], [2], False)
    assert unsound(slow) == "its correct programs take too long for some test"
    # one wrong output beside a timeout is one witness; two are enough
    assert (judged(["0013", "0031"], []).unpassed, judged(["0013", "0031"], []).slow) == ([], [2, 3])
    assert (judged(["001", "001", "003"], []).unpassed, judged(["001", "001", "003"], []).slow) == ([2], [])


def test_an_idle_test_fails_no_program() -> None:
    assert judged(["0000", "0010"], ["0100", "0-00"]).idle == [0, 3]
    assert judged(["0000"], []).idle == []  # nothing is known


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (judged(["0000"], []), ""),
        (judged(["2222"], ["1111"]), ""),  # unverified
        (judged(["0010", "0020"], []), ""),  # sound without test 2
        (judged(["1000", "1000"], []), "no correct program passes any public test"),
        (judged(["0111", "0111"], []), "no correct program passes any private test"),
        (judged(["00110", "00120"], []), "more than 25% of its tests are passed by no correct program"),
        (judged(["0000", "0001", "0010"], []), "of its correct programs, less than 50% are accepted"),
        (judged(["0000", "0001"], []), ""),  # half is enough
        (judged(["0"], []), ""),  # there never were private tests
        (judged(["0000"], [], checker="bad"), "its checker is broken"),
    ],
)
def test_unsound_is_where_right_programs_lose(one: Judged, reason: str) -> None:
    assert unsound(one) == reason


def test_sound_tests_are_the_others() -> None:
    assert sound_tests(judged(["0010", "0020"], ["1111"])) == [0, 1, 3]


def test_the_most_telling_test_comes_first_and_then_what_it_misses() -> None:
    # Test 1 fails programs a b c, test 2 fails a b, test 3 fails d, test 4 nobody: 1, then 3 for d, then 2, then 4.
    programs = ["01100", "01100", "01000", "00010"]
    assert telling_order([1, 2, 3, 4], programs) == [1, 3, 2, 4]
    assert telling_order([4, 2, 3], programs) == [2, 3, 4]
    assert telling_order([2, 1], []) == [1, 2]  # as they were


def test_the_saving_is_measured_on_programs_that_did_not_teach() -> None:
    # Private tests are 1, 2, 3; all four programs fail at 3 only: before 3 each, after 1 each.
    alike = ["0003"] * 4
    assert saving([judged(["0000"], alike)]) == {"programs": 4, "not_counted": 0, "before": 12, "after": 4}
    # One that teaches nobody else: its own half knows it, the other does not.
    assert saving([judged(["0000"], ["0001"])]) == {"programs": 1, "not_counted": 0, "before": 3, "after": 3}
    # Failing the public test, not run to the end, and accepted: only the last two come to private tests.
    mixed = ["1111", "000-", "0000"]
    assert saving([judged(["0000"], mixed)]) == {"programs": 1, "not_counted": 1, "before": 3, "after": 3}


def test_a_sample_is_spread() -> None:
    programs = [str(i) for i in range(10)]
    assert (sample(programs, 0), sample(programs, 10)) == (programs, programs)
    assert sample(programs, 3) == ["0", "3", "6"]


def test_a_doubtful_problem_is_kept_whole_and_told(tmp_path: Path) -> None:
    build_store(rows()[:2], tmp_path / "store")
    store = ProblemStore.open(tmp_path / "store")
    found = {"add": Judged("add", 1, 5, ("01111",), ()), "files": Judged("files", 1, 3, ("000", "000"), ())}
    report = write_clean(store, found, tmp_path / "clean", drop=True)
    assert ProblemStore.open(tmp_path / "clean")["add"] == store["add"]
    assert str(report) == "2 problems written\n1 doubtful kept: their only correct program fails a test"


# --- what a user has is kept


@pytest.mark.parametrize("content", ["my notes", '{"verify": 1}', "my notes\n", "[1]\nmore\n"])
def test_a_file_that_holds_no_results_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    build_store(rows()[:1], tmp_path / "s")
    (tmp_path / "notes").write_text(content)
    with pytest.raises(UsageError, match="notes holds no results of this store .*: name another file"):
        Results(tmp_path / "notes", ProblemStore.open(tmp_path / "s"), 20)
    assert (tmp_path / "notes").read_text() == content
    with pytest.raises(UsageError, match="cannot be written .*: name another file"):
        Results(tmp_path, ProblemStore.open(tmp_path / "s"), 20)


def test_a_header_that_was_cut_off_is_written_anew(tmp_path: Path) -> None:
    build_store(rows()[:1], tmp_path / "s")
    Results(tmp_path / "r", ProblemStore.open(tmp_path / "s"), 20).close()
    whole = (tmp_path / "r").read_bytes()
    (tmp_path / "r").write_bytes(whole[:30])  # killed while it wrote its first line
    Results(tmp_path / "r", ProblemStore.open(tmp_path / "s"), 20).close()
    assert (tmp_path / "r").read_bytes() == whole


@pytest.mark.parametrize("flag", ["--drop-unsound", "--order"])
def test_targets_are_looked_at_before_hours_of_judging(
    tmp_path: Path, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlef_plugin.commands.data._judge_all", lambda *_: pytest.fail("it judged"))
    build_store(rows()[:1], tmp_path / "s")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    build_store(rows()[:1], tmp_path / "t")
    (tmp_path / "file").touch()
    refused = {"mine": "is not a problem store", "t": "already holds a problem store"}
    refused |= {"s": "is the store that is judged", "file/new": "cannot be made, as .*/file may not be written to"}
    for taken, sentence in refused.items():
        with pytest.raises(UsageError, match=sentence):
            rlef("verify", tmp_path / "s", flag, tmp_path / taken)
    with pytest.raises(UsageError, match="both name .*new: give each a folder of its own"):
        rlef("verify", tmp_path / "s", "--drop-unsound", tmp_path / "new", "--order", tmp_path / "new")


# --- with jails

ADD = "print(sum(map(int, input().split())))"
SWAP = "import sys\na = input().split()\nprint(*sorted(a))"


def cases(*pairs: tuple[str, str]) -> dict[str, list[str]]:
    return {"input": [one for one, _ in pairs], "output": [other for _, other in pairs]}


def programs(*codes: str) -> dict[str, list[Any]]:
    return {"language": [3] * len(codes), "solution": list(codes)}


def rows() -> list[dict[str, Any]]:
    wrong = ("print(0)", "print(4)", "print(", "a = input()\nprint(8 if '5' in a else 3)", "while True: pass")
    wrong += ("a = input()\nprint(0 if '6' in a else 3)",)
    add = {
        "name": "add",
        "description": "Add.",
        "public_tests": cases(("1 2", "3")),
        "private_tests": cases(("1 2", "3"), ("5 5", "11"), ("5 6", "11"), ("0 0", "0")),  # the second is wrong
        "solutions": programs(ADD, ADD + "  # again", "import numpy_is_not_here"),
        "incorrect_solutions": programs(*wrong),
        "time_limit_s": 0.2,
    }
    files = add | {
        "name": "files",
        "private_tests": cases(("5 6", "11"), ("1 1", "2")),
        "input_file": "in.txt",
        "output_file": "out.txt",
        "solutions": programs("open('out.txt', 'w').write(str(sum(map(int, open('in.txt').read().split()))))"),
        "incorrect_solutions": programs(ADD),  # prints, and writes no file
    }
    broken = add | {"name": "broken", "checker": "def check(i, o, e):\n    return int(o) == int(e)"}
    loose = {"name": "loose", "checker": "def check(i, o, e):\n    return sorted(o.split()) == sorted(i.split())"}
    loose = loose | {
        "description": "Any order.",
        "public_tests": cases(("2 1", "2 1")),
        "private_tests": cases(("3 2 1", "3 2 1"), ("1", "1")),
        "solutions": programs("print(input())", SWAP),
        "incorrect_solutions": programs("print(1)"),
    }
    lost = add | {"name": "lost", "private_tests": cases(("5 5", "11")), "solutions": programs(ADD, ADD + "  # again")}
    unknown = add | {"name": "unknown", "solutions": programs(), "incorrect_solutions": programs()}
    return [add, files, broken, loose, lost, unknown]


def rlef(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["data", *map(str, arguments)], env={"COLUMNS": "80"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, verified once: results.jsonl, clean/, ordered/ and what was said."""
    folder = tmp_path_factory.mktemp("verify")
    build_store(rows(), folder / "store")
    flags = ["--json", folder / "results.jsonl", "--drop-unsound", folder / "clean", "--order", folder / "ordered"]
    (folder / "said").write_text(rlef("verify", folder / "store", *flags, "--jobs", 2))
    return folder


def results(work: Path) -> dict[str, Any]:
    header, *lines = (json.loads(line) for line in (work / "results.jsonl").read_text().splitlines())
    assert header["verify"] == 1 and len(lines) == 6
    return {line["id"]: line for line in lines}


@pytest.mark.nsjail
def test_every_program_on_every_test(work: Path) -> None:
    found = results(work)
    # public 3; private 3, 11 (wrong), 11, 0
    assert found["add"]["correct"] == ["00100", "00100", "22222"]
    assert found["add"]["incorrect"] == ["11110", "11111", "66666", "00111", "333--", "00111"]
    assert (found["add"]["unpassed_tests"], found["add"]["accepted"], found["add"]["usable"]) == ([2], 0, 2)
    assert (found["files"]["correct"], found["files"]["incorrect"]) == (["000"], ["111"])
    assert (found["loose"]["correct"], found["loose"]["incorrect"]) == (["000", "000"], ["110"])
    assert "raised ValueError in its line 2" in found["broken"]["checker"]
    unsound = {id_: one["unsound"] for id_, one in found.items() if one["unsound"]}
    assert unsound == {
        "broken": "its checker is broken",
        "lost": "no correct program passes any private test",
    }


@pytest.mark.nsjail
def test_the_clean_store(work: Path) -> None:
    store, clean = ProblemStore.open(work / "store"), ProblemStore.open(work / "clean")
    assert clean.ids() == ["add", "files", "loose", "unknown"]
    private = [(test.input, test.output) for test in clean["add"].private_tests]
    # Without 5 5. Wrong programs fail: 1 2 four, 5 6 five, 0 0 four.
    assert private == [("5 6", "11"), ("1 2", "3"), ("0 0", "0")]
    assert clean["add"].public_tests == store["add"].public_tests
    assert clean.solutions("add") == store.solutions("add")
    assert clean["unknown"] == store["unknown"]
    assert clean["files"].input_file == "in.txt"
    assert clean.manifest["verified"]["tests_dropped"] == 1
    clean.check_hashes()
    ordered = ProblemStore.open(work / "ordered")
    assert ordered.ids() == store.ids()
    assert [test.input for test in ordered["add"].private_tests] == ["5 5", "5 6", "1 2", "0 0"]


@pytest.mark.nsjail
def test_what_is_said(work: Path) -> None:
    said = (work / "said").read_text()
    assert "8 correct programs, 37.5% accepted; 14 incorrect ones, 100.0% rejected\n" in said
    assert "6 problems: 2 unsound, 0 doubtful, 1 unverified" in said
    assert "4 problems written, 1 of them without 1 tests\n1 dropped: its checker is broken\n" in said
    assert max(map(len, said.splitlines())) <= 110  # paths aside


@pytest.mark.nsjail
def test_a_second_run_judges_only_what_is_missing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results_file = work / "results.jsonl"
    whole = results_file.read_bytes()
    lines = whole.splitlines(keepends=True)
    results_file.write_bytes(b"".join(lines[:5]) + lines[5][:20])  # killed while it wrote the fifth of six
    from rlef_plugin.problems import verify

    judged_ids: list[str] = []
    real = verify._problem
    monkeypatch.setattr(
        verify, "_problem", lambda problem, *rest: judged_ids.append(problem.id) or real(problem, *rest)
    )
    rlef("verify", work / "store", "--json", results_file)
    assert len(judged_ids) == 2
    assert sorted(results_file.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_results_of_another_store_are_refused(tmp_path: Path) -> None:
    build_store(rows()[:1], tmp_path / "a")
    build_store(rows()[1:2], tmp_path / "b")
    Results(tmp_path / "r", ProblemStore.open(tmp_path / "a"), 20).close()
    Results(tmp_path / "r", ProblemStore.open(tmp_path / "a"), 20).close()
    for store, number in (("b", 20), ("a", 10)):
        with pytest.raises(UsageError, match="holds no results of this store and number of programs"):
            Results(tmp_path / "r", ProblemStore.open(tmp_path / store), number)


def verified(store: Path, *ids: str) -> list[Judged]:
    from rlef_plugin.judge import JudgeConfig, open_judge
    from rlef_plugin.problems.verify import verify

    async def run() -> list[Judged]:
        judge = await open_judge(JudgeConfig(workers=1))
        try:
            return [one async for one in verify(ProblemStore.open(store), ids, judge)]
        finally:
            await judge.close()

    return asyncio.run(run())


@pytest.mark.nsjail
def test_a_checker_that_fails_on_what_a_stored_program_prints_is_reported(tmp_path: Path) -> None:
    """It bears what `probe_checker` tries."""
    checker = "def check(i, o, e):\n    return {'3': True}[o] if len(o) == 1 else False"
    tests = {"input": ["1 2"], "output": ["3"]}
    fields = {"name": "odd", "description": "d", "public_tests": tests, "private_tests": tests, "checker": checker}
    build_store([fields | {"incorrect_solutions": programs("print(end='33')", "print(end='4')")}], tmp_path / "s")
    (found,) = verified(tmp_path / "s", "odd")
    assert "checker of problem 'odd' raised KeyError in its line 2" in found.checker
    assert unsound(found) == "its checker is broken"


@pytest.mark.nsjail
def test_a_program_that_hangs_is_not_run_to_the_end(tmp_path: Path) -> None:
    many = {"input": [str(i) for i in range(20)], "output": ["0"] * 20}
    hang = {"name": "hang", "description": "d", "public_tests": many, "private_tests": many, "time_limit_s": 0.1}
    build_store([hang | {"incorrect_solutions": programs("while True: pass")}], tmp_path / "s")

    (found,) = verified(tmp_path / "s", "hang")
    assert found.incorrect == ("333" + "-" * 37,)


@pytest.mark.parametrize("share", ["5", "-0.1"])
def test_the_share_of_accepted_programs_is_one(tmp_path: Path, share: str) -> None:
    done = CliRunner().invoke(app, ["data", "verify", str(tmp_path), "--min-accepted", share])
    assert done.exit_code == 2 and "--min-accepted" in done.output
