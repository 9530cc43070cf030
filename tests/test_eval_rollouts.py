"""Rollouts on disk: nothing lost, nothing twice, whatever moment the process was killed in."""

import errno
import fcntl
from dataclasses import replace
from pathlib import Path

import pytest

from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation import rollouts
from rlef_plugin.evaluation.rollouts import Message, Rollout, RolloutFolder, Turn, by_problem, count, read


def turn(verdict: str, public_passed: bool = False, code: str | None = "print(1)") -> Turn:
    return Turn(verdict, public_passed, 0.0, code, 11, 0.5, 0.25, 0.125, 9.5)


def rollout(problem: str, index: int, solved: bool = True) -> Rollout:
    turns = (turn("exception"), turn("invalid_code", code=None), turn("accepted", True))
    dialog = tuple(Message(role, f"{role} {n} \u2028 ä") for n in range(3) for role in ("user", "assistant"))
    return Rollout(problem, index, solved, turns, dialog)


MANY = [rollout(problem, index) for index in range(5) for problem in ("b", "a")]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "PART_ROWS", 4)


def test_every_rollout_comes_back_equal_and_in_order(tmp_path: Path) -> None:
    folder = RolloutFolder(tmp_path)
    for one in MANY:
        folder.append(one)
    assert read(tmp_path) == sorted(MANY, key=lambda one: (one.problem, one.index))  # while it is open
    folder.close()
    assert read(tmp_path) == sorted(MANY, key=lambda one: (one.problem, one.index))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "journal.jsonl",
        "lock",
        *(f"part-00000{n}.parquet" for n in (1, 2, 3)),
    ]


def test_another_process_goes_on_after_a_kill(tmp_path: Path) -> None:
    """A killed process keeps no lock: the next one finds the journal as it was left, half a line at its end."""
    first = RolloutFolder(tmp_path)
    for one in MANY[:6]:
        first.append(one)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"problem": "b", "ind')
    first.lock.close()
    second = RolloutFolder(tmp_path)
    assert all((one.problem, one.index) in second for one in MANY[:6])
    assert not any((one.problem, one.index) in second for one in MANY[6:])
    for one in MANY[6:]:
        second.append(one)
    second.close()
    assert len(read(tmp_path)) == len(MANY)


def test_a_kill_between_moving_and_clearing_repeats_nothing(tmp_path: Path) -> None:
    folder = RolloutFolder(tmp_path)
    for one in MANY[:3]:
        folder.append(one)
    before = (tmp_path / "journal.jsonl").read_bytes()
    folder.append(MANY[3])  # moves the four to a part
    (tmp_path / "journal.jsonl").write_bytes(before)  # as if killed before the journal was cleared
    folder.lock.close()
    assert len(read(tmp_path)) == 4
    again = RolloutFolder(tmp_path)
    again.close()
    assert len(read(tmp_path)) == 4 and len(list(tmp_path.glob("part-*"))) == 1


def test_texts_may_be_left_out_and_rollouts_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a part and from the journal alike."""
    monkeypatch.setattr(rollouts, "PART_ROWS", 6)
    folder = RolloutFolder(tmp_path)
    for one in MANY:
        folder.append(one)
    assert len(list(tmp_path.glob("part-*"))) == 1
    assert read(tmp_path, texts=False) == [replace(one, messages=()) for one in read(tmp_path)]
    assert read(tmp_path, where=lambda one: one.index == 4) == [MANY[9], MANY[8]]
    assert read(tmp_path, where=lambda one: False) == [] and count(tmp_path) == len(MANY)
    folder.close()


def test_an_unfinished_part_is_ignored(tmp_path: Path) -> None:
    folder = RolloutFolder(tmp_path)
    folder.append(MANY[0])
    (tmp_path / "part-000001.unfinished").write_bytes(b"PAR1 half")
    assert read(tmp_path) == [MANY[0]]


def test_a_damaged_part_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="part-000001.parquet is damaged .*: bring it back, or remove it"):
        (tmp_path / "part-000001.parquet").write_bytes(b"PAR1 no more of it")
        read(tmp_path)
    with pytest.raises(UsageError, match="part-000001.parquet is damaged"):
        RolloutFolder(tmp_path)


@pytest.mark.parametrize(
    "line", ["{", "{}", "[]", '{"problem": "a", "index": 0, "solved": true, "turns": [{"x": 1}]}']
)
def test_a_damaged_line_is_one_sentence(tmp_path: Path, line: str) -> None:
    folder = RolloutFolder(tmp_path)
    folder.append(MANY[0])
    folder.file.write(line + "\n")
    folder.file.flush()
    with pytest.raises(UsageError, match="line 2 of .*journal.jsonl is damaged"):
        read(tmp_path)


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lustre does where it is mounted without them."""

    def flock(file: object, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError, match=r"cannot be locked \(Function not implemented\).*mount its file system with"):
        RolloutFolder(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = RolloutFolder(tmp_path)
    with pytest.raises(UsageError, match="another process plays into .*: wait until it has ended, or change --out"):
        RolloutFolder(tmp_path)
    first.append(MANY[0])
    first.close()
    RolloutFolder(tmp_path).close()
    assert read(tmp_path) == [MANY[0]]


def test_a_part_that_was_taken_away_lets_none_be_overwritten(tmp_path: Path) -> None:
    folder = RolloutFolder(tmp_path)
    for one in MANY[:8]:
        folder.append(one)
    (tmp_path / "part-000001.parquet").unlink()
    for one in MANY[8:]:
        folder.append(one)
    folder.close()
    assert read(tmp_path) == sorted(MANY[4:], key=lambda one: (one.problem, one.index))


def test_reading_misses_no_row_that_is_moved_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The move happens between the two looks: after the journal, before the parts."""
    folder = RolloutFolder(tmp_path)
    for one in MANY[:3]:
        folder.append(one)
    look = rollouts._journal

    def then_moved(path: Path) -> list[Rollout]:
        found = list(look(path))
        folder._move_to_part()
        return found

    monkeypatch.setattr(rollouts, "_journal", then_moved)
    assert len(read(tmp_path)) == 3
    folder.close()


def test_a_limit_of_turns_makes_a_shorter_rollout_that_was_not_solved() -> None:
    long = rollout("a", 0)
    short = long.limited_to(2)
    assert (len(short.turns), len(short.messages), short.solved, short.public_passed) == (2, 4, False, False)
    assert long.limited_to(3) is long


def test_rollouts_of_a_problem_stay_together() -> None:
    assert {problem: len(found) for problem, found in by_problem(MANY).items()} == {"a": 5, "b": 5}


def test_says_that_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no rollouts: name the folder"):
        read(tmp_path)
