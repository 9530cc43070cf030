"""A build that was killed goes on where it was, and its store is that of an undisturbed build, to the byte."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlef_plugin.problems import BuildReport, ProblemStore, StoreError, StoreWriter, build_store, open_source, writer
from rlef_plugin.problems.journal import Journal

REPO = Path(__file__).resolve().parents[1]
ROWS = 60


def row(i: int) -> dict[str, Any]:
    content = i % 55  # the last five have contents that are not new
    tests = {"input": [f"{content} {n}\n" * 20 for n in range(3)], "output": [str(n) for n in range(3)]}
    programs = {"language": [3, 2], "solution": [f"print({content})", "int"]}
    fields = {
        "name": f"row {i % 50}",
        "description": "d",
        "url": "u",
    }  # from 50 on ids are taken
    if i % 7 == 3:
        fields["description"] = 3  # type: ignore[assignment]
    private = {"input": [], "output": []} if i % 11 == 4 else tests
    return fields | {"public_tests": tests, "private_tests": private, "solutions": programs}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    for part in range(3):  # the third is what the builds end in
        lines = (json.dumps(row(i)) + "\n" for i in range(part * 20, part * 20 + 20))
        (folder / f"train-0000{part}-of-00003.jsonl").write_text("".join(lines))
    return folder


BUILD = """
import os, signal, sys
from rlef_plugin.problems import build_store, open_source, writer
from rlef_plugin.problems.stream import StreamWriter
from rlef_plugin.problems.journal import Journal
writer.BATCH_ROWS = 4
source, out, when, count = *sys.argv[1:4], int(sys.argv[4])
calls = 0
def die_at(function):
    def wrapped(*arguments):
        global calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return wrapped
if when == "flush":  # half of a checkpoint's streams are written
    StreamWriter.flush = die_at(StreamWriter.flush)
if when == "mark":  # all of the streams, but nothing in the journal
    Journal.mark = die_at(Journal.mark)
if when == "move":
    writer.StoreWriter._move_into_place = die_at(writer.StoreWriter._move_into_place)
on_row = die_at(lambda report: None) if when == "row" else None
build_store(open_source([source]), out, on_malformed="skip", on_row=on_row)
"""


def run(source: Path, out: Path, when: str, count: int) -> int:
    command = [sys.executable, "-c", BUILD, str(source), str(out), when, str(count)]
    return subprocess.run(command, cwd=REPO, stderr=subprocess.DEVNULL).returncode


def interrupt(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """As by Ctrl-C after so many rows: what is on the disk then is what a kill leaves."""

    def on_row(report: BuildReport) -> None:
        if report.read == rows:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, out, monkeypatch, on_row=on_row)


def content(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in store.rglob("*") if file.is_file()}


def build(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    monkeypatch.setattr(writer, "BATCH_ROWS", 4)
    return build_store(open_source([source]), out, on_malformed="skip", **options)


# Kept are rows 0 1 2 5 | 6 7 8 9 | 11 ..., so the checkpoints come before rows 6, 11, 16, 21, 27, ..., 57.
KILLS = [("row", 30, 27), ("flush", 8, 16), ("mark", 3, 11), ("move", 1, 57)]


@pytest.mark.parametrize(("when", "count", "resumed"), KILLS)
def test_a_killed_build_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, count: int, resumed: int
) -> None:
    undisturbed = build(source, tmp_path / "whole", monkeypatch)
    assert (undisturbed.read, undisturbed.malformed, len(undisturbed.renamed)) == (ROWS, 9, 6)
    assert len(undisturbed.duplicates) == 3  # of the five, row 59 and the first of row 58's content are malformed
    assert run(source, tmp_path / "again", when, count) == -signal.SIGKILL
    assert not (tmp_path / "again").exists()
    report = build(source, tmp_path / "again", monkeypatch)
    assert report.resumed == resumed
    assert content(tmp_path / "again") == content(tmp_path / "whole")
    assert (report.account(), report.rejections) == (undisturbed.account(), undisturbed.rejections)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "rows", "whole"]
    ProblemStore.open(tmp_path / "again").check_hashes()


def test_interrupted_twice(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(source, tmp_path / "whole", monkeypatch)
    for rows in (20, 50):
        interrupt(source, tmp_path / "again", monkeypatch, rows)
    assert build(source, tmp_path / "again", monkeypatch).resumed == 47
    assert content(tmp_path / "again") == content(tmp_path / "whole")


@pytest.mark.parametrize("what", ["torn line", "torn stream", "changed stream", "no journal"])
def test_what_a_crash_of_the_machine_left_is_not_trusted(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    build(source, tmp_path / "whole", monkeypatch)
    interrupt(source, tmp_path / "again", monkeypatch, 40)
    folder = tmp_path / ".again.building"
    journal, problems = folder / "journal.jsonl", folder / "problems.arrow"
    if what == "torn line":
        journal.write_bytes(journal.read_bytes()[:-5])  # of the last checkpoint: the one before it counts
    elif what == "torn stream":
        problems.write_bytes(problems.read_bytes()[:-5])
    elif what == "changed stream":
        problems.write_bytes(problems.read_bytes().replace(b"20 0", b"20 1"))
    else:
        journal.unlink()
    resumed = build(source, tmp_path / "again", monkeypatch).resumed
    assert resumed == (32 if what == "torn line" else 0)
    assert content(tmp_path / "again") == content(tmp_path / "whole")


def test_another_source_or_setting_starts_anew(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(source, tmp_path / "again", monkeypatch, 40)
    first = next(source.iterdir())
    os.utime(first, ns=(0, 0))  # somebody has written to it
    assert build(source, tmp_path / "again", monkeypatch).resumed == 0
    interrupt(source, tmp_path / "other", monkeypatch, 40)
    assert build(source, tmp_path / "other", monkeypatch, generated_suffice=True).resumed == 0


def test_a_malformed_row_stops_and_skipping_goes_on_from_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = sorted(source.iterdir())[-1]
    last.write_text(last.read_text() + "{\n")
    monkeypatch.setattr(writer, "BATCH_ROWS", 4)
    for file in source.iterdir():
        file.write_text("".join(line for line in file.open() if '"description": 3' not in line))
    with pytest.raises(StoreError, match="row 18: the row is not JSON"):  # 21 less 3
        build_store(open_source([source]), tmp_path / "again")
    assert build(source, tmp_path / "again", monkeypatch).resumed > 40


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match=r"cannot be locked \(No locks available\).*build on another one"):
        StoreWriter(tmp_path / "s").__enter__()


def test_one_process_builds_a_store(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s"), pytest.raises(StoreError, match="another process is building"):
        StoreWriter(tmp_path / "s").__enter__()


def test_a_journal_keeps_what_was_marked(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "key")
    for n in (1, 2, 3):
        journal.note({"n": n})
        if n == 2:
            journal.mark({"at": 2})
    journal.close()
    again = Journal(tmp_path / "j", "key")
    assert ([row["n"] for row in again.rows], again.checkpoint) == ([1, 2], {"at": 2})
    again.close()
    other = Journal(tmp_path / "j", "another key")
    assert (other.rows, other.checkpoint) == ([], None)
    other.close()
